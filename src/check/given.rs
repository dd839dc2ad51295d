//! An artifact that somebody else made: is it of the right time, does the server have what it needs, does it hold what it
//! should, and does anything show that it does?

use chrono::TimeDelta;

use super::{Facts, Terms, unobserved};
use crate::clock::readable;
use crate::evidence::{Baseline, ClusterFact, GivenFact, Held, NeedsFact, Observation, SmokeFact};
use crate::outcome::{Finding, Outcome};
use crate::plan::Asked;
use crate::suite::{Check, Drop, Engine, Method};

/// How far clocks of two machines may be apart.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// How many differences of one kind are named before the rest is counted.
const NAMED: usize = 5;

/// The checks that a given artifact is judged by.
pub(super) fn owes(terms: &Terms<'_>, asked: &Asked, check: Check) -> bool {
    let method = terms.backups().first().map(|backup| &backup.method);
    let engine = terms
        .components()
        .next()
        .map(|component| component.engine());
    match check {
        Check::Readable
        | Check::Fresh
        | Check::TargetEmpty
        | Check::Restore
        | Check::Proven
        | Check::Secrets
        | Check::Executed
        | Check::RecordBound
        | Check::Teardown => true,
        Check::Needs => matches!(method, Some(Method::PgDump(_))),
        Check::Replay | Check::Integrity => method.is_some_and(Method::archives),
        Check::Ties | Check::Sequences => engine == Some(Engine::Postgres),
        Check::Smoke => terms
            .components()
            .any(|component| component.questions() > 0),
        Check::Baseline => asked.baseline,
        Check::Live => asked.live,
        Check::Artifact
        | Check::Size
        | Check::Mirror
        | Check::MassDelete
        | Check::Identity
        | Check::Content
        | Check::Catalogue
        | Check::Expiry
        | Check::Metadata
        | Check::Release
        | Check::Rpo
        | Check::Rto
        | Check::Retention
        | Check::Encryption => false,
    }
}

fn given<'a>(facts: &Facts<'a>) -> Option<&'a GivenFact> {
    facts.evidence.given.as_ref()
}

pub(super) fn fresh(facts: &Facts<'_>) -> Outcome {
    let Some(given) = given(facts) else {
        let finding = unobserved(facts, "the artifact was not found");
        return Outcome::of(Check::Fresh, 0, vec![finding]);
    };
    let allowed = facts.terms.asked().and_then(|asked| asked.max_age);
    // What is replayed onto a base backup is newer than that.
    let replayed = facts.recoveries().filter_map(|it| it.replay.as_ref());
    let last_commit = replayed.filter_map(|replay| replay.last_commit).max();
    let Some(at) = given.taken_at.max(last_commit) else {
        let message =
            "the content does not say when it was made, and file dates only say when it was copied"
                .to_owned();
        let remedy = "pg_dump writes the time into custom, directory and tar dumps, and into plain ones with --verbose";
        let finding = match allowed {
            Some(_) => Finding::unknown("no-content-time", message, remedy),
            None => Finding::warning("no-content-time", message, remedy),
        };
        return Outcome::of(Check::Fresh, 1, vec![finding]);
    };
    let age = given.read_at - at;
    let mut findings = Vec::new();
    if age < -SKEW {
        findings.push(Finding::error(
            "from-the-future",
            format!(
                "the content says that it was made at {}, which is {} after it was read",
                at.to_rfc3339(),
                readable((-age).as_seconds_f64())
            ),
            "set the clock of the machine that backs up; if it keeps another time zone, name that with --zone",
        ));
    }
    if let Some(allowed) = allowed.filter(|allowed| age.as_seconds_f64() > allowed.as_secs_f64()) {
        findings.push(Finding::error(
            "too-old",
            format!(
                "the content is of {}: {} old, and {} are allowed",
                at.to_rfc3339(),
                readable(age.as_seconds_f64()),
                readable(allowed.as_secs_f64())
            ),
            "see why no newer backup is there: the job that writes it, and what copies it here",
        ));
    }
    findings.extend(given.left.iter().map(|(what, why)| {
        Finding::warning(
            "artifact-skipped",
            format!("{what} was left: {why}"),
            "find out why it is not whole: the next restore will lack what only it holds",
        )
    }));
    Outcome::of(Check::Fresh, 1, findings)
}

