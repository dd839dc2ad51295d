//! Programs that a drill runs and that are missing, hang, or change what they are given: each stands in the place of a real
//! one, for one run alone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::{DB, Outcome, Place, exits, mounts, says, state, text};

/// Where a program of the newest local PostgreSQL is.
pub fn installed(program: &str) -> Result<PathBuf, Failed> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")?.flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .ok_or("no PostgreSQL")?;
    Ok(PathBuf::from(format!(
        "/usr/lib/postgresql/{newest}/bin/{program}"
    )))
}

/// A script in the place of a program, which it finds as `$real`, and the line that puts it there.
pub fn stand_in(place: &Place, program: &Path, script: &str) -> Result<String, Failed> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let (real, script_at) = (place.path(&format!("real_{name}")), place.path(&name));
    std::fs::copy(program, &real)?;
    let script = format!("#!/bin/bash\nreal={}\n{script}\n", real.display());
    std::fs::write(&script_at, script)?;
    std::fs::set_permissions(&script_at, std::fs::Permissions::from_mode(0o755))?;
    Ok(mounts::in_place_of(&script_at, program))
}

/// Runs a command where these mounts were made.
pub fn run_with(command: &Command, mounts: &[String]) -> Result<Output, Failed> {
    Ok(mounts::around(command, mounts, ":")?.output()?)
}

pub fn a_backup_that_hangs_is_ended_at_its_deadline_with_its_process_group() -> Outcome {
    let place = Place::new();
    let pids = place.path("pids");
    std::fs::write(&pids, "")?;
    std::fs::set_permissions(&pids, std::fs::Permissions::from_mode(0o666))?;
    // It has a child, and both ignore SIGTERM.
    let script = format!(
        "trap '' TERM\nsleep 600 &\necho $! >> {pids}\necho $$ >> {pids}\nwait",
        pids = pids.display()
    );
    let hanging = stand_in(&place, &installed("pg_dump")?, &script)?;
    let suite =
        place.suite(&DB.replace("encrypt = \"age\"", "encrypt = \"age\"\ndeadline = \"2s\""));
    let begun = Instant::now();
    let output = run_with(&place.drill(&suite, &[]), &[hanging])?;
    exits(&output, 1)?;
    says(&output, &["did not end within 2s", "deadline"])?;
    if begun.elapsed() > Duration::from_secs(60) {
        return Err(format!("it took {:?}", begun.elapsed()).into());
    }
    let hung = std::fs::read_to_string(&pids)?;
    let hung: Vec<u32> = hung.lines().filter_map(|line| line.parse().ok()).collect();
    if hung.len() < 2 || hung.len() % 2 == 1 {
        return Err(format!("a dump and its child were to hang: {hung:?}").into());
    }
    // Who is killed is gone a moment later.
    let runs = |pid: &&u32| !matches!(state(**pid), None | Some('Z'));
    let begun = Instant::now();
    while let Some(pid) = hung.iter().find(runs) {
        if begun.elapsed() > Duration::from_secs(2) {
            return Err(format!("of {hung:?}, {pid} is still there").into());
        }
        std::thread::yield_now();
    }
    place.is_clean()
}

pub fn a_program_that_is_missing_exits_3_with_its_package_before_anything_starts() -> Outcome {
    let nothing = Path::new("/dev/null");
    let place = Place::new();
    let cache = place.suite(
        "[component.cache]\nkind = \"redis\"\nseed = { keys = 10 }\n[backup.b]\nschedule = \"@hourly\"\n\
         method = \"redis-rdb\"\n[scenario.s]\nstrike = { fault = \"server-lost\" }\n",
    );
    let path = Command::new("sh")
        .args(["-c", "command -v redis-server"])
        .output()?;
    let redis = std::fs::canonicalize(text(&path.stdout).trim())?;
    let hidden = [mounts::in_place_of(nothing, &redis)];
    let output = run_with(&place.drill(&cache, &[]), &hidden)?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "redis-server is not installed here",
            "apt-get install redis-server",
        ],
    )?;
    place.is_clean()?;

    // Of the server there is everything but what restores; and there is no other one on PATH.
    let place = Place::new();
    let path = place.path("bin");
    std::fs::create_dir(&path)?;
    for entry in std::fs::read_dir("/usr/bin")?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("pg_") {
            std::os::unix::fs::symlink(entry.path(), path.join(entry.file_name()))?;
        }
    }
    let mut hidden = vec![mounts::in_place_of(nothing, &installed("pg_restore")?)];
    if let Ok(on_path) = std::fs::canonicalize("/usr/bin/pg_restore") {
        hidden.push(mounts::in_place_of(nothing, &on_path));
    }
    let mut drill = place.drill(&place.suite(DB), &[]);
    let output = run_with(drill.env("PATH", path), &hidden)?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "pg_restore is not installed here",
            "apt-get install postgresql-client",
        ],
    )?;
    place.is_clean()
}
