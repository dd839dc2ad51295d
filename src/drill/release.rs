//! The release on the restored copy: its migrations are run there, and the copy is asked whether it still answers.
//!
//! Not here: whether that opens the gate (see [`crate::gate`]).

use std::path::{Path, PathBuf};

use super::app;
use super::world::World;
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{Evidence, MigrationFact, ReleaseFact};
use crate::process::{Command, Finished};
use crate::service::Service;
use crate::suite::Release;
use crate::suite::release::{Migrations, files};

/// Runs the migrations on what a recovery brought back, and asks the questions after them.
pub(super) async fn rehearse(
    ctx: &Context,
    world: &World<'_>,
    release: &Release,
    evidence: &mut Evidence,
) -> Result<()> {
    let mut recoveries = evidence.recoveries.iter();
    let came_back =
        recoveries.any(|fact| fact.component == release.component && fact.error.is_none());
    if !came_back {
        // What the release would have run on is not there: the recovery says why.
        return Ok(());
    }
    let ctx = ctx.within(Phase::Verify, &release.component);
    let service = world.service(&release.component)?;
    let mut fact = ReleaseFact::default();
    match &release.migrations {
        Migrations::Folder(folder) => {
            for path in files(folder)? {
                let migration = apply(&ctx, &*service, &path).await?;
                let failed = migration.error.is_some();
                fact.migrations.push(migration);
                if failed {
                    break;
                }
            }
        }
        Migrations::Command(words) => {
            let home = world.suite.path.parent().unwrap_or(Path::new("."));
            fact.migrations
                .push(call(&ctx, &*service, words, home).await?);
        }
    }
    if fact
        .migrations
        .iter()
        .all(|migration| migration.error.is_none())
    {
        let component = world.component(&release.component)?;
        let mut answers = app::questions(&ctx, component, &*service).await?;
        answers.extend(service.smoke(&ctx, &release.smoke).await?);
        fact.smoke = Some(answers);
        service
            .population(&ctx)
            .await
            .doing("ask the migrated service")?;
    }
    evidence.release = Some(fact);
    Ok(())
}

async fn apply(ctx: &Context, service: &dyn Service, path: &Path) -> Result<MigrationFact> {
    let file = tokio::fs::File::open(path).await;
    let file = file.doing_with(|| format!("read {}", path.display()))?;
    let server = service.server();
    let psql = server
        .tool("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--output=/dev/null"])
        .arg(format!("--dbname={}", service.database()))
        .arg("--file=-");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    migrated(&name, psql.feed(ctx, file)).await
}

/// Runs the command beside the suite, on the machine that drills: it reaches the copy by the address in its environment.
async fn call(
    ctx: &Context,
    service: &dyn Service,
    words: &[String],
    home: &Path,
) -> Result<MigrationFact> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Error::defect("the command of the release is empty"))?;
    // A path is one from the suite's folder.
    let program = match program.contains('/') {
        true => std::path::absolute(home.join(program)).doing("find the command of the release")?,
        false => PathBuf::from(program),
    };
    let home = match home.as_os_str().is_empty() {
        true => Path::new("."),
        false => home,
    };
    let command = Command::new(program)
        .args(arguments.iter().cloned())
        .dir(home);
    let reach = app::reach(service, None).into_iter();
    let command = reach.fold(command, |command, (name, value)| command.env(name, value));
    migrated(&words.join(" "), command.run(ctx)).await
}

/// How a migration ended. Of what it says only the server's complaint is kept, which quotes no row.
async fn migrated(
    name: &str,
    work: impl Future<Output = Result<Finished>>,
) -> Result<MigrationFact> {
    let watch = Stopwatch::start();
    let error = match work.await {
        Ok(finished) if finished.exit == Some(0) => None,
        Ok(finished) => Some(complaint(&finished)),
        Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Defect) => {
            return Err(error);
        }
        Err(error) => Some(error.message()),
    };
    Ok(MigrationFact {
        name: name.to_owned(),
        seconds: watch.seconds(),
        error,
    })
}

fn complaint(finished: &Finished) -> String {
    let how = match finished.exit {
        Some(code) => format!("exit code {code}"),
        None => "ended by a signal".to_owned(),
    };
    let said = finished
        .stderr
        .lines()
        .find(|line| line.contains("ERROR:") || line.contains("FATAL:"));
    match said {
        Some(line) => format!("{how}: {}", line.trim()),
        None => format!("{how}; the log of its step has what it said"),
    }
}
