//! Plays a drill's timeline: writes, backups and prunes, under the virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::Teller;
use super::backup::{self, Content, Look, Turn};
use super::disaster;
use super::world::{World, pipeline};
use crate::check::Terms;
use crate::clock::VirtualClock;
use crate::context::{Context, Phase};
use crate::error::{Error, Result};
use crate::evidence::{BackupFact, Evidence, LedgerEntry};
use crate::fault::plant;
use crate::pipeline::artifact::ArtifactReader;
use crate::plan::{DrillKind, Happening};
use crate::repository::manifest::{self, Manifest};
use crate::service::Service;
use crate::suite::{Backup, Fault, Method, Pick, Scenario};

/// Plays everything up to the strike and notes it in the evidence.
pub(super) async fn play(
    ctx: &Context,
    world: &World<'_>,
    terms: &Terms<'_>,
    clock: &VirtualClock,
    evidence: &mut Evidence,
    teller: &Teller<'_>,
) -> Result<()> {
    let backups = terms.backups();
    // Where any artifact may be the one that is restored, the source is known as it was at each.
    let any = |scenario: &Scenario| scenario.pick == Pick::NewestGood;
    let any = terms.scenario().is_some_and(any);
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
    let mut planted: BTreeSet<String> = BTreeSet::new();
    for (done, (at, happening)) in happenings.iter().enumerate() {
        ctx.go_on()?;
        clock.advance_to(*at);
        teller.progress(done, happenings.len());
        let timed = match happening {
            Happening::Backup(name) => last_run.get(name) == Some(at),
            Happening::Archive(name) => last_archiving.get(name) == Some(at),
            Happening::Write(_) | Happening::Prune(_) | Happening::Damage => false,
        } && world.drill.timeline.strike.is_some();
        let turn = Turn {
            working: world.share(ctx).await?,
            timed,
        };
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
                let compared = (last || any) && world.drill.timeline.strike.is_some();
                let look = if compared { Look::Whole } else { Look::Skip };
                let fact = run(
                    ctx,
                    world,
                    backup,
                    numbers.get(&backup.component).copied().unwrap_or(0),
                    look,
                    last,
                    &evidence.backups,
                    turn,
                )
                .await?;
                evidence.backups.push(fact);
            }
            Happening::Archive(name) => {
                let Some(backup) = backups.iter().find(|backup| backup.name == *name) else {
                    continue;
                };
                // The server that is backed up by mistake archives nothing of this one; and without an `archive_timeout`
                // no segment is archived before it is full.
                if matches!(world.fault, Some(Fault::B20 | Fault::C15)) {
                    continue;
                }
                if last_run.get(name) < Some(at) && planted.insert(name.clone()) {
                    let source = world.service(&backup.component)?;
                    let destination = world.destination(backup);
                    plant::in_source(ctx, world.fault, source.as_ref(), &destination).await?;
                }
                let high_water = numbers.get(&backup.component).copied().unwrap_or(0);
                let last = last_archiving.get(name) == Some(at);
                let compared = last && world.drill.timeline.strike.is_some();
                let look = if compared { Look::Whole } else { Look::Skip };
                let fact =
                    backup::archive(ctx, world, backup, high_water, look, Some(turn)).await?;
                evidence.archives.push(fact);
            }
            Happening::Damage => {
                if let Some(scenario) = terms.scenario() {
                    disaster::damage(ctx, world, terms, scenario, *at, evidence).await?;
                }
            }
            Happening::Prune(name) => {
                let Some(backup) = backups.iter().find(|backup| backup.name == *name) else {
                    continue;
                };
                let ctx = ctx.within(Phase::Backup, &backup.component);
                let source = world.service(&backup.component)?;
                let component = world.component(&backup.component)?;
                let destination = world.destination(backup);
                pipeline(backup, component, world.fault)?
                    .prune(&ctx, source.as_ref(), &destination, &backup.keep, *at)
                    .await?;
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

/// How many artifacts of a rehearsal that is longer than so many days are taken of the source.
const TAKEN: i32 = 8;

/// In a retention rehearsal, the newest artifact of the same day, or of the same eighth of a longer one: hundreds of dumps
/// of one source would only show that it can be dumped, which the other drills show.
async fn earlier(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    taken: &[BackupFact],
) -> Result<Option<ArtifactReader>> {
    // What expires is pgBackRest's own business, and it knows of no copies.
    let rehearsed = matches!(world.drill.kind, DrillKind::Retention { .. });
    if !rehearsed || matches!(backup.method, Method::PgBackRest(_)) {
        return Ok(None);
    }
    let happenings = &world.drill.timeline.happenings;
    let (Some((first, _)), Some((last, _))) = (happenings.first(), happenings.last()) else {
        return Ok(None);
    };
    // From which base backup on the log is kept shows in the log itself.
    let day = TimeDelta::days(1);
    let span = match backup.method.archives() {
        true => day,
        false => day.max((*last - *first) / TAKEN),
    };
    let part = |at: DateTime<Utc>| (at - *first).num_seconds() / span.num_seconds();
    let now = part(ctx.clock.now());
    let own = taken.iter().rev().filter(|fact| fact.backup == backup.name);
    let mut own = own.take_while(|fact| part(fact.at) == now);
    match own.find_map(|fact| fact.artifact.as_ref()) {
        Some(id) => reader_of(ctx, world, backup, id).await.map(Some),
        None => Ok(None),
    }
}

/// An artifact of a backup in its nearest repository.
async fn reader_of(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    id: &str,
) -> Result<ArtifactReader> {
    let Some(repository) = world.repositories(backup).into_iter().next() else {
        return Err(Error::defect(format!(
            "the backup {} has no repository",
            backup.name
        )));
    };
    let key = manifest::key_of(&backup.name, id);
    let manifest = Manifest::load(ctx, repository.as_ref(), &key).await?;
    Ok(ArtifactReader::new(
        manifest,
        repository,
        world.keys_of(backup),
    ))
}

/// B20: another server altogether, a stand-in that was filled from a dump of the source and holds all that it does, whose
/// backups go to the same place; what was there is gone.
async fn another_cluster(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    source: &dyn Service,
) -> Result<Arc<dyn Service>> {
    let component = world.component(&backup.component)?;
    let pipeline = pipeline(backup, component, world.fault)?;
    let settings = pipeline.source_settings();
    let another = world
        .start(ctx, component, "another", None, &settings)
        .await?;
    plant::stand_in(ctx, source.server().as_ref(), another.server().as_ref()).await?;
    for repository in world.repositories(backup) {
        let listing = repository.list(ctx, &format!("{}/", backup.name)).await?;
        let keys: Vec<String> = listing.into_iter().map(|stored| stored.key).collect();
        repository.delete(ctx, &keys).await?;
    }
    pipeline
        .prepare(ctx, another.as_ref(), &world.destination(backup))
        .await?;
    Ok(another)
}

/// One backup run, from the source that the plan, or a planted fault, gives it.
#[expect(clippy::too_many_arguments, reason = "what a run depends on")]
async fn run(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    high_water: u64,
    look: Look,
    last: bool,
    taken: &[BackupFact],
    turn: Turn,
) -> Result<BackupFact> {
    let source = world.service(&backup.component)?;
    if last && world.fault == Some(Fault::A8) {
        let wrong = plant::another_database(world.component(&backup.component)?, source.server());
        let mut fact = backup::take(
            ctx,
            world,
            backup,
            Content::Source(wrong.as_ref()),
            high_water,
            Look::Skip,
            Some(turn),
        )
        .await?;
        let _working = world.share(ctx).await?;
        fact.source = Some(
            source
                .observe(&ctx.within(Phase::Observe, &backup.component))
                .await?,
        );
        return Ok(fact);
    }
    if last && world.fault == Some(Fault::A8Stale) {
        let older = taken.iter().rfind(|fact| fact.backup == backup.name);
        let id = older.and_then(|fact| fact.artifact.as_ref());
        let earlier = id.ok_or_else(|| Error::defect("there is no older dump to store again"))?;
        let earlier = reader_of(ctx, world, backup, earlier).await?;
        let content = Content::Again(source.as_ref(), &earlier);
        return backup::take(ctx, world, backup, content, high_water, look, Some(turn)).await;
    }
    if last && world.fault == Some(Fault::B20) {
        let another = another_cluster(ctx, world, backup, source.as_ref()).await?;
        let content = Content::Source(another.as_ref());
        let look = Look::Skip;
        let mut fact =
            backup::take(ctx, world, backup, content, high_water, look, Some(turn)).await?;
        let _working = world.share(ctx).await?;
        let ctx = ctx.within(Phase::Observe, &backup.component);
        let known = source.observe(&ctx).await?;
        if another.observe(&ctx).await?.parts != known.parts {
            return Err(Error::defect(
                "the other cluster holds something else than the source: nothing was planted",
            ));
        }
        fact.source = Some(known);
        return Ok(fact);
    }
    if last {
        let ctx = ctx.within(Phase::Prepare, &backup.component);
        let (server, database) = (source.server(), source.database());
        plant::in_source_of_backup(&ctx, world.fault, server.as_ref(), database).await?;
    }
    if let Some(earlier) = earlier(ctx, world, backup, taken).await? {
        let content = Content::Again(source.as_ref(), &earlier);
        return backup::take(ctx, world, backup, content, high_water, look, Some(turn)).await;
    }
    let content = Content::Source(source.as_ref());
    backup::take(ctx, world, backup, content, high_water, look, Some(turn)).await
}
