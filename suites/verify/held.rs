//! What an artifact is held against: the last verified one, questions, the clock, the server, the live source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use chrono::Datelike as _;
use redrill::context::Context;
use redrill::provision::local::tls::TlsFront;
use redrill::service::Running;
use redrill::suite::Engine;

use super::lab::{Lab, block_on, context, in_year, start};
use super::places::bucket;
use super::runs::{checks, command, failed_by, is_clean, plainly, verify};
use crate::place::{Outcome, Place, all, exits, says};
use crate::server::endpoint;

/// A place with the run of a whole dump that passed.
fn verified() -> Result<(&'static Lab, Place), libtest_mimic::Failed> {
    let (lab, place) = (Lab::get()?, Place::new());
    exits(
        &verify(&place, &lab.path("shop.dump"), &["--create-roles"])?,
        0,
    )?;
    Ok((lab, place))
}

pub fn a_drop_of_rows_against_the_last_verified_one_fails() -> Outcome {
    let (lab, place) = verified()?;
    let output = plainly(&place, &lab.path("less.dump"), &["--create-roles"])?;
    failed_by(&place, &output, "baseline")?;
    says(
        &output,
        &["rows-dropped", "public.orders has 500, and had 1000"],
    )?;
    // Against the same, a whole one passes without a question: the earlier run is the proof.
    exits(
        &plainly(&place, &lab.path("shop.dump"), &["--create-roles"])?,
        0,
    )
}

pub fn what_is_allowed_to_drop_may_drop() -> Outcome {
    let (lab, place) = verified()?;
    place.write("drop.toml", "drop = { rows = \"60%\" }\n");
    let arguments = ["--create-roles", "--ask", "drop.toml"];
    exits(&plainly(&place, &lab.path("less.dump"), &arguments)?, 0)
}

pub fn a_baseline_that_was_edited_is_no_baseline() -> Outcome {
    let (lab, place) = verified()?;
    let path = place.run()?.join("record.json");
    let record = std::fs::read_to_string(&path)?;
    std::fs::write(
        &path,
        record.replace("\"public.orders\": 1000", "\"public.orders\": 400"),
    )?;
    let output = plainly(&place, &lab.path("less.dump"), &["--create-roles"])?;
    exits(&output, 3)?;
    says(
        &output,
        &["not-compared", "is not the one that was written"],
    )
}

pub fn a_wrong_answer_fails() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write(
        "wrong.toml",
        "[[smoke]]\nask = \"select count(*) from public.orders\"\nexpect = { min = 2000 }\n",
    );
    let arguments = ["--create-roles", "--ask", "wrong.toml"];
    let output = plainly(&place, &lab.path("shop.dump"), &arguments)?;
    failed_by(&place, &output, "smoke")?;
    says(&output, &["answered `1000`, expected at least 2000"])
}

pub fn what_nothing_proves_is_undetermined_and_says_what_to_ask() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = plainly(&place, &lab.path("shop.dump"), &["--create-roles"])?;
    exits(&output, 3)?;
    let undetermined = checks(&place, "undetermined")?;
    if undetermined != BTreeSet::from(["proven".to_owned()]) {
        return Err(format!("{undetermined:?}\n{}", all(&output)).into());
    }
    says(
        &output,
        &[
            "nothing-proven",
            "select count(*) from public.orders",
            "expect = { min = 1000 }",
        ],
    )?;
    // What was not verified is no baseline.
    let output = plainly(&place, &lab.path("shop.dump"), &["--create-roles"])?;
    exits(&output, 3)
}

