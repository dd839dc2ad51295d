//! Real backups, taken once from real servers by the tools that people take them with: what the trials verify, cut,
//! change and encrypt.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::Failed;
use redrill::context::{Context, RunId};
use redrill::provision::local::Local;
use redrill::provision::{Provisioner as _, Wanted};
use redrill::service::{Endpoint, Running};
use redrill::suite::Engine;

use crate::place::copy;

/// Rows of the table that every backup of the shop has.
pub const ROWS: u32 = 1000;

/// What the shop's database holds.
pub const SEED: &str = "
create role shop_owner;
create table public.orders (id serial primary key, note text not null);
insert into public.orders (note) select 'order ' || i from generate_series(1, 1000) i;
alter table public.orders owner to shop_owner;
create table public.returns (id int, why text);
insert into public.returns select i, 'broken' from generate_series(1, 50) i;";

/// A database that needs an extension, and uses it in an index.
const SHELF: &str = "
create extension pg_trgm;
create table public.orders as select i as id, 'order ' || i as note from generate_series(1, 1000) i;
create index on public.orders using gin (note gin_trgm_ops);";

static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
static SERVERS: Mutex<Vec<Arc<dyn Running>>> = Mutex::new(Vec::new());
static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();

/// The backups, in a folder.
pub struct Lab {
    dir: PathBuf,
    /// The server that the dumps are of, with all that they hold.
    pub source: Endpoint,
}

fn runtime() -> &'static tokio::runtime::Runtime {
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}

/// Runs work of the tests' own to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

impl Lab {
    /// The backups; they are taken when they are first asked for.
    pub fn get() -> Result<&'static Self, Failed> {
        let lab = LAB.get_or_init(|| block_on(Self::take()).map_err(|error| format!("{error}")));
        lab.as_ref().map_err(|error| error.clone().into())
    }

    /// Ends the servers and removes the backups.
    pub fn remove() {
        if let Some(Ok(lab)) = LAB.get() {
            let servers =
                std::mem::take(&mut *SERVERS.lock().unwrap_or_else(PoisonError::into_inner));
            block_on(async {
                for server in servers {
                    server.remove(&context(&lab.dir)).await.expect("is removed");
                }
            });
            std::fs::remove_dir_all(&lab.dir).expect("is removed");
        }
    }

    /// A backup by its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join("backups").join(name)
    }

    /// A directory for servers of another kind, which goes with the lab.
    pub fn room(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The bytes of a backup.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a backup")
    }

    async fn take() -> redrill::error::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new()
            .prefix("rdlab")
            .tempdir()
            .expect("a directory")
            .keep();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711)).expect("open");
        std::fs::create_dir(dir.join("backups")).expect("a directory");
        let ctx = context(&dir);
        let postgres = start(&ctx, Engine::Postgres, &[]).await?;
        let lab = Self {
            dir,
            source: postgres.endpoint(),
        };
        lab.dumps(&ctx, &*postgres).await?;
        lab.bases(&ctx, &*postgres).await?;
        let redis = start(&ctx, Engine::Redis, &[("appendonly", "yes")]).await?;
        lab.redis(&ctx, &*redis).await?;
        lab.files(&ctx).await?;
        Ok(lab)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    async fn dumps(&self, ctx: &Context, server: &dyn Running) -> redrill::error::Result<()> {
        let psql = |database: &str| {
            let psql = server
                .tool("psql")
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
            psql.arg(format!("--dbname={database}"))
        };
        let run = |database: &'static str, sql: &'static str| async move {
            psql(database).feed(ctx, sql.as_bytes()).await?.ok()
        };
        run("postgres", "create database shop").await?;
        run("shop", SEED).await?;
        let dump = |database: &'static str, arguments: &'static [&'static str]| async move {
            let dump = server
                .tool("pg_dump")
                .args(arguments.iter().copied())
                .arg(database);
            Ok::<_, redrill::error::Error>(dump.run(ctx).await?.ok()?.stdout)
        };
        self.write("shop.dump", &dump("shop", &["-Fc"]).await?);
        self.write("shop.tar", &dump("shop", &["-Ft"]).await?);
        self.write("shop.sql", &dump("shop", &[]).await?);
        self.write("told.sql", &dump("shop", &["--verbose"]).await?);
        self.write("created.sql", &dump("shop", &["--create"]).await?);
        let globals = server
            .tool("pg_dumpall")
            .arg("--globals-only")
            .run(ctx)
            .await?
            .ok()?;
        self.write("globals.sql", &globals.stdout);
        for (program, ending) in [("gzip", "gz"), ("zstd", "zst")] {
            let pack = redrill::process::Command::new(program).args(["-q", "-c"]);
            let packed = pack.arg(self.path("shop.sql")).run(ctx).await?.ok()?;
            self.write(&format!("shop.sql.{ending}"), &packed.stdout);
        }
        let directory = server.staging().join("directory");
        let made = server
            .tool("pg_dump")
            .args(["-Fd", "-f"])
            .arg(&directory)
            .arg("shop");
        made.run(ctx).await?.ok()?;
        self.keep(&directory, "directory");
        // The same database, some days later: most rows are gone.
        run("postgres", "create database later template shop").await?;
        run("later", "delete from public.orders where id > 500").await?;
        let less = dump("later", &["-Fc"]).await?;
        // As one of the shop: the name stands in the header, with its length before it.
        self.write("less.dump", &renamed(&less, "later", "shop"));
        run("postgres", "create database behind template shop").await?;
        run("behind", "select setval('public.orders_id_seq', 1, false)").await?;
        self.write("behind.dump", &dump("behind", &["-Fc"]).await?);
        run("postgres", "create database shelf").await?;
        run("shelf", SHELF).await?;
        self.write("shelf.dump", &dump("shelf", &["-Fc"]).await?);
        for sql in [
            "drop database behind",
            "drop database later",
            "drop database shelf",
        ] {
            run("postgres", sql).await?;
        }
        Ok(())
    }

    async fn bases(&self, ctx: &Context, server: &dyn Running) -> redrill::error::Result<()> {
        // A second database of the cluster, smaller than the shop's.
        for (database, sql) in [
            ("postgres", "create database till"),
            (
                "till",
                "create table public.receipts as select generate_series(1, 7) as id",
            ),
        ] {
            let psql = server.tool("psql").args(["-X", "-q", "-c", sql]);
            let psql = psql.arg(format!("--dbname={database}"));
            psql.run(ctx).await?.ok()?;
        }
        let cases: [(&str, &[&str]); 4] = [
            ("base-tar", &["-Ft", "-z", "-X", "stream"]),
            ("base", &["-Fp", "-X", "stream"]),
            ("base-tar-without-wal", &["-Ft", "-z", "-X", "none"]),
            ("base-without-wal", &["-Fp", "-X", "none"]),
        ];
        std::fs::create_dir(self.path("wal")).expect("a directory");
        for (name, arguments) in cases {
            let into = server.staging().join(name);
            let take = server
                .tool("pg_basebackup")
                .args(["--checkpoint=fast", "-D"])
                .arg(&into);
            take.args(arguments.iter().copied()).run(ctx).await?.ok()?;
            self.keep(&into, name);
            self.wal(ctx, server).await?;
        }
        Ok(())
    }

    /// Copies what the last base backup needs: it is still in the server's own directory, beside segments kept for later.
    async fn wal(&self, ctx: &Context, server: &dyn Running) -> redrill::error::Result<()> {
        let psql = server
            .tool("psql")
            .args(["-X", "-At", "--dbname=postgres", "-c"]);
        let current = psql.arg("select pg_walfile_name(pg_current_wal_lsn())");
        let current = current.run(ctx).await?.ok()?.stdout;
        let current = String::from_utf8_lossy(&current).trim().to_owned();
        let wal = server.data_dir().join("pg_wal");
        for entry in std::fs::read_dir(wal).expect("is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == 24 && name <= current {
                std::fs::copy(entry.path(), self.path("wal").join(entry.file_name()))
                    .expect("copied");
            }
        }
        Ok(())
    }

    async fn redis(&self, ctx: &Context, server: &dyn Running) -> redrill::error::Result<()> {
        let script = (0..300)
            .map(|n| format!("SET key:{n} {n}\n"))
            .collect::<String>();
        let cli = || server.tool("redis-cli");
        cli().feed(ctx, script.as_bytes()).await?.ok()?;
        cli().arg("SAVE").run(ctx).await?.ok()?;
        std::fs::copy(server.data_dir().join("dump.rdb"), self.path("dump.rdb")).expect("copied");
        self.keep(&server.data_dir().join("appendonlydir"), "appendonlydir");
        Ok(())
    }

    async fn files(&self, ctx: &Context) -> redrill::error::Result<()> {
        let tree = self.dir.join("tree");
        std::fs::create_dir_all(tree.join("www")).expect("a directory");
        for n in 0..20 {
            std::fs::write(tree.join(format!("www/{n}.html")), format!("page {n}"))
                .expect("written");
        }
        std::os::unix::fs::symlink("0.html", tree.join("www/index.html")).expect("linked");
        let tar = redrill::process::Command::new("tar").args(["-c", "-z", "-f"]);
        let tar = tar
            .arg(self.path("www.tar.gz"))
            .arg("-C")
            .arg(&tree)
            .arg("www");
        tar.run(ctx).await?.ok().map(drop)
    }

    /// Copies what a server's tool wrote.
    fn keep(&self, from: &Path, name: &str) {
        std::fs::create_dir(self.path(name)).expect("a directory");
        copy(from, &self.path(name)).expect("copied");
    }
}

