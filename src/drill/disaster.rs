//! The disaster: every component of the scenario is struck, and what it would hold otherwise is noted where all of that
//! can come back. Damage that goes unnoticed is done on the timeline, and noticed at its end.
//!
//! Not here: how a thing is struck (see [`crate::fault::strike`]).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backup;
use super::world::World;
use crate::check::{Terms, figures};
use crate::clock::VirtualClock;
use crate::context::{Context, Phase};
use crate::error::{Error, Result};
use crate::evidence::{Evidence, Observation, StrikeFact};
use crate::fault::strike::{self, Page};
use crate::plan::DrillKind;
use crate::suite::{Backup, ComponentKind, Scenario, Strike, StrikeTime, fit};

/// The table of the drill's own ledger, as it is called in an observation.
const LEDGER: &str = "redrill.ledger";

/// Strikes, at the planned instant or at the worst one; or has what was damaged before noticed.
pub(super) async fn strike(
    ctx: &Context,
    world: &World<'_>,
    terms: &Terms<'_>,
    scenario: &Scenario,
    clock: &VirtualClock,
    evidence: &mut Evidence,
) -> Result<()> {
    let planned = world
        .drill
        .timeline
        .strike
        .unwrap_or_else(|| crate::clock::Clock::now(clock));
    let at = planned + worst_moment(terms, evidence);
    clock.advance_to(at);
    if scenario.unnoticed > 0 {
        return notice(ctx, world, scenario, at, evidence).await;
    }
    damage(ctx, world, terms, scenario, at, evidence).await?;
    for (component, _) in scenario
        .strikes
        .iter()
        .filter(|(_, s)| fit::is_a_transaction(*s))
    {
        // The service goes on for a moment: what follows the damage in the log must not come back with a recovery to
        // just before it.
        let last = evidence
            .ledger
            .iter()
            .filter(|entry| entry.component == *component);
        let next = last.map(|entry| entry.number).max().unwrap_or(0) + 1;
        let ctx = ctx.within(Phase::Strike, component);
        world.service(component)?.write(&ctx, next).await?;
    }
    Ok(())
}

/// Does all the damage of the scenario.
pub(super) async fn damage(
    ctx: &Context,
    world: &World<'_>,
    terms: &Terms<'_>,
    scenario: &Scenario,
    at: DateTime<Utc>,
    evidence: &mut Evidence,
) -> Result<()> {
    let mut fact = StrikeFact {
        at,
        done: at,
        ..StrikeFact::default()
    };
    for (name, word) in &scenario.strikes {
        let ctx = ctx.within(Phase::Strike, name);
        if loses_nothing(terms, scenario, name, *word) {
            let ctx = ctx.within(Phase::Observe, name);
            let whole = world.service(name)?.observe(&ctx).await?;
            fact.whole.insert(name.clone(), whole);
        }
        let shown = one(&ctx, world, terms, name, *word, &mut fact, evidence).await?;
        let symptom = match shown {
            Some(shown) => shown,
            None if scenario.unnoticed > 0 => String::new(),
            None => symptom(&ctx, world, name).await?,
        };
        fact.struck.push((name.clone(), *word, symptom));
    }
    evidence.strike = Some(fact);
    Ok(())
}

/// Strikes one component; gives back the symptom where only the strike knows where to look for it.
async fn one(
    ctx: &Context,
    world: &World<'_>,
    terms: &Terms<'_>,
    name: &str,
    word: Strike,
    fact: &mut StrikeFact,
    evidence: &mut Evidence,
) -> Result<Option<String>> {
    let server = world.service(name)?.server();
    let server = server.as_ref();
    match (word, &world.component(name)?.kind) {
        (Strike::CorruptHeapPage, ComponentKind::Postgres { database, .. }) => {
            strike::overwrite_heap_page(ctx, server, database, Page::Garbage).await?;
        }
        (Strike::ZeroedHeapPage, ComponentKind::Postgres { database, .. }) => {
            strike::overwrite_heap_page(ctx, server, database, Page::Zeros).await?;
        }
        (Strike::RowsDeleted | Strike::TableDropped, ComponentKind::Postgres { database, .. }) => {
            let moment = strike::moment(ctx, server, database).await?;
            fact.moments.insert(name.to_owned(), moment);
            let shown = match word {
                Strike::RowsDeleted => strike::delete_rows(ctx, server, database).await?,
                _ => strike::drop_table(ctx, server, database).await?,
            };
            return Ok(Some(shown));
        }
        (Strike::ServerKilled, _) => server.halt(ctx).await?,
        (Strike::ServerBroken, ComponentKind::Postgres { .. }) => {
            strike::break_server(ctx, server).await?;
        }
        (Strike::BucketDeleted, ComponentKind::Bucket { bucket, .. }) => {
            strike::empty_bucket(ctx, server, bucket).await?;
            guard(ctx, world, terms, name, evidence).await?;
            strike::delete_bucket(ctx, server, bucket).await?;
        }
        (Strike::ServerLost, _) => {
            server.lose(ctx).await?;
            world.lose_local_artifacts(ctx, name).await?;
        }
        (word, _) => {
            return Err(Error::defect(format!(
                "{name} cannot be struck with {word}"
            )));
        }
    }
    Ok(None)
}

