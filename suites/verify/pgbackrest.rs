//! Repositories of pgBackRest, made by pgBackRest alone: whole, encrypted, with several stanzas, damaged in their own ways.
//!
//! One source is backed up twice into a clear and an encrypted repository and writes on, a table in a tablespace among it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::SystemTime;

use libtest_mimic::Failed;
use redrill::service::Running;
use redrill::suite::Engine;

use super::lab::{Lab, block_on, context, start};
use super::places::bucket;
use super::runs::{command, failed_by, is_clean, last, plainly};
use crate::mounts;
use crate::place::{Outcome, Place, all, exits, says, text};
use crate::server::endpoint;

const PASSPHRASE: &str = "ein-Sesam-das-niemand-sieht";
const NAME: &str = "SHOP_CIPHER_PASS";
/// What only the WAL that follows the newest backup brings.
const ASK: &str = "
[[smoke]]
ask = \"select count(*) from public.orders\"
expect = 1000
[[smoke]]
ask = \"select count(*) from public.late\"
expect = 4
";

static REPOSITORIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The folder with the repositories `clear` and `sealed`, as pgBackRest left them.
fn repositories() -> Result<&'static Path, Failed> {
    let made = REPOSITORIES.get_or_init(|| {
        let lab = Lab::get().map_err(|error| format!("{error:?}"))?;
        block_on(make(lab)).map_err(|error| error.to_string())
    });
    made.as_deref().map_err(|error| error.clone().into())
}

async fn make(lab: &Lab) -> redrill::error::Result<PathBuf> {
    let ctx = context(&lab.room("pgbackrest"));
    let server = start(&ctx, Engine::Postgres, &[("archive_mode", "on")]).await?;
    let home = server.staging();
    let config = home.join("pgbackrest.conf");
    let at = home.display();
    let text = format!(
        "[global]\nrepo1-path={at}/clear\nrepo1-retention-full=9\nrepo2-path={at}/sealed\nrepo2-retention-full=9\n\
         repo2-cipher-type=aes-256-cbc\nrepo2-cipher-pass={PASSPHRASE}\nstart-fast=y\ncompress-type=zst\ncompress-level=1\n\
         log-level-file=off\nlog-level-console=off\nlock-path={at}/lock\nspool-path={at}/spool\n\
         [shop]\npg1-path={}\npg1-port={}\n",
        server.data_dir().display(),
        server.endpoint().port
    );
    let reading = Box::new(std::io::Cursor::new(text.into_bytes()));
    redrill::service::write_file(&ctx, &*server, &config, reading).await?;
    let words = format!("--config={}", config.display());
    let rest = |server: &dyn Running, arguments: &[&str]| {
        let rest = server
            .tool("pgbackrest")
            .args([words.as_str(), "--stanza=shop"]);
        rest.args(arguments.iter().copied())
    };
    let psql = async |database: &str, sql: String| {
        let psql = server
            .tool("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
        let psql = psql.arg(format!("--dbname={database}"));
        psql.feed(&ctx, sql.as_bytes()).await?.ok().map(drop)
    };
    rest(&*server, &["stanza-create"]).run(&ctx).await?.ok()?;
    let push = format!("pgbackrest {words} --stanza=shop archive-push %p");
    server
        .tool("mkdir")
        .arg(home.join("far"))
        .run(&ctx)
        .await?
        .ok()?;
    psql(
        "postgres",
        format!("alter system set archive_command = '{push}'"),
    )
    .await?;
    psql(
        "postgres",
        format!("select pg_reload_conf(); create tablespace far location '{at}/far'"),
    )
    .await?;
    psql("postgres", "create database shop".to_owned()).await?;
    psql("shop", super::lab::SEED.to_owned()).await?;
    psql(
        "shop",
        "create table public.late (n int) tablespace far".to_owned(),
    )
    .await?;
    let write = async || {
        psql("shop", "insert into public.late values (1)".to_owned()).await?;
        psql("shop", "select pg_switch_wal()".to_owned()).await
    };
    for kind in ["--type=full", "--type=incr"] {
        write().await?;
        for repository in ["--repo=1", "--repo=2"] {
            rest(&*server, &["backup", kind, repository])
                .run(&ctx)
                .await?
                .ok()?;
        }
    }
    write().await?;
    write().await?;
    // Waits until what was switched last is archived.
    rest(&*server, &["check"]).run(&ctx).await?.ok()?;
    Ok(home)
}

/// A copy for a test to damage, which only whoever tests can read.
fn copied(place: &Place, name: &str) -> Result<PathBuf, Failed> {
    let to = place.path(name);
    alike(&repositories()?.join(name), &to)?;
    Ok(to)
}

/// Links, such as pgBackRest's `latest`, stay links.
fn alike(from: &Path, to: &Path) -> Outcome {
    let copied = std::process::Command::new("cp")
        .arg("-R")
        .args([from, to])
        .status()?;
    match copied.success() {
        true => Ok(()),
        false => Err(format!("{} was not copied", from.display()).into()),
    }
}

fn verify(place: &Place, artifact: &Path, more: &[&str]) -> Result<Output, Failed> {
    place.write("ask.toml", ASK);
    plainly(
        place,
        artifact,
        &[&["--ask", "ask.toml", "--database", "shop"], more].concat(),
    )
}

/// Every file with its size and its time.
fn listing(dir: &Path, all: &mut BTreeMap<PathBuf, (u64, SystemTime)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let found = entry.metadata()?;
        all.insert(entry.path(), (found.len(), found.modified()?));
        if found.is_dir() {
            listing(&entry.path(), all)?;
        }
    }
    Ok(())
}

