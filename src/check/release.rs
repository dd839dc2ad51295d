//! Does the release hold on the restored copy: do its migrations run, and does the copy answer after them?

use super::{Facts, unobserved};
use crate::outcome::{Finding, Outcome};
use crate::suite::Check;

pub(super) fn release(facts: &Facts<'_>) -> Outcome {
    let Some(release) = &facts.evidence.release else {
        let finding = unobserved(facts, "the release was not tried on a restored copy");
        return Outcome::of(Check::Release, 0, vec![finding]);
    };
    let mut findings = Vec::new();
    for migration in &release.migrations {
        if let Some(error) = &migration.error {
            findings.push(Finding::error(
                "migration-failed",
                format!("{} failed on the restored copy: {error}", migration.name),
                "mend the migration and commit it; production was not touched, and would have failed in the same way",
            ));
        }
    }
    let answers = release.smoke.as_deref().unwrap_or_default();
    for answer in answers.iter().filter(|answer| !answer.holds) {
        findings.push(Finding::error(
            "release-smoke-failed",
            format!("after the migrations, {}", answer.in_words()),
            "the migrations run, and what they leave is not what the application needs: mend them, or change the question with them",
        ));
    }
    if release.migrations.is_empty() {
        findings.push(Finding::unknown(
            "no-migration",
            "the folder of the release has no SQL file: nothing was tried",
            "name the folder that the release's migrations are in, or leave [release] out",
        ));
    }
    let observed = release.migrations.len() + answers.len();
    Outcome::of(Check::Release, observed as u64, findings)
}