/// A context of the lab's own.
pub fn context(dir: &Path) -> Context {
    let run = RunId::from_text("lab");
    Context::new(
        run,
        dir.join("servers"),
        dir.join("logs"),
        Default::default(),
    )
    .expect("a context")
}

/// Starts a server that ends with the lab.
pub async fn start(
    ctx: &Context,
    engine: Engine,
    settings: &[(&str, &str)],
) -> redrill::error::Result<Arc<dyn Running>> {
    let wanted = Wanted {
        name: format!("{engine}-source"),
        engine,
        version: None,
        settings: settings
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect(),
    };
    let server = Local.start(ctx, &wanted).await?;
    SERVERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(server.clone());
    Ok(server)
}

/// A custom dump of one database as one of another.
pub fn renamed(dump: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = |name: &str| [&[0, name.len() as u8, 0, 0, 0][..], name.as_bytes()].concat();
    let (from, to) = (text(from), text(to));
    let at = dump
        .windows(from.len())
        .position(|it| it == from)
        .expect("names its database");
    [&dump[..at], &to, &dump[at + from.len()..]].concat()
}

/// A custom dump as if it had been made in another year.
pub fn in_year(dump: &[u8], year: i32) -> Vec<u8> {
    let mut dump = dump.to_vec();
    // Magic and versions, the compression (its level, or since 1.15 one byte), and six numbers of five bytes each.
    let compression = if dump[6] >= 15 { 1 } else { 5 };
    let at = 11 + compression + 5 * 5;
    dump[at + 1..at + 5].copy_from_slice(&(year - 1900).to_le_bytes());
    dump
}
