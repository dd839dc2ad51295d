//! The one way to run a program: its own process group, a deadline, a log that opens with the command line,
//! TERM then KILL. Secrets go in by the environment or standard input, never as arguments.
//!
//! Not here: which program runs or where (see [`crate::service::Running::tool`]).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};

/// How long a program is given to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of standard output is kept in memory when it is not streamed.
const OUTPUT_LIMIT: u64 = 8 << 20;
/// How many last lines of standard error an error message may draw on.
const TAIL_LINES: usize = 12;

/// Another user to run as: servers refuse to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A program about to run.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    dir: Option<PathBuf>,
    account: Option<Account>,
    deadline: Duration,
    shown: Option<String>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line as shown in reports.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// How long it ran.
    pub seconds: f64,
    /// What it printed, when it was not streamed (at most 8 MiB).
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub stderr: String,
    /// Its log file.
    pub log: PathBuf,
}

impl Finished {
    /// Itself when the program ended with 0, else an error that quotes its last words.
    pub fn ok(self) -> Result<Self> {
        if self.exit == Some(0) {
            return Ok(self);
        }
        let program = self.command.split_whitespace().next().unwrap_or("program");
        let how = match self.exit {
            Some(code) => format!("ended with exit code {code}"),
            None => "was ended by a signal".to_owned(),
        };
        let words = self.stderr.trim();
        let message = if words.is_empty() {
            format!("{program} {how}")
        } else {
            format!("{program} {how}: {words}")
        };
        Err(Error::failed(message).hint(format!("the whole log is {}", self.log.display())))
    }

