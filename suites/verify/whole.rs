//! Whole artifacts of every kind: the healthy twins of all that is damaged.

use super::lab::{Lab, ROWS};
use super::runs::{last, plainly, verify};
use crate::place::{Outcome, Place, exits, says};

/// A backup of the shop is verified, with its roles created.
fn shop(name: &str, more: &[&str]) -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(&place, &lab.path(name), more)?;
    exits(&output, 0)?;
    let record = last(&place)?;
    let held = &record["drills"][0]["recoveries"][0]["held"]["rows"]["public.orders"];
    if held.as_u64() != Some(ROWS.into()) || record["drills"][0]["kind"] != "verify" {
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

pub fn what_is_encrypted_is_verified_with_its_identity() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let key = super::damaged::Key::new();
    key.write(&place, "key.txt");
    for name in ["shop.dump", "shop.sql.gz"] {
        let sealed = place.path(&format!("{name}.age"));
        std::fs::write(&sealed, key.seal(&lab.bytes(name)))?;
        let output = verify(
            &place,
            &sealed,
            &["--create-roles", "--identity", "key.txt"],
        )?;
        exits(&output, 0)?;
    }
    Ok(())
}

pub fn roles_come_with_the_globals() -> Outcome {
    let globals = Lab::get()?.path("globals.sql");
    shop(
        "shop.dump",
        &["--globals", globals.to_str().unwrap_or_default()],
    )
}
