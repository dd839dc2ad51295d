//! A stanza of pgBackRest as one server sees it: a configuration of this run beside the server's data, and the commands
//! that go by it.
//!
//! The repository lies inside the one that the suite names, under [`prefix`], so that everything that reads or loses that
//! one reads and loses this one too. Passwords stand in the configuration alone, which only the server's user can read.
//! The server's own environment says how it is reached. Not here: what the commands are for.

use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::{Doing, Result};
use crate::process::Command;
use crate::provision::choose;
use crate::repository::{Place, Repository};
use crate::service::Running;
use crate::suite::PgBackRest;

use super::info::{self, Info};

/// The stanza's name where redrill makes it: a repository holds one.
pub(super) const STANZA: &str = "main";
/// The configuration's name in its directory.
const CONFIG: &str = "pgbackrest.conf";
/// The region that pgBackRest is told; the servers of a run are in none.
const REGION: &str = "us-east-1";

/// Where a repository keeps what pgBackRest stores of a backup: ends in `/`.
pub fn prefix(backup: &str) -> String {
    format!("{backup}/pgbackrest/")
}

/// Where pgBackRest runs.
#[derive(Clone, Copy)]
pub(super) enum Host<'a> {
    /// Beside a server of this run, as its user.
    Server(&'a dyn Running),
    /// Here, as whoever runs redrill, with no server at all: enough to look at a repository.
    Here,
}

impl Host<'_> {
    fn tool(self, program: &str) -> Command {
        match self {
            Self::Server(server) => server.tool(program),
            Self::Here => Command::new(program),
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::Server(server) => server.mode(),
            Self::Here => "local",
        }
    }
}

/// What a configuration is made of.
pub(super) struct Wanted<'a> {
    /// The directory that it is to lie in, made here, for this server's user alone.
    pub dir: PathBuf,
    /// The stanza.
    pub name: String,
    /// The cluster's directory; none where only the repository is looked at.
    pub cluster: Option<PathBuf>,
    /// Where the backup goes, or comes from.
    pub repository: &'a dyn Repository,
    /// The backup in the suite.
    pub backup: &'a str,
    /// What the repository is encrypted with.
    pub passphrase: Option<String>,
}

/// pgBackRest with a configuration.
pub(super) struct Stanza<'a> {
    host: Host<'a>,
    dir: PathBuf,
    /// Its own name.
    pub name: String,
    /// The repository's name in the suite.
    pub repository: String,
}

impl<'a> Stanza<'a> {
    /// Writes the configuration.
    pub async fn configure(
        ctx: &Context,
        host: Host<'a>,
        options: &PgBackRest,
        wanted: Wanted<'_>,
    ) -> Result<Self> {
        choose::pgbackrest(host.mode())?;
        let repository = wanted.repository.name().to_owned();
        let place = wanted.repository.place()?;
        if let (Place::Directory(root), Host::Server(server)) = (&place, host) {
            give(&root.join(prefix(wanted.backup)), server)?;
        }
        let stanza = Self {
            host,
            dir: wanted.dir.clone(),
            name: wanted.name.clone(),
            repository,
        };
        const MAKE: &str = r#"umask 077 && mkdir -p -- "$1" && cat > "$1/$2""#;
        let make = |name: &str| {
            let make = host.tool("sh").args(["-c", MAKE, "sh"]);
            make.arg(&wanted.dir).arg(name)
        };
        let write = async |name: &str, text: String| {
            let made = make(name).feed(ctx, std::io::Cursor::new(text)).await?;
            made.ok().map(drop)
        };
        if let Place::Bucket { tls, .. } = &place {
            write(CERTIFICATE, tls.certificate.clone()).await?;
        }
        let port = match host {
            Host::Server(server) => Some(server.endpoint().port),
            Host::Here => None,
        };
        let text = config(options, &place, port, &wanted);
        write(CONFIG, text)
            .await
            .doing("write pgBackRest's configuration")?;
        Ok(stanza)
    }

    /// The one that was configured in this directory before.
    pub fn in_dir(server: &'a dyn Running, dir: PathBuf, name: &str, repository: &str) -> Self {
        Self {
            host: Host::Server(server),
            dir,
            name: name.to_owned(),
            repository: repository.to_owned(),
        }
    }

    /// The words that every command line begins with.
    pub fn words(&self) -> [String; 3] {
        [
            "pgbackrest".to_owned(),
            format!("--config={}", self.dir.join(CONFIG).display()),
            format!("--stanza={}", self.name),
        ]
    }

