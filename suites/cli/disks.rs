//! Disks that are full, at every stage of a drill, and a reports folder that can no longer be written to.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use libtest_mimic::Failed;
use redrill::process::quoted;

use crate::programs::stand_in;
use crate::{DB, Outcome, Place, exits, mounts, says, text};

/// What is said on every full disk: what is wrong, and what to do.
const FULL: [&str; 2] = ["No space left on device", "make room there"];

/// Drills on a disk of this size, and sees that nothing is left there.
fn drilled(place: &Place, size: &str, suite: &str, stand_ins: &[String]) -> Result<Output, Failed> {
    let (tmp, left) = (place.tmp(), place.path("left"));
    let word = |path: &std::path::Path| quoted(&path.display().to_string());
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

/// A program of PostgreSQL that finds the disk full, when it gets to its work.
fn that_finds_it_full(place: &Place, program: &str, when: &str) -> Result<String, Failed> {
    let filler = place.tmp().join("filler");
    let script = format!(
        "case \" $* \" in *\" --version \"*) ;; {when}) cat /dev/zero > {}/$$ 2> /dev/null ;; esac\nexec $real \"$@\"",
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
    let dump = that_finds_it_full(&place, "pg_dump", "*")?;
    let output = drilled(&place, "200m", DB, &[dump])?;
    exits(&output, 1)?;
    says(&output, &FULL)?;
    says(&output, &["backup-failed"])
}

pub fn a_disk_that_fills_as_a_backup_is_fetched_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    // The second server is what is restored onto: what is fetched comes next.
    let count = place.tmp().join("filler/starts");
    let script = format!(
        "echo >> {count}\n$real \"$@\"\ncode=$?\n[ $(wc -l < {count}) -lt 2 ] || cat /dev/zero > {filler} 2> /dev/null\nexit $code",
        count = count.display(),
        filler = place.tmp().join("filler/all").display()
    );
    let initdb = stand_in(&place, "initdb", &script)?;
    let output = drilled(&place, "300m", DB, &[initdb])?;
    says(&output, &FULL)?;
    exits(&output, 1)
}

pub fn a_disk_that_fills_as_a_backup_is_restored_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let seed = "create table much as select n, md5(n::text) as words from generate_series(1, 200000) as n;";
    std::fs::write(place.path("seed.sql"), seed)?;
    let suite = DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nseed = \"seed.sql\"",
    );
    let restore = that_finds_it_full(&place, "pg_restore", "*--dbname=*")?;
    let output = drilled(&place, "400m", &suite, &[restore])?;
    exits(&output, 1)?;
    says(&output, &FULL)?;
    says(&output, &["pg_restore"])
}

pub fn reports_that_can_no_longer_be_written_are_said_and_change_no_verdict() -> Outcome {
    let place = Place::new();
    let reports = place.path("reports");
    std::fs::create_dir(&reports)?;
    std::fs::set_permissions(&reports, std::fs::Permissions::from_mode(0o777))?;
    let shown = quoted(&reports.display().to_string());
    // The folder turns read-only when the restore begins.
    let script = format!(
        "case \" $* \" in *--dbname=*) touch {} ;; esac\nexec $real \"$@\"",
        place.tmp().join("filler").display()
    );
    let restore = stand_in(&place, "pg_restore", &script)?;
    let drill = place.drill(&place.suite(DB), &[]);
    let mounts = [
        restore,
        mounts::small_disk("50m", &reports)?,
        // Whoever runs the restore may not mount: the one who waits for it does.
        format!(
            "{{ ( until [ -e {sign} ]; do sleep 0.01; done; mount -o remount,ro {shown} ) & }}",
            sign = quoted(&place.tmp().join("filler").display().to_string()),
        ),
    ];
    std::fs::set_permissions(place.tmp(), std::fs::Permissions::from_mode(0o777))?;
    let output = mounts::around(&drill, &mounts, ":")?.output()?;
    std::fs::remove_file(place.tmp().join("filler"))?;
    says(&output, &["Read-only file system"])?;
    if output.status.success() {
        return Err(format!("its facts could not be kept: {}", text(&output.stderr)).into());
    }
    place.is_clean()
}
