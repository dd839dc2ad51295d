//! A run of drills from services to its last report: what `redrill drill`, `redrill verify` and `redrill gate --run` share.
//!
//! What goes wrong while telling (a full disk, a webhook that hangs) is said on standard error and changes no verdict.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::drill::Format;
use crate::announce::{self, News};
use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId, Secrets};
use crate::drill::runner::{self, Run, Samples};
use crate::drill::verify::Task;
use crate::drill::{self, floor::Floor, stock::Stock};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::history::{self, History};
use crate::origin::Origin;
use crate::outcome::DrillResult;
use crate::plan::{Drill, Shard};
use crate::provision::choose::{self, Mode};
use crate::record::{Record, Start};
use crate::report::{self, progress::Progress, terminal};
use crate::seal;
use crate::suite::{Site, Suite};

/// How anything is run.
#[derive(Debug, Clone, Args)]
pub(super) struct Setting {
    /// Where services come from
    #[arg(long, value_enum, default_value = "auto", env = "REDRILL_SERVICES")]
    services: Services,
    /// Keep the run's directory (repositories, data, staging) for a look at it; servers are stopped all the same
    #[arg(long)]
    keep: bool,
    /// Sign the record with this private key (ed25519, PEM), for `redrill verify-evidence` and the gate
    #[arg(long, value_name = "KEY", env = "REDRILL_SIGN")]
    sign: Option<PathBuf>,
    /// Why only local services will do, where that is so.
    #[arg(skip)]
    beside: Option<&'static str>,
}

/// How drills are run.
#[derive(Debug, Args)]
pub(super) struct How {
    #[command(flatten)]
    pub(super) setting: Setting,
    /// The seed of everything left to chance: the same seed gives the same data and the same timeline
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How much data, 1 being the suite's normal size
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub(super) scale: f64,
    /// How many drills run at once [default: 2, or 1 on one processor]; what is timed runs alone all the same
    #[arg(long, hide_default_value = true, default_value_t = runner::usual_jobs(), value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) jobs: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Services {
    /// Containers when an engine answers and the images are there, else local
    Auto,
    /// Server programs of this machine, and the embedded S3 store
    Local,
    /// Containers
    Containers,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("expected a number above 0, such as 0.1 or 4".to_owned()),
    }
}

impl Setting {
    /// The same with local services, where there is a reason why only they will do.
    pub(super) fn locally(&self, beside: Option<&'static str>) -> Result<Self> {
        if let (Some(_), Services::Containers) = (beside, self.services) {
            choose::pgbackrest("containers")?;
        }
        Ok(Self {
            beside,
            ..self.clone()
        })
    }

    /// The flags that give the same again.
    pub(super) fn again(&self) -> String {
        let services = self.services.to_possible_value();
        let services = services.map(|value| value.get_name().to_owned());
        format!("--services {}", services.unwrap_or_default())
    }
}

impl How {
    /// The flags that give the same again.
    pub(super) fn again(&self) -> String {
        let (seed, scale) = (self.seed, self.scale);
        format!("{} --seed {seed} --scale {scale}", self.setting.again())
    }
}

/// What is run, and where it is told.
pub(super) struct Order<'a> {
    pub suites: &'a [Suite],
    pub drills: &'a [Drill],
    pub setting: &'a Setting,
    /// How many drills run at once.
    pub jobs: u16,
    /// The part of the suites' drills that these are.
    pub shard: Option<Shard>,
    /// The artifact that somebody gives, where one is verified.
    pub task: Option<&'a Task<'a>>,
    /// Why no drill of it can begin, where that is known already.
    pub cannot: Option<&'a Error>,
    /// What must not be seen, as far as it is known by now.
    pub secrets: Secrets,
    /// The reports folder.
    pub out: &'a Path,
    /// The command that runs the same again.
    pub command: String,
    pub quiet: bool,
}