/// Questions that an empty database would answer as well are no proof, and one that reads the data is.
pub fn an_answer_that_shows_nothing_of_the_data_is_no_proof() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let ask = |ask: &str, expect: &str| {
        let text = format!("[[smoke]]\nask = \"{ask}\"\nexpect = {expect}\n");
        place.write("idle.toml", &text);
        let arguments = ["--create-roles", "--no-baseline", "--ask", "idle.toml"];
        plainly(&place, &lab.path("shop.dump"), &arguments)
    };
    for (question, expect, why) in [
        ("select 1", "1", "reads no table"),
        (
            "select count(*) > 0 from pg_class",
            "\"t\"",
            "reads no table",
        ),
        ("show server_encoding", "\"UTF8\"", "reads no table"),
        (
            "select count(*) from public.orders",
            "{ min = 0 }",
            "no count is below",
        ),
    ] {
        let output = ask(question, expect)?;
        exits(&output, 3)?;
        says(&output, &["answer-shows-nothing", why, "nothing-proven"])?;
        let undetermined = checks(&place, "undetermined")?;
        if undetermined != BTreeSet::from(["proven".to_owned()]) {
            return Err(format!("{question}: {undetermined:?}\n{}", all(&output)).into());
        }
    }
    for question in [
        "select count(*) > 0 from public.orders",
        "select (select count(*) from public.returns) = 50",
    ] {
        let output = ask(question, "\"t\"")?;
        exits(&output, 0)?;
        if all(&output).contains("answer-shows-nothing") {
            return Err(format!("{question}\n{}", all(&output)).into());
        }
    }
    Ok(())
}

pub fn a_baseline_of_another_folder_is_not_compared_until_it_is_said_what_it_is_of() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let put = |folder: &str, name: &str| {
        let path = place.path(folder).join("app.dump");
        std::fs::create_dir_all(place.path(folder))?;
        std::fs::copy(lab.path(name), &path).map(|_| path)
    };
    let first = put("tenant1", "shop.dump")?;
    exits(&verify(&place, &first, &["--create-roles"])?, 0)?;
    // Half of the rows are there, of another tenant: no drop of the first one's.
    let other = put("tenant2", "less.dump")?;
    let output = plainly(&place, &other, &["--create-roles"])?;
    exits(&output, 3)?;
    says(&output, &["not-compared", "lay in", "tenant1", "--lineage"])?;
    // The first one is compared with its own, and another day's folder is the same.
    exits(&plainly(&place, &first, &["--create-roles"])?, 0)?;
    let today = put("tenant1/2026-11-28", "shop.dump")?;
    let arguments = ["--create-roles", "--no-baseline"];
    exits(&verify(&place, &today, &arguments)?, 0)?;
    let tomorrow = put("tenant1/2026-11-29", "less.dump")?;
    let output = plainly(&place, &tomorrow, &["--create-roles"])?;
    failed_by(&place, &output, "baseline")
}

pub fn what_is_lost_bit_by_bit_is_warned_of() -> Outcome {
    let (lab, place) = verified()?;
    place.write("less.toml", "drop = { rows = \"60%\", size = \"60%\" }\n");
    let less = ["--create-roles", "--ask", "less.toml"];
    exits(&plainly(&place, &lab.path("less.dump"), &less)?, 0)?;
    // As many as in the last one, and half of what the one before it had.
    let output = plainly(&place, &lab.path("less.dump"), &["--create-roles"])?;
    exits(&output, 0)?;
    says(&output, &["drifted", "public.orders has 500, and had 1000"])
}

pub fn a_time_in_the_future_fails() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let next = chrono::Utc::now().year() + 2;
    std::fs::write(
        place.path("shop.dump"),
        in_year(&lab.bytes("shop.dump"), next),
    )?;
    let output = verify(&place, &place.path("shop.dump"), &["--create-roles"])?;
    failed_by(&place, &output, "fresh")?;
    says(&output, &["from-the-future", "--zone"])
}

