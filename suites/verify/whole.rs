//! Whole artifacts of every kind: the healthy twins of all that is damaged.

use std::path::Path;

use super::damaged::Key;
use super::lab::{Lab, ROWS};
use super::runs::{failed_by, last, plainly, verify};
use crate::place::{Outcome, Place, exits, says};

/// A backup of the shop is verified, with its roles created.
fn shop(name: &str, more: &[&str]) -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(&place, &lab.path(name), more)?;
    exits(&output, 0)?;
    let record = last(&place)?;
    let held = &record["drills"][0]["recoveries"][0]["held"]["rows"];
    // Of a cluster the rows of all its databases are known.
    let rows = match name.starts_with("base") {
        true => (&held["shop.public.orders"], &held["till.public.receipts"]),
        false => (&held["public.orders"], &serde_json::json!(7)),
    };
    let known = (rows.0.as_u64(), rows.1.as_u64());
    if known != (Some(ROWS.into()), Some(7)) || record["drills"][0]["kind"] != "verify" {
        return Err(format!("{record:#}").into());
    }
    Ok(())
}

pub fn a_custom_dump_is_verified() -> Outcome {
    shop("shop.dump", &["--create-roles"])
}

pub fn a_directory_dump_is_verified() -> Outcome {
    shop("directory", &["--create-roles"])
}

pub fn a_tar_dump_is_verified() -> Outcome {
    shop("shop.tar", &["--no-owner", "--no-acl"])
}

pub fn a_plain_dump_is_verified() -> Outcome {
    shop("shop.sql", &["--create-roles"])
}

pub fn plain_dumps_packed_by_gzip_and_zstd_are_verified() -> Outcome {
    shop("shop.sql.gz", &["--create-roles"])?;
    shop("shop.sql.zst", &["--create-roles"])
}

pub fn a_base_backup_of_tar_files_is_verified() -> Outcome {
    shop("base-tar", &[])
}

pub fn a_base_backup_of_a_directory_is_verified() -> Outcome {
    shop("base", &["--database", "shop"])
}

pub fn a_base_backup_without_wal_is_verified_with_the_folder_of_its_wal() -> Outcome {
    let wal = Lab::get()?.path("wal");
    shop(
        "base-without-wal",
        &["--wal", wal.to_str().unwrap_or_default()],
    )
}

pub fn a_base_backup_of_tar_files_without_wal_is_verified_with_the_folder_of_its_wal() -> Outcome {
    let wal = Lab::get()?.path("wal");
    shop(
        "base-tar-without-wal",
        &["--wal", wal.to_str().unwrap_or_default()],
    )
}

pub fn the_version_that_made_an_artifact_is_the_version_that_it_is_restored_on() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let script = String::from_utf8(lab.bytes("shop.sql"))?;
    let line = script
        .lines()
        .find_map(|it| it.strip_prefix("-- Dumped from database version "));
    let made_by = line.and_then(|it| it.split(' ').next());
    let made_by = made_by.ok_or("no version")?.to_owned();
    for (name, more) in [
        ("shop.dump", &["--create-roles"][..]),
        ("shop.sql", &["--create-roles"]),
        ("base-tar", &[]),
    ] {
        exits(&verify(&place, &lab.path(name), more)?, 0)?;
        let record = last(&place)?;
        let versions = record["services"]["versions"].as_array();
        let found: Vec<_> = versions.into_iter().flatten().collect();
        let postgres = found.iter().filter(|it| it["product"] == "PostgreSQL");
        let postgres: Vec<_> = postgres.map(|it| it["version"].as_str()).collect();
        if postgres.is_empty() || postgres.iter().any(|it| *it != Some(&made_by)) {
            return Err(format!("{name}, made by {made_by}: {found:?}").into());
        }
    }
    // Of one that is not here the error says so, and nothing is restored on another.
    let major = made_by.split('.').next().unwrap_or_default();
    for (version, wanted) in [("99.1", "99)"), ("9.6.24", "9.6)")] {
        let text = script.replace(
            &format!("-- Dumped from database version {made_by}"),
            &format!("-- Dumped from database version {version}"),
        );
        place.write("other.sql", &text);
        let output = verify(&place, &place.path("other.sql"), &["--create-roles"])?;
        exits(&output, 3)?;
        let words = format!("no PostgreSQL server (version {wanted}");
        says(&output, &[&words, "hint:"])?;
        if last(&place)?["services"]["versions"]
            .to_string()
            .contains(major)
        {
            return Err("it was restored on another".into());
        }
    }
    Ok(())
}

