//! `redrill verify`: one artifact, made by anyone → a suite of its own → run → record and report → exit code.

mod drilled;

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::drill::Format;
use super::run::{self, Order, Setting};
use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId, Secrets};
use crate::drill::verify::Task;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{Baseline, Held};
use crate::exit::Exit;
use crate::history::{Entry, History};
use crate::pipeline::given::place::{Place, Source, no_account};
use crate::pipeline::given::{self, Given, Identities, Options};
use crate::plan::Asked;
use crate::provision::reap::RunHome;
use crate::record::Verdict;
use crate::service::live::Live;
use crate::service::s3::Account;
use crate::suite::{Ask, Method, Zone};

/// The suite that the drills of given artifacts stand under in records and history.
const SUITE: &str = "verify";
/// How many earlier artifacts of its lineage one is compared with.
const BEFORE: usize = 10;
/// The scenario of its drills.
const SCENARIO: &str = "restore";

const LONG_ABOUT: &str = "\
Restore one existing backup, made by anyone, into a disposable server, and judge it.

What it is shows in how it begins: pg_dump (custom, directory, tar, plain), pg_basebackup (tar files or a directory), a repository of \
pgBackRest, Redis (RDB, append-only directory) or a tar file of files; each as it is, compressed (gzip, zstd, lz4) or encrypted by age. It is read to its end \
before any server starts: what is empty, cut or of another kind is refused there. Then a server of its version is started, it is \
restored, and what came back is held against what there is: the last artifact of its lineage that was verified, the live source, \
questions with known answers, a manifest of its own. Where nothing says what it should hold, the verdict is undetermined, and the \
report says what to ask.

Of a folder with the folders in it, or of all below an S3 prefix, the newest whole artifact is taken, by the time in its content; where \
there are backups of several things, --lineage says of which. Of a repository of \
pgBackRest it is the newest complete backup of the stanza, recovered to the end of its archived WAL.";