pub fn a_content_that_is_too_old_fails_whatever_the_file_says() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    // The file itself is of this moment.
    std::fs::write(
        place.path("shop.dump"),
        in_year(&lab.bytes("shop.dump"), 2020),
    )?;
    let output = verify(
        &place,
        &place.path("shop.dump"),
        &["--create-roles", "--max-age", "7d"],
    )?;
    failed_by(&place, &output, "fresh")?;
    says(&output, &["too-old", "7 d are allowed"])?;
    exits(
        &verify(
            &place,
            &lab.path("shop.dump"),
            &["--create-roles", "--max-age", "7d"],
        )?,
        0,
    )?;
    let undated = verify(
        &place,
        &lab.path("shop.sql"),
        &["--create-roles", "--max-age", "7d"],
    )?;
    exits(&undated, 3)?;
    says(&undated, &["no-content-time", "--verbose"])?;
    exits(
        &verify(
            &place,
            &lab.path("told.sql"),
            &["--create-roles", "--max-age", "7d"],
        )?,
        0,
    )
}

pub fn a_missing_role_is_named_and_created_when_asked() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(&place, &lab.path("shop.dump"), &[])?;
    failed_by(&place, &output, "needs")?;
    says(&output, &["role-missing", "shop_owner", "--create-roles"])?;
    let output = verify(&place, &lab.path("shop.dump"), &["--create-roles"])?;
    exits(&output, 0)?;
    says(&output, &["role-created", "shop_owner"])
}

pub fn a_missing_extension_is_named() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let text = String::from_utf8(lab.bytes("shop.sql"))?;
    let wants = "CREATE EXTENSION IF NOT EXISTS no_such_thing WITH SCHEMA public;\n";
    place.write(
        "wants.sql",
        &text.replacen("CREATE TABLE", &format!("{wants}CREATE TABLE"), 1),
    );
    let output = verify(&place, &place.path("wants.sql"), &["--create-roles"])?;
    failed_by(&place, &output, "needs")?;
    says(&output, &["extension-missing", "no_such_thing"])
}

pub fn a_sequence_behind_its_rows_fails() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(&place, &lab.path("behind.dump"), &["--create-roles"])?;
    failed_by(&place, &output, "sequences")
}

pub fn the_live_source_is_counted_and_its_password_shown_nowhere() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let source = &lab.source;
    let dsn = format!(
        "postgresql://{}:{}@{}:{}/shop",
        source.user, source.password, source.host, source.port
    );
    place.write("dsn", &dsn);
    exits(
        &plainly(
            &place,
            &lab.path("shop.dump"),
            &["--create-roles", "--live-file", "dsn"],
        )?,
        0,
    )?;
    let arguments = ["--create-roles", "--live-env", "SHOP_DSN", "--no-baseline"];
    let output = command(&place, &lab.path("less.dump"), &arguments)
        .env("SHOP_DSN", &dsn)
        .output()?;
    is_clean(&place, &output)?;
    failed_by(&place, &output, "live")?;
    let mut told = all(&output);
    for run in place.runs() {
        for name in ["record.json", "report.md", "report.html"] {
            told += &std::fs::read_to_string(run.join(name))?;
        }
    }
    match source.password.is_empty() || told.contains(&source.password) {
        true => Err("the password stands there".into()),
        false => Ok(()),
    }
}

/// A Redis in use, with more keys than the snapshot of the lab has, as URLs: of a user who can only read, and the same by TLS.
struct Cache {
    server: Arc<dyn Running>,
    ctx: Context,
    front: TlsFront,
}

const READER: &str = "reader:Lese-nur-7";

impl Cache {
    async fn start(lab: &Lab, keys: u32) -> redrill::error::Result<Self> {
        let ctx = context(&lab.room(&format!("cache-{keys}")));
        let server = start(&ctx, Engine::Redis, &[]).await?;
        let mut script: String = (0..keys).map(|n| format!("SET key:{n} {n}\n")).collect();
        // Keys that expire come and go, and are not held against a backup.
        script += "SET session:1 x EX 9000\nSET session:2 x EX 9000\n";
        script += "ACL SETUSER reader on >Lese-nur-7 ~* +@read +@connection +info\n";
        let front = TlsFront::start(Arc::new(server.endpoint().port.into())).await?;
        let cache = Self { server, ctx, front };
        cache.run(script).await?;
        Ok(cache)
    }

