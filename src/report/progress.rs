//! What is told while drills run, on standard error: bars on a terminal, elsewhere one plain line for each drill
//! and phase, with no colour and no carriage return.
//!
//! Not here: results, which go to standard output at the end (see [`super::terminal`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::context::Phase;
use crate::event::{Event, Observer};

use super::text::{self, line};

/// An observer that tells a person.
pub struct Progress(Mutex<Manner>);

enum Manner {
    Quiet,
    Lines(Lines),
    Bars(Bars),
}

impl Progress {
    /// Bars when standard error is a terminal that can draw them, else lines; nothing when `quiet`.
    pub fn stderr(quiet: bool) -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if quiet {
            Self(Mutex::new(Manner::Quiet))
        } else if std::io::stderr().is_terminal() && !dumb {
            Self(Mutex::new(Manner::Bars(Bars::default())))
        } else {
            Self::lines(Box::new(std::io::stderr()))
        }
    }

    /// Plain lines to `out`.
    pub fn lines(out: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(Manner::Lines(Lines {
            out,
            seen: BTreeSet::new(),
        })))
    }
}

impl Observer for Progress {
    fn observe(&self, event: &Event) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Manner::Quiet => {}
            Manner::Lines(lines) => lines.tell(event),
            Manner::Bars(bars) => bars.tell(event),
        }
    }
}

/// The line for an event that is worth one in either manner.
fn sentence(event: &Event) -> Option<String> {
    match event {
        Event::RunStarted {
            run,
            drills,
            services,
        } => Some(format!(
            "run {}: {}, services: {}",
            line(run),
            text::plural(*drills as u64, "drill"),
            line(services)
        )),
        Event::DrillStarted { drill, title } => {
            Some(format!("{}: starts ({})", line(drill), line(title)))
        }
        Event::DrillEnded {
            drill,
            verdict,
            seconds,
            ..
        } => Some(format!(
            "{}: {} in {}",
            line(drill),
            verdict.name(),
            text::duration(*seconds)
        )),
        Event::Interrupted => Some("interrupted: tearing down what was started".to_owned()),
        Event::Phase { .. } | Event::Progress { .. } => None,
    }
}

struct Lines {
    out: Box<dyn Write + Send>,
    /// Phases that were told, so that each gets one line a drill.
    seen: BTreeSet<(String, Phase)>,
}

impl Lines {
    fn tell(&mut self, event: &Event) {
        let told = match event {
            Event::Phase { drill, phase, what } => self
                .seen
                .insert((drill.clone(), *phase))
                .then(|| format!("{}: {}: {}", line(drill), phase.name(), line(what))),
            other => sentence(other),
        };
        if let Some(told) = told {
            // A closed standard error must not stop a drill, nor its teardown.
            writeln!(self.out, "{told}")
                .and_then(|()| self.out.flush())
                .ok();
        }
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    run: Option<ProgressBar>,
    drills: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn tell(&mut self, event: &Event) {
        match event {
            Event::RunStarted { drills, .. } => {
                self.say(event);
                let bar = ProgressBar::new(*drills as u64).with_style(style(
                    "{bar:24} {pos}/{len} drills, {elapsed}",
                    ProgressStyle::default_bar,
                ));
                self.run = Some(self.all.add(bar));
            }
            Event::DrillStarted { drill, .. } => {
                let bar = ProgressBar::new(0).with_prefix(line(drill));
                bar.set_style(style(
                    "{spinner} {prefix} {wide_msg}",
                    ProgressStyle::default_spinner,
                ));
                let bar = match &self.run {
                    Some(run) => self.all.insert_before(run, bar),
                    None => self.all.add(bar),
                };
                bar.enable_steady_tick(Duration::from_millis(120));
                self.drills.insert(drill.clone(), bar);
            }
            Event::Phase { drill, phase, what } => {
                if let Some(bar) = self.drills.get(drill) {
                    bar.set_message(format!("{}: {}", phase.name(), line(what)));
                }
            }
            Event::Progress { drill, done, total } => {
                if let Some(bar) = self.drills.get(drill) {
                    bar.set_style(style(
                        "{spinner} {prefix} {bar:16} {pos}/{len} {wide_msg}",
                        ProgressStyle::default_bar,
                    ));
                    bar.set_length(*total);
                    bar.set_position(*done);
                }
            }
            Event::DrillEnded { drill, .. } => {
                if let Some(bar) = self.drills.remove(drill) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                self.say(event);
                if let Some(run) = &self.run {
                    run.inc(1);
                    if Some(run.position()) == run.length() {
                        run.finish_and_clear();
                    }
                }
            }
            Event::Interrupted => self.say(event),
        }
    }

    /// A line above the bars.
    fn say(&self, event: &Event) {
        if let Some(told) = sentence(event) {
            self.all.println(told).ok();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // An interrupted run leaves bars: what follows on the terminal must not mix with them.
        for bar in self.drills.values().chain(&self.run) {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str, otherwise: fn() -> ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| otherwise())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::outcome::Verdict;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn events() -> Vec<Event> {
        let phase = |what: &str| Event::Phase {
            drill: "s/d".into(),
            phase: Phase::Restore,
            what: what.into(),
        };
        vec![
            Event::RunStarted {
                run: "r1".into(),
                drills: 1,
                services: "local".into(),
            },
            Event::DrillStarted {
                drill: "s/d".into(),
                title: "A drill\u{1b}[2J\r".into(),
            },
            phase("pg_restore"),
            phase("psql"),
            Event::Progress {
                drill: "s/d".into(),
                done: 1,
                total: 2,
            },
            Event::Interrupted,
            Event::DrillEnded {
                drill: "s/d".into(),
                verdict: Verdict::Failed,
                seconds: 1.25,
                outcomes: vec![],
            },
        ]
    }

    #[test]
    fn without_a_terminal_there_is_one_plain_line_for_each_drill_and_phase() {
        let out = Shared::default();
        let progress = Progress::lines(Box::new(out.clone()));
        for event in events() {
            progress.observe(&event);
        }
        let told = String::from_utf8(out.0.lock().expect("lock").clone()).expect("text");
        assert_eq!(
            told,
            "run r1: 1 drill, services: local\n\
             s/d: starts (A drill\\u{1b}[2J)\n\
             s/d: restore: pg_restore\n\
             interrupted: tearing down what was started\n\
             s/d: failed in 1.3 s\n"
        );
    }

    #[test]
    fn bars_are_gone_when_the_run_is_over() {
        let mut bars = Bars::default();
        bars.all
            .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        for event in events() {
            bars.tell(&event);
        }
        assert!(bars.drills.is_empty());
        assert!(bars.run.as_ref().expect("a bar").is_finished());
    }
}
