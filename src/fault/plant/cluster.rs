//! Faults planted in a recovered cluster: in its files behind the server's back, in its catalogue, and in how it is set up.
//! They are those of a bad disk, a bad copy, another C library, a forgotten setting.

use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::fault::strike::{PAGE, overwrite};
use crate::pipeline::{Archive, Fetched};
use crate::service::postgres::session::{Session, literal};
use crate::service::{Running, Stop, write_file};
use crate::suite::Fault;

/// A table of several pages, one with values out of line, and the drill's own ledger.
const TABLE: &str = "shop.orders";
const OUT_OF_LINE: &str = "shop.manuals";
const LEDGER: &str = "redrill.ledger";
const LEDGER_KEY: &str = "redrill.ledger_pkey";
/// Rows of an index are left out while it is not ready.
const READY: &str =
    "set allow_system_table_mods = on; update pg_catalog.pg_index set indisready = ";

/// Plants the fault in a cluster that has been recovered and runs.
pub(super) async fn after_recovery(
    ctx: &Context,
    fault: Fault,
    database: &str,
    server: &dyn Running,
    fetched: &Fetched,
) -> Result<()> {
    let cluster = Cluster {
        ctx,
        database,
        server,
    };
    match fault {
        Fault::B6 => cluster.lose_a_tablespace().await,
        Fault::B8 => {
            cluster
                .change_page(TABLE, 0, |page| page[PAGE * 3 / 4] ^= 0x10)
                .await
        }
        Fault::B9 => {
            cluster
                .change_page(TABLE, 0, |page| page[PAGE / 2..].fill(0))
                .await
        }
        Fault::B10 => cluster.bring_back_old_page(fetched, LEDGER, 0).await,
        // The first page of an index says where its root is.
        Fault::B10Index => cluster.bring_back_old_page(fetched, LEDGER_KEY, 1).await,
        Fault::B11 => {
            let path = cluster.file_of(TABLE).await?;
            let page = cluster.page(&path, 0).await?;
            cluster.write(&path, 1, &page).await
        }
        // It was written by a transaction that has not begun.
        Fault::B12 => {
            cluster
                .damage_a_row_header(|row| {
                    row[..4].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
                })
                .await
        }
        Fault::B12Hoff => cluster.damage_a_row_header(|row| row[22] += 8).await,
        // Five columns, and three that the table does not have.
        Fault::B12Natts => cluster.damage_a_row_header(|row| row[18] += 3).await,
        Fault::B13 => {
            let toast = format!(
                "(select reltoastrelid from pg_class where oid = {}::regclass)",
                literal(OUT_OF_LINE)
            );
            let path = cluster.file(&toast).await?;
            cluster.write(&path, 0, &[0; PAGE]).await
        }
        Fault::B14 => {
            let another = "update pg_catalog.pg_index set indcollation = (select oid::text::oidvector from pg_collation \
                           where collname = 'en-x-icu') where indexrelid = 'shop.customers_email_key'::regclass";
            cluster
                .sql(&["set allow_system_table_mods = on", another])
                .await?;
            server.restart(ctx, Stop::Clean).await
        }
        Fault::B15 => {
            cluster
                .without(
                    "shop.customers_by_name",
                    "update shop.customers set name = name",
                )
                .await
        }
        Fault::B16 => {
            cluster
                .without(
                    "shop.products_by_tag",
                    "update shop.products set tags = tags",
                )
                .await
        }
        Fault::B16Gist => {
            cluster
                .without(
                    "shop.products_by_price",
                    "update shop.products set price = price",
                )
                .await
        }
        Fault::B16Brin => cluster.turn_visits_around().await,
        Fault::B18 => cluster.turn_checksums_off().await,
        Fault::B23 => {
            cluster
                .sql(&[
                    "alter system set archive_mode = 'on'",
                    "alter system set archive_command = 'true'",
                ])
                .await?;
            server.restart(ctx, Stop::Clean).await
        }
        Fault::B23Scheduler => cluster.preload_a_scheduler().await,
        Fault::B23Standby => cluster.follow().await,
        // What keeps a subscription of the source from work in its copy is undone.
        Fault::B23Subscription => {
            cluster
                .sql(&["alter system reset max_logical_replication_workers"])
                .await?;
            server.restart(ctx, Stop::Clean).await
        }
        _ => Ok(()),
    }
}

