//! DeltaCrown's database, as its script makes it: worth restoring, the same each time, and back whole.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::Failed;
use redrill::clock::Stopwatch;
use redrill::pipeline::pg_dump::PgDump;
use redrill::service::bucket::seed;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service};
use redrill::suite::{Dump, DumpFormat};
use tokio::io::AsyncReadExt as _;

use crate::dumps::options;
use crate::server::{Disk, TestServer};
use crate::{Lab, differences, root, same};

const SCRIPT: &str = "fixtures/deltacrown/db.sql";

/// What makes a database worth restoring, what counts it, and how much of it there is at least, whatever the scale.
const WORTH: [(&str, &str, u64); 33] = [
    (
        "tables",
        "from pg_class where relkind in ('r', 'p') and not relispartition and relnamespace in (select oid from own)",
        12,
    ),
    (
        "schemas that hold tables",
        "from own where oid in (select relnamespace from pg_class where relkind = 'r')",
        2,
    ),
    (
        "foreign keys",
        "from pg_constraint where contype = 'f' and conparentid = 0",
        12,
    ),
    (
        "check constraints",
        "from pg_constraint where contype = 'c' and connamespace in (select oid from own)",
        1,
    ),
    (
        "exclusion constraints",
        "from pg_constraint where contype = 'x'",
        1,
    ),
    (
        "kinds of index",
        "from (select distinct a.amname from pg_class join pg_am as a on a.oid = relam where relkind = 'i' and relnamespace in (select oid from own) and a.amname in ('btree', 'hash', 'gin', 'gist', 'spgist', 'brin')) as kinds",
        6,
    ),
    (
        "partial indexes",
        "from pg_index where indpred is not null",
        1,
    ),
    (
        "indexes of an expression",
        "from pg_index where indexprs is not null",
        1,
    ),
    (
        "identity columns",
        "from pg_attribute where attidentity <> ''",
        1,
    ),
    (
        "serial columns",
        "from pg_depend as d join pg_class as c on c.oid = d.objid and c.relkind = 'S' where d.deptype = 'a' and d.refobjsubid > 0",
        1,
    ),
    (
        "generated columns",
        "from pg_attribute where attgenerated <> ''",
        1,
    ),
    (
        "enums",
        "from pg_type where typtype = 'e' and typnamespace in (select oid from own)",
        1,
    ),
    (
        "domains",
        "from pg_type where typtype = 'd' and typnamespace in (select oid from own)",
        1,
    ),
    (
        "views",
        "from pg_class where relkind = 'v' and relnamespace in (select oid from own)",
        1,
    ),
    (
        "materialized views that are filled",
        "from pg_matviews where ispopulated",
        1,
    ),
    (
        "functions",
        "from pg_proc where prokind = 'f' and pronamespace in (select oid from own)",
        1,
    ),
    ("triggers", "from pg_trigger where not tgisinternal", 1),
    ("policies", "from pg_policy", 1),
    (
        "tables with row security",
        "from pg_class where relrowsecurity",
        1,
    ),
    ("roles", "from pg_roles where rolname ~ '^deltacrown_'", 2),
    (
        "memberships of roles",
        "from pg_auth_members as m join pg_roles as r on r.oid = m.roleid where r.rolname ~ '^deltacrown_'",
        1,
    ),
    (
        "tables with grants",
        "from pg_class where relacl is not null and relnamespace in (select oid from own)",
        1,
    ),
    ("partitioned tables", "from pg_partitioned_table", 1),
    (
        "partitions",
        "from pg_class where relispartition and relkind = 'r'",
        2,
    ),
    ("large objects", "from pg_largeobject_metadata", 2),
    (
        "columns of json",
        "from columns where typname in ('json', 'jsonb')",
        2,
    ),
    (
        "columns of arrays",
        "from columns where typcategory = 'A'",
        2,
    ),
    (
        "columns of bytes",
        "from columns where typname = 'bytea'",
        2,
    ),
    (
        "values that are no number",
        "from extremes where f4 = 'NaN' and f8 = 'NaN' and n = 'NaN'",
        1,
    ),
    (
        "infinite values",
        "from extremes where d = 'infinity' or f8 = '-Infinity'",
        2,
    ),
    (
        "columns with odd names",
        "from pg_attribute where attname ~ '[\"'' ]'",
        3,
    ),
    (
        "names with a space",
        "from pg_class where relkind = 'r' and relname like '% %'",
        1,
    ),
    ("names beyond ASCII", "from own where nspname ~ '[^ -~]'", 1),
];

/// What the counts of [`WORTH`] go by: the schemas that hold the system, the columns of its tables, and its odd values.
const THERE: &str = r#"with own as (select oid, nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|_seed$|extensions$)'),
    columns as (select t.typname, t.typcategory from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_type as t on t.oid = a.atttypid
        where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and c.relnamespace in (select oid from own)),
    extremes as (select * from "Odd ""Schéma"" – ünï.çødé".extremes)"#;

pub async fn deltacrown_is_worth_restoring(lab: &Lab) -> Result<(), Failed> {
    let service = seeded(lab, 42).await?;
    let session = Session::open(&lab.ctx, &*service.server(), service.database()).await?;
    let mut poor = Vec::new();
    for (what, from, least) in WORTH {
        let asked = format!("{THERE} select count(*) {from}");
        let answer = session.value(&lab.ctx, &asked).await?.unwrap_or_default();
        if answer.parse::<u64>()? < least {
            poor.push(format!("{answer} {what} of {least}"));
        }
    }
    if !poor.is_empty() {
        return Err(format!("the database has {}", poor.join(", ")).into());
    }
    Ok(())
}

