//! The recovery: the restored cluster is started on a socket that only the server's user can reach, replays the WAL
//! that is archived, is promoted, asked where it stopped, and given the target's password. Then it takes the place of
//! the target's data.
//!
//! It never touches the source's surroundings: archiving, replication and subscriptions are off before it first starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::ReplayFact;
use crate::process::{Command, Daemon};
use crate::provision::{ready, reap};
use crate::repository::wal::{Lsn, Name, Segment};
use crate::service::Running;
use crate::service::postgres::session::{identifier, literal};
use crate::service::postgres::ties::{preloaded, scheduler};
use crate::suite::RecoveryTarget;

use super::archiver::text;
use super::log::{self, Log};
use super::{beside, chain, major, point};

/// The directory beside the target's data in which the cluster is restored and recovered.
pub const PREPARED: &str = "recovered";
/// All settings that name a target: the source's own must not meddle.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_xid",
];
/// Makes a base backup one that recovers: the target's own rules of access, and no ties to other servers.
/// Arguments: the base backup, the target's data, the socket's directory.
const PREPARE: &str = r#"
set -eu
cd -- "$1"
rm -f standby.signal
: > recovery.signal
cp -- "$2/pg_hba.conf" "$2/pg_ident.conf" .
[ -e postgresql.conf ] || cp -- "$2/postgresql.conf" .
echo 'local all all trust' > "$3/hba"
"#;
/// Adds settings that go before all others. Arguments: the base backup, the settings.
const SET: &str = r#"printf '%s\n' "$2" >> "$1/postgresql.auto.conf""#;
const PORT: &str = "5432";
/// What to do after a recovery that did not come to its end.
const AGAIN: &str = "nothing is lost: neither the artifact nor its archived WAL was changed, and the target is what it was; see \
                     the log of the recovery, and recover once more";

/// How a recovery is told to go.
#[derive(Debug, Clone, Copy)]
pub struct Orders<'a> {
    /// Where it stops.
    pub target: &'a RecoveryTarget,
    /// Which timeline it follows: `latest`, or one that only a mistake names.
    pub timeline: &'a str,
    /// One that takes longer is ended.
    pub deadline: Duration,
}

/// Replays, promotes, and puts the result in the place of the target's data. `cluster` is whose backup it is.
pub async fn replay(
    ctx: &Context,
    server: &dyn Running,
    wal: &Log,
    orders: Orders<'_>,
    cluster: String,
) -> Result<ReplayFact> {
    let prepared = beside(server, PREPARED);
    let made = server.tool("mktemp").arg("-d").arg(reap::sockets(&ctx.run));
    let socket = made.run(ctx).await?.ok()?.text();
    let mut recovery = Recovery {
        server,
        prepared: &prepared,
        socket: PathBuf::from(&socket),
        daemon: None,
    };
    let recovered = recovery.run(ctx, wal, orders).await;
    let ended = recovery.end(&ctx.for_teardown(), recovered.is_ok()).await;
    let mut fact = recovered?;
    ended
        .map_err(|error| error.hint(AGAIN))
        .doing("end the recovered cluster, to put it in the target's place")?;
    fact.identities.1 = cluster;
    server
        .replace_data(ctx, &prepared)
        .await
        .doing("start the target on the recovered cluster")?;
    Ok(fact)
}

struct Recovery<'a> {
    server: &'a dyn Running,
    prepared: &'a Path,
    socket: PathBuf,
    daemon: Option<Daemon>,
}

