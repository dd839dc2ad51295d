//! Which image serves which engine: pinned per engine and version, remapped by `redrill.toml` or
//! `REDRILL_IMAGE_<ENGINE>` for private registries and air-gapped sites; and whether it is here or can be pulled.

use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::process::Command;
use crate::suite::{Engine, Site};

/// How long the engine may take to say what images it has.
const INSPECT: Duration = Duration::from_secs(30);
/// How long one image may take to be pulled.
const PULL: Duration = Duration::from_secs(600);

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Its name, with its tag.
    pub image: String,
    /// The image it stands in for: the one that would have been used had it been here.
    pub instead_of: Option<String>,
}

impl std::fmt::Display for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.instead_of {
            Some(first) => write!(f, "{} ({first} is not here)", self.image),
            None => write!(f, "{}", self.image),
        }
    }
}

/// The first candidate that is here; nothing is pulled.
pub async fn present(
    ctx: &Context,
    engine: Engine,
    version: Option<&str>,
) -> Result<Option<Available>> {
    let candidates = candidates(engine, version)?;
    for image in &candidates {
        let asked = Command::new("docker")
            .args(["image", "inspect", "--format", "{{.Id}}", image])
            .deadline(INSPECT)
            .run(ctx)
            .await?;
        if asked.exit == Some(0) {
            return Ok(Some(available(&candidates, image)));
        }
    }
    Ok(None)
}

/// The image that is here; an error that says how to get one where none is. Nothing is pulled.
pub async fn here(ctx: &Context, engine: Engine, version: Option<&str>) -> Result<Available> {
    if let Some(here) = present(ctx, engine, version).await? {
        return Ok(here);
    }
    let candidates = candidates(engine, version)?;
    let pulled = candidates.iter().find(|image| !built_here(image));
    let pull = pulled.map(|image| format!("a drill pulls {image} by itself where it can; "));
    Err(
        Error::unavailable(format!("none of {} is here", candidates.join(", "))).hint(format!(
            "{}run `make images` to build one from Debian packages, or name yours in {}",
            pull.unwrap_or_default(),
            variable(engine)
        )),
    )
}

/// The image to use: the first candidate that is here, else the first that can be pulled.
pub async fn available_image(
    ctx: &Context,
    engine: Engine,
    version: Option<&str>,
) -> Result<Available> {
    if let Some(here) = present(ctx, engine, version).await? {
        return Ok(here);
    }
    let candidates = candidates(engine, version)?;
    let mut refusal = String::new();
    for image in candidates.iter().filter(|image| !built_here(image)) {
        let pulled = Command::new("docker")
            .args(["pull", "--quiet", image])
            .deadline(PULL)
            .run(ctx)
            .await;
        match pulled.and_then(crate::process::Finished::ok) {
            Ok(_) => return Ok(available(&candidates, image)),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => refusal = format!(" ({})", error.message()),
        }
    }
    let name = variable(engine);
    Err(Error::unavailable(format!(
        "no image for {engine}: {} is neither here nor can it be pulled{refusal}",
        candidates.join(", ")
    ))
    .hint(format!(
        "run `make images` to build one from Debian packages, or name yours in {name}"
    )))
}

fn available(candidates: &[String], image: &str) -> Available {
    Available {
        image: image.to_owned(),
        instead_of: candidates.first().filter(|first| *first != image).cloned(),
    }
}

/// Whether an image comes from `make images` alone: no registry has it.
fn built_here(image: &str) -> bool {
    image.starts_with("redrill/")
}

/// The variable that remaps an engine's image.
fn variable(engine: Engine) -> String {
    format!("REDRILL_IMAGE_{}", configured(engine).to_uppercase())
}

/// What an engine is called where its image is remapped.
fn configured(engine: Engine) -> &'static str {
    match engine {
        Engine::Bucket => "s3",
        _ => engine.id(),
    }
}

/// The S3 servers whose start redrill knows, told apart by the image's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum S3Flavour {
    /// Ceph's RADOS gateway, as built by `make images`.
    Rgw,
    /// MinIO.
    Minio,
    /// RustFS.
    RustFs,
    /// SeaweedFS.
    SeaweedFs,
}

impl S3Flavour {
    /// The flavour that an image's name tells.
    pub fn of(image: &str) -> Result<Self> {
        [
            ("minio", Self::Minio),
            ("rustfs", Self::RustFs),
            ("seaweedfs", Self::SeaweedFs),
            ("rgw", Self::Rgw),
        ]
        .into_iter()
        .find(|(word, _)| image.contains(word))
        .map(|(_, flavour)| flavour)
        .ok_or_else(|| {
            Error::usage(format!(
                "the image {image} is none of the S3 servers that redrill can start"
            ))
            .hint("its name must contain minio, rustfs, seaweedfs or rgw")
        })
    }
}

/// The images that may serve an engine, best first; a remapped one stands alone.
pub(super) fn candidates(engine: Engine, version: Option<&str>) -> Result<Vec<String>> {
    if let Some(image) = remapped(engine)? {
        return Ok(vec![
            image.replace("{version}", version.unwrap_or(default_version(engine))),
        ]);
    }
    let version = version.unwrap_or(default_version(engine));
    Ok(match engine {
        Engine::Postgres => vec![
            format!("postgres:{version}"),
            format!("redrill/postgres:{version}"),
        ],
        Engine::Redis => vec![
            format!("redis:{version}"),
            format!("redrill/redis:{version}"),
        ],
        Engine::Bucket => vec![
            "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z".to_owned(),
            format!("redrill/rgw:{version}"),
        ],
    })
}

fn default_version(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "15",
        Engine::Redis => "7",
        Engine::Bucket => "16",
    }
}

fn remapped(engine: Engine) -> Result<Option<String>> {
    let name = configured(engine);
    if let Some(image) = std::env::var(variable(engine))
        .ok()
        .filter(|image| !image.is_empty())
    {
        return Ok(Some(image));
    }
    Ok(Site::load()?.images.remove(name))
}

/// Name and tag of an image reference; a colon before the last slash belongs to a registry's port.
pub(super) fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(
            split("registry:5000/team/postgres"),
            ("registry:5000/team/postgres", "latest")
        );
        assert_eq!(
            split("registry:5000/team/postgres:15"),
            ("registry:5000/team/postgres", "15")
        );
        assert_eq!(split("redis:7"), ("redis", "7"));
    }

    #[test]
    fn an_image_that_stands_in_for_another_says_so() {
        let candidates = ["postgres:15".to_owned(), "redrill/postgres:15".to_owned()];
        let own = available(&candidates, "redrill/postgres:15");
        assert_eq!(
            own.to_string(),
            "redrill/postgres:15 (postgres:15 is not here)"
        );
        let official = available(&candidates, "postgres:15");
        assert_eq!(official.to_string(), "postgres:15");
    }

    #[test]
    fn the_flavour_of_an_s3_server_is_told_by_its_image() {
        assert_eq!(
            S3Flavour::of("quay.io/minio/minio:x").expect("known"),
            S3Flavour::Minio
        );
        assert_eq!(
            S3Flavour::of("redrill/rgw:16").expect("known"),
            S3Flavour::Rgw
        );
        assert!(S3Flavour::of("nginx:1").is_err());
    }
}