pub fn an_extension_that_the_server_has_is_created_by_the_restore() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write(
        "shelf.toml",
        "[[smoke]]\nask = \"select extname from pg_extension where extname = 'pg_trgm'\"\nexpect = \"pg_trgm\"\n\
         [[smoke]]\nask = \"select count(*) from public.orders where note like '%order 99%'\"\nexpect = 11\n",
    );
    let ask = place.path("shelf.toml");
    let more = ["--ask", ask.to_str().unwrap_or_default()];
    exits(&plainly(&place, &lab.path("shelf.dump"), &more)?, 0)
}

pub fn a_snapshot_of_redis_is_verified() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write(
        "keys.toml",
        "[[smoke]]\nask = \"DBSIZE\"\nexpect = 300\n[[smoke]]\nask = \"GET key:7\"\nexpect = 7\n",
    );
    let output = plainly(
        &place,
        &lab.path("dump.rdb"),
        &["--ask", "keys.toml", "--max-age", "1d"],
    )?;
    exits(&output, 0)?;
    says(&output, &["a snapshot of Redis"])
}

pub fn an_append_only_directory_is_verified() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write("keys.toml", "[[smoke]]\nask = \"DBSIZE\"\nexpect = 300\n");
    let output = plainly(&place, &lab.path("appendonlydir"), &["--ask", "keys.toml"])?;
    exits(&output, 0)
}

pub fn an_append_only_directory_is_as_old_as_its_last_write_and_not_as_its_snapshot() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write("keys.toml", "[[smoke]]\nask = \"DBSIZE\"\nexpect = 300\n");
    let arguments = ["--ask", "keys.toml", "--max-age", "1ms"];
    let output = plainly(&place, &lab.path("appendonlydir"), &arguments)?;
    // Its writes are not dated: how old it is, is not known.
    exits(&output, 3)?;
    says(&output, &["no-content-time"])
}

pub fn a_tar_file_of_files_is_verified() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    place.write(
        "files.toml",
        "[[smoke]]\nask = \"count\"\nexpect = 21\n[[smoke]]\nask = \"www/7.html\"\nexpect = 6\n",
    );
    let output = plainly(&place, &lab.path("www.tar.gz"), &["--ask", "files.toml"])?;
    exits(&output, 0)?;
    let record = last(&place)?;
    match record["drills"][0]["recoveries"][0]["held"]["objects"].as_u64() {
        Some(21) => Ok(()),
        other => Err(format!("{other:?} files").into()),
    }
}

/// Verifies one that is encrypted, with a question that only the whole of it answers.
fn sealed(place: &Place, artifact: &Path, ask: &str) -> Outcome {
    place.write("ask.toml", &format!("[[smoke]]\n{ask}\n"));
    let arguments = [
        "--ask",
        "ask.toml",
        "--create-roles",
        "--identity",
        "key.txt",
    ];
    let output = plainly(place, artifact, &arguments)?;
    exits(&output, 0).map_err(|error| format!("{}: {error:?}", artifact.display()).into())
}

const ORDERS: &str = "ask = \"select count(*) from public.orders\"\nexpect = 1000";
const KEYS: &str = "ask = \"DBSIZE\"\nexpect = 300";
const PAGES: &str = "ask = \"count\"\nexpect = 21";

