//! The runbook of a suite: for each disaster how it shows, and the steps of the last recovery that was drilled and
//! held, with the very commands that ran and the time each took.
//!
//! Not here: whether the recovery is good enough (see [`crate::gate`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::History;
use crate::process::quoted;
use crate::record::{DrillRecord, Record, Verdict};
use crate::suite::{App, Component, Encryption, Scenario, Suite};

use super::steps;
use super::text::{self, code, markdown, sentence};

/// Appends a line. Writing to a string cannot fail.
macro_rules! say {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($arg:tt)*) => {{ writeln!($out, $($arg)*).ok(); }};
}

/// The last drills that passed, by scenario, each with its record.
pub type Measured = BTreeMap<String, (Record, DrillRecord)>;

/// The last passed drill of each scenario of a suite, and what is wrong with the records of later ones.
pub fn measured(suite: &Suite, history: &History) -> (Measured, Vec<String>) {
    let mut measured = Measured::new();
    let mut wrong = Vec::new();
    let mut entries = history.entries(&suite.name, |_| true);
    entries.retain(|entry| entry.verdict == Verdict::Passed);
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    for scenario in &suite.scenarios {
        let id = format!("{}/{}", suite.name, scenario.name);
        let found = entries
            .iter()
            .filter(|entry| entry.drill == id)
            .find_map(|entry| {
                let record = history.sealed(entry);
                let record = record.map_err(|error| wrong.push(error.message())).ok()?;
                let drill = record.drills.iter().find(|drill| drill.id == id)?.clone();
                Some((record, drill))
            });
        measured.extend(found.map(|found| (scenario.name.clone(), found)));
    }
    (measured, wrong)
}

/// The runbook.
pub fn render(suite: &Suite, measured: &Measured) -> String {
    let mut out = String::new();
    say!(out, "# Recovery runbook: {}", markdown(&suite.title));
    say!(out);
    if !suite.description.is_empty() {
        say!(out, "{}", markdown(&suite.description));
        say!(out);
    }
    say!(
        out,
        "Written by redrill from {} and the last drill of each scenario that passed. `$WORK` is an empty directory with \
         room for the backup; names in the commands are those of the drill: put your own in their place.",
        code(&suite.path.display().to_string())
    );
    say!(out);
    before(&mut out, suite);
    for scenario in &suite.scenarios {
        say!(out, "## {}", markdown(&scenario.title));
        say!(out);
        match (&scenario.pending, measured.get(&scenario.name)) {
            (Some(why), _) => {
                say!(
                    out,
                    "**Not covered**: {}. There is no rehearsed way to recover from this.",
                    markdown(why)
                );
                say!(out);
            }
            (None, found) => {
                symptoms(&mut out, scenario, found.map(|(_, drill)| drill));
                match found {
                    Some((record, drill)) => steps(&mut out, suite, record, drill),
                    None => {
                        say!(
                            out,
                            "**No drill of this has passed yet**, so that no step can be given. Run {} first.",
                            code(&format!(
                                "redrill drill {} --only {}",
                                suite.name, scenario.name
                            ))
                        );
                        say!(out);
                    }
                }
                afterwards(&mut out, suite, scenario);
            }
        }
    }
    out
}

/// What must be at hand.
fn before(out: &mut String, suite: &Suite) {
    say!(out, "## Before you begin");
    say!(out);
    for backup in &suite.backups {
        let key = match backup.encrypt {
            Some(Encryption::Age) => {
                "; its private age key, from where it is kept apart from this system"
            }
            Some(Encryption::Aes256Cbc) => {
                "; its passphrase, from where it is kept apart from this system"
            }
            None => "",
        };
        say!(
            out,
            "- Access to {} for the backup {} of {}, taken at {} (UTC){key}.",
            backup
                .repositories
                .iter()
                .map(|it| code(it))
                .collect::<Vec<_>>()
                .join(" or "),
            code(&backup.name),
            code(&backup.component),
            code(&backup.schedule),
        );
    }
    say!(
        out,
        "- A server for each component that is lost, of its own version, with room for its data."
    );
    say!(
        out,
        "- Nobody writes to what is being recovered until it is verified."
    );
    say!(out);
}

fn symptoms(out: &mut String, scenario: &Scenario, drill: Option<&DrillRecord>) {
    say!(out, "### Symptoms");
    say!(out);
    for (component, strike) in &scenario.strikes {
        let seen = drill
            .and_then(|drill| drill.strike.as_ref())
            .and_then(|strike| strike.struck.iter().find(|it| it.component == *component))
            .filter(|it| !it.symptom.is_empty())
            .map(|it| {
                format!(
                    " In the drill it said: {}",
                    code(&text::at_most(&it.symptom, 300))
                )
            });
        say!(
            out,
            "- {}: {}.{}",
            code(component),
            strike.meaning(),
            seen.unwrap_or_default()
        );
    }
    let losses: Vec<String> = scenario
        .rpo
        .iter()
        .map(|(component, most)| {
            format!(
                "{} of {}",
                text::duration(most.as_secs_f64()),
                code(component)
            )
        })
        .collect();
    if !losses.is_empty() {
        say!(out, "- At most this may be lost: {}.", losses.join(", "));
    }
    if let Some(most) = scenario.rto {
        say!(
            out,
            "- It must be over within {}.",
            text::duration(most.as_secs_f64())
        );
    }
    say!(out);
}

