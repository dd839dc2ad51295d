//! Local services: server programs of this machine run as child processes, each in a directory of its own under
//! the drill's, on a loopback port that is held from choice to removal; S3 is the embedded store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{Provisioner, Wanted};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::process::{Account, Command};
use crate::service::{Held, Running};
use crate::suite::Engine;

mod embedded;
mod postgres;
mod redis;
pub mod tls;

/// Starts services as processes of this machine.
#[derive(Debug, Default)]
pub struct Local;

#[async_trait]
impl Provisioner for Local {
    fn mode(&self) -> &'static str {
        "local"
    }

    async fn start(&self, ctx: &Context, wanted: &Wanted) -> Result<Arc<dyn Running>> {
        start(ctx, wanted, None).await
    }

    fn copies(&self) -> bool {
        true
    }

    async fn start_on(
        &self,
        ctx: &Context,
        wanted: &Wanted,
        held: &Held,
    ) -> Result<Arc<dyn Running>> {
        start(ctx, wanted, Some(held)).await
    }
}

/// Starts an empty server, or one with a copy of what another held.
async fn start(ctx: &Context, wanted: &Wanted, held: Option<&Held>) -> Result<Arc<dyn Running>> {
    let server: Result<Arc<dyn Running>> = match wanted.engine {
        Engine::Postgres => postgres::start(ctx, wanted, held).await,
        Engine::Redis => redis::start(ctx, wanted, held).await,
        Engine::Bucket => embedded::start(ctx, wanted, held).await,
    };
    server.doing_with(|| format!("start {} for {}", wanted.engine, wanted.name))
}

/// Copies what a server held into the data directory of another, as the user that it belongs to; where the file system can
/// share blocks, it does.
async fn copy(ctx: &Context, held: &Held, data: &Path, account: Option<Account>) -> Result<()> {
    let copied = Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .arg(held.data.join("."))
        .arg(data)
        .dir("/")
        .account(account)
        .run(ctx)
        .await?;
    copied.ok().map(drop)
}

/// Moves a data directory to where it is kept.
fn keep(data: &Path, place: &Path) -> Result<Held> {
    std::fs::rename(data, place)
        .doing_with(|| format!("move {} to {}", data.display(), place.display()))?;
    Ok(Held {
        data: place.to_owned(),
        password: String::new(),
        users: Vec::new(),
    })
}

/// A server's own place: `data` and `staging` belong to the user it runs as.
#[derive(Debug)]
struct Home {
    dir: PathBuf,
    account: Option<Account>,
}

impl Home {
    fn make(ctx: &Context, wanted: &Wanted, account: Option<Account>) -> Result<Self> {
        let dir = ctx.subdir(&format!("{}-{}", wanted.name, ctx.next_number()))?;
        let home = Self { dir, account };
        // What its tools make beside the data belongs to the server.
        home.own(&home.dir)?;
        home.give(&home.data())?;
        home.give(&home.staging())?;
        Ok(home)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    /// Creates a directory that only the server's user may enter.
    fn give(&self, path: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path).doing_with(|| format!("create {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .doing_with(|| format!("set the mode of {}", path.display()))?;
        self.own(path)
    }

    /// Gives a path to the server's user.
    fn own(&self, path: &Path) -> Result<()> {
        let Some(account) = self.account else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .doing_with(|| format!("give {} to the server's user", path.display()))
    }

    /// Writes a file into a directory of its own that only the server's user may enter: configuration with a password in
    /// it, which the server may rewrite.
    fn private_file(&self, dir: &str, name: &str, text: &str) -> Result<PathBuf> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt;
        let dir = self.dir.join(dir);
        self.give(&dir)?;
        let path = dir.join(name);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .doing_with(|| format!("create {}", path.display()))?;
        file.write_all(text.as_bytes())
            .doing_with(|| format!("write {}", path.display()))?;
        self.own(&path)?;
        Ok(path)
    }

    /// Removes everything of the server; the disaster leaves nothing either.
    fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).doing_with(|| format!("remove {}", self.dir.display())),
        }
    }

    /// Puts a directory that lies beside the data in its place.
    fn replace_data(&self, prepared: &Path) -> Result<()> {
        let data = self.data();
        std::fs::remove_dir_all(&data).doing_with(|| format!("remove {}", data.display()))?;
        std::fs::rename(prepared, &data)
            .doing_with(|| format!("put {} in the place of the data", prepared.display()))
    }
}

/// A version found must be the version wanted.
fn check_version(found: &str, wanted: &Wanted) -> Result<()> {
    let Some(version) = &wanted.version else {
        return Ok(());
    };
    if found == version || found.starts_with(&format!("{version}.")) {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "{} {version} is wanted, but {found} is installed",
        wanted.engine
    ))
    .hint("install that version, change `version` in the suite, or use --services containers"))
}