/// Whether the server lacks what the artifact cannot be restored without.
pub(super) fn lacks(needs: &NeedsFact) -> bool {
    needs.roles.len() + needs.extensions.len() > 0
}

pub(super) fn needs(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let Some(needs) = &recovery.needs else {
            findings.push(unobserved(facts, "the server was not asked what it has"));
            continue;
        };
        // That nothing is named has been established too.
        observed += needs.named.max(1);
        if !needs.roles.is_empty() {
            findings.push(Finding::error(
                "role-missing",
                format!("the artifact names roles that are not there: {}", needs.roles.join(", ")),
                "give the cluster's roles (--globals FILE, by pg_dumpall --globals-only), have them created without rights (--create-roles), \
                 or restore without owners and grants (--no-owner --no-acl)",
            ));
        }
        if !needs.extensions.is_empty() {
            findings.push(Finding::error(
                "extension-missing",
                format!(
                    "the artifact needs extensions that the server does not have: {}",
                    needs.extensions.join(", ")
                ),
                "install their packages beside the server (apt-cache search postgresql-), or name an image that has them in REDRILL_IMAGE_POSTGRES",
            ));
        }
        if !needs.created.is_empty() {
            findings.push(Finding::warning(
                "role-created",
                format!("roles were created without any right, as asked: {}", needs.created.join(", ")),
                "back the roles up too, with pg_dumpall --globals-only: a restore elsewhere needs them",
            ));
        }
    }
    Outcome::of(Check::Needs, observed, findings)
}

pub(super) fn baseline(facts: &Facts<'_>) -> Outcome {
    let what = "the last verified one";
    let known = given(facts).and_then(|given| given.baseline.as_ref());
    if let (Some(given), Some(Ok(baseline))) = (given(facts), known)
        && let Some(folder) = elsewhere(given, baseline)
    {
        let finding = Finding::unknown(
            "not-compared",
            format!(
                "{what} of this name (run {}) lay in {folder}, and this one lies in {}: they may be of two systems",
                baseline.run, given.folder
            ),
            "say what each is a backup of, with --lineage NAME; if it only moved, leave the comparison out once, with --no-baseline",
        );
        return Outcome::of(Check::Baseline, 1, vec![finding]);
    }
    let held = known.map(|it| {
        it.as_ref()
            .map(|baseline| (&baseline.held, format!("run {}", baseline.run)))
    });
    let mut outcome = compare(facts, Check::Baseline, held, what);
    let cluster = given(facts).and_then(|given| given.cluster.as_ref());
    let uncounted = cluster.into_iter().flat_map(|it| &it.uncounted);
    let untold = uncounted.filter(|_| known.is_some()).map(|(database, why)| {
        Finding::unknown(
            "not-compared",
            format!("the rows of database {database} could not be counted: {why}"),
            "see the drill's log for the words of the server; the check integrity says whether its files are sound",
        )
    });
    let findings = outcome.findings.into_iter().chain(untold).collect();
    outcome = Outcome::of(Check::Baseline, outcome.observed, findings);
    if let Some(Ok(baseline)) = known {
        outcome.findings.extend(drifted(facts, baseline, &outcome));
    }
    outcome
}

/// The folder of a baseline that is of another one.
pub(super) fn elsewhere<'b>(given: &GivenFact, baseline: &'b Baseline) -> Option<&'b String> {
    let folder = baseline.folder.as_ref()?;
    (!given.is_named && *folder != given.folder).then_some(folder)
}

