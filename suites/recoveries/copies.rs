//! Sources that begin with a copy of what another one was seeded with.

use std::collections::BTreeMap;
use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::context::{Context, RunId};
use redrill::provision::local::Local;
use redrill::provision::{Provisioner, Wanted};
use redrill::service::bucket::BucketService;
use redrill::service::postgres::PostgresService;
use redrill::service::redis::RedisService;
use redrill::service::{Running, Service};
use redrill::suite::Engine;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{SEED, run_of};

/// Everything that a service holds, in words.
async fn held(ctx: &Context, service: &dyn Service) -> Result<BTreeMap<String, String>, Failed> {
    let seen = service.observe(ctx).await?;
    let parts = seen.parts.iter();
    let mut all: BTreeMap<_, _> = parts
        .map(|(name, part)| (name.to_string(), format!("{part:?}")))
        .collect();
    let definitions = seen.catalogue.into_iter();
    all.extend(definitions.map(|(name, text)| (format!("definition of {name}"), text.to_string())));
    for object in seen.objects.iter().flat_map(|objects| objects.0.each()) {
        let (key, object) = object?;
        all.insert(key, format!("{object:?}"));
    }
    Ok(all)
}

/// Every kind of server: what was seeded is kept, and two servers that begin with it hold the same and share nothing.
pub fn a_server_on_a_copy_holds_what_was_kept_and_shares_nothing_with_another() -> Result<(), Failed>
{
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("rdcopy").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let seed = dir.path().join("seed.sql");
    std::fs::write(&seed, SEED)?;
    let wanted = |name: &str, engine, settings: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(pair).collect();
        let (name, version) = (name.to_owned(), None);
        Wanted {
            name,
            engine,
            version,
            settings,
        }
    };
    let kinds = [
        wanted("db", Engine::Postgres, &[("wal_segment_size", "1MB")]),
        wanted("snapshots", Engine::Redis, &[]),
        wanted("appending", Engine::Redis, &[("appendonly", "yes")]),
        wanted("media", Engine::Bucket, &[]),
    ];
    let service = |server: Arc<dyn Running>| -> Box<dyn Service> {
        match server.engine() {
            Engine::Postgres => Box::new(PostgresService::new(server, "shop", Some(seed.clone()))),
            Engine::Redis => Box::new(RedisService::new(server, 300)),
            Engine::Bucket => Box::new(BucketService::new(server, "media", 40)),
        }
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (run, cancel) = (RunId::from_text("copies"), CancellationToken::new());
        let ctx = Context::new(run, dir.path().join("run"), dir.path().join("logs"), cancel)?;
        assert!(Local.copies());
        for wanted in kinds {
            let source = service(Local.start(&ctx, &wanted).await?);
            source.create(&ctx).await?;
            source.seed(&ctx, 1.0, 7).await?;
            let seeded = held(&ctx, &*source).await?;
            assert!(seeded.len() > 1, "{}: {seeded:?}", wanted.name);
            let place = dir.path().join(format!("kept-{}", wanted.name));
            let kept = source.server().keep(&ctx, &place).await?;
            let kept = kept.ok_or_else(|| format!("{} is not kept", wanted.name))?;
            assert!(!format!("{kept:?}").contains("password"), "{kept:?}");
            source.server().remove(&ctx).await?;
            let one = service(Local.start_on(&ctx, &wanted, &kept).await?);
            one.plant(&ctx, "nonce", "canary").await?;
            one.write(&ctx, 1).await?;
            let other = service(Local.start_on(&ctx, &wanted, &kept).await?);
            assert_eq!(held(&ctx, &*other).await?, seeded, "{}", wanted.name);
            assert_ne!(held(&ctx, &*one).await?, seeded, "{}", wanted.name);
            if wanted.name == "snapshots" {
                let snapshot = other.server().data_dir().join("dump.rdb");
                assert!(!snapshot.exists(), "nobody asked it for a snapshot");
            }
            one.server().remove(&ctx).await?;
            other.server().remove(&ctx).await?;
        }
        Ok(())
    })
}