/// A run that has been told.
pub(super) struct Done {
    pub record: Record,
    /// Where its report is.
    pub report: PathBuf,
    /// What the program ends with.
    pub exit: Exit,
    site: Site,
    shard: Option<Shard>,
    news: News,
    /// What ran before it.
    before: History,
}

/// Runs the drills and writes record, reports, evidence and history.
pub(super) async fn carry_out(order: Order<'_>, cancel: CancellationToken) -> Result<Done> {
    let setting = order.setting;
    // Read before anything starts: a mistake in it is told before hours have passed.
    let site = Site::load()?;
    let key = setting.sign.as_deref().map(seal::Key::read).transpose()?;
    let started = SystemClock.now();
    let id = RunId::fresh(started);
    let folder = order.out.join(id.as_str());
    std::fs::create_dir_all(&folder).map_err(|error| {
        Error::usage(format!(
            "the reports folder {} cannot be written: {error}",
            order.out.display()
        ))
        .hint("name another one with --out DIR")
    })?;
    let logs = folder.join("logs");
    let ctx = Context::new(id.clone(), logs.clone(), logs, cancel.clone())?;
    let mode = match setting.services {
        Services::Auto if setting.beside.is_some() => Mode::Local,
        Services::Auto => Mode::Auto,
        Services::Local => Mode::Local,
        Services::Containers => Mode::Containers,
    };
    let chosen = match order.cannot {
        Some(why) => Err(why.clone()),
        None => {
            let needs = choose::needs(order.suites, order.drills);
            choose::choose(&ctx, mode, &needs).await
        }
    };
    if let Err(error) = &chosen
        && !is_told(error)
    {
        return Err(error.clone());
    }
    let reason = match (&chosen, setting.services, setting.beside) {
        (Err(why), ..) => why.message(),
        (Ok(_), Services::Auto, Some(beside)) => beside.to_owned(),
        (Ok(chosen), ..) => chosen.reason.clone(),
    };
    let progress = Progress::stderr(order.quiet);
    let mut book = Book {
        record: Record::new(&Start {
            run: &id,
            at: started,
            mode: chosen
                .as_ref()
                .map_or("none", |chosen| chosen.provisioner.mode()),
            reason: &reason,
            command: order.command,
            suites: order.suites,
            drills: order.drills,
            origin: &Origin::here(&ctx, order.out).await,
        }),
        drills: order.drills,
        secrets: order.secrets.clone(),
        stood: BTreeSet::new(),
        folder: folder.clone(),
        trouble: Trouble::default(),
    };
    book.write();
    let ran = match chosen {
        Err(why) => Err(why),
        Ok(chosen) => {
            let stock = Stock::of(order.suites, order.drills);
            let run = Run {
                id: id.clone(),
                suites: order.suites,
                drills: order.drills,
                provisioner: chosen.provisioner.as_ref(),
                task: order.task,
                secrets: order.secrets,
                folder: folder.clone(),
                jobs: usize::from(order.jobs),
                floor: Floor::default(),
                stock: &stock,
                samples: &Samples::default(),
                keep: setting.keep,
                observer: &progress,
                cancel: cancel.clone(),
            };
            let ran = runner::run(&run, &mut |result| book.take(&result)).await;
            ran.and(stock.clear().await)
        }
    };
    let interrupted = cancel.is_cancelled();
    let mut left = Exit::Passed;
    if let Err(why) = ran {
        if !interrupted {
            // A run that nobody hears of is no run: what could not begin is told as what ran.
            for (suite, drill) in book.missing(order.suites) {
                book.take(&drill::not_begun(suite, drill, &id, &why));
            }
            left = match why.kind() {
                Kind::Defect => Exit::Defect,
                _ => Exit::Undetermined,
            };
        }
        if why.kind() != Kind::Interrupted {
            book.trouble.all(vec![why]);
        }
    }
    let Book {
        mut record,
        stood,
        mut trouble,
        ..
    } = book;
    let before = trouble.over(History::read(order.out)).unwrap_or_default();
    history::judge(&mut record, &before, order.suites);
    record.told_secrets(&stood);
    record.end(SystemClock.now(), interrupted);
    let mut exit = record.exit().worse(left);
    let written = trouble.over(report::write(&record, &folder));
    if let Some(key) = &key {
        let signed = seal::sign(&folder.join(report::RECORD), key);
        if written.is_none() || trouble.over(signed).is_none() {
            // A signature was asked for, and there is none.
            exit = exit.worse(Exit::Undetermined);
        }
    }
    let notes = trouble.over(history::update(order.out));
    let series = trouble.over(History::read(order.out)).unwrap_or_default();
    let series = series.of_drills(&record);
    trouble.all(report::publish(&record, &series, &folder));
    trouble.tell();
    for note in notes.unwrap_or_default() {
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    Ok(Done {
        report: folder.join(report::REPORT),
        news: News::of(&record, &before),
        before,
        shard: order.shard,
        site,
        record,
        exit,
    })
}

/// The record of a run, while there are drills to come.
struct Book<'a> {
    record: Record,
    drills: &'a [Drill],
    secrets: Secrets,
    /// Secrets that stood in what it says of the run.
    stood: BTreeSet<String>,
    folder: PathBuf,
    trouble: Trouble,
}