    /// Standard output as text, without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

impl Command {
    /// A program by name (found on PATH) or by path.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            account: None,
            deadline: Duration::from_secs(3600),
            shown: None,
        }
    }

    /// Adds an argument. Arguments are shown in logs and reports: never a secret.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable; the right place for a password. Its value is never shown.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Runs as another user.
    #[must_use]
    pub fn account(mut self, account: Option<Account>) -> Self {
        self.account = account;
        self
    }

    /// Ends the whole process group when it takes longer than this (an hour when not said).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Shows this text in logs and reports instead of the real program and arguments, for tools that run
    /// behind a wrapper such as `docker exec`.
    #[must_use]
    pub fn shown_as(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }

    /// The command line as it is shown.
    pub fn shown(&self) -> String {
        if let Some(text) = &self.shown {
            return text.clone();
        }
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        std::iter::once(name)
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(|word| quoted(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end, with nothing on standard input, keeping what it prints.
    pub async fn run(self, ctx: &Context) -> Result<Finished> {
        let mut running = self.spawn(ctx, Stdio::null(), Stdio::piped())?;
        let stdout = running.take_stdout()?;
        let reader = tokio::spawn(read_limited(stdout));
        let mut finished = running.finish().await?;
        finished.stdout = reader
            .await
            .doing("read standard output")?
            .doing("read standard output")?;
        Ok(finished)
    }

    /// Runs to the end with standard input read from `input`.
    pub async fn feed<R: AsyncRead + Unpin + Send>(
        self,
        ctx: &Context,
        mut input: R,
    ) -> Result<Finished> {
        let mut running = self.spawn(ctx, Stdio::piped(), Stdio::piped())?;
        let stdout = running.take_stdout()?;
        let reader = tokio::spawn(read_limited(stdout));
        let stdin = running.child.stdin.take();
        let pump = async {
            if let Some(mut stdin) = stdin {
                // A program that stops reading early shows in its exit code; an input that cannot be read is ours.
                if let Err(error) = tokio::io::copy(&mut input, &mut stdin).await
                    && error.kind() != std::io::ErrorKind::BrokenPipe
                {
                    return Err(error);
                }
            }
            Ok(())
        };
        let command = running.command.clone();
        let (pumped, finished) = tokio::join!(pump, running.finish());
        pumped.doing_with(|| format!("read the input of {command}"))?;
        let mut finished = finished?;
        finished.stdout = reader
            .await
            .doing("read standard output")?
            .doing("read standard output")?;
        Ok(finished)
    }

    /// Starts with its standard output as a stream; [`Stream::finish`] tells how it ended.
    pub fn stream(self, ctx: &Context) -> Result<Stream> {
        let mut running = self.spawn(ctx, Stdio::null(), Stdio::piped())?;
        let stdout = running.take_stdout()?;
        Ok(Stream {
            stdout,
            ended: tokio::spawn(running.finish()),
        })
    }

    /// Starts a server: it outlives the call and is ended by [`Daemon`]. Its output goes to its log.
    pub fn daemon(self, ctx: &Context) -> Result<Daemon> {
        let (log, file) = self.open_log(ctx)?;
        let copy = file.try_clone().doing("share the log")?;
        let child = self.start(Stdio::null(), Stdio::from(copy), Stdio::from(file))?;
        let pid = child.id().unwrap_or_default();
        register_pid(ctx, pid)?;
        Ok(Daemon {
            child,
            group: Group(pid),
            log,
            pid_file: pid_file(ctx, pid),
        })
    }

    fn spawn(self, ctx: &Context, stdin: Stdio, stdout: Stdio) -> Result<Running> {
        ctx.go_on()?;
        let (log, mut file) = self.open_log(ctx)?;
        let command = self.shown();
        let watch = Stopwatch::start();
        let mut child = match self.start(stdin, stdout, Stdio::piped()) {
            Ok(child) => child,
            Err(error) => {
                ctx.note(&command, None, watch.seconds(), &log);
                return Err(error);
            }
        };
        let group = Group(child.id().unwrap_or_default());
        let stderr = child.stderr.take();
        let tail = tokio::spawn(async move {
            let mut last = VecDeque::with_capacity(TAIL_LINES);
            let Some(stderr) = stderr else { return last };
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                // A log that cannot be written (disk full) must not stop the tool that is being watched.
                let _ = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
                if last.len() == TAIL_LINES {
                    last.pop_front();
                }
                last.push_back(String::from_utf8_lossy(&line).into_owned());
            }
            last
        });
        Ok(Running {
            child,
            group,
            tail,
            command,
            watch,
            log,
            deadline: self.deadline,
            ctx: ctx.clone(),
        })
    }

    fn open_log(&self, ctx: &Context) -> Result<(PathBuf, std::fs::File)> {
        let name = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let log = ctx
            .logs
            .join(format!("{:04}-{name}.log", ctx.next_number()));
        let mut file = std::fs::File::create(&log)
            .doing_with(|| format!("create the log {}", log.display()))?;
        let _ = writeln!(file, "$ {}", self.shown());
        Ok((log, file))
    }

    fn start(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true);
        // Messages are read by redrill's own code in places; they must not be translated.
        command.env("LC_ALL", "C.UTF-8");
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command.spawn().map_err(|error| {
            let program = self.program.display();
            match error.kind() {
                std::io::ErrorKind::NotFound => Error::unavailable(format!("{program}: program not found"))
                    .hint(format!("install it, or put it on PATH; `redrill doctor` says which package has {program}")),
                _ => Error::failed(format!("start {program}: {error}")),
            }
        })
    }
}

/// Shell quoting, for reading only.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn read_limited(stdout: ChildStdout) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut limited = stdout.take(OUTPUT_LIMIT);
    limited.read_to_end(&mut kept).await?;
    tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// A process group that ends when it is dropped.
