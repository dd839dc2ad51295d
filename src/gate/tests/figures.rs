//! Figures against their objectives, and what they were measured on.

use super::*;
use crate::record::DrillRecord;
use crate::record::format::ServiceVersion;

#[test]
fn a_figure_beyond_its_objective_closes_although_the_drill_passed() {
    let mut scene = Scene::good();
    let rto = scene.record.drills[0].rto.as_mut().expect("an RTO");
    rto.objective_seconds = Some(900.0);
    rto.projected = Some(crate::record::format::Projected {
        bytes: 12_300_000_000,
        seconds: 1300.0,
    });
    scene.is_closed(
        "objective-missed",
        &["RTO projected to 12.3 GB is 21 m 40 s", "15 m"],
    );
    scene.policy.objectives = Some([Figure::Measured].into());
    assert!(scene.decide().open);
}

#[test]
fn an_objective_that_was_not_measured_closes() {
    type Forget = fn(&mut DrillRecord);
    let cases: [(Forget, &str); 3] = [
        (|drill| drill.rto = None, "RTO is not known, and 15 m"),
        (|drill| drill.rpo = None, "RPO of db is not known, and 1 h"),
        (
            |drill| drill.rpo.as_mut().expect("an RPO").components[0].component = "x".to_owned(),
            "RPO of db is not known",
        ),
    ];
    for (forget, says) in cases {
        let mut scene = Scene::good();
        forget(&mut scene.record.drills[0]);
        scene.is_closed("objective-missed", &[says]);
        scene.policy.objectives = Some([].into());
        assert!(scene.decide().open);
    }
}

#[test]
fn a_typical_loss_that_was_not_measured_closes() {
    let mut scene = Scene::good();
    let (text, _) = SUITE.split_once("[[test]]").expect("a test");
    let text = text.replace("rpo = \"1h\"", "rpo_typical = \"1h\"");
    scene.suite = parse(&text, Path::new("deltacrown.toml")).expect("a suite");
    scene.record.suites[0].sha256 = scene.suite.sha256.clone();
    assert!(scene.decide().open, "{:#?}", scene.decide());
    scene.record.drills[0].rpo = None;
    scene.is_closed("objective-missed", &["typical RPO of db is not known"]);
}

#[test]
fn what_a_drill_at_the_worst_moment_loses_counts_where_the_policy_says_worst() {
    let mut scene = Scene::good();
    let worst = "at = [\"58m after postgres\", \"worst\"]";
    let text = SUITE.replace("at = \"58m after postgres\"", worst);
    scene.suite = parse(&text, Path::new("deltacrown.toml")).expect("a suite");
    scene.record.suites[0].sha256 = scene.suite.sha256.clone();
    let id = format!("{DRILL}@worst");
    if let Some(drill) = scene.record.drills.iter_mut().find(|it| it.id == id) {
        for rpo in drill.rpo.iter_mut().flat_map(|it| &mut it.components) {
            rpo.window_seconds = 3700.0;
        }
    }
    assert!(scene.decide().open, "a worst case only warns");
    scene.policy.objectives = Some([Figure::Measured, Figure::Worst].into());
    scene.is_closed("objective-missed", &["RPO of db is 1 h 1 m"]);
}

#[test]
fn where_no_other_moment_is_stated_the_worst_one_is_held_to_its_objectives() {
    let mut scene = Scene::good();
    let text = SUITE.replace("at = \"58m after postgres\"\n", "");
    scene.suite = parse(&text, Path::new("deltacrown.toml")).expect("a suite");
    scene.record.suites[0].sha256 = scene.suite.sha256.clone();
    scene.record.drills[0].kind = crate::record::DrillKind::WorstMoment;
    assert!(scene.decide().open, "{:#?}", scene.decide());
    scene.record.drills[0].rpo = None;
    scene.is_closed("objective-missed", &["RPO of db is not known, and 1 h"]);
}

#[test]
fn a_projection_that_is_missing_closes_where_the_production_size_is_said() {
    let mut scene = Scene::good();
    let text = SUITE.replace(
        "[backup.postgres]",
        "production_size = \"10 GB\"\n[backup.postgres]",
    );
    scene.suite = parse(&text, Path::new("deltacrown.toml")).expect("a suite");
    scene.record.suites[0].sha256 = scene.suite.sha256.clone();
    assert!(scene.decide().open);
    let rto = scene.record.drills[0].rto.as_mut().expect("an RTO");
    rto.projected = None;
    scene.is_closed(
        "objective-missed",
        &["projected to the production size is not known"],
    );
    scene.policy.objectives = Some([Figure::Measured].into());
    assert!(scene.decide().open);
}

#[test]
fn a_typical_loss_beyond_its_objective_closes() {
    let mut scene = Scene::good();
    for (median, open) in [(1700.0, true), (2000.0, false)] {
        scene.record.rpo = vec![sample::spread(median)];
        // Nothing is added, and the counts follow from what is there.
        let check = scene.record.drills[0].checks[0].clone();
        scene.record.add("none", check);
        assert_eq!(scene.decide().open, open, "{median}");
    }
    scene.is_closed(
        "objective-missed",
        &["RPO of db in the median is 33 m 20 s", "30 m"],
    );
}

#[test]
fn another_version_of_an_engine_closes() {
    let mut scene = Scene::good();
    let asked = |version: &str| Some(BTreeMap::from([(Engine::Postgres, version.to_owned())]));
    scene.policy.versions = asked("15");
    assert!(scene.decide().open);
    for version in ["17", "1", "15.1"] {
        scene.policy.versions = asked(version);
        scene.is_closed("other-version", &["PostgreSQL 15.18", version]);
    }
}

#[test]
fn the_version_of_what_another_suite_or_drill_ran_on_is_of_no_matter() {
    let mut scene = Scene::good();
    scene.policy.versions = Some(BTreeMap::from([(Engine::Postgres, "15".to_owned())]));
    let own = scene.record.services.versions.clone();
    for (suite, name, open) in [
        ("elsewhere", "db", true),
        ("deltacrown", "warehouse", true),
        ("deltacrown", "db", false),
    ] {
        scene.record.services.versions.clone_from(&own);
        scene.record.services.versions.push(ServiceVersion {
            name: name.to_owned(),
            product: "PostgreSQL".to_owned(),
            version: "17.2".to_owned(),
            mode: "local".to_owned(),
            suite: suite.to_owned(),
        });
        assert_eq!(scene.decide().open, open, "{suite}, {name}");
    }
}