const AFTER_HELP: &str = "\
A file of questions (--ask), in the words of a suite:
  max_age = \"26h\"
  drop = { rows = \"10%\", size = \"20%\", objects = \"0%\" }   # how much less than before is no finding
  [[smoke]]
  ask = \"select count(*) from public.orders\"               # SQL, a command of Redis, or the path of a file
  expect = { min = 1000 }                                   # or \"1247\", or { min = 1, max = 9 }
  # Of your own application, started on the restored copy with PORT and DATABASE_URL (REDIS_URL, AWS_ENDPOINT_URL) in its environment:
  app = { command = [\"./server\"], ready = \"/health\" }     # above the first [[smoke]]
  [[smoke]]
  get = \"/api/orders/count\"                               # as curl -f; or status = 404
  expect = { contains = \"1000\" }

Examples:
  redrill verify /backups/shop.dump --ask shop.toml
  redrill verify /backups/shop --max-age 26h                 the newest whole one of a folder
  redrill verify s3://backups/shop --endpoint https://s3.example
  redrill verify base/ --wal archive/ --database shop        a base backup and the WAL that continues it
  redrill verify /var/lib/pgbackrest --stanza shop --cipher-pass-env PGBACKREST_REPO1_CIPHER_PASS
  redrill verify shop.dump.age --identity key.txt --live-env SHOP_DSN

Exit codes are those of `redrill drill`: 0 verified, 1 it did not hold up, 2 a mistake in what was asked for, or of a kind that \
cannot be verified, 3 undetermined: nothing proved it, or nothing could be reached there. What exits with 0, 1 or 3 has a record \
and is told to whoever asked for it.";

/// Flags of `redrill verify`.
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(super) struct Flags {
    /// A file, a folder, s3://bucket/prefix, or an http(s) address such as a presigned one
    #[arg(value_name = "ARTIFACT")]
    artifact: String,
    /// Questions with known answers, and what else is asked of it (TOML)
    #[arg(long, value_name = "FILE")]
    ask: Option<PathBuf>,
    /// The age that its content may have, such as 26h or 7d
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,
    /// The environment variable with the connection string of the live source, which is only read: postgresql://…,
    /// redis://… (rediss:// by TLS), or s3://bucket/prefix
    #[arg(long, value_name = "NAME", conflicts_with = "live_file")]
    live_env: Option<String>,
    /// The file with the connection string of the live source, which is only read
    #[arg(long, value_name = "FILE")]
    live_file: Option<PathBuf>,
    /// The file with the age identity that opens it
    #[arg(long, value_name = "FILE", env = "REDRILL_IDENTITY")]
    identity: Option<PathBuf>,
    /// The address of the S3 server; Amazon's own when not given
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint: Option<String>,
    /// The roles of its cluster, by pg_dumpall --globals-only
    #[arg(long, value_name = "FILE")]
    globals: Option<PathBuf>,
    /// Create the roles that it names, without any right; extensions are created by the restore itself, where the server has
    /// them, and named where it does not
    #[arg(long)]
    create_roles: bool,
    /// Restore without owners
    #[arg(long)]
    no_owner: bool,
    /// Restore without grants
    #[arg(long)]
    no_acl: bool,
    /// The folder of WAL that continues a base backup; its segments as they are, or compressed, encrypted, .partial
    #[arg(long, value_name = "DIR")]
    wal: Option<PathBuf>,
    /// The database of a base backup that is looked at; the largest when not given
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// The stanza of a repository of pgBackRest that has several
    #[arg(long, value_name = "NAME")]
    stanza: Option<String>,
    /// The environment variable with the passphrase of a repository of pgBackRest (its repo-cipher-pass)
    #[arg(long, value_name = "NAME", conflicts_with = "cipher_pass_file")]
    cipher_pass_env: Option<String>,
    /// The file with the passphrase of a repository of pgBackRest (its repo-cipher-pass)
    #[arg(long, value_name = "FILE")]
    cipher_pass_file: Option<PathBuf>,
    /// The time zone of times that name none, such as those of pg_dump
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: Zone,
    /// What it is a backup of, in a word; when not given, the database or cluster that its content names, else its engine,
    /// folder and name. Of a folder with backups of several things, those that are meant
    #[arg(long, value_name = "NAME")]
    lineage: Option<String>,
    /// Compare it with no earlier run
    #[arg(long)]
    no_baseline: bool,
    #[command(flatten)]
    setting: Setting,
    /// The reports folder; this run gets a folder of its own in it
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to print on standard output: tables for people, or the record and nothing else
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Print the final table only
    #[arg(long, short)]
    quiet: bool,
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    let secrets = Secrets::default();
    let home = RunHome::create(&RunId::fresh(SystemClock.now()))?;
    let verified = verify(&flags, &home, &secrets, cancel).await;
    // Copies of what lay elsewhere, and what was decrypted.
    home.remove("local").await?;
    verified
}

async fn verify(
    flags: &Flags,
    home: &RunHome,
    secrets: &Secrets,
    cancel: CancellationToken,
) -> Result<Exit> {
    let ask = match &flags.ask {
        Some(path) => Ask::load(path)?,
        None => Ask::default(),
    };
    let live = live(flags, secrets)?;
    let passphrase = passphrase(flags, secrets)?;
    let place = Place::parse(&flags.artifact, secrets)?;
    let found = find(flags, &place, home, secrets, passphrase.clone(), &cancel).await;
    if let Err(error) = &found
        && !run::is_told(error)
    {
        return Err(error.clone());
    }
    let is_found = found.is_ok();
    let (given, cannot) = match found {
        Ok(given) => (given, None),
        Err(why) => {
            let lineage = known_as(&flags.out, &place.shown());
            let given = Given::unread(place.shown(), lineage, &why);
            // What was read and does not hold up has failed; of what was not reached nothing is known.
            (given, Some(why).filter(|why| why.kind() != Kind::Failed))
        }
    };
    let other = |live: &&Live| is_found && live.engine() != given.engine;
    if let Some(live) = live.as_ref().filter(other) {
        return Err(Error::usage(format!(
            "{} is {}, and the live source is of another kind: {}",
            given.shown,
            given.what,
            live.engine()
        ))
        .hint("a live source is postgresql://… of a dump or base backup, redis://… of Redis, s3://… of files"));
    }
    let lineage = match &flags.lineage {
        Some(name) => given::slug(name),
        None => given.lineage.clone(),
    };
    let id = format!("{SUITE}/{lineage}");
    let baseline = (!flags.no_baseline)
        .then(|| baseline(&flags.out, &id, &given.folder()))
        .flatten();
    let asked = Asked {
        max_age: flags.max_age.or(ask.max_age),
        drop: ask.drop,
        baseline: baseline.is_some(),
        live: live.is_some(),
    };
    let suite = drilled::suite(flags, &given, &ask);
    let drill = drilled::drill(&suite, &given, id, asked);
    let beside = matches!(given.method, Method::PgBackRest(_));
    let beside = beside.then_some("pgBackRest runs beside a local server");
    let setting = flags.setting.locally(beside)?;
    let task = Task {
        given: &given,
        database: flags.database.clone(),
        passphrase: passphrase.filter(|_| given.encrypted),
        create_roles: flags.create_roles,
        roles: !flags.no_owner,
        is_named: flags.lineage.is_some(),
        baseline,
        live,
    };
    let order = Order {
        suites: std::slice::from_ref(&suite),
        drills: std::slice::from_ref(&drill),
        setting: &setting,
        jobs: 1,
        shard: None,
        task: Some(&task),
        cannot: cannot.as_ref(),
        secrets: secrets.clone(),
        out: &flags.out,
        command: drilled::command(flags, &given),
        quiet: flags.quiet,
    };
    let done = run::carry_out(order, cancel).await?;
    Ok(done.tell(flags.format, flags.quiet))
}

/// The lineage that what lies at a place had when it was last verified; none where it never was.
fn known_as(out: &Path, shown: &str) -> Option<String> {
    let history = History::read(out).ok()?;
    let newest = history.newest(SUITE, |_| Some(()));
    let mut newest: Vec<Entry> = newest.into_values().collect();
    newest.sort_by_key(|entry| Reverse(entry.at));
    let was_there = |entry: &&Entry| {
        let record = history.sealed(entry).ok();
        let drills = record.into_iter().flat_map(|record| record.drills);
        drills
            .filter(|drill| drill.id == entry.drill)
            .any(|drill| drill.lies_at(shown))
    };
    let id = newest.iter().find(was_there)?.drill.clone();
    id.strip_prefix(SUITE)?.strip_prefix('/').map(str::to_owned)
}

/// Finds the artifact, and reads it to its end.
async fn find(
    flags: &Flags,
    place: &Place,
    home: &RunHome,
    secrets: &Secrets,
    passphrase: Option<String>,
    cancel: &CancellationToken,
) -> Result<Given> {
    let identities = match &flags.identity {
        Some(path) => Identities::read(path, secrets)?,
        None => Identities::default(),
    };
    for path in [&flags.globals, &flags.wal].into_iter().flatten() {
        if !path.exists() {
            return Err(Error::usage(format!("there is no {}", path.display())));
        }
    }
    let run = RunId::fresh(SystemClock.now());
    let logs = home.path().join("logs");
    let mut ctx = Context::new(run, home.path().join("work"), logs, cancel.clone())?;
    ctx.secrets = secrets.clone();
    let dir = home.path().join("copies");
    let mut private = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
    private.create(&dir).doing("make a directory for copies")?;
    let account = account(flags.endpoint.clone(), secrets);
    let source = Source::open(&ctx, place, account.as_ref(), &dir).await?;
    let options = Options {
        identities,
        zone: flags.zone,
        globals: flags.globals.clone(),
        wal: flags.wal.clone(),
        stanza: flags.stanza.clone(),
        passphrase,
        of: [&flags.lineage, &flags.database]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        dir,
    };
    given::find(&ctx, &source, &options).await
}

/// The account that the usual variables name.
fn account(address: Option<String>, secrets: &Secrets) -> Option<Account> {
    let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (key, secret) = (of("AWS_ACCESS_KEY_ID")?, of("AWS_SECRET_ACCESS_KEY")?);
    let token = of("AWS_SESSION_TOKEN");
    secrets.register("secret key of S3", &secret);
    if let Some(token) = &token {
        secrets.register("session token of S3", token);
    }
    let region = of("AWS_REGION").or_else(|| of("AWS_DEFAULT_REGION"));
    Some(Account {
        address: address.filter(|address| !address.is_empty()),
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        key,
        secret,
        token,
    })
}

/// What a repository of pgBackRest is encrypted with.
fn passphrase(flags: &Flags, secrets: &Secrets) -> Result<Option<String>> {
    let (passphrase, of) = match (&flags.cipher_pass_env, &flags.cipher_pass_file) {
        (Some(name), _) => {
            let set = std::env::var(name).map_err(|_| {
                Error::usage(format!("the variable {name} is not set"))
                    .hint("set it to the repository's repo-cipher-pass")
            });
            (set?, name.clone())
        }
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path).map_err(|error| {
                Error::usage(error.to_string()).doing(format!("read {}", path.display()))
            });
            let text = read?.trim_end_matches(['\n', '\r']).to_owned();
            (text, path.display().to_string())
        }
        (None, None) => return Ok(None),
    };
    if passphrase.is_empty() || passphrase.contains('\n') {
        return Err(Error::usage(format!("{of} does not hold one passphrase"))
            .hint("it is one line: the repository's repo-cipher-pass"));
    }
    secrets.register("passphrase of pgBackRest", &passphrase);
    Ok(Some(passphrase))
}

fn live(flags: &Flags, secrets: &Secrets) -> Result<Option<Live>> {
    let dsn = match (&flags.live_env, &flags.live_file) {
        (Some(name), _) => std::env::var(name).map_err(|_| {
            Error::usage(format!("the variable {name} is not set"))
                .hint("set it to the connection string of the live source")
        })?,
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Error::usage(error.to_string()).doing(format!("read {}", path.display()))
        })?,
        (None, None) => return Ok(None),
    };
    let account = |address: Option<String>| {
        let found = account(address.or(flags.endpoint.clone()), secrets);
        found.ok_or_else(|| no_account("the live source"))
    };
    Live::parse(&dsn, secrets, account).map(Some)
}

