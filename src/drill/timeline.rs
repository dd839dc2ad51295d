//! Plays a drill's timeline: writes, backups and prunes, under the virtual clock.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Teller;
use super::backup::{self, Look};
use super::world::World;
use crate::clock::VirtualClock;
use crate::context::{Context, Phase};
use crate::error::Result;
use crate::evidence::{BackupFact, Evidence, LedgerEntry};
use crate::plan::Happening;
use crate::repository::retention;
use crate::suite::{Backup, Fault};

/// Plays everything up to the strike and notes it in the evidence.
pub(super) async fn play(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    clock: &VirtualClock,
    evidence: &mut Evidence,
    teller: &Teller<'_>,
) -> Result<()> {
    let happenings = &world.drill.timeline.happenings;
    let last_run = last_of(happenings, |happening| match happening {
        Happening::Backup(name) => Some(name),
        _ => None,
    });
    let last_archiving = last_of(happenings, |happening| match happening {
        Happening::Archive(name) => Some(name),
        _ => None,
    });
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for (done, (at, happening)) in happenings.iter().enumerate() {
        ctx.go_on()?;
        clock.advance_to(*at);
        teller.progress(done, happenings.len());
        match happening {
            Happening::Write(component) => {
                let number = numbers.entry(component.clone()).or_default();
                *number += 1;
                evidence
                    .ledger
                    .push(write(ctx, world, component, *number, *at).await?);
            }
            Happening::Backup(name) => {
                let Some(backup) = backups.iter().find(|backup| backup.name == *name) else {
                    continue;
                };
                let last = last_run.get(name) == Some(at);
                let compared = last && world.drill.timeline.strike.is_some();
                let look = if compared { Look::Whole } else { Look::Skip };
                let fact = run(
                    ctx,
                    world,
                    backup,
                    numbers.get(&backup.component).copied().unwrap_or(0),
                    look,
                    last,
                )
                .await?;
                evidence.backups.push(fact);
            }
            Happening::Archive(name) => {
                let Some(backup) = backups.iter().find(|backup| backup.name == *name) else {
                    continue;
                };
                let high_water = numbers.get(&backup.component).copied().unwrap_or(0);
                let last = last_archiving.get(name) == Some(at);
                let compared = last && world.drill.timeline.strike.is_some();
                let look = if compared { Look::Whole } else { Look::Skip };
                let fact = backup::archive(ctx, world, backup, high_water, look).await?;
                evidence.archives.push(fact);
            }
            Happening::Prune(name) => {
                let Some(backup) = backups.iter().find(|backup| backup.name == *name) else {
                    continue;
                };
                let ctx = ctx.within(Phase::Backup, &backup.component);
                for repository in world.repositories(backup) {
                    retention::prune(&ctx, &repository, &backup.name, &backup.keep, *at).await?;
                }
            }
        }
    }
    teller.progress(happenings.len(), happenings.len());
    Ok(())
}

/// When something happens for the last time, by the name of the backup.
fn last_of(
    happenings: &[(DateTime<Utc>, Happening)],
    which: impl Fn(&Happening) -> Option<&String>,
) -> BTreeMap<String, DateTime<Utc>> {
    happenings
        .iter()
        .filter_map(|(at, happening)| Some((which(happening)?.clone(), *at)))
        .collect()
}

/// A write whose acknowledgement is entered in the ledger, which lives outside of every service.
pub(super) async fn write(
    ctx: &Context,
    world: &World<'_>,
    component: &str,
    number: u64,
    at: DateTime<Utc>,
) -> Result<LedgerEntry> {
    let service = world.service(component)?;
    let coordinate = service
        .write(&ctx.within(Phase::Prepare, component), number)
        .await?;
    Ok(LedgerEntry {
        component: component.to_owned(),
        number,
        at,
        coordinate,
    })
}

/// One backup run, from the source that the plan, or a planted fault, gives it.
async fn run(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    high_water: u64,
    look: Look,
    last: bool,
) -> Result<BackupFact> {
    let source = world.service(&backup.component)?;
    if last && world.fault == Some(Fault::A8) {
        let wrong = crate::fault::plant::another_database(
            world.component(&backup.component)?,
            source.server(),
        );
        let mut fact =
            backup::take(ctx, world, backup, wrong.as_ref(), high_water, Look::Skip).await?;
        fact.source = Some(
            source
                .observe(&ctx.within(Phase::Observe, &backup.component))
                .await?,
        );
        return Ok(fact);
    }
    backup::take(ctx, world, backup, source.as_ref(), high_water, look).await
}
