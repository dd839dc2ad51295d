//! Artifacts that are damaged, of another kind, or cannot be opened.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;

use super::lab::Lab;
use super::runs::{checks, failed_by, last, plainly, verify};
use crate::place::{Outcome, Place, all, copy, exits, says};

/// What encrypts, and opens.
pub struct Key(age::x25519::Identity);

impl Key {
    pub fn new() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Writes it as age-keygen does.
    pub fn write(&self, place: &Place, name: &str) {
        let secret = self.0.to_string();
        place.write(
            name,
            &format!("# created: now\n{}\n", secret.expose_secret()),
        );
    }

    /// What `age --armor` makes of it.
    pub fn armor(&self, bytes: &[u8]) -> Vec<u8> {
        let recipient = self.0.to_public();
        let sealed = age::encrypt_and_armor(&recipient, bytes).expect("sealed");
        sealed.into_bytes()
    }

    /// A copy of a folder in which every file is encrypted, as `name.age`.
    pub fn seal_all(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("a directory").flatten() {
            let name = entry.file_name().into_string().expect("utf-8");
            match entry.path().is_dir() {
                true => self.seal_all(&entry.path(), &to.join(name)),
                false => {
                    let bytes = std::fs::read(entry.path()).expect("is read");
                    std::fs::write(to.join(format!("{name}.age")), self.seal(&bytes))
                        .expect("written");
                }
            }
        }
    }

    pub fn seal(&self, bytes: &[u8]) -> Vec<u8> {
        let recipient = self.0.to_public();
        let to = std::iter::once(&recipient as &dyn age::Recipient);
        let mut sealed = age::Encryptor::with_recipients(to)
            .expect("a recipient")
            .wrap_output(Vec::new())
            .expect("begun");
        sealed.write_all(bytes).expect("sealed");
        sealed.finish().expect("sealed")
    }
}

/// A copy of a backup without its last bytes.
fn cut(place: &Place, name: &str) -> PathBuf {
    let bytes = Lab::get().expect("a lab").bytes(name);
    let path = place.path(name);
    std::fs::write(&path, &bytes[..bytes.len() * 7 / 10]).expect("written");
    path
}

pub fn what_was_cut_is_refused_before_any_server_starts() -> Outcome {
    let lab = Lab::get()?;
    let files = [
        "shop.dump",
        "shop.tar",
        "shop.sql",
        "shop.sql.gz",
        "dump.rdb",
        "www.tar.gz",
    ];
    for name in files {
        let place = Place::new();
        let output = verify(&place, &cut(&place, name), &["--create-roles"])?;
        failed_by(&place, &output, "readable").map_err(|error| format!("{name}: {error:?}"))?;
        let record = last(&place)?;
        if record["services"]["versions"] != serde_json::json!([]) {
            return Err(format!("{name}: a server was started\n{}", all(&output)).into());
        }
    }
    for (name, file) in [
        ("base-tar", "base.tar.gz"),
        ("directory", "toc.dat"),
        ("appendonlydir", "appendonly.aof.1.incr.aof"),
    ] {
        let place = Place::new();
        let copied = place.path("copy");
        std::fs::create_dir(&copied)?;
        copy(&lab.path(name), &copied)?;
        let bytes = std::fs::read(copied.join(file))?;
        std::fs::write(copied.join(file), &bytes[..bytes.len() - 5])?;
        let output = verify(&place, &copied, &["--create-roles"])?;
        failed_by(&place, &output, "readable").map_err(|error| format!("{name}: {error:?}"))?;
    }
    // Of so small a file nothing at all can be unpacked: what it was a backup of is not known.
    let place = Place::new();
    let output = verify(&place, &cut(&place, "shop.sql.zst"), &[])?;
    says(&output, &["was cut", "zstd"])?;
    failed_by(&place, &output, "readable")?;
    let place = Place::new();
    let copied = place.path("copy");
    std::fs::create_dir(&copied)?;
    copy(&lab.path("directory"), &copied)?;
    let data = std::fs::read_dir(&copied)?
        .flatten()
        .find(|it| it.path().extension().is_some_and(|it| it == "gz"));
    std::fs::remove_file(data.ok_or("no data")?.path())?;
    let output = verify(&place, &copied, &["--create-roles"])?;
    failed_by(&place, &output, "readable")?;
    says(&output, &["is not there"])
}