impl Recovery<'_> {
    async fn run(&mut self, ctx: &Context, wal: &Log, orders: Orders<'_>) -> Result<ReplayFact> {
        let target = orders.target;
        let restore_command = log::restore_command(ctx, self.server, wal, target).await?;
        self.prepare(ctx).await?;
        let checksums = self.checksums(ctx).await?;
        let command = self.command(&restore_command, orders);
        self.daemon = Some(command.daemon(ctx)?);
        if let Err(error) = self.wait(ctx, orders.deadline).await {
            return Err(match error.kind() {
                Kind::Failed => explain(&self.log(), wal, target)
                    .unwrap_or_else(|| Error::failed(error.message()).hint(AGAIN)),
                _ => error,
            }
            .doing(format!("recover to {target}")));
        }
        let asked = async {
            let fact = self.ask(ctx, wal, target).await?;
            self.set_password(ctx).await.map(|()| fact)
        };
        let fact = asked.await.map_err(|error| error.hint(AGAIN));
        let fact = fact.doing_with(|| format!("recover to {target}"))?;
        Ok(ReplayFact { checksums, ..fact })
    }

    /// A setting as the prepared cluster has it, without a server.
    async fn setting(&self, ctx: &Context, name: &str) -> Result<String> {
        let ask = self.server.tool("postgres").args(["-C", name, "-D"]);
        let asked = ask.arg(self.prepared).run(ctx).await?.ok();
        let asked = asked.doing_with(|| format!("read {name} of the base backup"))?;
        Ok(asked.text())
    }

    /// Whether the base backup has data checksums, by its control file; `None` where that does not say so.
    async fn checksums(&self, ctx: &Context) -> Result<Option<bool>> {
        let ask = self.server.tool("pg_controldata").env("LC_ALL", "C");
        let asked = ask.arg(self.prepared).run(ctx).await?;
        Ok(has_checksums(&asked.text()))
    }

    async fn prepare(&self, ctx: &Context) -> Result<()> {
        let prepare = self.server.tool("sh").args(["-c", PREPARE, "sh"]);
        let prepare = prepare.arg(self.prepared).arg(self.server.data_dir());
        prepare.arg(&self.socket).run(ctx).await?.ok()?;
        let mut settings = vec![
            "archive_mode = off".to_owned(),
            "archive_command = ''".to_owned(),
            "primary_conninfo = ''".to_owned(),
            "primary_slot_name = ''".to_owned(),
            "max_logical_replication_workers = 0".to_owned(),
        ];
        if major(self.server) >= 15 {
            settings.push("archive_library = ''".to_owned());
        }
        let libraries = self.setting(ctx, "shared_preload_libraries").await?;
        let (cut, stay): (Vec<&str>, Vec<&str>) =
            preloaded(&libraries).partition(|library| scheduler(library).is_some());
        if !cut.is_empty() {
            settings.push(format!(
                "shared_preload_libraries = {}",
                literal(&stay.join(", "))
            ));
        }
        let set = self.server.tool("sh").args(["-c", SET, "sh"]);
        let set = set.arg(self.prepared).arg(settings.join("\n"));
        set.run(ctx).await?.ok().map(drop)
    }

    fn command(&self, restore_command: &str, orders: Orders<'_>) -> Command {
        let socket = text(&self.socket);
        let mut settings = vec![
            ("listen_addresses", String::new()),
            ("unix_socket_directories", socket.clone()),
            ("port", PORT.to_owned()),
            ("hba_file", format!("{socket}/hba")),
            // Nobody is let in before the promotion: ready then means recovered.
            ("hot_standby", "off".to_owned()),
            ("fsync", "on".to_owned()),
            ("ssl", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("logging_collector", "off".to_owned()),
            ("log_min_messages", "warning".to_owned()),
            ("log_line_prefix", String::new()),
            // A password is set on it.
            ("log_statement", "none".to_owned()),
            ("log_min_duration_statement", "-1".to_owned()),
            ("log_min_error_statement", "panic".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("lc_messages", "C".to_owned()),
            ("restore_command", restore_command.to_owned()),
            ("recovery_target_timeline", orders.timeline.to_owned()),
            ("recovery_target_action", "promote".to_owned()),
        ];
        if major(self.server) >= 15 {
            // Looking ahead asks for segments beyond the target, and what is amiss with them is none of its business.
            settings.push(("recovery_prefetch", "off".to_owned()));
        }
        settings.extend(TARGETS.map(|name| (name, String::new())));
        settings.extend(point::settings(orders.target));
        let settings = settings
            .into_iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
        self.server
            .tool("postgres")
            .arg("-D")
            .arg(self.prepared)
            .args(settings)
    }

    async fn wait(&mut self, ctx: &Context, deadline: Duration) -> Result<()> {
        let Some(daemon) = &mut self.daemon else {
            return Err(Error::defect("the recovery was not started"));
        };
        let log = daemon.log().to_owned();
        let gone = || std::future::ready(daemon.end_in_words());
        ready::until(ctx, "the recovery", deadline, gone, || async {
            let said = tokio::fs::read(&log).await.doing("read the server's log")?;
            if String::from_utf8_lossy(&said).contains("ready to accept connections") {
                return Ok(());
            }
            let last = String::from_utf8_lossy(&said);
            let last = last.lines().last().unwrap_or_default().to_owned();
            Err(Error::failed(last))
        })
        .await
    }

    fn log(&self) -> String {
        let log = self.daemon.as_ref().map(Daemon::log);
        let said = log.and_then(|log| std::fs::read(log).ok());
        String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
    }

    fn psql(&self) -> Command {
        self.server
            .tool("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"])
            .arg(format!("--host={}", self.socket.display()))
            .arg(format!("--port={PORT}"))
            .arg(format!("--username={}", self.server.endpoint().user))
            .arg("--dbname=template1")
    }

    /// Asks the recovered server what it is and where it stopped.
    async fn ask(&self, ctx: &Context, wal: &Log, target: &RecoveryTarget) -> Result<ReplayFact> {
        const IS: &str = "select pg_is_in_recovery(), system_identifier, pg_walfile_name(pg_current_wal_insert_lsn()) from pg_control_system()";
        let is = self.psql().args(["-c", IS]).run(ctx).await?.ok();
        let is = is.doing("ask the recovered cluster what it is")?.text();
        let words: Vec<&str> = is.split('|').collect();
        let [recovering, identity, segment] = words[..] else {
            return Err(Error::defect(format!("the recovered cluster says {is:?}")));
        };
        if recovering != "f" {
            return Err(Error::failed("the recovered cluster was not promoted"));
        }
        let Some(Name::Segment(Segment { timeline, .. })) = Name::parse(segment) else {
            return Err(Error::defect(format!("the server writes to {segment:?}")));
        };
        let history = format!("select pg_read_file('pg_wal/{timeline:08X}.history')");
        let history = self.psql().args(["-c", &history]).run(ctx).await?.ok();
        let history = history.doing("ask the recovered cluster where it stopped")?;
        let left = chain::history(&history.text()).and_then(|mut left| left.pop());
        let left = left.ok_or_else(|| Error::failed("its timeline has no history"))?;
        let last_commit = last_commit(&self.log());
        let at = last_commit.map_or(String::new(), |at| {
            format!(
                "; the last commit that came back is of {}",
                at.format("%Y-%m-%d %H:%M:%S%.f%:::z")
            )
        });
        Ok(ReplayFact {
            target: target.to_string(),
            stopped: format!("{}: {}{at}", left.at, left.why.trim()),
            last_commit,
            lsn: left.at.to_string(),
            missed: point::reached(target, &left, &wal.chain).err(),
            abandoned: wal.chain.left_behind(left.at),
            timelines: (left.timeline, wal.chain.timeline),
            identities: (identity.to_owned(), String::new()),
            checksums: None,
        })
    }

    /// The cluster came with its source's password: it gets that of the server whose place it takes.
    async fn set_password(&self, ctx: &Context) -> Result<()> {
        let endpoint = self.server.endpoint();
        if endpoint.password.is_empty() {
            return Ok(());
        }
        let set = format!(
            "alter role {} password {};\n",
            identifier(&endpoint.user),
            literal(&endpoint.password)
        );
        let set = self.psql().feed(ctx, set.as_bytes()).await?.ok();
        set.map(drop)
            .doing("give the recovered cluster the target's password")
    }

    /// Ends the recovered server, as an operator does when all is well.
    async fn end(&mut self, ctx: &Context, clean: bool) -> Result<()> {
        let mut ended = Ok(());
        if let Some(mut daemon) = self.daemon.take() {
            if daemon.ended().is_none() {
                let mode = if clean { "fast" } else { "immediate" };
                let stop = self
                    .server
                    .tool("pg_ctl")
                    .args(["stop", "-w", "-m", mode, "-D"]);
                let stopped = stop.arg(self.prepared).run(ctx).await;
                ended = stopped.and_then(|stopped| stopped.ok()).map(drop);
            }
            daemon.kill().await;
        }
        let remove = self.server.tool("rm").args(["-rf", "--"]).arg(&self.socket);
        remove.run(ctx).await?.ok()?;
        if clean { ended } else { Ok(()) }
    }
}