/// What is in a folder, sorted by name.
fn names(dir: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .map(|it| it.path())
        .collect();
    names.sort();
    Ok(names)
}

/// The archived segments, in order.
fn segments(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut all = names(&root.join("archive/shop/15-1/0000000100000000"))?;
    all.retain(|path| path.extension().is_some_and(|it| it == "zst"));
    Ok(all)
}

/// The backups, oldest first.
fn labels(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut all = names(&root.join("backup/shop"))?;
    all.retain(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.starts_with("20")
    });
    Ok(all)
}

fn spoil(path: &Path) -> Outcome {
    let mut bytes = std::fs::read(path)?;
    let at = bytes.len() / 2;
    bytes[at] ^= 0x55;
    Ok(std::fs::write(path, bytes)?)
}

fn emptied(path: &Path) -> Outcome {
    Ok(std::fs::write(path, "")?)
}

/// Nothing was started for it.
fn without_a_server(place: &Place, output: &Output) -> Outcome {
    match last(place)?["services"]["versions"] == serde_json::json!([]) {
        true => Ok(()),
        false => Err(format!("a server was started\n{}", all(output)).into()),
    }
}

pub fn a_repository_is_verified_where_it_lies_and_left_as_it_is() -> Outcome {
    let (root, place) = (repositories()?.join("clear"), Place::new());
    let mut before = BTreeMap::new();
    listing(&root, &mut before)?;
    let output = verify(&place, &root, &[])?;
    exits(&output, 0)?;
    says(&output, &["of stanza shop by pgBackRest"])?;
    let record = last(&place)?;
    if record["drills"][0]["recoveries"][0]["held"]["rows"]["shop.public.late"] != 4 {
        return Err(format!("{record:#}").into());
    }
    let mut after = BTreeMap::new();
    listing(&root, &mut after)?;
    match before == after {
        true => Ok(()),
        false => Err("the repository was written to".into()),
    }
}

pub fn an_encrypted_one_is_verified_with_its_passphrase_which_is_shown_nowhere() -> Outcome {
    let place = Place::new();
    let root = copied(&place, "sealed")?;
    place.write("ask.toml", ASK);
    place.write("pass.txt", &format!("{PASSPHRASE}\n"));
    let base = ["--ask", "ask.toml", "--database", "shop"];
    for more in [
        ["--cipher-pass-env", NAME],
        ["--cipher-pass-file", "pass.txt"],
    ] {
        let mut command = command(&place, &root, &[&base[..], &more[..]].concat());
        let output = command.env(NAME, PASSPHRASE).output()?;
        exits(&output, 0)?;
        is_clean(&place, &output)?;
        if text(&output.stdout).contains(PASSPHRASE) || text(&output.stderr).contains(PASSPHRASE) {
            return Err("it is printed".into());
        }
    }
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", PASSPHRASE])
        .arg(place.path("reports"))
        .output()?;
    match found.stdout.is_empty() {
        true => Ok(()),
        false => Err(format!("it stands in {}", text(&found.stdout)).into()),
    }
}

