//! Where artifacts lie: folders, buckets, addresses; and runs that end before their time.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redrill::context::{Context, RunId};
use redrill::service::s3::{Headers, S3Client};
use serde_json::Value;

use super::damaged::Key;
use super::lab::{Lab, block_on, in_year, renamed};
use super::runs::{ASK, command, is_clean, last, plainly, verify};
use crate::place::{Outcome, Place, exits, says, text};
use crate::server::endpoint;

pub fn of_a_folder_the_newest_whole_one_by_its_content_is_taken() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let whole = lab.bytes("shop.dump");
    std::fs::create_dir(place.path("backups"))?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path("backups").join(name), bytes);
    write("b-new.dump", &whole)?;
    write("c-cut.dump", &whole[..whole.len() - 30])?;
    write("d-empty.dump", b"")?;
    write("readme.txt", b"backups of the shop")?;
    // Newer than any, for all that can be told, and cannot be opened or is of a kind that is refused.
    let sealed = Key::new().seal(&whole);
    write("e-sealed.dump.age", &sealed)?;
    write("f.sql", b"-- MySQL dump 10.13  Distrib 8.0.36\n")?;
    write("g.dump.gpg", b"\x8c\x0d\x04\x09\x03\x02")?;
    // Damaged at its first bytes, or a page that came instead of it; and what is no backup, though it is named after one.
    write("h-header.dump", &whole[..40])?;
    write("i-page.dump", b"<html><body>502 Bad Gateway</body></html>")?;
    write("b-new.dump.sha256", b"0123456789abcdef  b-new.dump")?;
    // Written last, and the oldest.
    write("a-old.dump", &in_year(&whole, 2021))?;
    let output = verify(&place, &place.path("backups"), &["--create-roles"])?;
    exits(&output, 0)?;
    says(
        &output,
        &[
            "artifact-skipped",
            "c-cut.dump was left",
            "d-empty.dump",
            "e-sealed.dump.age was left",
            "f.sql was left",
            "mysqldump",
            "g.dump.gpg was left",
            "h-header.dump was left",
            "i-page.dump was left",
            "its beginning may be damaged",
        ],
    )?;
    for name in ["readme.txt", "sha256"] {
        if text(&output.stdout).contains(name) {
            return Err(format!("{name} is no backup and was told as one").into());
        }
    }
    let title = last(&place)?["drills"][0]["title"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match title.contains("b-new.dump") {
        true => Ok(()),
        false => Err(format!("took {title}").into()),
    }
}

pub fn a_folder_without_times_asks_for_a_name() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    std::fs::create_dir(place.path("backups"))?;
    std::fs::copy(lab.path("shop.sql"), place.path("backups/shop-1.sql"))?;
    exits(
        &verify(&place, &place.path("backups"), &["--create-roles"])?,
        0,
    )?;
    std::fs::copy(lab.path("shop.sql"), place.path("backups/shop-2.sql"))?;
    let output = verify(&place, &place.path("backups"), &["--create-roles"])?;
    exits(&output, 2)?;
    says(
        &output,
        &[
            "the newest of 2 artifacts cannot be told",
            "name the artifact",
        ],
    )
}

pub fn of_nightly_folders_with_several_databases_the_newest_of_the_one_that_is_named_is_taken()
-> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let shop = lab.bytes("shop.dump");
    for (night, year) in [("2025-11-26", 2025), ("2024-11-27", 2024)] {
        let folder = place.path("backups").join(night);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("shop.dump"), in_year(&shop, year))?;
        std::fs::write(
            folder.join("stock.dump"),
            in_year(&renamed(&shop, "shop", "stock"), year),
        )?;
    }
    let backups = place.path("backups");
    let output = verify(&place, &backups, &["--create-roles"])?;
    exits(&output, 2)?;
    says(
        &output,
        &[
            "holds backups of several things",
            "shop (2025-",
            "2025-11-26/shop.dump",
            "stock (2025-",
            "--lineage",
        ],
    )?;
    for (flag, wanted) in [("--lineage", "shop"), ("--database", "stock")] {
        let output = verify(&place, &backups, &["--create-roles", flag, wanted])?;
        exits(&output, 0)?;
        let drill = &last(&place)?["drills"][0];
        let title = drill["title"].as_str().unwrap_or_default();
        if drill["id"] != format!("verify/{wanted}")
            || !title.contains(&format!("2025-11-26/{wanted}.dump"))
        {
            return Err(format!("{wanted}: took {title} as {}", drill["id"]).into());
        }
    }
    let output = verify(&place, &backups, &["--create-roles", "--lineage", "sales"])?;
    exits(&output, 2)?;
    says(&output, &["stock (2025-"])
}

