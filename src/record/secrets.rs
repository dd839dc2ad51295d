//! Secrets in what a record says. Every report, message and signature comes from the record, so that what is not in it is in
//! none of them.
//!
//! Not here: secrets in the logs of a drill, which its own check `secrets` looks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::format::*;
use crate::context::Secrets;
use crate::error::{Doing, Result};
use crate::suite::Check;

/// The fields that hold words, and no name that something else refers to.
const WORDS: [&str; 7] = [
    "message", "remedy", "command", "error", "title", "reason", "symptom",
];

impl Record {
    /// Puts the name of a secret wherever its value stands in words, and fails the check `secrets` of each drill that had one.
    /// Returns the names of those that stood outside of any drill, for [`Record::told_secrets`].
    pub fn hide(&mut self, secrets: &Secrets) -> Result<BTreeSet<String>> {
        let search = Search {
            secrets,
            known: secrets.all(),
        };
        let mut value = serde_json::to_value(&*self).doing("search the record for secrets")?;
        let mut told = Vec::new();
        for (drill, value) in self
            .drills
            .iter()
            .zip(value["drills"].as_array_mut().into_iter().flatten())
        {
            let mut found = BTreeSet::new();
            search.go_through(value, "", &mut found);
            told.push((drill.id.clone(), found));
        }
        // What the drills said is not searched again.
        let drills = value["drills"].take();
        let mut found = BTreeSet::new();
        search.go_through(&mut value, "", &mut found);
        value["drills"] = drills;
        *self = serde_json::from_value(value).doing("search the record for secrets")?;
        for (drill, found) in told {
            self.leaked(&drill, &found);
        }
        Ok(found)
    }

    /// Fails the check `secrets` of every drill: secrets stood in what the record says of the run.
    pub fn told_secrets(&mut self, found: &BTreeSet<String>) {
        let drills: Vec<String> = self.drills.iter().map(|drill| drill.id.clone()).collect();
        for drill in drills {
            self.leaked(&drill, found);
        }
    }

    fn leaked(&mut self, drill: &str, found: &BTreeSet<String>) {
        let finding = |name: &String| {
            Finding {
            kind: "secret-leaked".to_owned(),
            severity: Severity::Error,
            message: format!("{name} stood readable in the record of the run"),
            remedy: "change the secret, and hand it over by environment or standard input; where it stood in words, its name stands now"
                .to_owned(),
            subject: String::new(),
        }
        };
        let mut findings: Vec<Finding> = found.iter().map(finding).collect();
        let known = self.drills.iter().find(|known| known.id == drill);
        let known = known.into_iter().flat_map(|drill| &drill.checks);
        let known: Vec<&Finding> = known.flat_map(|check| &check.findings).collect();
        findings.retain(|finding| !known.contains(&finding));
        if !findings.is_empty() {
            let check = CheckRecord {
                id: Check::Secrets.id().to_owned(),
                test: None,
                verdict: Verdict::Failed,
                seconds: 0.0,
                observed: findings.len() as u64,
                findings,
            };
            self.add(drill, check);
        }
    }
}

/// Characters from which on a secret is no part of a word.
const SHORT: usize = 8;

struct Search<'a> {
    secrets: &'a Secrets,
    known: Vec<(String, String)>,
}

impl Search<'_> {
    fn look(&self, text: &str, found: &mut BTreeSet<String>) {
        for (name, value) in &self.known {
            if tells(text, value) {
                found.insert(name.clone());
            }
        }
    }

    fn go_through(&self, value: &mut Value, field: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                self.look(text, found);
                if WORDS.contains(&field) {
                    *text = self.secrets.hide(text);
                }
            }
            Value::Array(all) => all
                .iter_mut()
                .for_each(|one| self.go_through(one, field, found)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.go_through(value, name, found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether a text tells a secret. A short one is a part of many words, and is looked for as a whole one.
fn tells(text: &str, secret: &str) -> bool {
    let is_short = secret.chars().count() < SHORT;
    let of_a_word = |at: Option<char>| is_short && at.is_some_and(char::is_alphanumeric);
    let mut found = text.match_indices(secret).filter(|_| !secret.is_empty());
    found.any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + secret.len()..]);
        !of_a_word(before.chars().next_back()) && !of_a_word(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn a_secret_in_words_fails_the_drill_that_told_it_and_is_shown_by_its_name() {
        let secrets = Secrets::default();
        secrets.register("password of db", "hunter2-\"quoted\"");
        let mut record = sample::green();
        let clean = record.clone();
        assert!(record.hide(&secrets).expect("searched").is_empty());
        assert_eq!(record, clean, "where there is none nothing changes");

        record.drills[1].steps[0].command = "pg_dump --password=hunter2-\"quoted\"".to_owned();
        for _ in 0..2 {
            assert!(record.hide(&secrets).expect("searched").is_empty());
            assert_eq!(record.drills[1].verdict, Verdict::Failed);
            assert_eq!(record.drills[0].verdict, Verdict::Passed);
            let failed = record.drills[1].checks.iter();
            let failed: Vec<_> = failed.filter(|it| it.verdict == Verdict::Failed).collect();
            assert_eq!((failed.len(), failed[0].id.as_str()), (1, "secrets"));
        }
        assert_eq!(record.exit(), crate::exit::Exit::Failed);
        let json = record.to_json().expect("json");
        assert!(json.contains("--password=<password of db>") && !json.contains("hunter2"));
        Record::from_json(&json).expect("agrees with itself");
    }

    #[test]
    fn a_short_secret_is_told_as_a_word_and_not_as_a_part_of_one() {
        assert!(tells("psql --password=test --host=h", "test"));
        assert!(!tells("10/10 tests passed, the latest one", "test"));
        assert!(tells("tests, and then test", "test"));
        assert!(tells("xhunter2-quotedx", "hunter2-quoted"));
        assert!(!tells("anything", ""));
        let secrets = Secrets::default();
        secrets.register("password of the live source", "tests");
        let mut record = sample::green();
        assert!(
            record.hide(&secrets).expect("searched").is_empty(),
            "a field's name"
        );
    }

    #[test]
    fn a_secret_in_the_command_of_the_run_fails_every_drill() {
        let secrets = Secrets::default();
        secrets.register("password of db", "hunter2");
        let mut record = sample::green();
        record.command += " --lineage hunter2";
        let found = record.hide(&secrets).expect("searched");
        assert_eq!(found.len(), 1);
        assert!(!record.command.contains("hunter2"));
        record.told_secrets(&found);
        assert!(
            record
                .drills
                .iter()
                .all(|drill| drill.verdict == Verdict::Failed)
        );
    }
}
