//! Mounts of a test's own: a small disk, a file in the place of another. As root, as an ordinary user in name spaces of
//! its own, or by `sudo` that asks for nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use redrill::process::quoted;

/// How something is mounted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// This is root.
    Root,
    /// The kernel lets users have name spaces of their own.
    User,
    /// `sudo -n` works.
    Sudo,
}

/// How a shell gets a file system name space of its own, by each means.
fn name_space(means: Means) -> Command {
    let words: &[&str] = match means {
        Means::Root => &["unshare", "--mount"],
        Means::User => &[
            "unshare",
            "--user",
            "--mount",
            "--map-current-user",
            "--keep-caps",
        ],
        Means::Sudo => &["sudo", "-n", "unshare", "--mount"],
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["sh", "-ec"]);
    command.stdin(Stdio::null());
    command
}

/// The first means that mounts something; asked once.
fn means() -> Result<Means, String> {
    static FOUND: OnceLock<Result<Means, String>> = OnceLock::new();
    let find = || {
        let mut why = Vec::new();
        for means in [Means::Root, Means::User, Means::Sudo] {
            let tried = name_space(means)
                .arg("mount -t tmpfs -o size=64k tmpfs /mnt")
                .output();
            match tried {
                Ok(output) if output.status.success() => return Ok(means),
                Ok(output) => why.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(error) => why.push(error.to_string()),
            }
        }
        let why = why.join("; ");
        Err(format!(
            "nothing can be mounted here, as root, in a name space or by sudo: {why}"
        ))
    };
    FOUND.get_or_init(find).clone()
}

/// Why nothing can be mounted for a command, where that is so.
#[allow(dead_code, reason = "not every target asks before it tries")]
pub fn lacking() -> Option<String> {
    means().err()
}

/// The owner that a new file system needs, for this user to write to it.
fn owner(means: Means) -> String {
    match means {
        Means::Root | Means::User => String::new(),
        Means::Sudo => {
            let (uid, gid) = ids();
            format!(",uid={uid},gid={gid}")
        }
    }
}

fn ids() -> (String, String) {
    let id = |what: &str| {
        let output = Command::new("id").arg(what).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    (id("-u"), id("-g"))
}

/// A command line that mounts a new file system of this size in the place of a directory.
#[allow(dead_code, reason = "not every target fills a disk")]
pub fn small_disk(size: &str, place: &Path) -> Result<String, String> {
    let owner = owner(means()?);
    let place = quoted(&place.display().to_string());
    Ok(format!(
        "mount -t tmpfs -o size={size},mode=755{owner} tmpfs {place}"
    ))
}

/// A command line that puts a file in the place of another one.
#[allow(dead_code, reason = "not every target replaces a program")]
pub fn in_place_of(file: &Path, of: &Path) -> String {
    let word = |path: &Path| quoted(&path.display().to_string());
    format!("mount --bind {} {}", word(file), word(of))
}

/// A command that runs where `mounts` were carried out before; they are gone when it has ended. `after` runs in the same
/// place when it has, and changes nothing of how it ended. The mounts themselves failing ends it with 99.
#[allow(dead_code, reason = "not every target runs a command so")]
pub fn around(command: &Command, mounts: &[String], after: &str) -> Result<Command, String> {
    let means = means()?;
    let mounts = mounts.join(" && ");
    let script =
        format!("{{ {mounts}; }} || exit 99; set +e; \"$@\"; code=$?; {after}\nexit $code");
    let mut around = name_space(means);
    around.arg(script).arg("sh");
    let environment = command.get_envs();
    if means == Means::Sudo {
        // Which forgets the environment, and would run it as root.
        let (uid, gid) = ids();
        around.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--init-groups"]);
        around.args(["env", "-i"]);
        let changed: Vec<_> = environment.collect();
        let own = std::env::vars_os().filter(|(name, _)| changed.iter().all(|(it, _)| it != name));
        let set = changed
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
        for (name, value) in own.chain(set) {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            around.arg(pair);
        }
    } else {
        for (name, value) in environment {
            match value {
                Some(value) => around.env(name, value),
                None => around.env_remove(name),
            };
        }
    }
    around.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        around.current_dir(dir);
    }
    Ok(around)
}

/// A file system that is mounted for this process too, until it is dropped: by root, or by `sudo`.
#[allow(dead_code, reason = "not every target needs one itself")]
pub struct Mounted {
    place: PathBuf,
    by: &'static [&'static str],
}

#[allow(dead_code, reason = "not every target needs one itself")]
impl Mounted {
    /// Mounts a new file system in the place of a directory.
    pub fn new(place: &Path, options: &str) -> Result<Self, String> {
        let mut why = String::new();
        for by in [&[][..], &["sudo", "-n"]] {
            let mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs"];
            match run(by, &mount, place) {
                Ok(()) => {
                    let place = place.to_owned();
                    return Ok(Self { place, by });
                }
                Err(words) => why.push_str(&format!(" {words}")),
            }
        }
        Err(format!(
            "no small disk can be mounted, which takes root or sudo:{why}"
        ))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still looks at it keeps it for as long.
        if let Err(words) = run(self.by, &["umount", "-l"], &self.place) {
            assert!(std::thread::panicking(), "it stays mounted: {words}");
        }
    }
}

fn run(by: &[&str], words: &[&str], place: &Path) -> Result<(), String> {
    let words = [by, words].concat();
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).arg(place).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