/// What is less than the most that was there in the last runs, and is within what may be lost from one to the next.
fn drifted(facts: &Facts<'_>, baseline: &Baseline, outcome: &Outcome) -> Vec<Finding> {
    let asked = facts.terms.asked();
    let drop = asked.map_or_else(Drop::default, |asked| asked.drop);
    let mut found = Vec::new();
    for recovery in facts.recoveries() {
        if let (Some(restored), Some(engine)) = (
            &recovery.restored,
            facts.terms.engine_of(&recovery.component),
        ) {
            let (most, got) = comparable(facts, &baseline.most, restored, engine);
            found.extend(fewer(&most, &got, "the most of the last runs", drop));
        }
    }
    let told = |kind| outcome.findings.iter().any(|it| it.kind == kind);
    found.retain(|finding| !told(finding.kind));
    let warning = |finding: Finding| Finding::warning("drifted", finding.message, finding.remedy);
    found.into_iter().map(warning).collect()
}

pub(super) fn live(facts: &Facts<'_>) -> Outcome {
    let known = given(facts).and_then(|given| given.live.as_ref());
    let known = known.map(|it| it.as_ref().map(|held| (held, "it".to_owned())));
    compare(facts, Check::Live, known, "the live source")
}

/// What came back beside what is known of the same data; less of it is a finding.
fn compare(
    facts: &Facts<'_>,
    check: Check,
    known: Option<Result<(&Held, String), &String>>,
    what: &str,
) -> Outcome {
    let (held, place) = match known {
        Some(Ok(known)) => known,
        Some(Err(words)) => {
            let finding = Finding::unknown(
                "not-compared",
                format!("{what} could not be read: {words}"),
                "mend this, or compare with something else: a question with a known answer (--ask FILE)",
            );
            return Outcome::of(check, 1, vec![finding]);
        }
        None => {
            let finding = unobserved(facts, &format!("{what} was not looked at"));
            return Outcome::of(check, 0, vec![finding]);
        }
    };
    let drop = facts
        .terms
        .asked()
        .map_or_else(Drop::default, |asked| asked.drop);
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let (Some(restored), Some(engine)) = (
            &recovery.restored,
            facts.terms.engine_of(&recovery.component),
        ) else {
            findings.push(unobserved(facts, "nothing came back to compare"));
            continue;
        };
        let (held, got) = match check {
            Check::Baseline => comparable(facts, held, restored, engine),
            // A live source is one database.
            _ => (held.clone(), Held::of(restored, engine)),
        };
        observed += (held.rows.len() as u64).max(u64::from(held.bytes + held.objects > 0));
        let against = format!("{what} ({place})");
        findings.extend(fewer(&held, &got, &against, drop));
    }
    Outcome::of(check, observed, findings)
}

/// What an earlier one held, and what came back of this one, without the databases that could not be counted now.
fn comparable(
    facts: &Facts<'_>,
    earlier: &Held,
    restored: &Observation,
    engine: Engine,
) -> (Held, Held) {
    let mut earlier = earlier.clone();
    let Some(given) = given(facts) else {
        return (earlier, Held::of(restored, engine));
    };
    let uncounted = given.cluster.iter().flat_map(|it| &it.uncounted);
    for (database, _) in uncounted {
        let own = ClusterFact::name(database, "");
        earlier.rows.retain(|name, _| !name.starts_with(&own));
        // Their size and their parts are in what follows.
        (earlier.bytes, earlier.objects) = (0, 0);
    }
    (earlier, given.held(restored, engine))
}

