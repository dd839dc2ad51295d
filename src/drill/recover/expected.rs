//! What a recovery must bring back, from the harness's own memory of the source and never from the artifact.

use super::Recovery;
use crate::evidence::{BackupFact, Observation, RecoveryFact};
use crate::suite::RecoveryTarget;

/// The source as it was at the moment that the recovery goes back to.
pub(super) fn expected(recovery: &Recovery<'_, '_>, fact: &RecoveryFact) -> Option<Observation> {
    let whole = recovery
        .strike()
        .and_then(|strike| strike.whole.get(&recovery.component.name));
    let mut backups = recovery.candidates.iter();
    let backup = backups.find(|backup| backup.name == fact.backup);
    let archives = backup.is_some_and(|b| b.method.archives())
        && recovery.scenario.restore.target != RecoveryTarget::Immediate;
    let everything = fact.is_restarted() || (archives && recovery.has_a_server());
    if let (true, Some(whole)) = (everything, whole) {
        return Some(whole.clone());
    }
    let taken = taken(recovery, fact);
    let archived = recovery
        .known
        .archives
        .iter()
        .rev()
        .find(|archived| archived.backup == fact.backup && archived.error.is_none())
        .filter(|_| archives)
        .filter(|archived| taken.is_none_or(|taken| taken.at < archived.at));
    let mut expected = match archived {
        Some(archived) => archived.source.clone(),
        None => taken.and_then(|taken| taken.source.clone()),
    };
    if let (Some(expected), Some(first)) = (&mut expected, recovery.before.first()) {
        // The definitions are those of the moment when they were dumped.
        let schema = last_of(recovery, &first.name).and_then(|fact| fact.source.as_ref());
        expected.catalogue = schema
            .map(|schema| schema.catalogue.clone())
            .unwrap_or_default();
    }
    expected
}

/// The run that made the artifact: the last of its backup, unless that was skipped.
fn taken<'e>(recovery: &Recovery<'e, '_>, fact: &RecoveryFact) -> Option<&'e BackupFact> {
    if fact.skipped.is_empty() {
        return last_of(recovery, &fact.backup);
    }
    let mut all = recovery.known.backups.iter();
    all.find(|taken| taken.backup == fact.backup && taken.artifact == fact.artifact)
}

fn last_of<'e>(recovery: &Recovery<'e, '_>, backup: &str) -> Option<&'e BackupFact> {
    let mut all = recovery.known.backups.iter().rev();
    all.find(|fact| fact.backup == backup)
}