pub fn files_that_are_encrypted_are_verified_with_their_identity() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let key = Key::new();
    key.write(&place, "key.txt");
    for (name, ask) in [
        ("shop.dump", ORDERS),
        ("shop.tar", ORDERS),
        ("shop.sql.gz", ORDERS),
        ("dump.rdb", KEYS),
        ("www.tar.gz", PAGES),
    ] {
        let path = place.path(&format!("{name}.age"));
        std::fs::write(&path, key.seal(&lab.bytes(name)))?;
        sealed(&place, &path, ask)?;
    }
    // And as a text, by age --armor.
    let path = place.path("armored.age");
    std::fs::write(&path, key.armor(&lab.bytes("shop.dump")))?;
    sealed(&place, &path, ORDERS)
}

pub fn folders_of_encrypted_files_are_verified_with_their_identity() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let key = Key::new();
    key.write(&place, "key.txt");
    for (name, ask) in [
        ("directory", ORDERS),
        ("base", ORDERS),
        ("base-tar", ORDERS),
        ("appendonlydir", KEYS),
    ] {
        let path = place.path(name);
        key.seal_all(&lab.path(name), &path);
        sealed(&place, &path, ask)?;
    }
    // Of a folder too, where its time must be found first.
    let folder = place.path("redis");
    key.seal_all(&lab.path("appendonlydir"), &folder.join("appendonlydir"));
    sealed(&place, &folder, KEYS)
}

pub fn wal_is_taken_as_it_is_packed_encrypted_or_not_finished() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let key = Key::new();
    key.write(&place, "key.txt");
    let mut names: Vec<_> = std::fs::read_dir(lab.path("wal"))?
        .flatten()
        .map(|it| it.file_name().into_string().expect("utf-8"))
        .collect();
    names.sort();
    let pack = |program: &str, name: &str| {
        let packed = std::process::Command::new(program)
            .args(["-q", "-c"])
            .arg(lab.path("wal").join(name))
            .output()
            .expect("it is packed");
        packed.stdout
    };
    let plain = |name: &str| lab.bytes(&format!("wal/{name}"));
    for ending in ["gz", "zst", "age", "gz.age", "partial", "gz.partial"] {
        let wal = place.path(ending);
        std::fs::create_dir(&wal)?;
        for name in &names {
            let bytes = match ending {
                "gz" | "gz.partial" => pack("gzip", name),
                "zst" => pack("zstd", name),
                "age" => key.seal(&plain(name)),
                "gz.age" => key.seal(&pack("gzip", name)),
                _ => plain(name),
            };
            std::fs::write(wal.join(format!("{name}.{ending}")), bytes)?;
        }
        // One that is being written has no end yet, and hinders nobody.
        let cut = pack("gzip", &names[0]);
        std::fs::write(
            wal.join("0000000100000000000000FF.gz.partial"),
            &cut[..cut.len() / 2],
        )?;
        let wal = wal.to_str().unwrap_or_default();
        let arguments = ["--wal", wal, "--identity", "key.txt"];
        let output = verify(&place, &lab.path("base-without-wal"), &arguments)?;
        exits(&output, 0).map_err(|error| format!("{ending}: {error:?}"))?;
    }
    // Of one that should be whole, that is damage.
    let wal = place.path("gz");
    for name in &names {
        let path = wal.join(format!("{name}.gz"));
        let bytes = std::fs::read(&path)?;
        std::fs::write(path, &bytes[..bytes.len() - 9])?;
    }
    let arguments = ["--wal", wal.to_str().unwrap_or_default()];
    let output = verify(&place, &lab.path("base-without-wal"), &arguments)?;
    failed_by(&place, &output, "readable")?;
    says(&output, &["unpack WAL segment"])
}

pub fn roles_come_with_the_globals() -> Outcome {
    let globals = Lab::get()?.path("globals.sql");
    shop(
        "shop.dump",
        &["--globals", globals.to_str().unwrap_or_default()],
    )
}