/// A tablespace lies outside of the data directory: two servers would share it.
pub fn a_server_with_a_tablespace_is_not_kept_and_goes_on() -> Result<(), Failed> {
    let (code, record) = run_of(
        "
[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
[backup.dump]
schedule = \"0 * * * *\"
[scenario.s]
strike = { fault = \"corrupt-heap-page\" }
at = [\"20m after dump\", \"21m after dump\"]
",
        // Each server has a place of its own for it, beside its data.
        "\\! mkdir -p \"$PWD/elsewhere\"
\\set elsewhere `echo $PWD/elsewhere`
create tablespace elsewhere location :'elsewhere';
create table numbers tablespace elsewhere as select generate_series(1, 100) as n;",
    )?;
    assert_eq!(code, Some(0), "{record:#}");
    let drills = record["drills"].as_array().cloned().unwrap_or_default();
    assert_eq!(drills.len(), 2, "{record:#}");
    for drill in drills {
        let steps = drill["steps"].to_string();
        assert!(steps.contains("initdb "), "{steps}");
        assert!(!steps.contains("on a copy of the seeded data"), "{steps}");
    }
    Ok(())
}

/// Three drills of one suite, of which the third begins with other data.
pub fn drills_that_begin_with_the_same_data_seed_it_once() -> Result<(), Failed> {
    let suite = "
[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
production_size = \"1 GB\"
[backup.dump]
schedule = \"0 * * * *\"
[scenario.s]
strike = { fault = \"server-lost\" }
at = [\"20m after dump\", \"worst\"]
";
    let (code, record) = run_of(suite, SEED)?;
    let drills = record["drills"].as_array().cloned().unwrap_or_default();
    let ids: Vec<&str> = drills.iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(ids, ["mine/calibration", "mine/s", "mine/s@worst"]);
    // A worst moment may lie beyond the objective, and is told then; nothing else is wrong.
    assert_eq!(code, Some(0), "{record:#}");
    let commands = |drill: &Value| -> Vec<String> {
        let steps = drill["steps"].as_array().into_iter().flatten();
        let steps = steps.filter(|step| step["phase"] == "prepare");
        let commands = steps.filter_map(|step| step["command"].as_str());
        commands.map(str::to_owned).collect()
    };
    let count = |what: &str, drills: &[Value]| {
        let commands = drills.iter().flat_map(commands);
        commands.filter(|it| it.contains(what)).count()
    };
    let copied = "as db-source on a copy of the seeded data";
    assert_eq!(count(copied, &drills[..1]), 0, "of another size");
    for drill in &drills[1..] {
        assert_eq!(count(copied, std::slice::from_ref(drill)), 1, "{drill:#}");
    }
    assert_eq!(count("initdb ", &drills), 2, "one for each size");
    Ok(())
}

/// Three days of hourly dumps: each day's first is taken of the source, which is written to before every one.
pub fn a_rehearsal_takes_a_dump_a_day_and_stores_it_again() -> Result<(), Failed> {
    let suite = "
[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
[backup.dump]
schedule = \"0 * * * *\"
keep = { within = \"1d\" }
[scenario.s]
strike = { fault = \"server-lost\" }
[retention]
days = 3
";
    let (code, record) = run_of(suite, SEED)?;
    assert_eq!(code, Some(0), "{record:#}");
    let mut drills = record["drills"].as_array().into_iter().flatten();
    let rehearsal = drills.find(|drill| drill["id"] == "mine/retention");
    let rehearsal = rehearsal.ok_or("nothing was rehearsed")?;
    let artifacts = rehearsal["retention"][0]["artifacts"].as_array();
    assert_eq!(artifacts.map(Vec::len), Some(72));
    let steps = rehearsal["steps"].as_array().into_iter().flatten();
    let commands = steps.filter_map(|step| step["command"].as_str());
    let dumps = commands.filter(|it| it.contains("pg_dump --")).count();
    assert_eq!(dumps, 3, "{rehearsal:#}");
    Ok(())
}