pub fn what_is_empty_is_refused() -> Outcome {
    let place = Place::new();
    place.write("empty.dump", "");
    let output = verify(&place, &place.path("empty.dump"), &[])?;
    exits(&output, 1)?;
    says(&output, &["is empty", "pipefail"])?;
    // And it is told as every other run is.
    failed_by(&place, &output, "readable")?;
    // What gzip makes of nothing.
    let nothing = std::process::Command::new("gzip")
        .args(["-c", "/dev/null"])
        .output()?
        .stdout;
    std::fs::write(place.path("nothing.sql.gz"), nothing)?;
    let output = verify(&place, &place.path("nothing.sql.gz"), &[])?;
    exits(&output, 1)?;
    says(&output, &["is empty"])?;
    failed_by(&place, &output, "readable")?;
    // A tar file without a member, and a directory dump without its contents.
    let tar = place.path("nothing.tar");
    let made = std::process::Command::new("tar")
        .args(["-c", "-T", "/dev/null", "-f"])
        .arg(&tar)
        .status()?;
    std::fs::create_dir(place.path("hollow"))?;
    place.write("hollow/toc.dat", "");
    for path in [tar, place.path("hollow")] {
        let output = verify(&place, &path, &[])?;
        failed_by(&place, &output, "readable")?;
        says(&output, &["is empty"])?;
    }
    match made.success() {
        true => Ok(()),
        false => Err("tar failed".into()),
    }
}

pub fn what_is_no_backup_is_refused_by_its_name() -> Outcome {
    let place = Place::new();
    for (text, words) in [
        ("-- MySQL dump 10.13  Distrib 8.0.36\n", "mysqldump"),
        ("-- MariaDB dump 10.19\n", "mariadb-dump"),
        (
            "--\n-- PostgreSQL database cluster dump\n--\n",
            "pg_dumpall",
        ),
        ("Salted__\u{1}\u{2}", "openssl enc -d"),
        ("-----BEGIN PGP MESSAGE-----\n", "gpg --decrypt"),
        ("drop table x;\n", "no backup that redrill knows"),
    ] {
        place.write("some.sql", text);
        let output = verify(&place, &place.path("some.sql"), &[])?;
        exits(&output, 2)?;
        says(&output, &[words, "hint:"])?;
    }
    let output = verify(&place, &place.path("nowhere"), &[])?;
    exits(&output, 2)?;
    let packed = std::process::Command::new("tar")
        .arg("-czf")
        .arg(place.path("shop.tar.gz"))
        .arg("-C")
        .arg(Lab::get()?.path(""))
        .arg("directory")
        .status()?;
    let output = verify(&place, &place.path("shop.tar.gz"), &[])?;
    exits(&output, 2)?;
    says(
        &output,
        &["packs a directory dump of pg_dump, directory", "unpack it"],
    )?;
    match packed.success() && place.runs().is_empty() {
        true => Ok(()),
        false => Err("a run was begun".into()),
    }
}

pub fn what_is_encrypted_is_not_opened_without_its_key() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let sealed = place.path("shop.dump.age");
    std::fs::write(&sealed, Key::new().seal(&lab.bytes("shop.dump")))?;
    let output = verify(&place, &sealed, &["--create-roles"])?;
    exits(&output, 2)?;
    says(&output, &["encrypted by age", "--identity"])?;
    Key::new().write(&place, "other.txt");
    let output = verify(
        &place,
        &sealed,
        &["--create-roles", "--identity", "other.txt"],
    )?;
    exits(&output, 2)?;
    says(&output, &["another recipient"])?;
    place.write("none.txt", "not a key\n");
    let output = verify(
        &place,
        &sealed,
        &["--create-roles", "--identity", "none.txt"],
    )?;
    exits(&output, 2)?;
    says(&output, &["no identity file", "age-keygen"])
}

