//! Is the backup unreadable to others, and silent about secrets?

use super::{Facts, unobserved};
use crate::outcome::{Finding, Outcome};
use crate::suite::Check;

pub(super) fn encryption(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    let encrypted = facts
        .terms
        .backups()
        .into_iter()
        .filter(|backup| backup.encrypt.is_some());
    for backup in encrypted.filter(|backup| facts.only.is_none_or(|name| backup.name == name)) {
        let name = &backup.name;
        let Some(fact) = facts
            .evidence
            .encryption
            .iter()
            .find(|fact| fact.backup == *name)
        else {
            findings.push(unobserved(
                facts,
                &format!("{name}: encryption was not looked at"),
            ));
            continue;
        };
        if !fact.canary_planted {
            findings.push(Finding::unknown(
                "no-canary",
                format!(
                    "{name}: the canary was not in the source, so searching for it proves nothing"
                ),
                "see the prepare phase in the log",
            ));
            continue;
        }
        observed += fact.attempts.len() as u64 + u64::from(fact.searched_bytes > 0);
        observed += fact.searched_places;
        if !fact.declared {
            findings.push(Finding::error(
                "not-declared",
                format!("{name}: its manifest names no recipient"),
                "the backup ran without its key: check where the pipeline gets the recipient from",
            ));
        }
        for place in &fact.plaintext_files {
            findings.push(Finding::error(
                "plaintext-stored",
                format!("{name}: {place} is not ciphertext"),
                "delete it, rotate what it may have exposed, and find the branch that skipped encryption",
            ));
        }
        for place in &fact.canary_found {
            findings.push(Finding::error(
                "canary-found",
                format!("{name}: data of the source stands readable in {place}"),
                "delete it, rotate what it may have exposed, and find what wrote it",
            ));
        }
        for place in &fact.unfinished {
            findings.push(Finding::error(
                "upload-unfinished",
                format!("{name}: {place} was begun and never finished"),
                "abort it, and have the pipeline abort what it cannot finish: no listing shows its parts, no pruner removes them",
            ));
        }
        for words in &fact.unobserved {
            findings.push(Finding::unknown(
                "not-observed",
                format!("{name}: {words}"),
                "see the observe phase in the log; what was not looked at may hold anything",
            ));
        }
        if fact.searched_bytes == 0 || fact.searched_places == 0 {
            findings.push(unobserved(
                facts,
                &format!("{name}: what is stored and what is left lying was not searched"),
            ));
        }
        if fact.attempts.is_empty() {
            findings.push(unobserved(
                facts,
                &format!("{name}: no wrong key was tried"),
            ));
        }
        match &fact.opens_with_key {
            Some(Ok(())) => {}
            Some(Err(words)) => findings.push(Finding::error(
                "does-not-open",
                format!("{name}: the key that is left does not open every file to its end: {words}"),
                "an encrypted backup without its key is no backup: keep the identity in escrow and drill with that one only",
            )),
            None => findings.push(unobserved(facts, &format!("{name}: opening it was not tried"))),
        }
        for attempt in &fact.attempts {
            if !attempt.failed {
                findings.push(Finding::error(
                    "opened-wrongly",
                    format!("{name}: reading it succeeded with: {}", attempt.what),
                    "use authenticated encryption; a cipher that opens damaged data is worse than none",
                ));
            }
            if attempt.left_output {
                findings.push(Finding::error(
                    "output-left",
                    format!("{name}: reading it with {} left an output file behind", attempt.what),
                    "write to a temporary name and rename only when the last byte has been verified",
                ));
            }
        }
    }
    Outcome::of(Check::Encryption, observed, findings)
}

pub(super) fn secrets(facts: &Facts<'_>) -> Outcome {
    let search = &facts.evidence.leaks;
    let observed = if search.secrets > 0 { search.places } else { 0 };
    let findings = search
        .found
        .iter()
        .map(|leak| {
            Finding::error(
                "secret-leaked",
                format!("{} stands readable in {}", leak.what, leak.place),
                "change the secret, delete the file, and hand secrets over by environment or standard input",
            )
        })
        .collect();
    Outcome::of(Check::Secrets, observed, findings)
}

#[cfg(test)]
mod tests {
    use crate::check::trial::judged;
    use crate::evidence::{AttemptFact, EncryptionFact, Evidence};
    use crate::outcome::{Outcome, Verdict};
    use crate::suite::Check;

    const SUITE: &str = r#"
[component.db]
kind = "postgres"
[backup.hourly]
schedule = "0 * * * *"
encrypt = "age"
[scenario.lost]
strike = [{ component = "db", fault = "server-lost" }]
"#;

    fn of(fact: EncryptionFact) -> Outcome {
        let evidence = Evidence {
            encryption: vec![fact],
            ..Evidence::default()
        };
        judged(SUITE, Check::Encryption, &evidence)
    }

    fn well() -> EncryptionFact {
        let attempt = |what: &str| AttemptFact {
            what: format!("{what}, dump in offsite"),
            failed: true,
            left_output: false,
        };
        EncryptionFact {
            backup: "hourly".to_owned(),
            declared: true,
            searched_bytes: 1,
            searched_names: 1,
            searched_places: 1,
            canary_planted: true,
            opens_with_key: Some(Ok(())),
            attempts: vec![attempt("a wrong key"), attempt("no key")],
            ..EncryptionFact::default()
        }
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone_and_left_nothing_passes() {
        let outcome = of(well());
        assert_eq!((outcome.verdict, outcome.observed), (Verdict::Passed, 4));
    }

    #[test]
    fn an_upload_that_was_never_finished_fails_and_is_named() {
        let outcome = of(EncryptionFact {
            unfinished: vec!["hourly/a/1.age in offsite".to_owned()],
            ..well()
        });
        assert_eq!(outcome.verdict, Verdict::Failed);
        let [finding] = outcome.findings.as_slice() else {
            panic!("one finding: {:?}", outcome.findings);
        };
        assert_eq!(finding.kind, "upload-unfinished");
        assert!(finding.message.contains("hourly/a/1.age in offsite"));
    }

    #[test]
    fn what_was_not_tried_or_not_searched_is_undetermined() {
        let partly = [
            EncryptionFact {
                attempts: Vec::new(),
                ..well()
            },
            EncryptionFact {
                searched_places: 0,
                ..well()
            },
            EncryptionFact {
                searched_bytes: 0,
                ..well()
            },
            EncryptionFact {
                opens_with_key: None,
                ..well()
            },
            EncryptionFact {
                canary_planted: false,
                ..well()
            },
            EncryptionFact {
                unobserved: vec!["grep: Permission denied".to_owned()],
                ..well()
            },
        ];
        for fact in partly {
            let shown = format!("{fact:?}");
            assert_eq!(of(fact).verdict, Verdict::Undetermined, "{shown}");
        }
    }
}
