//! Which kind of services a run uses, and why: the choice and its reason stand in every report.

use std::collections::BTreeSet;

use super::{Provisioner, containers, local, locate};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::plan::Drill;
use crate::process::Account;
use crate::suite::{Engine, Method, RepositoryKind, Suite};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Containers when an engine answers and the images are there or can be pulled, else local.
    Auto,
    /// Processes of this machine.
    Local,
    /// Containers.
    Containers,
}

/// An engine and the version wanted of it.
pub type Need = (Engine, Option<String>);

/// A provisioner, and why this one.
pub struct Chosen {
    /// It.
    pub provisioner: Box<dyn Provisioner>,
    /// Why.
    pub reason: String,
}

/// Chooses, and checks that what is needed is there: nothing has been started when this fails.
pub async fn choose(ctx: &Context, mode: Mode, needs: &BTreeSet<Need>) -> Result<Chosen> {
    match mode {
        Mode::Auto if needs.is_empty() => Ok(Chosen {
            provisioner: Box::new(local::Local),
            reason: "no server is needed".to_owned(),
        }),
        Mode::Local => {
            local_can(needs)?;
            Ok(Chosen {
                provisioner: Box::new(local::Local),
                reason: "asked for".to_owned(),
            })
        }
        Mode::Containers => {
            let images = containers_can(ctx, needs).await?;
            Ok(Chosen {
                provisioner: Box::new(containers::Containers),
                reason: format!("asked for; images: {images}"),
            })
        }
        Mode::Auto => match containers_can(ctx, needs).await {
            Ok(images) => Ok(Chosen {
                provisioner: Box::new(containers::Containers),
                reason: format!("a container engine answers and every image is there: {images}"),
            }),
            Err(no_containers) => match local_can(needs) {
                Ok(()) => Ok(Chosen {
                    provisioner: Box::new(local::Local),
                    reason: format!("no containers: {}", no_containers.message()),
                }),
                Err(no_local) => Err(Error::unavailable(format!(
                    "neither containers ({}) nor local services ({}) can be had",
                    no_containers.message(),
                    no_local.message()
                ))
                .hint(
                    no_local
                        .hint_text()
                        .unwrap_or("run `redrill doctor`")
                        .to_owned(),
                )),
            },
        },
    }
}

/// Whether every engine's programs are installed here.
pub fn local_can(needs: &BTreeSet<Need>) -> Result<()> {
    needs
        .iter()
        .try_for_each(|need| local_program(need).map(drop))
}

/// Where the program that serves a need is.
pub fn local_program((engine, version): &Need) -> Result<String> {
    match engine {
        Engine::Postgres => Ok(locate::postgres_bin(version.as_deref())?
            .display()
            .to_string()),
        Engine::Redis => Ok(locate::program("redis-server", "redis-server")?
            .display()
            .to_string()),
        Engine::Bucket => Ok("embedded in redrill".to_owned()),
    }
}

/// Where pgBackRest is, services being of this kind.
pub fn pgbackrest(mode: &str) -> Result<String> {
    if mode == "containers" {
        return Err(Error::unavailable("the images have no pgbackrest")
            .hint("use --services local, with Debian's package pgbackrest"));
    }
    Ok(locate::pgbackrest()?.display().to_string())
}

/// The user that a local Postgres runs as; none where that is whoever runs redrill.
pub fn postgres_account() -> Result<Option<Account>> {
    locate::account("postgres")
}

/// Whether a suite backs up with pgBackRest.
pub fn uses_pgbackrest(suite: &Suite) -> bool {
    let mut backups = suite.backups.iter();
    backups.any(|backup| matches!(backup.method, Method::PgBackRest(_)))
}

/// The images to use, in words, when an engine answers and has, or can pull, every one of them.
pub async fn containers_can(ctx: &Context, needs: &BTreeSet<Need>) -> Result<String> {
    containers::engine_answers(ctx).await?;
    let mut images = Vec::new();
    for (engine, version) in needs {
        let image = containers::available_image(ctx, *engine, version.as_deref()).await?;
        images.push(image.to_string());
    }
    images.dedup();
    Ok(images.join(", "))
}

/// What drills need running: the servers of their components, and one for repositories in S3.
pub fn needs<'a>(suites: &[Suite], drills: impl IntoIterator<Item = &'a Drill>) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for drill in drills {
        for suite in suites.iter().filter(|suite| suite.name == drill.suite) {
            let components = suite.components.iter();
            needs.extend(
                components
                    .filter(|component| drill.components.contains(&component.name))
                    .map(|component| (component.engine(), component.version.clone())),
            );
            let mut used = suite
                .backups
                .iter()
                .filter(|backup| drill.components.contains(&backup.component))
                .flat_map(|backup| &backup.repositories);
            let in_s3 = |name: &String| {
                suite.repositories.iter().any(|repository| {
                    repository.name == *name && matches!(repository.kind, RepositoryKind::S3 { .. })
                })
            };
            if used.any(in_s3) {
                needs.insert((Engine::Bucket, None));
            }
        }
    }
    needs
}