impl<'a> Book<'a> {
    fn take(&mut self, result: &DrillResult) {
        self.record.push(result);
        self.record.arrange(self.drills);
        self.write();
    }

    /// Writes it and its report, without secrets.
    fn write(&mut self) {
        let stood = self.trouble.over(self.record.hide(&self.secrets));
        self.stood.extend(stood.into_iter().flatten());
        self.trouble.over(report::write(&self.record, &self.folder));
    }

    /// The drills that have not ended, with their suites.
    fn missing(&self, suites: &'a [Suite]) -> Vec<(&'a Suite, &'a Drill)> {
        let ended = |drill: &Drill| self.record.drills.iter().any(|it| it.id == drill.id);
        let missing = self.drills.iter().filter(|drill| !ended(drill));
        let suite = |drill: &Drill| suites.iter().find(|suite| suite.name == drill.suite);
        missing
            .filter_map(|drill| Some((suite(drill)?, drill)))
            .collect()
    }
}

/// Whether what keeps a run from beginning is told as what came of one is: everything but a mistake in what was asked for,
/// which whoever made it sees at once, and an interruption.
pub(super) fn is_told(error: &Error) -> bool {
    !matches!(
        error.kind(),
        Kind::Usage | Kind::Refused | Kind::NothingRan | Kind::Interrupted
    )
}

impl Done {
    /// Prints the result, and tells those who asked to be told. What goes wrong over either changes no verdict: a reader that
    /// went away, or a full disk behind standard output, keeps nobody from hearing of it.
    pub fn tell(&self, format: Format, quiet: bool) -> Exit {
        let mut out = std::io::stdout().lock();
        let printed = match format {
            Format::Json => terminal::print_json(&self.record, &mut out),
            Format::Human => {
                let report = self.report.display().to_string();
                let screen = terminal::Screen::stdout();
                terminal::print(&self.record, &report, quiet, screen, &mut out)
            }
        };
        self.announce();
        if let Err(error) = printed {
            let _ = writeln!(std::io::stderr(), "error: {error}");
        }
        self.exit
    }

    /// Tells those who asked to be told.
    pub fn announce(&self) {
        for error in announce::all(
            &self.site,
            &self.record,
            &self.before,
            self.shard,
            &self.news,
        ) {
            let _ = writeln!(std::io::stderr(), "error: {error}");
        }
    }
}

/// What went wrong while telling, each thing once.
#[derive(Default)]
struct Trouble(Vec<String>);

impl Trouble {
    fn over<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.all(vec![error])).ok()
    }

    fn all(&mut self, errors: Vec<Error>) {
        for error in errors {
            let text = error.to_string();
            if !self.0.contains(&text) {
                self.0.push(text);
            }
        }
    }

    fn tell(&self) {
        for error in &self.0 {
            let _ = writeln!(std::io::stderr(), "error: {error}");
        }
    }
}
