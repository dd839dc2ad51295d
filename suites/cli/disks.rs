//! Disks that are full, at every stage of a drill, and a reports folder that can no longer be written to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use libtest_mimic::Failed;
use redrill::process::quoted;

use crate::programs::{installed, stand_in};
use crate::{DB, Outcome, Place, exits, mounts, says, text};

/// What is said on every full disk: what is wrong, and what to do.
const FULL: [&str; 2] = ["No space left on device", "make room there"];

/// Drills on a disk of this size, and sees that nothing is left there.
fn drilled(place: &Place, size: &str, suite: &str, stand_ins: &[String]) -> Result<Output, Failed> {
    let (tmp, left) = (place.tmp(), place.path("left"));
    let word = |path: &Path| quoted(&path.display().to_string());
    let filler = tmp.join("filler");
    let mut mounts = vec![
        mounts::small_disk(size, &tmp)?,
        // Anyone may fill it.
        format!("mkdir -m 777 {}", word(&filler)),
    ];
    mounts.extend_from_slice(stand_ins);
    let after = format!(
        "rm -rf {}; ls -A {} > {} 2>&1;",
        word(&filler),
        word(&tmp),
        word(&left)
    );
    let drill = place.drill(&place.suite(suite), &[]);
    let output = mounts::around(&drill, &mounts, &after)?.output()?;
    let left = std::fs::read_to_string(left)?;
    if !left.is_empty() {
        let said = text(&output.stderr);
        return Err(format!("left behind on the disk: {left}\n{said}").into());
    }
    place.is_clean()?;
    Ok(output)
}

/// A program that finds the disk full when it is called with these words.
fn that_finds_it_full(place: &Place, program: &Path, words: &str) -> Result<String, Failed> {
    let filler = place.tmp().join("filler");
    let script = format!(
        "case \" $* \" in {words}) cat /dev/zero > {}/$$ 2> /dev/null ;; esac\nexec $real \"$@\"",
        filler.display()
    );
    stand_in(place, program, &script)
}

pub fn a_disk_that_is_full_when_a_server_starts_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let output = drilled(&place, "30m", DB, &[])?;
    exits(&output, 3)?;
    says(&output, &FULL)?;
    says(&output, &["prepare"])
}

pub fn a_disk_that_fills_as_the_source_is_seeded_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let seed = "create table filling as select n, repeat(md5(n::text), 30) as words from generate_series(1, 200000) as n;";
    std::fs::write(place.path("seed.sql"), seed)?;
    let suite = DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nseed = \"seed.sql\"",
    );
    let output = drilled(&place, "120m", &suite, &[])?;
    exits(&output, 3)?;
    says(&output, &FULL)?;
    says(&output, &["seed db"])
}

pub fn a_disk_that_fills_as_a_backup_is_stored_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let dump = that_finds_it_full(&place, &installed("pg_dump")?, "*--format=*")?;
    let output = drilled(&place, "200m", DB, &[dump])?;
    exits(&output, 1)?;
    says(&output, &FULL)?;
    says(&output, &["backup-failed"])
}

pub fn a_disk_that_fills_as_a_backup_is_fetched_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let bring = that_finds_it_full(&place, Path::new("/usr/bin/dd"), "*-recovered-*")?;
    let output = drilled(&place, "300m", DB, &[bring])?;
    exits(&output, 1)?;
    says(&output, &FULL)?;
    says(&output, &["fetch"])
}

pub fn a_disk_that_fills_as_a_backup_is_restored_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let seed = "create table much as select n, md5(n::text) as words from generate_series(1, 200000) as n;";
    std::fs::write(place.path("seed.sql"), seed)?;
    let suite = DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nseed = \"seed.sql\"",
    );
    let restore = that_finds_it_full(&place, &installed("pg_restore")?, "*--dbname=*")?;
    let output = drilled(&place, "400m", &suite, &[restore])?;
    exits(&output, 1)?;
    says(&output, &FULL)?;
    says(&output, &["pg_restore"])
}

pub fn reports_that_can_no_longer_be_written_to_are_said_and_accuse_no_backup() -> Outcome {
    let place = Place::new();
    let (reports, sign) = (place.path("reports"), place.path("sign"));
    std::fs::create_dir(&reports)?;
    std::fs::create_dir(&sign)?;
    std::fs::set_permissions(&sign, std::fs::Permissions::from_mode(0o777))?;
    let word = |path: &Path| quoted(&path.display().to_string());
    // The folder turns read-only when the restore begins: who restores may not mount, and somebody waits for that.
    let script = format!(
        "case \" $* \" in *--dbname=*) touch {}/now ;; esac\nexec $real \"$@\"",
        sign.display()
    );
    let restore = stand_in(&place, &installed("pg_restore")?, &script)?;
    let turned = format!(
        "{{ ( until [ -e {sign}/now ]; do sleep 0.01; done; mount --bind {reports} {reports}; \
         mount -o remount,bind,ro {reports} ) & }}",
        sign = word(&sign),
        reports = word(&reports)
    );
    let drill = place.drill(&place.suite(DB), &[]);
    let output = mounts::around(&drill, &[restore, turned], ":")?.output()?;
    // Telling comes after the verdict, and changes none.
    exits(&output, 0)?;
    says(
        &output,
        &["Read-only file system", "PASSED", "error: write the record"],
    )?;
    place.is_clean()
}
