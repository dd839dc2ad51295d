use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;
use crate::plan::{Happening, Timeline, period};
use crate::suite::parse;

mod retention;

fn suite(text: &str) -> Suite {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/shop.toml");
    parse(text, &path).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The suite of that name in `suites/`, without the script that fills its database.
fn shipped(name: &str) -> Suite {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("suites/{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("is there");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("seed = \""))
        .map(|line| format!("{line}\n"))
        .collect();
    parse(&text, &path).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn plan(suite: &Suite) -> Plan {
    expand(suite, &Options::default()).expect("unfolds")
}

fn drill(suite: &Suite, id: &str) -> Drill {
    let drills = plan(suite).drills;
    let found = drills.into_iter().find(|drill| drill.id == id);
    found.unwrap_or_else(|| panic!("no drill {id}"))
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.drills.iter().map(|drill| drill.id.as_str()).collect()
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .expect("an instant")
        .to_utc()
}

fn instants(timeline: &Timeline, of: &Happening) -> Vec<DateTime<Utc>> {
    let all = timeline.happenings.iter();
    all.filter(|(_, what)| what == of)
        .map(|(at, _)| *at)
        .collect()
}

/// The time between the strike and the oldest write to the component that its last backup does not hold.
fn lost(timeline: &Timeline, backup: &str, component: &str) -> Duration {
    let at = |wanted: &Happening| {
        timeline
            .happenings
            .iter()
            .rposition(|(_, what)| what == wanted)
    };
    let last = at(&Happening::Backup(backup.to_owned())).expect("a backup");
    let write = Happening::Write(component.to_owned());
    let (oldest, _) = timeline.happenings[last..]
        .iter()
        .find(|(_, what)| *what == write)
        .expect("a write after it");
    let strike = timeline.strike.expect("a strike");
    (strike - *oldest).to_std().expect("after it")
}

const MINUTE: Duration = Duration::from_secs(60);

/// What a timeline archives continuously, by the fixed day's clock.
fn archived(at: &str) -> Timeline {
    let suite = suite(&format!(
        "[component.db]
kind = \"postgres\"
[backup.base]
schedule = \"0 2 * * *\"
method = {{ pg-basebackup = {{ archive_timeout = \"5m\" }} }}
[scenario.lost]
strike = [{{ fault = \"server-lost\" }}]
at = \"{at}\"
"
    ));
    let drills = plan(&suite).drills.into_iter();
    let mut drills = drills.filter(|drill| drill.id.starts_with("shop/lost"));
    drills.next().expect("a drill").timeline
}

/// How long each write waits until a backup or an archiving brings it off the server, up to the strike.
fn waits(timeline: &Timeline) -> Vec<Duration> {
    let strike = timeline.strike.expect("a strike");
    let all = &timeline.happenings;
    let writes = all.iter().enumerate();
    writes
        .filter(|(_, (_, what))| matches!(what, Happening::Write(_)))
        .map(|(index, (at, _))| {
            let taken = all[index..]
                .iter()
                .find(|(_, what)| matches!(what, Happening::Backup(_) | Happening::Archive(_)));
            let until = taken.map_or(strike, |(until, _)| *until);
            (until - *at).to_std().expect("after it")
        })
        .collect()
}

#[test]
fn what_is_written_between_base_backups_is_archived_within_the_archive_timeout() {
    for at in ["7h after base", "worst"] {
        let timeline = archived(at);
        let longest = waits(&timeline).into_iter().max().expect("writes");
        assert!(
            longest <= 5 * MINUTE + Duration::from_secs(1),
            "{longest:?}"
        );
        let archive = Happening::Archive("base".to_owned());
        let archivings = instants(&timeline, &archive).len();
        assert!((8..30).contains(&archivings), "{archivings}");
        assert_eq!(
            instants(&timeline, &Happening::Backup("base".to_owned())).len(),
            2
        );
    }
}

#[test]
fn struck_at_worst_an_archived_backup_loses_nearly_its_archive_timeout() {
    let timeline = archived("worst");
    let writes = waits(&timeline);
    let lost = lost_archived(&timeline);
    assert!(
        lost > 4 * MINUTE && lost <= 5 * MINUTE,
        "{lost:?} of {} writes",
        writes.len()
    );
}

/// A dump a day and continuous archiving, struck as said.
fn suite_of_two(scenario: &str) -> Suite {
    suite(&format!(
        "[component.db]
kind = \"postgres\"
[[component.db.smoke]]
name = \"one\"
ask = \"select 1\"
expect = \"1\"
[backup.daily]
schedule = \"0 2 * * *\"
[backup.base]
schedule = \"30 0 * * *\"
method = \"pg-basebackup\"
[scenario.s]
{scenario}
"
    ))
}

/// The time between the strike and the oldest write that no archiving brings off the server.
fn lost_archived(timeline: &Timeline) -> Duration {
    let strike = timeline.strike.expect("a strike");
    let all = &timeline.happenings;
    let last = all
        .iter()
        .rposition(|(_, what)| matches!(what, Happening::Archive(_)))
        .expect("an archiving");
    let oldest = all[last..]
        .iter()
        .find(|(_, what)| matches!(what, Happening::Write(_)));
    let (oldest, _) = oldest.expect("a write after it");
    (strike - *oldest).to_std().expect("after it")
}

#[test]
fn random_moments_are_as_many_as_asked_for_differ_and_are_the_same_with_the_same_seed() {
    let suite = suite_of_two(
        "strike = { fault = \"server-lost\" }\nrecover = [\"base\"]\nat = [\"worst\", { random = 5 }]",
    );
    let drills = plan(&suite).drills;
    let ids: Vec<&str> = drills.iter().map(|drill| drill.id.as_str()).collect();
    assert_eq!(ids[0], "shop/s");
    assert_eq!(ids[1..3], ["shop/s@random-1", "shop/s@random-2"]);
    assert_eq!(drills.len(), 6);
    let day = instant("2025-01-13T00:30:00Z")..instant("2025-01-14T00:30:00Z");
    let strikes: BTreeSet<_> = drills[1..]
        .iter()
        .map(|drill| drill.timeline.strike.expect("a strike"))
        .collect();
    assert_eq!(strikes.len(), 5, "{strikes:?}");
    assert!(strikes.iter().all(|at| day.contains(at)), "{strikes:?}");
    let losses: BTreeSet<_> = drills[1..]
        .iter()
        .map(|drill| lost_archived(&drill.timeline))
        .collect();
    assert_eq!(losses.len(), 5, "the archiver is somewhere else each time");
    assert!(losses.iter().all(|lost| *lost < 5 * MINUTE), "{losses:?}");
    let other = Options {
        release: false,
        seed: 2,
        ..Options::default()
    };
    let others = expand(&suite, &other).expect("unfolds").drills;
    assert_ne!(others[1].timeline.strike, drills[1].timeline.strike);
    assert_eq!(plan(&suite).drills, drills);
}

#[test]
fn damage_noticed_three_backups_later_lies_before_three_backups_and_after_two() {
    let suite = suite_of_two(
        "strike = { fault = \"zeroed-heap-page\" }\nrecover = [\"daily\", \"base\"]\npick = \"newest-good\"\nat = \"6h after daily\"\nunnoticed = 3",
    );
    let timeline = &plan(&suite).drills[0].timeline;
    let damaged = instants(timeline, &Happening::Damage);
    assert_eq!(damaged, [instant("2025-01-10T14:00:00Z")]);
    assert_eq!(timeline.strike, Some(instant("2025-01-13T08:00:00Z")));
    for name in ["daily", "base"] {
        let runs = instants(timeline, &Happening::Backup(name.to_owned()));
        let after = runs.iter().filter(|run| **run > damaged[0]).count();
        assert_eq!((runs.len(), after), (5, 3), "{name}: {runs:?}");
    }
}

#[test]
fn deltacrown_unfolds_into_its_drills_in_order() {
    let suite = shipped("deltacrown");
    let plan = plan(&suite);
    assert_eq!(
        ids(&plan),
        [
            "deltacrown/calibration",
            "deltacrown/database-corruption",
            "deltacrown/database-corruption@worst",
            "deltacrown/complete-server-failure",
            "deltacrown/complete-server-failure@worst",
            "deltacrown/redis-failure",
            "deltacrown/redis-failure@worst",
            "deltacrown/media-bucket-deletion",
            "deltacrown/media-bucket-deletion@worst",
            "deltacrown/retention",
        ]
    );
    assert_eq!(plan.pending.len(), 1);
    assert_eq!(plan.pending[0].id, "deltacrown/region-outage");
    let named: usize = plan.drills.iter().map(|drill| drill.tests.len()).sum();
    assert_eq!(named, 10, "each test is judged in one drill");
    let calibration = &plan.drills[0];
    assert_eq!(calibration.scale, 0.1);
    assert_eq!(calibration.components, ["db", "cache", "media"]);
    assert_eq!(plan.drills[1].components, ["db"]);
}

#[test]
fn every_component_that_has_a_production_size_is_in_a_calibration() {
    let scenarios = |together: &str| {
        format!(
            r#"
            [component.db]
            kind = "postgres"
            production_size = "10 GB"
            [component.cache]
            kind = "redis"
            production_size = "1 GB"
            [component.media]
            kind = "bucket"
            [backup.db]
            component = "db"
            schedule = "@hourly"
            [backup.cache]
            component = "cache"
            schedule = "@hourly"
            [backup.media]
            component = "media"
            schedule = "@daily"
            [scenario.db-lost]
            strike = [{{ component = "db", fault = "server-lost" }}]
            [scenario.cache-lost]
            strike = [{{ component = "cache", fault = "server-lost" }}]
            [scenario.media-lost]
            strike = [{{ component = "media", fault = "bucket-deleted" }}]
            {together}"#
        )
    };
    let calibrations = |text: &str| -> Vec<(String, Vec<String>)> {
        let drills = plan(&suite(text)).drills.into_iter();
        let small = drills.filter(|it| matches!(it.kind, DrillKind::Calibration { .. }));
        small.map(|it| (it.id, it.components)).collect()
    };
    let owned = |id: &str, of: &[&str]| {
        let of = of.iter().copied().map(str::to_owned);
        (format!("shop/{id}"), of.collect::<Vec<_>>())
    };
    assert_eq!(
        calibrations(&scenarios("")),
        [
            owned("calibration", &["db"]),
            owned("calibration-cache-lost", &["cache"])
        ]
    );
    let together = "[scenario.both-lost]\nstrike = [{ component = \"db\", fault = \"server-lost\" }, \
                    { component = \"cache\", fault = \"server-lost\" }]";
    assert_eq!(
        calibrations(&scenarios(together)),
        [owned("calibration", &["db", "cache"])]
    );
}

#[test]
fn a_second_run_of_a_backup_is_taken_in_the_first_drill_of_a_scenario_that_recovers_from_it() {
    let suite = shipped("deltacrown");
    let plan = plan(&suite);
    let twice: Vec<(&str, &str)> = plan
        .drills
        .iter()
        .filter(|drill| !matches!(drill.kind, DrillKind::Retention { .. }))
        .flat_map(|drill| {
            let of = |name: &&str| {
                let backup = Happening::Backup((*name).to_owned());
                instants(&drill.timeline, &backup).len() > 1
            };
            let twice = ["postgres", "redis", "media"].into_iter().filter(of);
            twice.map(|backup| (drill.id.as_str(), backup))
        })
        .collect();
    assert_eq!(
        twice,
        [
            ("deltacrown/database-corruption", "postgres"),
            ("deltacrown/complete-server-failure", "redis"),
            ("deltacrown/complete-server-failure", "media"),
        ]
    );
}

#[test]
fn an_hourly_dump_struck_58_minutes_later_loses_58_minutes_of_writes() {
    let suite = shipped("deltacrown");
    let corruption = drill(&suite, "deltacrown/database-corruption").timeline;
    assert_eq!(corruption.strike, Some(instant("2025-01-12T14:58:00Z")));
    assert_eq!(lost(&corruption, "postgres", "db"), 58 * MINUTE);

    let failure = drill(&suite, "deltacrown/complete-server-failure").timeline;
    assert_eq!(failure.strike, Some(instant("2025-01-12T14:54:00Z")));
    assert_eq!(lost(&failure, "postgres", "db"), 54 * MINUTE);
    assert_eq!(lost(&failure, "redis", "cache"), 9 * MINUTE);
    assert_eq!(lost(&failure, "media", "media"), (12 * 60 + 54) * MINUTE);

    let cache = drill(&suite, "deltacrown/redis-failure").timeline;
    assert_eq!(lost(&cache, "redis", "cache"), 14 * MINUTE);
    let media = drill(&suite, "deltacrown/media-bucket-deletion").timeline;
    assert_eq!(media.strike, Some(instant("2025-01-14T00:00:00Z")));
    assert_eq!(lost(&media, "media", "media"), 22 * 60 * MINUTE);
}

#[test]
fn the_worst_moment_is_the_start_of_the_next_run_of_the_slowest_backup() {
    let suite = shipped("deltacrown");
    let corruption = drill(&suite, "deltacrown/database-corruption@worst").timeline;
    assert_eq!(corruption.strike, Some(instant("2025-01-12T15:00:00Z")));
    assert_eq!(lost(&corruption, "postgres", "db"), 60 * MINUTE);
    let media = drill(&suite, "deltacrown/media-bucket-deletion@worst").timeline;
    assert_eq!(media.strike, Some(instant("2025-01-14T02:00:00Z")));
    assert_eq!(lost(&media, "media", "media"), 24 * 60 * MINUTE);

    let office_hours = suite_of_one("0 9-17 * * 1-5", "worst");
    let timeline = &plan(&office_hours).drills[0].timeline;
    assert_eq!(
        timeline.strike,
        Some(instant("2025-01-20T09:00:00Z")),
        "after the weekend"
    );
    assert_eq!(lost(timeline, "b", "db"), 64 * 60 * MINUTE);
}

#[test]
fn every_scenario_with_faults_has_one_healthy_twin_before_them() {
    let suite = shipped("detection");
    let plan = plan(&suite);
    assert_eq!(
        plan.drills.len(),
        suite.detections.len() + suite.scenarios.len()
    );
    assert_eq!(
        &ids(&plan)[..3],
        ["detection/healthy-database", "detection/A1", "detection/A2"]
    );
    for (number, drill) in plan.drills.iter().enumerate() {
        let DrillKind::Detection {
            scenario,
            fault,
            caught_by,
        } = &drill.kind
        else {
            panic!("{} is no detection", drill.id);
        };
        assert_eq!(fault.is_some(), caught_by.is_some());
        let twin = plan.drills[..=number].iter().filter(|twin| {
            matches!(&twin.kind, DrillKind::Detection { scenario: s, fault: None, .. } if s == scenario)
        });
        assert_eq!(twin.count(), 1, "{}", drill.id);
    }
}

#[test]
fn every_named_test_of_deltacrown_is_shown_failing_by_a_planted_fault() {
    let (suite, detection) = (shipped("deltacrown"), shipped("detection"));
    // What a check looks at depends on how the backup was made.
    let methods = |suite: &Suite, backups: &[String]| -> Vec<_> {
        let all = suite.backups.iter();
        all.filter(|backup| backups.contains(&backup.name))
            .map(|backup| std::mem::discriminant(&backup.method))
            .collect()
    };
    let scenario = |suite: &Suite, name: &str| -> Vec<String> {
        let found = suite.scenarios.iter().find(|it| it.name == name);
        found.map(|it| it.recover.clone()).unwrap_or_default()
    };
    assert_eq!(suite.tests.len(), 10);
    for test in &suite.tests {
        let rehearsal = suite.retention.iter().find(|it| it.name == test.drill);
        let backups = match (&test.backup, rehearsal) {
            (Some(backup), _) => vec![backup.clone()],
            (None, Some(rehearsal)) => rehearsal.backups.clone(),
            (None, None) => scenario(&suite, &test.drill),
        };
        let judged = methods(&suite, &backups);
        let shown = detection.detections.iter().any(|it| {
            let catch = &it.caught_by;
            let asked = catch.check == test.check || catch.also.contains(&test.check);
            let planted = methods(&detection, &scenario(&detection, &it.scenario));
            asked && planted.iter().any(|method| judged.contains(method))
        });
        assert!(shown, "no planted fault makes {} fail", test.name);
    }
}

#[test]
fn a_scenario_with_tests_and_faults_is_drilled_by_itself_too_and_no_id_comes_twice() {
    let suite = suite(
        r#"
        [component.db]
        kind = "postgres"
        [component.cache]
        kind = "redis"
        [backup.db]
        component = "db"
        schedule = "@hourly"
        [backup.cache]
        component = "cache"
        schedule = "@hourly"
        [scenario.lost]
        strike = [{ component = "db", fault = "server-lost" }, { component = "cache", fault = "server-lost" }]
        at = ["worst", "5m after db", "5m after cache", "30m 30s after db"]
        [scenario.cache-lost]
        strike = [{ component = "cache", fault = "server-lost" }]
        [[test]]
        name = "restores"
        check = "restore"
        scenario = "lost"
        [[detection]]
        fault = "J11"
        caught_by = "executed"
        finding = "check-did-not-run"
        scenario = "lost"
        [[detection]]
        fault = "J11"
        caught_by = "executed"
        finding = "check-did-not-run"
        scenario = "cache-lost"
        "#,
    );
    assert_eq!(
        ids(&plan(&suite)),
        [
            "shop/lost",
            "shop/lost@5m",
            "shop/lost@5m-after-cache",
            "shop/lost@30m30s",
            "shop/healthy-lost",
            "shop/J11",
            "shop/healthy-cache-lost",
            "shop/J11@cache-lost",
        ]
    );
}

#[test]
fn a_seed_is_the_same_alone_and_among_others_and_another_one_in_another_run() {
    assert_eq!(seed_of(1, "shop/lost"), seed_of(1, "shop/lost"));
    assert_ne!(seed_of(1, "shop/lost"), seed_of(2, "shop/lost"));
    assert_ne!(seed_of(1, "shop/lost"), seed_of(1, "shop/lost@worst"));
    // The value itself is part of the promise: a seed printed in an old report must still give the same data.
    assert_eq!(seed_of(1, "shop/lost"), 0x1a0022a73382e079);
}

#[test]
fn the_period_of_a_schedule_is_known_and_a_wrong_one_is_an_error() {
    assert_eq!(period("*/15 * * * *").expect("is a schedule"), 15 * MINUTE);
    assert!(period("every hour").is_err());
}

/// One database with one backup named `b`, struck once.
fn suite_of_one(schedule: &str, at: &str) -> Suite {
    suite(&format!(
        "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"{schedule}\"\n\
         [scenario.s]\nstrike = {{ fault = \"server-lost\" }}\nat = \"{at}\"\n"
    ))
}

/// Schedules whose runs are all equally far apart, with that period in minutes.
const REGULAR: [(&str, u64); 6] = [
    ("* * * * *", 1),
    ("*/5 * * * *", 5),
    ("*/15 * * * *", 15),
    ("30 * * * *", 60),
    ("10 */6 * * *", 360),
    ("0 2 * * *", 1440),
];

proptest! {
    #[test]
    fn a_timeline_is_sorted_repeats_itself_and_ends_with_the_strike(
        schedule in "(0|7|\\*/20|5,50) (\\*|2|9-17|1,13) (\\*|1|\\*/9) \\* (\\*|1-5)",
        seconds in 1u64..86_400,
        worst in any::<bool>(),
    ) {
        let offset = seconds % period(&schedule).expect("is a schedule").as_secs();
        let worst = worst || offset == 0;
        let at = if worst { "worst".to_owned() } else { format!("{offset}s after b") };
        let suite = suite_of_one(&schedule, &at);
        let drills = plan(&suite).drills;
        prop_assert_eq!(&drills, &plan(&suite).drills);
        let timeline = &drills[0].timeline;
        let strike = timeline.strike.expect("a strike");
        prop_assert!(timeline.happenings.is_sorted());
        prop_assert!(timeline.happenings.iter().all(|(at, _)| *at < strike));

        let backups = instants(timeline, &Happening::Backup("b".to_owned()));
        let writes = instants(timeline, &Happening::Write("db".to_owned()));
        prop_assert_eq!(backups.len(), 2);
        prop_assert_eq!(&backups, &instants(timeline, &Happening::Prune("b".to_owned())));
        prop_assert!(backups.iter().all(|backup| writes.contains(backup)));
        prop_assert!(writes[0] < backups[0], "the first backup holds a write");
        prop_assert!(writes.len() <= 2 * 60 + 3, "{} writes", writes.len());
        let exposed = lost(timeline, "b", "db");
        if worst {
            prop_assert_eq!(exposed, period(&schedule).expect("is a schedule"));
        } else {
            prop_assert_eq!(exposed, Duration::from_secs(offset));
        }
    }

    #[test]
    fn there_are_sixty_writes_a_period(index in 0usize..REGULAR.len(), share in 1u64..100) {
        let (schedule, minutes) = REGULAR[index];
        let offset = minutes * 60 * share / 100;
        prop_assume!(offset > 0);
        let suite = suite_of_one(schedule, &format!("{offset}s after b"));
        let timeline = &plan(&suite).drills[0].timeline;
        let backups = instants(timeline, &Happening::Backup("b".to_owned()));
        let writes = instants(timeline, &Happening::Write("db".to_owned()));
        let between = writes.iter().filter(|at| **at >= backups[0] && **at < backups[1]);
        prop_assert_eq!(between.count(), 60);
        let after = writes.iter().filter(|at| **at >= backups[1]).count() as u64;
        prop_assert_eq!(after, offset.div_ceil(minutes));
        prop_assert_eq!(writes.len() as u64, 1 + 60 + after);
    }
}