    async fn run(&self, script: String) -> redrill::error::Result<String> {
        let cli = self.server.tool("redis-cli");
        let done = cli
            .feed(&self.ctx, std::io::Cursor::new(script))
            .await?
            .ok()?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn url(&self) -> String {
        format!("redis://{READER}@127.0.0.1:{}", self.server.endpoint().port)
    }
}

/// Verifies the lab's snapshot against a live source and nothing else.
fn against(place: &Place, artifact: &str, url: &str) -> Result<Output, libtest_mimic::Failed> {
    let lab = Lab::get()?;
    let arguments = ["--no-baseline", "--live-env", "LIVE"];
    let server = endpoint();
    let output = command(place, &lab.path(artifact), &arguments)
        .env("LIVE", url)
        .env("AWS_ACCESS_KEY_ID", &server.user)
        .env("AWS_SECRET_ACCESS_KEY", &server.password)
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", place.path("trusted.pem"))
        .output()?;
    is_clean(place, &output)?;
    Ok(output)
}

pub fn a_live_redis_is_counted_by_a_user_who_can_only_read() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let twin = block_on(Cache::start(lab, 300)).map_err(|error| error.to_string())?;
    let grown = block_on(Cache::start(lab, 400)).map_err(|error| error.to_string())?;
    place.write("trusted.pem", &twin.front.tls.certificate);
    let by_tls = format!("rediss://{READER}@localhost:{}", twin.front.tls.port);
    for url in [twin.url(), by_tls.clone()] {
        exits(&against(&place, "dump.rdb", &url)?, 0)?;
    }
    let output = against(&place, "dump.rdb", &grown.url())?;
    failed_by(&place, &output, "live")?;
    says(
        &output,
        &["rows-dropped", "db0 string has 300, and had 400"],
    )?;
    let told = all(&output)
        + &std::fs::read_to_string(place.runs().pop().ok_or("no run")?.join("record.json"))?;
    if told.contains("Lese-nur-7") {
        return Err("the password stands there".into());
    }
    // Only reading was tried: what the server refused would stand in its log, and what was written in its counts.
    let said = block_on(grown.run("ACL LOG\nINFO persistence\n".to_owned()))
        .map_err(|error| error.to_string())?;
    if said.contains("reader") || !said.contains("rdb_changes_since_last_save:402") {
        return Err(said.into());
    }
    place.write("trusted.pem", "");
    let untrusted = against(&place, "dump.rdb", &by_tls)?;
    exits(&untrusted, 3)?;
    says(&untrusted, &["certificate", "SSL_CERT_FILE"])
}

pub fn a_live_bucket_is_counted() -> Outcome {
    let place = Place::new();
    let pages = |count: usize| -> Vec<(String, Vec<u8>)> {
        let page = |n: usize| (format!("www/{n}.html"), format!("page {n}").into_bytes());
        (0..count)
            .map(page)
            .chain([("www/".to_owned(), Vec::new())])
            .collect()
    };
    for (name, count) in [("live-twin", 21), ("live-grown", 25)] {
        let pages = pages(count);
        let objects: Vec<_> = pages
            .iter()
            .map(|(key, bytes)| (key.as_str(), bytes.clone()))
            .collect();
        bucket(name, &objects)?;
    }
    let server = endpoint();
    let url = |name: &str| {
        format!(
            "s3://{name}/www?endpoint=http://{}:{}",
            server.host, server.port
        )
    };
    exits(&against(&place, "www.tar.gz", &url("live-twin"))?, 0)?;
    let output = against(&place, "www.tar.gz", &url("live-grown"))?;
    failed_by(&place, &output, "live")?;
    says(&output, &["objects-dropped", "21 objects", "had 25"])
}