fn steps(out: &mut String, suite: &Suite, record: &Record, drill: &DrillRecord) {
    say!(out, "### Steps");
    say!(out);
    let total = drill
        .rto
        .as_ref()
        .map_or("–".to_owned(), |it| text::duration(it.total_seconds));
    let projected = drill
        .rto
        .as_ref()
        .and_then(|it| it.projected.as_ref())
        .map(|it| {
            format!(
                "; at {} expect {} (projected)",
                text::size(it.bytes),
                text::duration(it.seconds)
            )
        });
    say!(
        out,
        "As drilled on {} (run {}): {total} in all{}.",
        record.started_at.format("%Y-%m-%d"),
        code(&record.run_id),
        projected.unwrap_or_default()
    );
    say!(out);
    let drilled = record.suites.iter().find(|it| it.name == suite.name);
    if drilled.is_none_or(|it| it.sha256 != suite.sha256) {
        say!(
            out,
            "**The suite was changed since**: drill it again before you rely on these steps, with {}.",
            code(&format!("redrill drill {}", suite.path.display()))
        );
        say!(out);
    }
    let own = steps::of(drill);
    let place = format!("/redrill-{}/{}", record.run_id, drill.id.replace('/', "-"));
    for (at, step) in own.iter().enumerate() {
        let command = elsewhere(&step.command, &place);
        out.push_str(&steps::one(at + 1, step, "", &command));
    }
    if own.is_empty() {
        say!(out, "The record of this drill holds no step.");
        say!(out);
    }
}

/// A command with `$WORK` in the place of the drill's own directory, wherever that was.
fn elsewhere(command: &str, place: &str) -> String {
    let mut out = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once(place) {
        let begins = before.rfind([' ', '\'', '"', '=', ':', '(', '\n']);
        out.push_str(&before[..begins.map_or(0, |at| at + 1)]);
        out.push_str("$WORK");
        rest = after;
    }
    out + rest
}

/// How to know that it worked.
fn afterwards(out: &mut String, suite: &Suite, scenario: &Scenario) {
    let struck = |component: &&Component| {
        scenario
            .strikes
            .iter()
            .any(|(name, _)| *name == component.name)
    };
    let asked: Vec<(&Component, _)> = suite
        .components
        .iter()
        .filter(struck)
        .flat_map(|component| component.smoke.iter().map(move |smoke| (component, smoke)))
        .collect();
    let apps = suite.components.iter().filter(struck);
    let apps: Vec<(&Component, &App)> = apps
        .filter_map(|component| Some((component, component.app.as_ref()?)))
        .collect();
    say!(out, "### Before it is used again");
    say!(out);
    for (component, smoke) in asked {
        say!(
            out,
            "- [ ] {} on {}: expect {}",
            sentence(&smoke.name),
            code(&component.name),
            code(&smoke.expect.to_string())
        );
        say!(out);
        out.push_str(&text::fenced(&smoke.ask, "text", "    "));
        say!(out);
    }
    for (component, app) in apps {
        say!(
            out,
            "- [ ] The application runs on the recovered {}, which its environment names, and answers {} with 2xx within {}; \
             `$APPLICATION` is its address:",
            code(&component.name),
            code(&app.ready),
            humantime::format_duration(app.deadline)
        );
        say!(out);
        let words: Vec<String> = app.command.iter().map(|word| quoted(word)).collect();
        out.push_str(&text::fenced(&words.join(" "), "sh", "    "));
        say!(out);
        for request in &app.requests {
            say!(
                out,
                "- [ ] {} of the application: expect {}",
                sentence(&request.name),
                request.expected()
            );
            say!(out);
            let get = format!("curl -f \"$APPLICATION\"{}", quoted(&request.path));
            out.push_str(&text::fenced(&get, "sh", "    "));
            say!(out);
        }
    }
    say!(out, "- [ ] Backups run again, and the next one is there.");
    say!(
        out,
        "- [ ] Archiving of the recovered server goes to a place of its own, not over the old one."
    );
    say!(
        out,
        "- [ ] The time it took and what was lost are written down."
    );
    say!(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn the_directory_of_the_drill_gives_way_to_one_of_your_own() {
        let place = "/redrill-r1/shop-lost";
        let command = "mv /tmp/redrill-r1/shop-lost/a --to='/var/x/redrill-r1/shop-lost/b c' d";
        assert_eq!(elsewhere(command, place), "mv $WORK/a --to='$WORK/b c' d");
        assert_eq!(elsewhere("psql -l", place), "psql -l");
    }

    #[test]
    fn the_steps_are_those_that_ran_with_their_times() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = sample::green();
        let run = dir.path().join(&record.run_id);
        std::fs::create_dir(&run).expect("a folder");
        record.write(&run.join("record.json")).expect("written");
        let history = History::read(dir.path()).expect("read");
        let path = std::path::Path::new("suites/deltacrown.toml");
        let text = std::fs::read_to_string(path).expect("a suite");
        let suite = crate::suite::parse(&text, path).expect("a suite");
        let (measured, wrong) = measured(&suite, &history);
        assert_eq!(wrong, Vec::<String>::new());
        let runbook = render(&suite, &measured);
        for word in [
            "# Recovery runbook: DeltaCrown",
            "## Database corruption",
            "invalid page in block 7",
            "pg_restore --dbname=deltacrown_new --jobs=4",
            "**Not covered**",
            "**No drill of this has passed yet**",
            "SELECT count(*) FROM arena.tournaments",
            // The made-up record is of another file.
            "**The suite was changed since**",
        ] {
            assert!(runbook.contains(word), "{word}: {runbook}");
        }
        let drill = &record.drills[0];
        let own = steps::of(drill);
        assert!(!own.is_empty());
        for (at, step) in own.iter().enumerate() {
            let took = text::duration(step.seconds);
            let line = format!(
                "{}. **{}** `{}` ({took})",
                at + 1,
                step.phase,
                step.component
            );
            assert!(runbook.contains(&line), "{line}: {runbook}");
        }
    }
}