pub fn another_lineage_than_the_one_that_is_named_is_not_taken_for_it() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let shop = lab.bytes("shop.dump");
    std::fs::create_dir(place.path("backups"))?;
    std::fs::write(
        place.path("backups/crm.dump"),
        renamed(&shop, "shop", "crm"),
    )?;
    let backups = place.path("backups");
    let output = verify(&place, &backups, &["--create-roles", "--lineage", "shop"])?;
    exits(&output, 2)?;
    says(
        &output,
        &[
            "holds backups of crm alone, and none of shop",
            "--lineage crm",
        ],
    )?;
    let output = verify(&place, &backups, &["--create-roles", "--lineage", "crm"])?;
    exits(&output, 0)?;
    // A file that is named itself is called what it is told.
    let file = backups.join("crm.dump");
    let output = verify(&place, &file, &["--create-roles", "--lineage", "shop"])?;
    exits(&output, 0)?;
    // And so is what does not name itself.
    std::fs::create_dir(place.path("plain"))?;
    std::fs::copy(lab.path("shop.sql"), place.path("plain/x.sql"))?;
    let plain = place.path("plain");
    let output = verify(&place, &plain, &["--create-roles", "--lineage", "shop"])?;
    exits(&output, 0)
}

pub fn one_backup_under_names_that_rotate_is_one() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let backups = place.path("backups");
    std::fs::create_dir(&backups)?;
    let keys = "[[smoke]]\nask = \"DBSIZE\"\nexpect = 300\n";
    place.write("keys.toml", keys);
    for name in [
        "dump-mon.rdb",
        "dump-Tue.rdb",
        "dump-2026-Nov-27.rdb",
        "dump-3f2a9c1b.rdb",
    ] {
        std::fs::copy(lab.path("dump.rdb"), backups.join(name))?;
    }
    let output = plainly(&place, &backups, &["--ask", "keys.toml"])?;
    exits(&output, 0)?;
    // Of another thing it is another one.
    std::fs::copy(lab.path("dump.rdb"), backups.join("sessions-mon.rdb"))?;
    let output = plainly(&place, &backups, &["--ask", "keys.toml"])?;
    exits(&output, 2)?;
    says(&output, &["holds backups of several things"])
}

pub fn what_is_given_by_itself_was_not_left_and_what_was_left_says_what_to_do() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let backups = place.path("backups");
    std::fs::create_dir(&backups)?;
    for name in ["shop.dump", "globals.sql"] {
        std::fs::copy(lab.path(name), backups.join(name))?;
    }
    let output = verify(&place, &backups, &["--create-roles"])?;
    exits(&output, 0)?;
    says(
        &output,
        &["globals.sql was left", "give the roles with --globals FILE"],
    )?;
    let output = verify(&place, &backups, &["--globals", "backups/globals.sql"])?;
    exits(&output, 0)?;
    if text(&output.stdout).contains("was left") {
        return Err(format!("it was given: {}", text(&output.stdout)).into());
    }
    Ok(())
}

pub fn of_artifacts_that_lie_too_deep_the_folder_is_named() -> Outcome {
    let place = Place::new();
    let deep = place.path("backups/1/2/3/4/5");
    std::fs::create_dir_all(&deep)?;
    std::fs::copy(Lab::get()?.path("shop.dump"), deep.join("shop.dump"))?;
    let output = verify(&place, &place.path("backups"), &["--create-roles"])?;
    exits(&output, 3)?;
    says(&output, &["backups/1/2/3/4/5", "5 folders deep"])?;
    let output = verify(&place, &place.path("backups/1"), &["--create-roles"])?;
    exits(&output, 0)
}

/// A bucket with these objects.
pub fn bucket(name: &str, objects: &[(&str, Vec<u8>)]) -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = RunId::from_text("bucket");
    let path = dir.path().to_owned();
    let ctx =
        Context::new(run, path.clone(), path, Default::default()).map_err(|it| it.to_string())?;
    let stored = block_on(async {
        let client = S3Client::new(&endpoint());
        client.create_bucket(&ctx, name).await?;
        for (key, bytes) in objects {
            let body = Box::new(std::io::Cursor::new(bytes.clone()));
            client
                .put(&ctx, name, key, body, &Headers::default())
                .await?;
        }
        Ok::<_, redrill::error::Error>(())
    });
    stored.map_err(|error| error.to_string().into())
}