#[derive(Debug)]
struct Group(u32);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.0)
            && pid > 1
        {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

struct Running {
    child: Child,
    group: Group,
    tail: JoinHandle<VecDeque<String>>,
    command: String,
    watch: Stopwatch,
    log: PathBuf,
    deadline: Duration,
    ctx: Context,
}

impl Running {
    fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.child
            .stdout
            .take()
            .ok_or_else(|| Error::defect("standard output was not piped"))
    }

    async fn finish(mut self) -> Result<Finished> {
        let stopped = tokio::select! {
            status = self.child.wait() => Ok(status.doing_with(|| format!("wait for {}", self.command))?),
            () = tokio::time::sleep(self.deadline) => Err(Kind::TimedOut),
            () = self.ctx.cancel.cancelled() => Err(Kind::Interrupted),
        };
        let status = match stopped {
            Ok(status) => status,
            Err(kind) => {
                end_group(&self.group, &mut self.child).await;
                self.ctx
                    .note(&self.command, None, self.watch.seconds(), &self.log);
                return Err(match kind {
                    Kind::Interrupted => {
                        Error::interrupted().doing(format!("run {}", self.command))
                    }
                    _ => Error::new(
                        Kind::TimedOut,
                        format!(
                            "{} did not end within {}; its whole process group was ended",
                            self.command,
                            humantime::format_duration(self.deadline)
                        ),
                    )
                    .hint(format!("see where it hung in {}", self.log.display())),
                });
            }
        };
        // Whatever the program left in its group would hold its pipes open.
        self.group.signal(Signal::SIGKILL);
        let seconds = self.watch.seconds();
        let stderr = self.tail.await.unwrap_or_default();
        self.ctx
            .note(&self.command, status.code(), seconds, &self.log);
        Ok(Finished {
            command: self.command,
            exit: status.code(),
            seconds,
            stdout: Vec::new(),
            stderr: Vec::from(stderr).join("\n"),
            log: self.log,
        })
    }
}

async fn end_group(group: &Group, child: &mut Child) {
    group.signal(Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        group.signal(Signal::SIGKILL);
        let _ = child.wait().await;
    }
    group.signal(Signal::SIGKILL);
}

/// A program whose standard output is being read.
pub struct Stream {
    /// Its standard output.
    pub stdout: ChildStdout,
    ended: JoinHandle<Result<Finished>>,
}

impl Stream {
    /// Waits for the end; read `stdout` to its end first. Exit code 0 is only known here.
    pub async fn finish(self) -> Result<Finished> {
        drop(self.stdout);
        self.ended.await.doing("wait for a program")?
    }

    /// Splits into the output and what waits for the end, for code that moves the output away.
    pub fn split(self) -> (ChildStdout, JoinHandle<Result<Finished>>) {
        (self.stdout, self.ended)
    }
}

/// A server process. Dropping it kills its group.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    group: Group,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Daemon {
    /// Its process id (0 when it has already ended).
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status when it has ended, without waiting.
    pub fn ended(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.to_string())
    }

    /// The last lines of its log, for error messages.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Sends `signal` to the server process alone, waits up to `deadline`, then kills the group.
    /// Returns whether it ended by itself.
    pub async fn stop(&mut self, signal: Signal, deadline: Duration) -> bool {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
        }
        let in_time = tokio::time::timeout(deadline, self.child.wait())
            .await
            .is_ok();
        self.group.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
        let _ = std::fs::remove_file(&self.pid_file);
        in_time
    }

    /// Kills the whole group at once, as a crash would.
    pub async fn kill(&mut self) {
        self.group.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// Where a run notes the servers it started, for reaping after a SIGKILL: `<drill dir>/pids/<pid>`, holding the
/// kernel's start time of the process, so that a reused pid is never mistaken for it.
pub const PIDS: &str = "pids";

fn pid_file(ctx: &Context, pid: u32) -> PathBuf {
    ctx.dir.join(PIDS).join(pid.to_string())
}

fn register_pid(ctx: &Context, pid: u32) -> Result<()> {
    let path = pid_file(ctx, pid);
    ctx.subdir(PIDS)?;
    std::fs::write(&path, start_time(pid).unwrap_or_default().to_string())
        .doing_with(|| format!("write {}", path.display()))
}

/// The kernel's start time of a process, in clock ticks after boot (field 22 of /proc/PID/stat, proc(5)).
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}