fn fewer(held: &Held, got: &Held, against: &str, drop: Drop) -> Vec<Finding> {
    let remedy = "find out what left the source, and when; if it was meant to, say how much less is allowed ([drop] in --ask FILE)";
    let dropped = |before: u64, now: u64, share: f64| (now as f64) < before as f64 * (1.0 - share);
    let mut rows = Vec::new();
    for (name, before) in &held.rows {
        match got.rows.get(name) {
            None => rows.push(format!("{name} is gone (it had {before})")),
            Some(now) if dropped(*before, *now, drop.rows) => {
                rows.push(format!("{name} has {now}, and had {before}"));
            }
            Some(_) => {}
        }
    }
    let mut findings = Vec::new();
    if !rows.is_empty() {
        let more = match rows.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        rows.truncate(NAMED);
        findings.push(Finding::error(
            "rows-dropped",
            format!(
                "fewer rows than {against}, by more than {}: {}{more}",
                percent(drop.rows),
                rows.join("; ")
            ),
            remedy,
        ));
    }
    // A source that is only counted has no size of a restored database.
    if held.bytes > 0 && dropped(held.bytes, got.bytes, drop.size) {
        findings.push(Finding::error(
            "size-dropped",
            format!(
                "{} bytes, and {against} had {}: less by more than {}",
                got.bytes,
                held.bytes,
                percent(drop.size)
            ),
            remedy,
        ));
    }
    if dropped(held.objects, got.objects, drop.objects) {
        findings.push(Finding::error(
            "objects-dropped",
            format!(
                "{} objects, and {against} had {}: fewer by more than {}",
                got.objects,
                held.objects,
                percent(drop.objects)
            ),
            remedy,
        ));
    }
    findings
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

pub(super) fn proven(facts: &Facts<'_>) -> Outcome {
    let Some(given) = given(facts) else {
        let finding = unobserved(facts, "the artifact was not found");
        return Outcome::of(Check::Proven, 0, vec![finding]);
    };
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let (Some(restored), Some(engine)) = (
            &recovery.restored,
            facts.terms.engine_of(&recovery.component),
        ) else {
            findings.push(unobserved(facts, "nothing came back"));
            continue;
        };
        for (name, words) in restored.unreadable.iter().take(NAMED) {
            findings.push(Finding::error(
                "part-unreadable",
                format!("{name} cannot be read: {words}"),
                "do not go live on this restore; find the last artifact that was verified, then how this one came to differ",
            ));
        }
        observed += 1;
        let mut proofs = 0;
        let got = Held::of(restored, engine);
        // Of tables without a row, or of no file, whatever came back would do.
        let compared = |held: &Held| match engine {
            Engine::Postgres | Engine::Redis => held.rows.values().any(|rows| *rows > 0),
            Engine::Bucket => held.objects > 0,
        };
        proofs += u64::from(given.manifest && recovery.error.is_none() && compared(&got));
        proofs += u64::from(
            matches!(&given.baseline, Some(Ok(it)) if compared(&it.held) && elsewhere(given, it).is_none()),
        );
        proofs += u64::from(matches!(&given.live, Some(Ok(it)) if compared(it)));
        proofs += recovery
            .smoke
            .iter()
            .filter(|it: &&SmokeFact| it.answer.is_ok() && it.void.is_none())
            .count() as u64;
        if proofs == 0 {
            findings.push(Finding::unknown(
                "nothing-proven",
                format!("{} came back, and nothing says what it should hold", counted(&got, engine)),
                format!(
                    "give it something to be held against: questions with known answers (--ask FILE, as {}), the live source (--live-env), \
                     or an earlier run that passed",
                    question(&got, engine)
                ),
            ));
        }
    }
    Outcome::of(Check::Proven, observed, findings)
}

fn counted(held: &Held, engine: Engine) -> String {
    let rows: u64 = held.rows.values().sum();
    match engine {
        Engine::Postgres => format!("{rows} rows in {} tables", held.objects),
        Engine::Redis => format!("{rows} keys"),
        Engine::Bucket => format!("{} files", held.objects),
    }
}

/// A question that would have been a proof, for what came back.
fn question(held: &Held, engine: Engine) -> String {
    let largest = held.rows.iter().max_by_key(|(_, rows)| **rows);
    match (engine, largest) {
        (Engine::Postgres, Some((table, rows))) => {
            format!(
                "[[smoke]] ask = \"select count(*) from {}\" expect = {{ min = {rows} }}",
                table.replace('"', "\\\"")
            )
        }
        (Engine::Postgres, None) => {
            "[[smoke]] ask = \"select count(*) from public.orders\" expect = { min = 1 }".to_owned()
        }
        (Engine::Redis, _) => format!(
            "[[smoke]] ask = \"DBSIZE\" expect = {{ min = {} }}",
            held.rows.values().sum::<u64>()
        ),
        (Engine::Bucket, _) => {
            format!(
                "[[smoke]] ask = \"count\" expect = {{ min = {} }}",
                held.objects
            )
        }
    }
}

#[cfg(test)]
mod tests;