    /// A command of pgBackRest.
    pub fn command(&self, name: &str) -> Command {
        let [program, config, stanza] = self.words();
        self.host.tool(&program).args([config, stanza]).arg(name)
    }

    /// What the repository holds.
    pub async fn info(&self, ctx: &Context) -> Result<Info> {
        let doing = || format!("ask pgBackRest what repository {} holds", self.repository);
        let asked = self.command("info").arg("--output=json").run(ctx).await?;
        let said = asked.ok().doing_with(doing)?;
        info::parse(&said.stdout, &self.repository).doing_with(doing)
    }

    /// Removes the configuration, and the passwords in it.
    pub async fn forget(&self, ctx: &Context) -> Result<()> {
        let remove = self.host.tool("rm").args(["-rf", "--"]).arg(&self.dir);
        remove.run(ctx).await?.ok().map(drop)
    }
}

const CERTIFICATE: &str = "ca.pem";

/// Makes the repository's directory the server's user's own: it is its pgBackRest that writes there.
fn give(dir: &Path, server: &dyn Running) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let doing = || format!("give {} to the server's user", dir.display());
    std::fs::create_dir_all(dir).doing_with(doing)?;
    if let Some(parent) = dir.parent() {
        // It is passed through, like everything above it.
        let pass = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(parent, pass).doing_with(doing)?;
    }
    let wanted = std::fs::metadata(server.data_dir()).doing_with(doing)?;
    let found = std::fs::metadata(dir).doing_with(doing)?;
    if (found.uid(), found.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    chown(dir, Some(wanted.uid()), Some(wanted.gid())).doing_with(doing)
}

/// The configuration's text.
fn config(options: &PgBackRest, place: &Place, port: Option<u16>, wanted: &Wanted<'_>) -> String {
    let dir = |name: &str| wanted.dir.join(name).display().to_string();
    let mut lines = vec!["[global]".to_owned()];
    let mut say = |name: &str, value: &str| lines.push(format!("{name}={value}"));
    match place {
        Place::Directory(root) => {
            let path = root.join(prefix(wanted.backup));
            say("repo1-path", path.to_string_lossy().trim_end_matches('/'));
        }
        Place::Given(path) => say("repo1-path", &path.to_string_lossy()),
        Place::Bucket {
            bucket,
            endpoint,
            tls,
        } => {
            let path = format!("/{}", prefix(wanted.backup));
            say("repo1-type", "s3");
            say("repo1-path", path.trim_end_matches('/'));
            say("repo1-s3-bucket", bucket);
            say("repo1-s3-endpoint", tls.host);
            say("repo1-s3-region", REGION);
            say("repo1-s3-uri-style", "path");
            say("repo1-s3-key", &endpoint.user);
            say("repo1-s3-key-secret", &endpoint.password);
            say("repo1-storage-host", tls.host);
            say("repo1-storage-port", &tls.port.to_string());
            say("repo1-storage-ca-file", &dir(CERTIFICATE));
        }
    }
    if let Some(passphrase) = &wanted.passphrase {
        say("repo1-cipher-type", "aes-256-cbc");
        say("repo1-cipher-pass", passphrase);
    }
    if options.bundle {
        say("repo1-bundle", "y");
    }
    say("repo1-retention-full", &options.retention_full.to_string());
    if let Some(diff) = options.retention_diff {
        say("repo1-retention-diff", &diff.to_string());
    }
    let (kind, level) = options.compress.words();
    say("compress-type", kind);
    if let Some(level) = level {
        say("compress-level", &level.to_string());
    }
    for (name, value) in [
        ("process-max", "2"),
        ("start-fast", "y"),
        // What is damaged stays damaged.
        ("job-retry", "0"),
        ("archive-timeout", "60"),
        // It tries eight times as long before it says that a repository does not answer, and a recovery waits for it.
        ("io-timeout", "10"),
        // Everything that is said goes to standard error, and with it to the log of the command.
        ("log-level-file", "off"),
        ("log-level-console", "off"),
        ("log-level-stderr", "info"),
        ("log-timestamp", "n"),
    ] {
        say(name, value);
    }
    say("lock-path", &dir("lock"));
    say("spool-path", &dir("spool"));
    lines.push(format!("[{}]", wanted.name));
    let cluster = wanted.cluster.as_ref();
    lines.extend(cluster.map(|path| format!("pg1-path={}", path.display())));
    lines.extend(port.map(|port| format!("pg1-port={port}")));
    lines.join("\n") + "\n"
}
