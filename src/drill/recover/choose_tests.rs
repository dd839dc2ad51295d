use std::collections::BTreeMap;
use std::path::Path;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::context::RunId;
use crate::pipeline::artifact::{ArtifactWriter, Origin};
use crate::repository::LocalRepository;
use crate::suite::{RecoveryTarget, Suite, parse};

/// A near and a far repository, and a suite whose backups go to both.
struct Place {
    ctx: Context,
    repositories: Vec<Arc<dyn Repository>>,
    suite: Suite,
    dir: tempfile::TempDir,
}

fn place() -> Place {
    const SUITE: &str = "[component.db]\nkind = \"postgres\"\n\
        [backup.base]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
        [backup.dump]\nschedule = \"@daily\"\n\
        [scenario.s]\nstrike = { fault = \"server-lost\" }\nrecover = [\"base\"]\n";
    let dir = tempfile::tempdir().expect("a directory");
    let ctx = Context::new(
        RunId::from_text("20250112-140000-0badcafe"),
        dir.path().join("drill"),
        dir.path().join("logs"),
        CancellationToken::new(),
    );
    let repository = |name: &str| -> Arc<dyn Repository> {
        Arc::new(LocalRepository::new(name, dir.path().join(name)).expect("a repository"))
    };
    Place {
        ctx: ctx.expect("a context"),
        repositories: vec![repository("near"), repository("far")],
        suite: parse(SUITE, Path::new("s.toml")).expect("a suite"),
        dir,
    }
}

fn hour(hour: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
}

impl Place {
    fn backup(&self, name: &str) -> &Backup {
        let mut all = self.suite.backups.iter();
        all.find(|backup| backup.name == name).expect("a backup")
    }

    /// Takes a backup at an hour.
    async fn take(&self, backup: &str, at: i64, repositories: &[Arc<dyn Repository>]) {
        let origin = Origin {
            backup: backup.to_owned(),
            component: "db".to_owned(),
            taken_at: hour(at),
            engine: "postgres 15.18".to_owned(),
            compression: "none".to_owned(),
        };
        let artifact = ArtifactWriter::new(&self.ctx, origin, repositories.to_vec(), None);
        let body = Box::new(std::io::Cursor::new(b"rows".to_vec()));
        let stored = artifact.file(&self.ctx, "db.dump", body, BTreeMap::new());
        stored.await.expect("stored");
        let draft = artifact.draft(&self.ctx);
        artifact.commit(&self.ctx, draft).await.expect("committed");
    }

    /// What is tried of these backups, each as `base 3 far`, when the WAL was archived for the last time at an hour.
    async fn tried(&self, backups: &[&str], target: RecoveryTarget, archived: i64) -> Vec<String> {
        let mut scenario = Scenario {
            pick: Pick::NewestGood,
            ..Scenario::default()
        };
        scenario.restore.target = target;
        let mut all = Vec::new();
        for name in backups {
            let (backup, repositories) = (self.backup(name), self.repositories.clone());
            let mut left = Vec::new();
            let held = held(
                &self.ctx,
                backup,
                scenario.pick,
                repositories,
                None,
                &mut left,
            );
            let readers = held.await.expect("artifacts").into_iter();
            all.extend(readers.map(|reader| Candidate { backup, reader }));
        }
        in_order(&mut all, &scenario, |backup| {
            (backup.name == "base").then(|| hour(archived))
        });
        let words = all.iter().map(|candidate| {
            let at = candidate.reader.manifest.taken_at - DateTime::UNIX_EPOCH;
            let repository = candidate.reader.repository().name();
            format!("{} {} {repository}", candidate.backup.name, at.num_hours())
        });
        words.collect()
    }
}

#[tokio::test]
async fn the_log_takes_every_base_backup_beyond_a_dump_until_the_archiver_stalls() {
    let place = place();
    let near = &place.repositories[..1];
    for (backup, at) in [
        ("base", 1),
        ("dump", 2),
        ("base", 25),
        ("dump", 26),
        ("dump", 50),
    ] {
        place.take(backup, at, near).await;
    }
    let tried = async |target, archived| place.tried(&["dump", "base"], target, archived).await;
    let healthy = [
        "base 25 near",
        "base 1 near",
        "dump 50 near",
        "dump 26 near",
        "dump 2 near",
    ];
    assert_eq!(tried(RecoveryTarget::EndOfWal, 51).await, healthy);
    let stalled = [
        "dump 50 near",
        "base 25 near",
        "base 1 near",
        "dump 26 near",
        "dump 2 near",
    ];
    assert_eq!(tried(RecoveryTarget::EndOfWal, 30).await, stalled);
    let immediate = [
        "dump 50 near",
        "dump 26 near",
        "base 25 near",
        "dump 2 near",
        "base 1 near",
    ];
    assert_eq!(tried(RecoveryTarget::Immediate, 51).await, immediate);
    // Nothing but the log leads to a place in it.
    let lsn = RecoveryTarget::Lsn("0/3000028".to_owned());
    assert_eq!(tried(lsn, 30).await, healthy);
}

#[tokio::test]
async fn an_artifact_is_tried_in_each_repository_that_has_it_before_an_older_one_is() {
    let place = place();
    for at in [1, 2, 3] {
        place.take("dump", at, &place.repositories).await;
    }
    let tried = async || {
        let target = RecoveryTarget::EndOfWal;
        place.tried(&["dump"], target, 0).await
    };
    let all = [
        "dump 3 far",
        "dump 3 near",
        "dump 2 far",
        "dump 2 near",
        "dump 1 far",
        "dump 1 near",
    ];
    assert_eq!(tried().await, all);
    // The newest manifest off-site is damaged, and then gone.
    let far = place.dir.path().join("far/dump");
    let runs = std::fs::read_dir(&far).expect("artifacts");
    let newest = runs.map(|run| run.expect("listed").path()).max();
    let manifest = newest.expect("an artifact").join("manifest.json");
    let others: Vec<&str> = all.into_iter().filter(|it| *it != "dump 3 far").collect();
    std::fs::write(&manifest, b"{").expect("written");
    assert_eq!(tried().await, others);
    std::fs::remove_file(&manifest).expect("removed");
    assert_eq!(tried().await, others);
}
