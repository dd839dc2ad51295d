//! The one way to run a program: its own process group, a deadline, a log that opens with the command line,
//! TERM then KILL. Secrets go in by the environment or standard input, never as arguments.
//!
//! Not here: which program runs or where (see [`crate::service::Running::tool`]); long-lived servers have their own
//! module, [`daemon`].

mod daemon;

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

pub use daemon::{Daemon, PIDS, kill_tree, start_time};

/// How long a program is given to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of standard output is kept in memory when it is not streamed.
const OUTPUT_LIMIT: u64 = 8 << 20;
/// How many last lines of standard error an error message may draw on.
const TAIL_LINES: usize = 12;

/// Variables by which clients are pointed at servers (libpq's `PG…`, redis-cli's, the AWS tools'), by their beginnings.
const REDIRECTING: [&str; 3] = ["PG", "REDISCLI_", "AWS_"];

/// Another user to run as: servers refuse to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// How many leading arguments belong to a wrapper such as `docker exec`, and are not shown.
    wrapper: usize,
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
        let log = format!("the whole log is {}", self.log.display());
        Err(Error::failed(message).last_resort(log))
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
            wrapper: 0,
        }
    }

    /// A program run by a wrapper (`docker exec … ID program`): logs and reports show the program, not the wrapper.
    pub fn wrapped<A: Into<OsString>>(
        wrapper: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
        program: &str,
    ) -> Self {
        let mut command = Self::new(wrapper).args(args);
        command.wrapper = command.args.len();
        command.arg(program)
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

    /// The command line as it is shown.
    pub fn shown(&self) -> String {
        let program = match self.wrapper {
            0 => self.program.file_name(),
            _ => None,
        };
        program
            .into_iter()
            .chain(self.args[self.wrapper..].iter().map(OsString::as_os_str))
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
        Daemon::adopt(ctx, child, log)
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
        let shown = self.shown();
        let name: String = shown
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
            .collect();
        let name = format!("{:04}-{name}.log", ctx.next_number());
        // What a program says is judged: where the reports can no longer be written to, it goes to the drill's directory.
        let open = |dir: &Path| {
            let log = dir.join(&name);
            std::fs::File::create(&log).map(|file| (log, file))
        };
        let opened = open(&ctx.logs).or_else(|error| open(&ctx.dir).map_err(|_| error));
        let (log, mut file) =
            opened.doing_with(|| format!("create the log {}", ctx.logs.join(&name).display()))?;
        let _ = writeln!(file, "$ {shown}");
        Ok((log, file))
    }

    fn start(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let mut command = tokio::process::Command::new(&self.program);
        // The user's own settings must not lead a tool to another server than the one it is pointed at.
        for (name, _) in std::env::vars_os() {
            if REDIRECTING
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
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

/// Asks a process of this program's own to end (SIGTERM).
pub fn ask_to_end(pid: u32) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// A word as a POSIX shell reads it.
pub fn quoted(word: &str) -> String {
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
            ended = tokio::time::timeout(self.deadline, self.child.wait()) => match ended {
                Ok(status) => Ok(status.doing_with(|| format!("wait for {}", self.command))?),
                Err(_) => Err(Kind::TimedOut),
            },
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

#[cfg(test)]
mod tests;