pub fn an_object_and_the_newest_below_a_prefix_are_fetched_from_s3() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let whole = lab.bytes("shop.dump");
    // Large enough that more than its beginning must be fetched.
    let base = |name: &str| std::fs::read(lab.path("base-tar").join(name)).expect("is there");
    bucket(
        "verify-s3",
        &[
            ("daily/old.dump", in_year(&whole, 2021)),
            ("daily/new.dump", whole),
            ("base/base.tar.gz", base("base.tar.gz")),
            ("base/pg_wal.tar.gz", base("pg_wal.tar.gz")),
            ("base/backup_manifest", base("backup_manifest")),
        ],
    )?;
    let server = endpoint();
    let address = format!("http://{}:{}", server.host, server.port);
    place.write("ask.toml", ASK);
    let on = |artifact: &str| {
        let arguments = [
            "--create-roles",
            "--ask",
            "ask.toml",
            "--endpoint",
            &address,
        ];
        let mut command = command(&place, Path::new(artifact), &arguments);
        command
            .env("AWS_ACCESS_KEY_ID", &server.user)
            .env("AWS_SECRET_ACCESS_KEY", &server.password);
        command
    };
    for artifact in [
        "s3://verify-s3/daily",
        "s3://verify-s3/daily/new.dump",
        "s3://verify-s3/base",
    ] {
        let output = on(artifact).output()?;
        exits(&output, 0)?;
        is_clean(&place, &output)?;
        let record = last(&place)?.to_string();
        if record.contains(&server.password)
            || artifact.ends_with("daily") && !record.contains("daily/new.dump")
        {
            return Err(format!("{artifact}: {record}").into());
        }
    }
    let nothing = on("s3://verify-s3/nothing").output()?;
    exits(&nothing, 3)?;
    says(&nothing, &["no object of this name"])?;
    // What only begins so is found as well, and called what it is.
    let begins = on("s3://verify-s3/daily/ne").output()?;
    exits(&begins, 0)?;
    says(&begins, &["s3://verify-s3/daily/new.dump"])?;
    let stranger = on("s3://verify-s3/daily")
        .env("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
        .output()?;
    exits(&stranger, 3)?;
    // What was verified there before keeps its name, and so its place in the figures.
    let record = last(&place)?;
    if record["services"]["mode"] != "none" || record["drills"][0]["id"] != "verify/shop" {
        return Err(format!("{record}").into());
    }
    let keyless = on("s3://verify-s3/daily")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()?;
    exits(&keyless, 2)?;
    says(
        &keyless,
        &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL",
            "no other variable is read",
        ],
    )
}

/// A way to the S3 server on which all that is asked of it is written down.
fn listened() -> std::io::Result<(u16, Arc<Mutex<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, asked) = (listener.local_addr()?.port(), Arc::default());
    let written: Arc<Mutex<Vec<u8>>> = Arc::clone(&asked);
    let server = endpoint();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a connection");
            let mut there =
                TcpStream::connect((server.host.as_str(), server.port)).expect("answers");
            let mut back = (
                there.try_clone().expect("cloned"),
                client.try_clone().expect("cloned"),
            );
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back.0, &mut back.1);
                let _ = back.1.shutdown(std::net::Shutdown::Both);
            });
            let written = Arc::clone(&written);
            std::thread::spawn(move || {
                let mut part = [0; 16 << 10];
                while let Ok(read @ 1..) = client.read(&mut part) {
                    written.lock().expect("not poisoned").extend(&part[..read]);
                    if there.write_all(&part[..read]).is_err() {
                        break;
                    }
                }
                let _ = there.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Ok((port, asked))
}

pub fn of_those_that_are_not_taken_only_the_beginning_is_fetched() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let whole = lab.bytes("shop.dump");
    let objects: Vec<(String, Vec<u8>)> = (2020..2025)
        .map(|year| (format!("shop-{year}.dump"), in_year(&whole, year)))
        .collect();
    let objects: Vec<(&str, Vec<u8>)> = objects
        .iter()
        .map(|(key, bytes)| (key.as_str(), bytes.clone()))
        .collect();
    bucket(
        "verify-ranges",
        &[
            &objects[..],
            &[("empty.dump", Vec::new())],
            // Of WAL not even that: its name tells what it is.
            &[("wal/000000010000000000000002", vec![1; 1 << 10])],
        ]
        .concat(),
    )?;
    let (port, asked) = listened()?;
    place.write("ask.toml", ASK);
    let address = format!("http://127.0.0.1:{port}");
    let arguments = [
        "--create-roles",
        "--ask",
        "ask.toml",
        "--endpoint",
        &address,
    ];
    let server = endpoint();
    let output = command(&place, Path::new("s3://verify-ranges"), &arguments)
        .env("AWS_ACCESS_KEY_ID", &server.user)
        .env("AWS_SECRET_ACCESS_KEY", &server.password)
        .output()?;
    exits(&output, 0)?;
    says(&output, &["shop-2024.dump"])?;
    let asked = text(&asked.lock().expect("not poisoned")).to_lowercase();
    let ranges = asked.matches("range: bytes=0-262143\r\n").count();
    let objects = asked.matches("get /verify-ranges/shop-").count();
    let wal = asked.matches("get /verify-ranges/wal/").count();
    // The dump is small: its beginning is all of it.
    match (ranges, objects, wal) {
        (5, 5, 0) => Ok(()),
        other => Err(format!("{other:?} ranges and objects: {asked}").into()),
    }
}

