//! A given artifact as what is drilled: a suite of one component and one backup, its only drill, and the command that
//! verifies it again.

use std::path::PathBuf;
use std::time::Duration;

use super::{Flags, SCENARIO, SUITE};
use crate::pipeline::given::{GIVEN, Given};
use crate::plan::{Asked, Drill, DrillKind, Timeline, seed_of};
use crate::process::quoted;
use crate::sha256;
use crate::suite::{
    Ask, Backup, Component, ComponentKind, Encryption, Engine, Keep, Policy, RestoreOptions,
    Scenario, Suite, Trend, Zone,
};

/// The suite that an artifact is drilled as.
pub(super) fn suite(flags: &Flags, given: &Given, ask: &Ask) -> Suite {
    let (name, kind) = match given.engine {
        Engine::Postgres => {
            let own = ["postgres", "template0", "template1"];
            let physical = given.method.archives();
            let named = flags.database.as_ref().or(given.database.as_ref());
            let named = named.filter(|name| !own.contains(&name.as_str()));
            let database = match physical {
                // Which one of the cluster is looked at shows once it has been recovered.
                true => "postgres".to_owned(),
                false => named.cloned().unwrap_or_else(|| "app".to_owned()),
            };
            let kind = ComponentKind::Postgres {
                database,
                seed: None,
                settings: Default::default(),
            };
            ("postgres", kind)
        }
        Engine::Redis => {
            let kind = ComponentKind::Redis {
                keys: 0,
                settings: Default::default(),
            };
            ("redis", kind)
        }
        Engine::Bucket => {
            let kind = ComponentKind::Bucket {
                bucket: "restored".to_owned(),
                objects: 0,
            };
            ("files", kind)
        }
    };
    let component = Component {
        name: name.to_owned(),
        kind,
        version: given.version.clone(),
        production_size: None,
        smoke: ask.smoke.clone(),
        app: ask.app.clone(),
    };
    let backup = Backup {
        name: GIVEN.to_owned(),
        component: name.to_owned(),
        repositories: vec![GIVEN.to_owned()],
        method: given.method.clone(),
        schedule: String::new(),
        keep: Keep::within(Duration::ZERO),
        encrypt: given.encrypted.then_some(Encryption::Aes256Cbc),
        size: None,
        deadline: Duration::from_secs(24 * 3600),
    };
    let scenario = Scenario {
        name: SCENARIO.to_owned(),
        title: "Restored onto a disposable server".to_owned(),
        recover: vec![GIVEN.to_owned()],
        restore: RestoreOptions {
            owner: !flags.no_owner,
            acl: !flags.no_acl,
            ..RestoreOptions::default()
        },
        ..Scenario::default()
    };
    Suite {
        name: SUITE.to_owned(),
        path: PathBuf::from(SUITE),
        sha256: sha256::hex_of(format!("{ask:?}")),
        title: given.what.clone(),
        description: String::new(),
        components: vec![component],
        repositories: Vec::new(),
        backups: vec![backup],
        scenarios: vec![scenario],
        retention: Vec::new(),
        tests: Vec::new(),
        detections: Vec::new(),
        every_check: false,
        gate: Policy::default(),
        due: None,
        trend: Trend::none(),
        release: None,
    }
}

/// The one drill of it.
pub(super) fn drill(suite: &Suite, given: &Given, id: String, asked: Asked) -> Drill {
    let whole = given.read.error.is_none();
    let components = suite.components.iter().map(|it| it.name.clone());
    let at = match given.taken_at {
        Some(at) => format!("made at {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
        None => "which does not say when it was made".to_owned(),
    };
    Drill {
        title: format!("{}: {}, {at}", given.shown, given.what),
        suite: SUITE.to_owned(),
        kind: DrillKind::Verify {
            scenario: SCENARIO.to_owned(),
            asked,
        },
        // What is not whole is never restored, and needs no server.
        components: components.filter(|_| whole).collect(),
        seed: seed_of(1, &id),
        id,
        scale: 1.0,
        timeline: Timeline::default(),
        tests: Vec::new(),
    }
}

/// The command that verifies the same again; an address without what opens it.
pub(super) fn command(flags: &Flags, given: &Given) -> String {
    let mut words = vec![
        "redrill".to_owned(),
        "verify".to_owned(),
        quoted(&given.shown),
    ];
    let paths = [
        ("--ask", &flags.ask),
        ("--identity", &flags.identity),
        ("--globals", &flags.globals),
        ("--wal", &flags.wal),
        ("--cipher-pass-file", &flags.cipher_pass_file),
        ("--live-file", &flags.live_file),
    ];
    for (flag, path) in paths {
        words.extend(
            path.iter()
                .map(|path| format!("{flag} {}", quoted(&path.display().to_string()))),
        );
    }
    let texts = [
        ("--live-env", &flags.live_env),
        ("--stanza", &flags.stanza),
        ("--cipher-pass-env", &flags.cipher_pass_env),
        ("--endpoint", &flags.endpoint),
        ("--database", &flags.database),
        ("--lineage", &flags.lineage),
    ];
    for (flag, text) in texts {
        words.extend(text.iter().map(|text| format!("{flag} {}", quoted(text))));
    }
    words.extend(
        flags
            .max_age
            .map(|age| format!("--max-age '{}'", humantime::format_duration(age))),
    );
    let switches = [
        ("--create-roles", flags.create_roles),
        ("--no-owner", flags.no_owner),
        ("--no-acl", flags.no_acl),
        ("--no-baseline", flags.no_baseline),
    ];
    words.extend(
        switches
            .iter()
            .filter(|(_, on)| *on)
            .map(|(flag, _)| (*flag).to_owned()),
    );
    if flags.zone != Zone::UTC {
        words.push(format!("--zone {}", flags.zone));
    }
    words.push(flags.setting.again());
    words.join(" ")
}
