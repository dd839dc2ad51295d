//! Ceph's RADOS gateway as the other server under test: started once, through redrill's own containers, when the first
//! case asks for it. Where no engine answers or the image is not here there is a reason instead.

use std::sync::{Arc, OnceLock};

use chrono::Utc;
use libtest_mimic::{Completion, Failed};
use redrill::context::{Context, RunId};
use redrill::error::Result;
use redrill::provision::containers::{self, Containers};
use redrill::provision::{Provisioner, Wanted};
use redrill::service::Running;
use redrill::suite::Engine;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::{Case, runtime};

/// Cases that the gateway is known to fail, as measured on 16.2.15, and what it does instead.
pub const KNOWN_GAPS: &[(&str, &str)] = &[
    (
        "a_checksum_in_a_trailer_is_verified_and_echoed",
        "uploads with an unsigned trailer are refused: XAmzContentSHA256Mismatch",
    ),
    (
        "a_checksum_is_stored_and_echoed",
        "x-amz-checksum-* headers are ignored",
    ),
    (
        "a_wrong_checksum_is_refused",
        "x-amz-checksum-* headers are ignored",
    ),
    (
        "a_multipart_checksum_covers_all_parts",
        "x-amz-checksum-* headers are ignored",
    ),
    (
        "a_part_can_be_read_by_its_number",
        "partNumber is ignored when reading",
    ),
    (
        "completing_an_aborted_upload_names_the_reason",
        "answers 500 InternalError instead of 404 NoSuchUpload",
    ),
    (
        "completing_answers_the_etag_of_the_object",
        "the ETag in the answer is empty",
    ),
    ("parts_out_of_order_are_refused", "parts are sorted instead"),
    (
        "uploads_are_grouped_by_a_delimiter",
        "no common prefixes in ListMultipartUploads",
    ),
    (
        "a_swap_needs_the_etag_that_is_there",
        "If-Match on a write needs the ETag without quotes",
    ),
    (
        "a_multipart_upload_can_be_completed_only_if_nothing_is_there",
        "no conditions on CompleteMultipartUpload",
    ),
    (
        "a_delete_can_depend_on_the_etag",
        "no conditions on DeleteObject",
    ),
];

/// Cases that the gateway passes on some runs and not on others, and why.
pub const UNSTEADY: &[(&str, &str)] = &[(
    "a_refused_upload_is_answered_every_time",
    "now and then the connection is closed while the body is being sent",
)];

/// The gateway, once it was asked for.
#[derive(Default)]
pub struct Gateway(OnceLock<std::result::Result<Started, String>>);

struct Started {
    server: Arc<dyn Running>,
    ctx: Context,
    runtime: Runtime,
    _dir: TempDir,
}

impl Gateway {
    /// Tries a case on the gateway. A known gap must show, so that it is struck from the list when it is closed.
    pub fn tries(&self, name: &str, case: Case) -> std::result::Result<Completion, Failed> {
        let server = match self.0.get_or_init(start) {
            Ok(started) => started.server.endpoint(),
            // Whoever asked for containers must not be told that all is well without them.
            Err(reason) if required() => return Err(Failed::from(reason.clone())),
            Err(reason) => return Ok(Completion::ignored_with(reason.clone())),
        };
        let server = Server {
            endpoint: format!("http://{}:{}", server.host, server.port),
            access_key: server.user,
            secret_key: server.password,
        };
        let tried = runtime().block_on(async { tokio::spawn(case(server)).await });
        let known = |list: &'static [(&'static str, &'static str)]| {
            list.iter()
                .find(|(gap, _)| *gap == name)
                .map(|(_, why)| *why)
        };
        match (tried, known(KNOWN_GAPS), known(UNSTEADY)) {
            (Ok(()), Some(why), _) => Err(Failed::from(format!(
                "it passes, although it is listed as a known gap ({why}): strike it from KNOWN_GAPS"
            ))),
            (Ok(()), None, _) => Ok(Completion::Completed),
            (Err(_), Some(why), _) | (Err(_), None, Some(why)) => Ok(Completion::ignored_with(
                format!("a known difference of the gateway: {why}"),
            )),
            (Err(panic), None, None) => Err(Failed::from(panic.to_string())),
        }
    }

    /// Removes what was started.
    pub fn remove(mut self) -> Result<()> {
        match self.0.take() {
            Some(Ok(started)) => started
                .runtime
                .block_on(started.server.remove(&started.ctx.for_teardown())),
            _ => Ok(()),
        }
    }
}

fn required() -> bool {
    std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some()
        && std::env::var("REDRILL_SERVICES").is_ok_and(|mode| mode == "containers")
}

fn start() -> std::result::Result<Started, String> {
    let dir = TempDir::new().map_err(|error| error.to_string())?;
    let runtime = runtime();
    let started: Result<_> = runtime.block_on(async {
        let ctx = Context::new(
            RunId::fresh(Utc::now()),
            dir.path().to_owned(),
            dir.path().join("logs"),
            CancellationToken::new(),
        )?;
        containers::engine_answers(&ctx).await?;
        let image = containers::present(&ctx, Engine::Bucket, None).await?;
        let Some(image) = image.filter(|found| found.image.contains("rgw")) else {
            return Ok(Err(
                "the gateway's image is not here: `make images` builds redrill/rgw".to_owned(),
            ));
        };
        let wanted = Wanted {
            name: format!("gateway-{}", image.image.replace([':', '/'], "-")),
            engine: Engine::Bucket,
            version: None,
            settings: Default::default(),
        };
        Ok(Ok((Containers.start(&ctx, &wanted).await?, ctx)))
    });
    let (server, ctx) = started.map_err(|error| error.message())??;
    Ok(Started {
        server,
        ctx,
        runtime,
        _dir: dir,
    })
}