/// Whether pages have checksums, in the words of `pg_controldata`: their version, and 0 of none.
fn has_checksums(control: &str) -> Option<bool> {
    const SAID: &str = "Data page checksum version:";
    let version = control.lines().find_map(|line| line.strip_prefix(SAID))?;
    let version: u32 = version.trim().parse().ok()?;
    Some(version > 0)
}

/// The commit that a recovery ended with, from its log, which it writes in UTC.
fn last_commit(log: &str) -> Option<DateTime<Utc>> {
    const SAID: &str = "last completed transaction was at log time ";
    let (_, at) = log.lines().find_map(|line| line.split_once(SAID))?;
    let at = DateTime::parse_from_str(at.trim(), "%Y-%m-%d %H:%M:%S%.f%#z");
    Some(at.ok()?.to_utc())
}

/// What pgBackRest calls the errors of a repository that does not answer.
const UNREACHABLE: [&str; 3] = ["HostConnectError", "ServiceError", "ProtocolError"];
/// What a fetch says first where it was the tool that could not bring the file, whatever the file is like.
const NOT_HAD: &str = "cannot be had";

/// What the last fetch of a log said, the last line first: all since a file was brought.
fn last_fetch<'l>(log: &'l [&'l str]) -> impl Iterator<Item = &'l str> {
    let last = log.iter().rev().copied();
    last.take_while(|line| !line.contains("restored log file "))
}

/// What a full disk is called.
const FULL: &str = "No space left on device";

/// Why a recovery stopped, from its log: what is lost, up to which commit, and what can be done.
fn explain(log: &str, wal: &Log, target: &RecoveryTarget) -> Option<Error> {
    let lines: Vec<&str> = log.lines().collect();
    let said = |words: &str| lines.iter().rposition(|line| line.contains(words));
    if let Some(at) = said("redrill: ") {
        let (_, words) = lines[at].split_once("redrill: ")?;
        let (name, why) = words.split_once(' ')?;
        let why = why.strip_prefix("is needed, but ").unwrap_or(why);
        let fetch = || last_fetch(&lines[..at]);
        if let Some(line) = fetch().find(|line| line.contains(FULL)) {
            return Some(full(line, wal));
        }
        let silent = |line: &str| UNREACHABLE.iter().any(|words| line.contains(words));
        return Some(match Name::parse(name) {
            Some(Name::Segment(segment)) if why.starts_with(NOT_HAD) && fetch().any(silent) => {
                wal.chain.not_reached(segment, &wal.repository)
            }
            Some(Name::Segment(segment)) => wal.chain.lost(segment, why, &wal.repository),
            _ => Error::failed(format!("{name} in the archive {why}")),
        });
    }
    if said("recovery ended before configured recovery target was reached").is_some() {
        let error = wal.chain.beyond(target, &wal.repository);
        return Some(match &wal.chain.broken {
            Some((segment, why)) => wal.chain.lost(*segment, why, &wal.repository),
            None => error,
        });
    }
    if said("recovery stop point is before consistent recovery point").is_some() {
        return Some(
            Error::failed(format!(
                "{target} lies before the end of the base backup at {}: no earlier state can be had from it",
                wal.chain.base.stop
            ))
            .hint("recover from the base backup before this one"),
        );
    }
    // The level follows, between quotes from PostgreSQL 17 on.
    if said("WAL was generated with ").is_some() {
        let lines = lines.iter().rev();
        let mut redone =
            lines.filter_map(|line| line.split_once("WAL redo at ")?.1.split_once(' '));
        let at = redone.find_map(|(at, _)| Lsn::parse(at));
        return at.map(|at| wal.chain.not_logged(at, &wal.repository));
    }
    said(FULL).map(|at| full(lines[at], wal))
}

/// A recovery without room, in the words of whoever had none.
fn full(line: &str, wal: &Log) -> Error {
    Error::failed(format!(
        "{}: the recovery needs room for the cluster, for what is replayed and for a segment or two of WAL beside it; nothing is lost: \
         the WAL in repository {} is what it was, {}",
        line.trim(),
        wal.repository,
        wal.chain.reaches()
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pipeline::physical::chain::{Base, Have};

    /// Three segments of WAL that continue a base backup.
    fn three_segments() -> Log {
        let segment = |part| Segment {
            timeline: 1,
            log: 0,
            part,
        };
        let base = Base {
            start: segment(2),
            began: DateTime::UNIX_EPOCH,
            stop: Lsn(0x200_0100),
            size: 16 << 20,
        };
        let have = BTreeMap::from([2, 3, 4].map(|part| (segment(part), Have::default())));
        Log {
            dir: PathBuf::new(),
            chain: chain::follow(base, &have, &BTreeMap::new()).expect("a chain"),
            entries: BTreeMap::new(),
            repository: "near".to_owned(),
        }
    }

    #[test]
    fn a_time_of_minimal_wal_is_known_by_the_words_of_every_version() {
        let wal = three_segments();
        for level in ["wal_level=minimal", "\"wal_level=minimal\""] {
            let log = format!(
                "CONTEXT:  WAL redo at 0/4000028 for XLOG/PARAMETER_CHANGE\n\
                 FATAL:  WAL was generated with {level}, cannot continue recovering\n"
            );
            let error = explain(&log, &wal, &RecoveryTarget::EndOfWal).expect("a reason");
            let words = error.message();
            assert!(words.contains("wal_level = minimal"), "{words}");
            assert!(words.contains("0/4000028"), "{words}");
        }
    }

    #[test]
    fn what_the_last_fetch_says_decides_whether_anything_is_lost() {
        let wal = three_segments();
        let said = |log: &str| {
            let error = explain(log, &wal, &RecoveryTarget::EndOfWal).expect("a reason");
            (error.kind(), error.message())
        };
        let silence = "WARN: repo1: [ServiceError] no answer\n";
        let brought = "LOG:  restored log file \"000000010000000000000003\" from archive\n";
        let not_had = "redrill: 000000010000000000000004 cannot be had: pgbackrest archive-get ended with 103\n";
        let other = "redrill: 000000010000000000000004 has other content than what was archived\n";

        let (kind, words) = said(&format!("{brought}{silence}{not_had}"));
        assert_eq!(kind, Kind::Unavailable, "{words}");
        assert!(words.contains("is not lost"), "{words}");
        for damaged in [
            // An earlier segment was brought at the second try.
            format!("{silence}{brought}{not_had}"),
            // So was this one, and it is what is amiss.
            format!("{brought}{silence}{other}"),
            format!("{brought}{other}"),
        ] {
            let (kind, words) = said(&damaged);
            assert_eq!(kind, Kind::Failed, "{damaged}");
            assert!(words.contains("cannot be recovered from here"), "{words}");
        }
        // Nor is what there was no room for.
        let full = "gzip: stdout: No space left on device\n";
        let unread = "redrill: 000000010000000000000004 cannot be read\n";
        let (_, words) = said(&format!("{brought}{full}{unread}"));
        assert!(words.starts_with("gzip: stdout: No space left"), "{words}");
        assert!(words.contains("nothing is lost"), "{words}");
        assert!(
            words.contains("it ends with 000000010000000000000004"),
            "{words}"
        );
        let (_, words) = said(&format!("{full}{brought}{unread}"));
        assert!(words.contains("cannot be recovered from here"), "{words}");
    }

    #[test]
    fn the_control_file_says_whether_there_are_checksums_or_that_it_is_not_known() {
        let of = |version: &str| {
            has_checksums(&format!(
                "pg_control version number:            1300\nData page checksum version:           {version}\n"
            ))
        };
        assert_eq!((of("1"), of("0"), of("")), (Some(true), Some(false), None));
        assert_eq!(has_checksums(""), None);
    }

    #[test]
    fn the_last_commit_is_read_as_the_server_writes_it() {
        let of = |at: &str| {
            let log = format!(
                "LOG:  redo done at 0/5000028 system usage: …\nLOG:  last completed transaction was at log time {at}\n"
            );
            last_commit(&log).map(|at| at.to_rfc3339())
        };
        assert_eq!(
            of("2026-11-28 11:02:03.456789+00").as_deref(),
            Some("2026-11-28T11:02:03.456789+00:00")
        );
        assert_eq!(
            of("2026-11-28 11:02:03+00").as_deref(),
            Some("2026-11-28T11:02:03+00:00")
        );
        assert_eq!(last_commit("LOG:  redo is not required\n"), None);
    }
}