/// Plants what the source of a cluster has itself, before the last of its base backups: the backup is a good one of it.
pub async fn in_source_of_backup(
    ctx: &Context,
    fault: Option<Fault>,
    source: &dyn Running,
    database: &str,
) -> Result<()> {
    let cluster = Cluster {
        ctx,
        database,
        server: source,
    };
    match fault {
        // The index knows of both rows, and was not asked to refuse one.
        Some(Fault::B17) => {
            let unique = |truth: bool| {
                format!(
                    "set allow_system_table_mods = on; update pg_catalog.pg_index set indisunique = {truth} \
                     where indexrelid = 'shop.customers_email_key'::regclass"
                )
            };
            let twice = "insert into shop.customers (email, name) select email, name from shop.customers limit 1";
            cluster.sql(&[&unique(false)]).await?;
            cluster.sql(&[twice]).await?;
            cluster.sql(&[&unique(true)]).await
        }
        // From the server that the source names as its primary, where a canary listens.
        Some(Fault::B23Subscription) => {
            let session = cluster.session().await?;
            let named = session.value(ctx, "show primary_conninfo").await?;
            let named = named.filter(|named| !named.is_empty());
            let named = named.ok_or_else(|| Error::defect("the source names no primary"))?;
            let create = format!(
                "create subscription prices connection {} publication prices with (connect = false, slot_name = 'prices')",
                literal(&named)
            );
            session.run(ctx, &create).await?;
            session.run(ctx, "alter subscription prices enable").await
        }
        _ => Ok(()),
    }
}

/// B23-archive: the copy's last segment lies where its source archives to, as the `archive_command` that it was restored
/// with puts it there.
pub async fn in_archive_of_source(
    ctx: &Context,
    copy: &dyn Running,
    source: &dyn Running,
    archive: Option<Archive>,
) -> Result<()> {
    let Some(directory) = archive.and_then(|archive| archive.directory) else {
        return Ok(());
    };
    let session = Session::open(ctx, copy, "postgres").await?;
    let last = "select pg_walfile_name(pg_switch_wal() - 1)";
    let name = session.value(ctx, last).await?.unwrap_or_default();
    let segment = copy.data_dir().join("pg_wal").join(&name);
    let read = copy.tool("cat").arg(segment).run(ctx).await?.ok()?;
    let input = Box::new(std::io::Cursor::new(read.stdout));
    write_file(ctx, source, &directory.join(name), input).await
}

/// B20: fills a new server with everything of another one, but for the passwords of its roles.
pub async fn stand_in(ctx: &Context, source: &dyn Running, empty: &dyn Running) -> Result<()> {
    let everything = source.tool("pg_dumpall").arg("--no-role-passwords");
    // The superuser is there already, and what says so is passed over.
    let psql = empty.tool("psql").args(["-X", "-q", "--dbname=postgres"]);
    let everything = everything.run(ctx).await?.ok()?.stdout;
    psql.feed(ctx, &everything[..]).await?.ok().map(drop)
}

struct Cluster<'a> {
    ctx: &'a Context,
    database: &'a str,
    server: &'a dyn Running,
}

