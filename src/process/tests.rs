use std::path::Path;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::context::RunId;

/// A directory, and a context in it.
fn place() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().expect("a directory");
    let run = RunId::fresh(SystemClock.now());
    let (top, logs) = (dir.path().join("drill"), dir.path().join("logs"));
    let ctx = Context::new(run, top, logs, CancellationToken::new()).expect("a context");
    (dir, ctx)
}

fn shell(dir: &Path, script: &str) -> Command {
    Command::new("sh").args(["-c", script]).dir(dir)
}

/// The process ids that a script has written, one a line.
fn pids(dir: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
    let numbers = text.lines().map(|line| line.trim().parse());
    numbers.collect::<Result<_, _>>().expect("process ids")
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}

/// Waits until something is so; never longer than a minute.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_its_grace_with_a_child_that_ignores_it_too() {
    let (dir, ctx) = place();
    // An ignored signal stays ignored in what is started.
    let script = "trap '' TERM; sleep 300 & echo $! > pids; echo $$ >> pids; wait";
    let begun = Instant::now();
    let hung = shell(dir.path(), script).deadline(Duration::from_secs(1));
    let error = hung.run(&ctx).await.expect_err("it hangs");
    assert!(
        begun.elapsed() >= Duration::from_secs(1) + GRACE,
        "it had no grace"
    );
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(error.message().contains("did not end within 1s"), "{error}");
    assert!(error.message().contains("whole process group"), "{error}");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("-sh.log")),
        "{error}"
    );
    let pids = pids(dir.path());
    assert_eq!(pids.len(), 2);
    for pid in pids {
        until("it is killed", || !runs(pid)).await;
    }
    let steps = ctx.steps();
    assert!(
        matches!(steps.as_slice(), [step] if step.exit.is_none()),
        "{steps:?}"
    );
}

#[tokio::test]
async fn who_heeds_term_may_tidy_up_and_its_child_that_does_not_is_killed() {
    let (dir, ctx) = place();
    let script = "(trap '' TERM; exec sleep 300) & echo $! > pids; \
                  trap 'echo tidied > tidied; exit 1' TERM; wait";
    let begun = Instant::now();
    let hung = shell(dir.path(), script).deadline(Duration::from_secs(1));
    assert!(hung.run(&ctx).await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(1) + GRACE,
        "it was waited for"
    );
    assert!(dir.path().join("tidied").is_file());
    let pids = pids(dir.path());
    assert_eq!(pids.len(), 1);
    until("the child is killed", || !runs(pids[0])).await;
}

#[tokio::test]
async fn what_a_program_leaves_in_its_group_ends_with_it() {
    let (dir, ctx) = place();
    let script = "(trap '' TERM; exec sleep 300) > /dev/null 2>&1 & echo $! > pids";
    let finished = shell(dir.path(), script).run(&ctx).await.expect("it ran");
    assert_eq!(finished.exit, Some(0));
    let left = pids(dir.path())[0];
    until("what it left is killed", || !runs(left)).await;
}

#[tokio::test]
async fn an_interruption_ends_the_group_and_says_what_was_run() {
    let (dir, ctx) = place();
    let script = "sleep 300 & echo $! > pids; echo $$ >> pids; wait";
    let stop = async {
        until("it runs", || pids(dir.path()).len() == 2).await;
        ctx.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(shell(dir.path(), script).run(&ctx), stop);
    let error = ended.expect_err("it was interrupted");
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(error.message().starts_with("run sh -c"), "{error}");
    for pid in pids(dir.path()) {
        until("it is gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_to_its_end_leaves_nothing_running() {
    let (dir, ctx) = place();
    let script = "trap '' TERM; echo $$ > pids; exec cat /dev/zero";
    let mut stream = shell(dir.path(), script).stream(&ctx).expect("it starts");
    let mut some = [0; 100];
    stream
        .stdout
        .read_exact(&mut some)
        .await
        .expect("it writes");
    let finished = stream.finish().await.expect("it ends");
    assert_ne!(finished.exit, Some(0));
    assert!(!runs(pids(dir.path())[0]));
}

#[tokio::test]
async fn the_log_opens_with_the_command_and_is_written_while_it_runs() {
    let (dir, ctx) = place();
    let script = "echo working >&2; until [ -e go ]; do sleep 0.02; done; echo done >&2; exit 3";
    let log = || {
        let mut logs = std::fs::read_dir(&ctx.logs).expect("logs");
        let log = logs.next().and_then(|entry| Some(entry.ok()?.path()));
        log.and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let watch = async {
        until("it is logged while it runs", || {
            log().contains("\nworking\n")
        })
        .await;
        assert!(!log().contains("\ndone\n"));
        std::fs::write(dir.path().join("go"), "").expect("written");
    };
    let (finished, ()) = tokio::join!(shell(dir.path(), script).run(&ctx), watch);
    let finished = finished.expect("it ran");
    assert_eq!(
        (finished.exit, finished.stderr.as_str()),
        (Some(3), "working\ndone")
    );
    assert!(log().starts_with("$ sh -c "), "{}", log());
    let error = finished.ok().expect_err("it ended with 3");
    assert!(
        error
            .message()
            .contains("sh ended with exit code 3: working\ndone"),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_with_what_to_do() {
    let (_dir, ctx) = place();
    let error = Command::new("no-such-program")
        .run(&ctx)
        .await
        .expect_err("it is not there");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("redrill doctor")),
        "{error}"
    );
}

#[tokio::test]
async fn where_no_log_can_be_written_what_a_program_says_is_kept_in_the_drills_directory() {
    let (dir, mut ctx) = place();
    ctx.logs = dir.path().join("gone");
    let finished = shell(dir.path(), "echo said >&2").run(&ctx).await;
    let finished = finished.expect("it ran");
    assert_eq!(finished.exit, Some(0));
    assert!(finished.log.starts_with(&ctx.dir));
    let log = std::fs::read_to_string(&finished.log).expect("a log");
    assert!(log.ends_with("\nsaid\n"), "{log}");
}