pub fn a_live_source_that_does_not_answer_leaves_it_undetermined() -> Outcome {
    let place = Place::new();
    for (artifact, url) in [
        ("dump.rdb", "redis://127.0.0.1:9"),
        ("www.tar.gz", "s3://nowhere/www?endpoint=http://127.0.0.1:9"),
    ] {
        let output = against(&place, artifact, url)?;
        exits(&output, 3)?;
        says(
            &output,
            &["not-compared", "the live source could not be read"],
        )?;
    }
    // And one of another kind is refused before anything is started.
    let output = against(&place, "dump.rdb", "postgresql://reader@127.0.0.1/shop")?;
    exits(&output, 2)?;
    says(&output, &["the live source is of another kind", "redis://"])
}

/// A server that lets its reader in by TLS alone, with a certificate of its own making.
async fn encrypted(lab: &Lab) -> redrill::error::Result<(String, PathBuf)> {
    let ctx = context(&lab.room("encrypted"));
    let server = start(&ctx, Engine::Postgres, &[]).await?;
    let data = server.data_dir();
    let made = server
        .tool("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(data.join("server.key"))
        .arg("-out")
        .arg(data.join("server.crt"));
    made.run(&ctx).await?.ok()?;
    let access = data.join("pg_hba.conf");
    let usual = std::fs::read_to_string(&access).expect("is there");
    let only = "hostssl all reader all scram-sha-256\nhost all reader all reject\n";
    std::fs::write(&access, format!("{only}{usual}")).expect("written");
    let run = async |database: &str, sql: &str| {
        let psql = server
            .tool("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"])
            .arg(format!("--dbname={database}"));
        psql.feed(&ctx, sql.as_bytes()).await?.ok().map(drop)
    };
    run("postgres", "alter system set ssl = on").await?;
    run("postgres", "select pg_reload_conf(); create database shop").await?;
    run("shop", super::lab::SEED).await?;
    run(
        "shop",
        "create role reader login password 'Lese-nur-9'; grant pg_read_all_data to reader",
    )
    .await?;
    let dsn = format!(
        "postgresql://reader:Lese-nur-9@localhost:{}/shop",
        server.endpoint().port
    );
    Ok((dsn, data.join("server.crt")))
}

pub fn a_live_source_that_asks_for_tls_gets_it_and_only_from_whom_is_trusted() -> Outcome {
    let lab = Lab::get()?;
    let (dsn, certificate) = block_on(encrypted(lab)).map_err(|error| error.to_string())?;
    let place = Place::new();
    let verify = |dsn: &str, trusted: &Path| {
        command(
            &place,
            &lab.path("shop.dump"),
            &["--create-roles", "--live-env", "SHOP_DSN", "--no-baseline"],
        )
        .env("SHOP_DSN", dsn)
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", trusted)
        .output()
    };
    place.write("none.pem", "");
    for mode in ["", "?sslmode=require", "?sslmode=verify-full"] {
        let dsn = format!("{dsn}{mode}");
        exits(&verify(&dsn, &certificate)?, 0)?;
        let refused = verify(&dsn, &place.path("none.pem"))?;
        exits(&refused, 3)?;
        says(&refused, &["certificate", "SSL_CERT_FILE"])?;
    }
    let bare = verify(&format!("{dsn}?sslmode=disable"), &certificate)?;
    exits(&bare, 3)?;
    says(&bare, &["pg_hba.conf", "sslmode"])
}

pub fn what_only_a_name_tells_apart_is_never_compared_with_another_folders() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write("keys.toml", "[[smoke]]\nask = \"DBSIZE\"\nexpect = 300\n");
    for folder in ["one", "other", "one"] {
        let dump = place.path(folder).join("dump.rdb");
        std::fs::create_dir_all(place.path(folder))?;
        std::fs::copy(lab.path("dump.rdb"), &dump)?;
        exits(&plainly(&place, &dump, &["--ask", "keys.toml"])?, 0)?;
    }
    let mut ids = Vec::new();
    for run in place.runs() {
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.join("record.json"))?)?;
        ids.push(record["drills"][0]["id"].to_string());
    }
    ids.sort();
    let expected = ["one", "one", "other"].map(|folder| format!("\"verify/redis-{folder}-dump\""));
    match ids == expected {
        true => Ok(()),
        false => Err(format!("{ids:?}").into()),
    }
}