/// Whether everything that was acknowledged can come back: a server that is started again has it, and so has the log of
/// one that still answers.
fn loses_nothing(terms: &Terms<'_>, scenario: &Scenario, component: &str, strike: Strike) -> bool {
    let archives = terms
        .backups()
        .into_iter()
        .any(|backup| backup.component == component && backup.method.archives());
    scenario.restart || (archives && fit::leaves_a_server(strike))
}

/// The damage that was done a while ago is noticed.
async fn notice(
    ctx: &Context,
    world: &World<'_>,
    scenario: &Scenario,
    at: DateTime<Utc>,
    evidence: &mut Evidence,
) -> Result<()> {
    let Some(fact) = &mut evidence.strike else {
        return Err(Error::defect("nothing was damaged on the timeline"));
    };
    fact.at = at;
    for (name, _, shown) in &mut fact.struck {
        if shown.is_empty() {
            *shown = symptom(&ctx.within(Phase::Strike, name), world, name).await?;
        }
    }
    if scenario.before_strike.is_none() {
        // What was written since belongs to what it would hold.
        for (name, whole) in &mut fact.whole {
            let ctx = ctx.within(Phase::Observe, name);
            catch_up(whole, world.service(name)?.observe(&ctx).await?);
        }
    }
    Ok(())
}

/// Brings the drill's own ledger up to a later observation: nothing else is written to a component meanwhile.
fn catch_up(whole: &mut Observation, later: Observation) {
    whole.ledger = later.ledger;
    if let Some(part) = later.parts.get(LEDGER) {
        whole.parts.insert(LEDGER.into(), part.clone());
    }
}

/// What users see: the server's own complaint, or the first question of the suite that gets another answer.
async fn symptom(ctx: &Context, world: &World<'_>, name: &str) -> Result<String> {
    let service = world.service(name)?;
    if let Some(complaint) = service.symptom(ctx).await {
        return Ok(complaint);
    }
    let answers = service.smoke(ctx, &world.component(name)?.smoke).await?;
    let wrong = answers.into_iter().find(|answer| !answer.holds);
    Ok(wrong.map_or_else(String::new, |wrong| wrong.in_words()))
}

/// At the worst moment the next backup has nearly completed: the strike comes after its projected duration. Where several
/// components are struck at once, none of their backups has: it comes after the shortest of them.
fn worst_moment(terms: &Terms<'_>, evidence: &Evidence) -> Duration {
    let DrillKind::Scenario {
        at: StrikeTime::Worst,
        ..
    } = &terms.drill.kind
    else {
        return Duration::ZERO;
    };
    let mut delays: BTreeMap<&str, Duration> = BTreeMap::new();
    for backup in terms.backups() {
        if let Some(seconds) = figures::worst_delay(evidence, terms, &backup.name) {
            let longest = delays.entry(&backup.component).or_default();
            *longest = (*longest).max(Duration::from_secs_f64(seconds));
        }
    }
    delays.into_values().min().unwrap_or_default()
}

/// The mirror runs once more on the emptied source, as its schedule would have it: it must refuse.
async fn guard(
    ctx: &Context,
    world: &World<'_>,
    terms: &Terms<'_>,
    component: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    let source = world.service(component)?;
    let backups: Vec<&Backup> = terms
        .backups()
        .into_iter()
        .filter(|backup| backup.component == component)
        .collect();
    for backup in backups {
        let fact = backup::take(
            ctx,
            world,
            backup,
            backup::Content::Source(source.as_ref()),
            0,
            backup::Look::Skip,
            None,
        )
        .await?;
        evidence.guards.push(fact);
    }
    Ok(())
}