pub fn what_is_encrypted_and_was_cut_is_refused_before_any_server_starts() -> Outcome {
    let lab = Lab::get()?;
    let key = Key::new();
    let place = Place::new();
    key.write(&place, "key.txt");
    let sealed = key.seal(&lab.bytes("dump.rdb"));
    std::fs::write(place.path("dump.rdb.age"), &sealed[..sealed.len() - 5])?;
    let output = verify(
        &place,
        &place.path("dump.rdb.age"),
        &["--identity", "key.txt"],
    )?;
    failed_by(&place, &output, "readable")?;
    says(&output, &["was cut, or is damaged"])?;
    // That another key of several does not open it is not what is wrong with it.
    Key::new().write(&place, "other.txt");
    let keys = ["other.txt", "key.txt"].map(|name| std::fs::read_to_string(place.path(name)));
    let [other, own] = keys;
    place.write("both.txt", &(other? + &own?));
    let sealed = place.path("dump.rdb.age");
    let output = verify(&place, &sealed, &["--identity", "both.txt"])?;
    failed_by(&place, &output, "readable")?;
    says(&output, &["was cut, or is damaged"])?;
    for (name, file) in [
        ("directory", "toc.dat.age"),
        ("base", "global/pg_control.age"),
        ("base-tar", "base.tar.gz.age"),
        ("appendonlydir", "appendonly.aof.1.incr.aof.age"),
    ] {
        let place = Place::new();
        key.write(&place, "key.txt");
        let sealed = place.path("sealed");
        key.seal_all(&lab.path(name), &sealed);
        let bytes = std::fs::read(sealed.join(file))?;
        std::fs::write(sealed.join(file), &bytes[..bytes.len() - 5])?;
        let output = verify(
            &place,
            &sealed,
            &["--create-roles", "--identity", "key.txt"],
        )?;
        failed_by(&place, &output, "readable").map_err(|error| format!("{name}: {error:?}"))?;
        if last(&place)?["services"]["versions"] != serde_json::json!([]) {
            return Err(format!("{name}: a server was started\n{}", all(&output)).into());
        }
    }
    Ok(())
}

pub fn a_flipped_bit_in_the_rows_fails_the_restore() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let mut bytes = lab.bytes("shop.dump");
    // The last blocks are data, packed by zlib.
    let at = bytes.len() - 60;
    bytes[at] ^= 0x10;
    std::fs::write(place.path("shop.dump"), bytes)?;
    let output = verify(&place, &place.path("shop.dump"), &["--create-roles"])?;
    failed_by(&place, &output, "restore")
}

pub fn a_changed_file_of_a_base_backup_fails_the_restore() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let copied = place.path("base");
    std::fs::create_dir(&copied)?;
    copy(&lab.path("base"), &copied)?;
    let file = copied.join("global/pg_filenode.map");
    let mut bytes = std::fs::read(&file)?;
    bytes[300] ^= 1;
    std::fs::write(&file, bytes)?;
    let output = verify(&place, &copied, &[])?;
    failed_by(&place, &output, "restore")?;
    says(&output, &["manifest"])
}

pub fn a_base_backup_without_its_wal_says_what_is_missing() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let output = verify(&place, &lab.path("base-without-wal"), &[])?;
    failed_by(&place, &output, "readable")?;
    says(&output, &["WAL segment 0000000", "--wal"])
}

pub fn a_script_that_runs_commands_is_not_run() -> Outcome {
    let (lab, place) = (Lab::get()?, Place::new());
    let mark = place.path("was-run");
    let text = String::from_utf8(lab.bytes("shop.sql"))?;
    place.write(
        "bad.sql",
        &format!("{text}\n\\! touch {}\n", mark.display()),
    );
    let output = verify(&place, &place.path("bad.sql"), &["--create-roles"])?;
    exits(&output, 2)?;
    says(&output, &["a command of psql"])?;
    let output = verify(&place, &lab.path("created.sql"), &["--create-roles"])?;
    exits(&output, 2)?;
    says(&output, &["\\connect shop", "--create"])?;
    match mark.exists() || checks(&place, "passed").is_ok() {
        true => Err("it was run".into()),
        false => Ok(()),
    }
}

/// What this machine has no room for, or its user no right to, says nothing of a backup.
pub fn a_disk_that_is_full_is_not_taken_for_damage() -> Outcome {
    let (place, key) = (Place::new(), Key::new());
    key.write(&place, "key.txt");
    let noise: Vec<u8> = (0..6_u64 << 20)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    std::fs::write(place.path("noise"), noise)?;
    let tar = std::process::Command::new("tar")
        .args(["-c", "-C"])
        .arg(place.path(""))
        .arg("noise")
        .output()?;
    std::fs::write(place.path("files.tar.age"), key.seal(&tar.stdout))?;
    place.write("files.toml", "[[smoke]]\nask = \"count\"\nexpect = 1\n");
    let arguments = ["--identity", "key.txt", "--ask", "files.toml"];
    let artifact = place.path("files.tar.age");
    exits(&plainly(&place, &artifact, &arguments)?, 0)?;
    let disk = crate::mounts::small_disk("4m", &place.path("tmp"))?;
    let verifying = super::runs::command(&place, &artifact, &arguments);
    let output = crate::mounts::around(&verifying, &[disk], "")?.output()?;
    exits(&output, 3)?;
    says(&output, &["No space left on device", "make room there"])
}
