//! What a recovery must bring back, from the harness's own memory of the source and never from the artifact.

use super::Recovery;
use crate::evidence::{ArchiveFact, BackupFact, Observation, RecoveryFact};
use crate::suite::{Pick, Replays};

/// The source as it was at the moment that the recovery goes back to.
pub(super) fn expected(recovery: &Recovery<'_, '_>, fact: &RecoveryFact) -> Option<Observation> {
    let whole = recovery
        .strike()
        .and_then(|strike| strike.whole.get(&recovery.component.name));
    let mut backups = recovery.candidates.iter();
    let backup = backups.find(|backup| backup.name == fact.backup);
    let replays = backup.map(|backup| recovery.scenario.replays(backup));
    let archives = replays.is_some_and(|replays| replays != Replays::Nothing);
    let everything = fact.is_restarted() || (archives && recovery.has_a_server());
    if let (true, Some(whole)) = (everything, whole) {
        return Some(whole.clone());
    }
    let taken = taken(recovery, fact);
    let archived = ArchiveFact::last_of(recovery.known.archives.iter(), &fact.backup)
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

/// The run that made the artifact: the last of its backup, unless another was taken or that was skipped.
fn taken<'e>(recovery: &Recovery<'e, '_>, fact: &RecoveryFact) -> Option<&'e BackupFact> {
    if fact.skipped.is_empty() && recovery.scenario.pick == Pick::Newest {
        return last_of(recovery, &fact.backup);
    }
    let mut all = recovery.known.backups.iter();
    all.find(|taken| taken.backup == fact.backup && taken.artifact == fact.artifact)
}

fn last_of<'e>(recovery: &Recovery<'e, '_>, backup: &str) -> Option<&'e BackupFact> {
    let mut all = recovery.known.backups.iter().rev();
    all.find(|fact| fact.backup == backup)
}