/// What the last artifact of a lineage held that was verified, one of the same folder where there is one; why that is not
/// known, where there is one.
fn baseline(out: &Path, drill: &str, folder: &str) -> Option<Result<Baseline, String>> {
    let history = match History::read(out) {
        Ok(history) => history,
        Err(error) => return Some(Err(error.message())),
    };
    let mut passed = history.entries(SUITE, |head| head.drill == drill);
    passed.retain(|entry| entry.verdict == Verdict::Passed);
    passed.sort_by_key(|entry| Reverse(entry.at));
    passed.truncate(BEFORE);
    let read: Vec<Result<Baseline>> = passed
        .iter()
        .map(|entry| held(&history, entry, drill))
        .collect();
    let of_folder = |it: &Result<Baseline>| match it {
        Ok(it) => it.folder.as_deref().is_none_or(|it| it == folder),
        // What cannot be read may be of it.
        Err(_) => true,
    };
    let at = read.iter().position(of_folder).unwrap_or(0);
    let most = read.iter().filter(|it| of_folder(it)).flatten();
    let most = most.fold(Held::default(), |most, it| most.most(&it.held));
    let last = read.into_iter().nth(at)?;
    Some(match last {
        Ok(last) => Ok(Baseline { most, ..last }),
        Err(error) => Err(error.message()),
    })
}

/// What an artifact held, by the record of the run that verified it.
fn held(history: &History, entry: &Entry, drill: &str) -> Result<Baseline> {
    let record = history.sealed(entry)?;
    let drills = record.drills.iter().filter(|it| it.id == drill);
    let held = drills
        .flat_map(|it| &it.recoveries)
        .find_map(|it| it.held.as_ref());
    let held = held.ok_or_else(|| {
        Error::failed(format!(
            "the record of run {} does not say what came back",
            entry.run
        ))
    })?;
    Ok(Baseline {
        run: entry.run.clone(),
        folder: held.folder.clone(),
        held: Held {
            bytes: held.bytes,
            objects: held.objects,
            rows: held.rows.clone(),
        },
        most: Held::default(),
    })
}