impl Cluster<'_> {
    /// What the recovery took from the settings of its source is back, and it is started as a standby.
    async fn follow(&self) -> Result<()> {
        const FOLLOW: &str = r#"cd -- "$1" && sed -i "/^primary_conninfo = ''$/d" postgresql.auto.conf && : > standby.signal && grep -q '^primary_conninfo' postgresql.auto.conf"#;
        let data = self.server.data_dir();
        let follow = self.server.tool("sh").args(["-c", FOLLOW, "sh"]).arg(data);
        follow.run(self.ctx).await?.ok()?;
        self.server.restart(self.ctx, Stop::Clean).await
    }

    /// A library of the server's own stands in for pg_cron, which not every server has: what is told is its name.
    async fn preload_a_scheduler(&self) -> Result<()> {
        let session = self.session().await?;
        let place = "select setting from pg_config where name = 'PKGLIBDIR'";
        let place = session.value(self.ctx, place).await?;
        let place = place.ok_or_else(|| Error::defect("the server has no libraries"))?;
        let stand_in = self.server.data_dir().join("pg_cron.so");
        let copy = self.server.tool("cp").arg("--");
        let copy = copy.arg(Path::new(&place).join("auto_explain.so"));
        copy.arg(&stand_in).run(self.ctx).await?.ok()?;
        let stand_in = literal(&stand_in.to_string_lossy());
        let preload = format!("alter system set shared_preload_libraries = {stand_in}");
        session.run(self.ctx, &preload).await?;
        drop(session);
        self.server.restart(self.ctx, Stop::Clean).await
    }

    /// What lies under the link of a tablespace stays where it is, and the server does not find it.
    async fn lose_a_tablespace(&self) -> Result<()> {
        let session = self.session().await?;
        let oid = "select oid from pg_tablespace where spcname not in ('pg_default', 'pg_global')";
        let oid = session.value(self.ctx, oid).await?;
        let oid = oid.ok_or_else(|| Error::defect("the cluster has no tablespace to lose"))?;
        session.run(self.ctx, "checkpoint").await?;
        drop(session);
        let link = self.server.data_dir().join("pg_tblspc").join(oid);
        let remove = self.server.tool("rm").arg("--").arg(link);
        remove.run(self.ctx).await?.ok()?;
        self.server.restart(self.ctx, Stop::Kill).await
    }

    async fn session(&self) -> Result<Session> {
        Session::open(self.ctx, self.server, self.database).await
    }

    async fn sql(&self, statements: &[&str]) -> Result<()> {
        let session = self.session().await?;
        for statement in statements {
            session.run(self.ctx, statement).await?;
        }
        Ok(())
    }

    /// The file of a relation, everything of it being on disk by then.
    async fn file_of(&self, relation: &str) -> Result<String> {
        self.file(&format!("{}::regclass", literal(relation))).await
    }

    async fn file(&self, relation: &str) -> Result<String> {
        let session = self.session().await?;
        session.run(self.ctx, "checkpoint").await?;
        let path = session
            .value(
                self.ctx,
                &format!("select pg_relation_filepath({relation})"),
            )
            .await?;
        path.ok_or_else(|| Error::defect(format!("{relation} has no file")))
    }

    async fn page(&self, path: &str, block: u64) -> Result<Vec<u8>> {
        let file = self.server.data_dir().join(path);
        let read = self.server.tool("dd").arg(format!("if={}", file.display()));
        let read = read.args([
            format!("bs={PAGE}"),
            format!("skip={block}"),
            "count=1".into(),
        ]);
        Ok(read.run(self.ctx).await?.ok()?.stdout)
    }

    /// Writes a page, and has the server read it anew.
    async fn write(&self, path: &str, block: u64, page: &[u8]) -> Result<()> {
        if page.len() != PAGE || self.page(path, block).await? == page {
            return Err(Error::defect(format!(
                "{path} is as it was: nothing was planted"
            )));
        }
        overwrite(self.ctx, self.server, path, block, page).await?;
        self.server.restart(self.ctx, Stop::Clean).await
    }

    async fn change_page(
        &self,
        relation: &str,
        block: u64,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let path = self.file_of(relation).await?;
        let mut page = self.page(&path, block).await?;
        change(&mut page);
        self.write(&path, block, &page).await
    }

    /// A write that never reached the disk: a page of the ledger is again what it was in the base backup.
    async fn bring_back_old_page(
        &self,
        fetched: &Fetched,
        relation: &str,
        block: usize,
    ) -> Result<()> {
        let base = fetched.files.iter().find(|(name, _)| name == "base");
        let (_, base) = base.ok_or_else(|| Error::defect("no base backup was fetched"))?;
        let path = self.file_of(relation).await?;
        let old = self.server.tool("tar").arg("-xOf").arg(base).arg(&path);
        let old = old.run(self.ctx).await?.ok()?.stdout;
        let page = old.chunks(PAGE).nth(block).unwrap_or_default();
        self.write(&path, block as u64, page).await
    }

    /// Changes the header of the first row of a page, whose checksum is right all the same.
    async fn damage_a_row_header(&self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let path = self.file_of(TABLE).await?;
        let mut page = self.page(&path, 0).await?;
        // The first line pointer follows the page's header of 24 bytes; its lower 15 bits are the row's place. A row begins
        // with its xmin; its 18th byte says how many columns it has, its 22nd where they begin.
        let row = usize::from(u16::from_le_bytes([page[24], page[25]]) & 0x7fff);
        change(&mut page[row..]);
        let session = self.session().await?;
        session
            .run(
                self.ctx,
                "create extension pageinspect with schema pg_catalog",
            )
            .await?;
        let ask = format!(
            "select page_checksum(decode({}, 'hex'), 0)::integer",
            literal(&hex::encode(&page))
        );
        let sum = session.value(self.ctx, &ask).await?;
        session.run(self.ctx, "drop extension pageinspect").await?;
        drop(session);
        let sum: i32 = sum
            .and_then(|sum| sum.parse().ok())
            .ok_or_else(|| Error::defect("the server gives no checksum of a page"))?;
        page[8..10].copy_from_slice(&sum.to_le_bytes()[..2]);
        self.write(&path, 0, &page).await
    }

    /// Changes rows while an index does not hear of it.
    async fn without(&self, index: &str, change: &str) -> Result<()> {
        let ready = |truth: bool| {
            format!(
                "{READY}{truth} where indexrelid = {}::regclass",
                literal(index)
            )
        };
        self.sql(&[&ready(false)]).await?;
        self.sql(&[change]).await?;
        self.sql(&[&ready(true)]).await
    }

    /// The same rows in the pages that they were in, the latest first, while the index still knows of the others' order.
    async fn turn_visits_around(&self) -> Result<()> {
        let aside = [
            "create table shop.visits_kept as select * from shop.visits",
            "delete from shop.visits",
            "vacuum shop.visits",
        ];
        self.sql(&aside).await?;
        let back = "insert into shop.visits select * from shop.visits_kept order by at desc";
        self.without("shop.visits_by_time", back).await?;
        self.sql(&["drop table shop.visits_kept"]).await
    }

    /// The cluster is copied, shut down and rewritten without checksums, and takes its own place.
    async fn turn_checksums_off(&self) -> Result<()> {
        self.sql(&["checkpoint"]).await?;
        let copy = copied(self.ctx, self.server, "without-checksums").await?;
        alone(self.ctx, self.server, &copy, &["template1"], "select 1\n").await?;
        let off = self.server.tool("pg_checksums").arg("--disable").arg("-D");
        off.arg(&copy).run(self.ctx).await?.ok()?;
        self.server.replace_data(self.ctx, &copy).await
    }
}

/// A copy of a running cluster, beside it, as a crash would leave it.
pub(super) async fn copied(ctx: &Context, server: &dyn Running, name: &str) -> Result<PathBuf> {
    const COPY: &str = r#"
set -eu
cp -a -- "$1" "$2"
rm -f -- "$2/postmaster.pid"
"#;
    let copy = server.data_dir().with_file_name(name);
    let copying = server.tool("sh").args(["-c", COPY, "sh"]);
    let copying = copying.arg(server.data_dir()).arg(&copy).run(ctx);
    copying.await?.ok()?;
    Ok(copy)
}

/// One session alone on a cluster that no server runs on, which recovers it first and ends it cleanly; `words` are settings
/// and the database, and every line of `sql` is a statement.
pub(super) async fn alone(
    ctx: &Context,
    server: &dyn Running,
    cluster: &Path,
    words: &[&str],
    sql: &str,
) -> Result<()> {
    let alone = server
        .tool("postgres")
        .args(["--single", "-D"])
        .arg(cluster);
    let sql = std::io::Cursor::new(sql.to_owned());
    let ended = alone.args(words).feed(ctx, sql).await?;
    ended.ok().map(drop)
}