pub fn an_encrypted_one_is_not_opened_without_its_passphrase() -> Outcome {
    let place = Place::new();
    let root = copied(&place, "sealed")?;
    let output = verify(&place, &root, &[])?;
    exits(&output, 2)?;
    says(
        &output,
        &["is encrypted by pgBackRest", "--cipher-pass-env"],
    )?;
    place.write("wrong.txt", "another");
    let output = verify(&place, &root, &["--cipher-pass-file", "wrong.txt"])?;
    exits(&output, 2)?;
    says(&output, &["another passphrase"])?;
    let output = verify(&place, &root, &["--cipher-pass-env", "NOT_SET_ANYWHERE"])?;
    exits(&output, 2)?;
    says(&output, &["NOT_SET_ANYWHERE is not set"])?;
    match place.runs().is_empty() {
        true => Ok(()),
        false => Err("a run was begun".into()),
    }
}

pub fn a_segment_that_is_gone_or_altered_is_refused_before_any_server_starts() -> Outcome {
    type Damage = fn(&Path) -> Outcome;
    let cases: [(Damage, &str); 3] = [
        (|path| Ok(std::fs::remove_file(path)?), "it is missing"),
        // Whether it still unpacks, to something else, is its content's chance.
        (spoil, "in repository given: "),
        (emptied, "cannot be read"),
    ];
    for (damage, words) in cases {
        let place = Place::new();
        let root = copied(&place, "clear")?;
        let segments = segments(&root)?;
        // The last but one: no backup needs it to be consistent.
        let path = &segments[segments.len() - 2];
        damage(path)?;
        let output = verify(&place, &root, &[])?;
        failed_by(&place, &output, "readable")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy()[..24].to_owned();
        says(&output, &[&format!("WAL segment {name}"), words])?;
        without_a_server(&place, &output)?;
    }
    Ok(())
}

pub fn of_a_damaged_newest_backup_the_one_before_is_taken_and_none_where_all_are() -> Outcome {
    let place = Place::new();
    let root = copied(&place, "clear")?;
    let labels = labels(&root)?;
    let [full, newest] = &labels[..] else {
        return Err(format!("{labels:?}").into());
    };
    spoil(&newest.join("pg_data/global/pg_control.zst"))?;
    let output = verify(&place, &root, &[])?;
    exits(&output, 0)?;
    let newest = newest.file_name().unwrap_or_default().to_string_lossy();
    says(
        &output,
        &["artifact-skipped", &format!("{newest} of"), "checksum"],
    )?;
    spoil(&full.join("pg_data/global/pg_control.zst"))?;
    let output = verify(&place, &root, &[])?;
    exits(&output, 1)?;
    says(
        &output,
        &["pgbackrest verify says that it is invalid", "pg_control"],
    )?;
    without_a_server(&place, &output)
}

pub fn of_several_stanzas_one_must_be_named() -> Outcome {
    let place = Place::new();
    let root = copied(&place, "clear")?;
    for part in ["backup", "archive"] {
        let stanza = root.join(part).join("shop");
        alike(&stanza, &stanza.with_file_name("other"))?;
    }
    let output = verify(&place, &root, &[])?;
    exits(&output, 2)?;
    says(&output, &["has 2 stanzas: other, shop", "--stanza NAME"])?;
    let output = verify(&place, &root, &["--stanza", "none"])?;
    exits(&output, 2)?;
    says(&output, &["has no stanza none", "it has: other, shop"])?;
    let output = verify(&place, &root, &["--stanza", "other"])?;
    exits(&output, 0)?;
    says(&output, &["of stanza other"])
}