/// An address that holds for a while.
fn presigned(bucket: &str, key: &str) -> String {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let server = endpoint();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{}:{}", server.host, server.port))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(
            server.user,
            server.password,
            None,
            None,
            "test",
        ))
        .force_path_style(true)
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let holds = aws_sdk_s3::presigning::PresigningConfig::expires_in(Duration::from_secs(600));
    let request = client.get_object().bucket(bucket).key(key);
    let signed = block_on(request.presigned(holds.expect("a time")));
    signed.expect("signed").uri().to_owned()
}

pub fn a_presigned_address_is_fetched_and_its_signature_shown_nowhere() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    bucket("verify-signed", &[("shop.dump", lab.bytes("shop.dump"))])?;
    let address = presigned("verify-signed", "shop.dump");
    let signature = address.split("X-Amz-Signature=").nth(1).unwrap_or_default();
    let signature = signature.split('&').next().unwrap_or_default().to_owned();
    let output = verify(&place, Path::new(&address), &["--create-roles"])?;
    exits(&output, 0)?;
    let mut told = text(&output.stdout) + &text(&output.stderr);
    told += &last(&place)?.to_string();
    if signature.len() < 32 || told.contains(&signature) {
        return Err(format!("{signature:?} stands in {told}").into());
    }
    says(&output, &["verify-signed/shop.dump"])
}

pub fn an_address_that_answers_nothing_good_says_so() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    bucket("verify-refused", &[("shop.dump", lab.bytes("shop.dump"))])?;
    let address = presigned("verify-refused", "shop.dump");
    let (before, signature) = address
        .split_once("X-Amz-Signature=")
        .ok_or("no signature")?;
    let forged = format!(
        "{before}X-Amz-Signature={}",
        "0".repeat(64) + &signature[64..]
    );
    let output = plainly(&place, Path::new(&forged), &[])?;
    exits(&output, 3)?;
    says(&output, &["it answered 403", "presigned"])?;
    let output = plainly(&place, Path::new("http://127.0.0.1:9/shop.dump"), &[])?;
    exits(&output, 3)
}

pub fn an_interrupted_run_leaves_nothing_behind() -> Outcome {
    use nix::sys::signal::{Signal, kill};
    let (lab, place) = (Lab::get()?, Place::new());
    let mut command = command(&place, &lab.path("base-tar"), &[]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let since = Instant::now();
    // Its own directory, and that of the run: a server is on its way.
    let directories = || {
        std::fs::read_dir(place.path("tmp"))
            .map(Iterator::count)
            .unwrap_or(0)
    };
    while directories() < 2
        && since.elapsed() < Duration::from_secs(30)
        && child.try_wait()?.is_none()
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id())?),
        Signal::SIGINT,
    )?;
    let output = child.wait_with_output()?;
    exits(&output, 130)?;
    is_clean(&place, &output)
}

pub fn json_is_the_record_and_nothing_else() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(
        &place,
        &lab.path("shop.dump"),
        &["--create-roles", "--format", "json"],
    )?;
    exits(&output, 0)?;
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    match printed == last(&place)? {
        true => Ok(()),
        false => Err("standard output is not the record".into()),
    }
}