pub async fn the_same_seed_gives_deltacrown_the_same_bytes_and_another_one_others(
    lab: &Lab,
) -> Result<(), Failed> {
    let mut scripts = Vec::new();
    for number in [42, 42, 43] {
        scripts.push(script(lab, &seeded(lab, number).await?).await?);
    }
    let [first, again, other] = &scripts[..] else {
        unreachable!("three were made");
    };
    assert!(first.len() > 1_000_000, "{} bytes", first.len());
    if let Some((a, b)) = first.lines().zip(again.lines()).find(|(a, b)| a != b) {
        return Err(format!("the same seed gave {a:?} and {b:?}").into());
    }
    assert_eq!(first.len(), again.len());
    assert_ne!(first, other, "another seed gave the same");
    Ok(())
}

/// A little of the system, in a database of its own.
async fn seeded(lab: &Lab, number: u64) -> Result<PostgresService, Failed> {
    let service = lab.fresh(Some(root().join(SCRIPT))).await?;
    service.create(&lab.ctx).await?;
    service.seed(&lab.ctx, 0.02, number).await?;
    Ok(service)
}

/// All of a database as `pg_dump` writes it, in the order that it lies in, without the word that each dump makes up anew.
async fn script(lab: &Lab, service: &PostgresService) -> Result<String, Failed> {
    let pipeline = PgDump::new(Dump::of(DumpFormat::Plain, 0));
    let server = service.server();
    let mut stream = pipeline.stream(&lab.ctx, &*server, service.database())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let made_up =
        |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    let lines: Vec<&str> = text.lines().filter(|line| !made_up(line)).collect();
    Ok(lines.join("\n"))
}

/// The keys are written twice, in the database's seed and in the bucket's: one names what the other makes, but for what a
/// sync leaves out.
async fn names_the_media_of_the_bucket(
    lab: &Lab,
    source: &PostgresService,
    scale: f64,
) -> Result<(), Failed> {
    let session = Session::open(&lab.ctx, &*source.server(), source.database()).await?;
    let asked = "select object_key, content_type from media.assets";
    let rows = session.ask(&lab.ctx, asked).await?;
    let rows = rows.map_err(|complaint| complaint.words)?;
    let named: BTreeMap<String, String> = rows
        .into_iter()
        .filter_map(|row| <[Option<String>; 2]>::try_from(row).ok())
        .filter_map(|[key, kind]| Some((key?, kind?)))
        .collect();
    let left_out = |key: &str| {
        key.ends_with(".pyc") || key.starts_with("__pycache__/") || key.ends_with(".DS_Store")
    };
    let made: BTreeMap<String, String> = seed::planned(2500, scale, 42)
        .filter(|object| !left_out(&object.key))
        .filter_map(|object| Some((object.key, object.headers.content_type?)))
        .collect();
    assert!(made.len() > 40, "{}", made.len());
    let differs = |(key, kind): &(&String, &String)| named.get(*key) != Some(*kind);
    let unnamed: Vec<_> = made.iter().filter(differs).take(5).collect();
    let not_made: Vec<_> = named
        .keys()
        .filter(|key| !made.contains_key(*key))
        .take(5)
        .collect();
    assert!(
        unnamed.is_empty() && not_made.is_empty(),
        "{unnamed:?} {not_made:?}"
    );
    Ok(())
}

pub async fn deltacrown_comes_back_whole(lab: &Lab) -> Result<(), Failed> {
    let scale = std::env::var("REDRILL_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok());
    let server =
        TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("deltacrown"), Disk::Sure).await?;
    let work = async {
        let source = PostgresService::new(server.clone(), "deltacrown", Some(root().join(SCRIPT)));
        source.create(&lab.ctx).await?;
        source.seed(&lab.ctx, scale.unwrap_or(0.1), 42).await?;
        names_the_media_of_the_bucket(lab, &source, scale.unwrap_or(0.1)).await?;
        source.plant(&lab.ctx, "nonce", "canary").await?;
        let watch = Stopwatch::start();
        let before = source.observe(&lab.ctx).await?;
        let observed = format!("{} bytes observed", before.bytes);
        lab.ctx
            .note(observed, Some(0), watch.seconds(), Path::new(""));
        for (owner, acl) in [(true, true), (false, false)] {
            let target = source.in_database(format!("restored {owner}"));
            let pipeline = PgDump::new(Dump::of(DumpFormat::Custom, 9));
            let seconds = lab
                .round_trip(&pipeline, &source, &target, &options(owner, acl))
                .await?;
            lab.ctx
                .note("all of the restore phase", Some(0), seconds, Path::new(""));
            let mut found = differences(&before, &target.observe(&lab.ctx).await?);
            found.retain(|key| owner || !key.starts_with("owner "));
            found.retain(|key| {
                acl || !(key.starts_with("grant ") || key.starts_with("default-grant "))
            });
            same(&found, [])?;
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    server.remove(&lab.ctx).await?;
    if let Ok(path) = std::env::var("REDRILL_TEST_STEPS") {
        let steps = lab.ctx.steps();
        let lines: Vec<String> = steps
            .iter()
            .map(|step| format!("{:8.3} {}", step.seconds, step.command))
            .collect();
        std::fs::write(path, lines.join("\n"))?;
    }
    worked
}