pub fn an_empty_or_a_cut_one_is_refused() -> Outcome {
    let place = Place::new();
    std::fs::create_dir_all(place.path("nothing/backup"))?;
    std::fs::create_dir_all(place.path("nothing/archive"))?;
    let output = verify(&place, &place.path("nothing"), &[])?;
    exits(&output, 1)?;
    says(&output, &["without a stanza"])?;
    let root = copied(&place, "clear")?;
    let infos = ["backup.info", "backup.info.copy"].map(|name| root.join("backup/shop").join(name));
    let whole = std::fs::read(&infos[0])?;
    for (length, words) in [
        (whole.len() / 2, "unable to load info file"),
        (0, "both are empty"),
    ] {
        for info in &infos {
            std::fs::write(info, &whole[..length])?;
        }
        let output = verify(&place, &root, &[])?;
        exits(&output, 1)?;
        says(&output, &[words])?;
    }
    for info in &infos {
        std::fs::write(info, &whole)?;
    }
    // Its WAL was not copied with it.
    std::fs::remove_dir_all(root.join("archive"))?;
    let output = verify(&place, &root, &[])?;
    exits(&output, 1)?;
    says(&output, &["has no archive.info"])?;
    let output = verify(&place, &root.join("backup/shop"), &[])?;
    exits(&output, 2)?;
    says(&output, &["lies within a repository of pgBackRest"])?;
    // Each but the mistake is told, and no server was started for it.
    let mut told = 0;
    for run in place.runs() {
        let record = std::fs::read(run.join("record.json"))?;
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        if record["services"]["versions"] != serde_json::json!([]) {
            return Err(format!("a server was started: {record:#}").into());
        }
        told += 1;
    }
    match told {
        4 => Ok(()),
        told => Err(format!("{told} runs were told").into()),
    }
}

pub fn in_containers_it_is_refused_by_the_name_of_what_is_missing() -> Outcome {
    let (root, place) = (repositories()?.join("clear"), Place::new());
    let arguments = [
        "verify",
        root.to_str().unwrap_or_default(),
        "--services",
        "containers",
    ];
    let output = place.redrill(&arguments);
    exits(&output, 3)?;
    says(
        &output,
        &["the images have no pgbackrest", "--services local"],
    )
}

pub fn where_it_is_not_installed_a_verification_and_a_drill_name_its_package() -> Outcome {
    let (root, place) = (repositories()?.join("clear"), Place::new());
    let program = redrill::provision::choose::pgbackrest("local").map_err(|it| it.to_string())?;
    let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/suites/pgbackrest.toml");
    let root = root.to_str().unwrap_or_default();
    for asked in [["verify", root], ["drill", suite]] {
        // In a file system of its own, where the program is no file.
        let mut redrill = place.command(&[&asked[..], &["--services", "local"]].concat());
        redrill
            .current_dir(place.path(""))
            .env("TMPDIR", place.path("tmp"));
        let hidden = [mounts::in_place_of(
            Path::new("/dev/null"),
            Path::new(&program),
        )];
        let output = mounts::around(&redrill, &hidden, ":")?.output()?;
        exits(&output, 3)?;
        says(
            &output,
            &[
                "pgbackrest is not installed here",
                "apt-get install pgbackrest",
            ],
        )?;
        is_clean(&place, &output)?;
    }
    Ok(())
}

pub fn all_below_a_prefix_in_s3_is_brought_and_verified() -> Outcome {
    let place = Place::new();
    let root = copied(&place, "sealed")?;
    let mut files = BTreeMap::new();
    listing(&root, &mut files)?;
    let objects = files.keys().filter(|path| path.is_file()).map(|path| {
        let below = path.strip_prefix(&root).expect("is below");
        let bytes = std::fs::read(path).expect("is read");
        (format!("db/repo/{}", below.display()), bytes)
    });
    let objects: Vec<(String, Vec<u8>)> = objects.collect();
    let named: Vec<(&str, Vec<u8>)> = objects
        .iter()
        .map(|(key, bytes)| (key.as_str(), bytes.clone()))
        .collect();
    bucket("verify-pgbackrest", &named)?;
    std::fs::remove_dir_all(&root)?;
    let server = endpoint();
    let address = format!("http://{}:{}", server.host, server.port);
    place.write("ask.toml", ASK);
    let arguments = [
        "--ask",
        "ask.toml",
        "--database",
        "shop",
        "--endpoint",
        &address,
        "--cipher-pass-env",
        NAME,
    ];
    let mut command = command(
        &place,
        Path::new("s3://verify-pgbackrest/db/repo"),
        &arguments,
    );
    let command = command
        .env(NAME, PASSPHRASE)
        .env("AWS_ACCESS_KEY_ID", &server.user)
        .env("AWS_SECRET_ACCESS_KEY", &server.password);
    let output = command.output()?;
    exits(&output, 0)?;
    is_clean(&place, &output)?;
    says(&output, &["s3://verify-pgbackrest/db/repo"])
}
