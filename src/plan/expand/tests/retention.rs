//! Retention rehearsals.

use super::*;

#[test]
fn a_retention_rehearsal_takes_every_run_of_its_days_and_prunes_at_the_end_of_each_day() {
    let suite = shipped("deltacrown");
    let rehearsal = drill(&suite, "deltacrown/retention");
    let timeline = &rehearsal.timeline;
    let backups = instants(timeline, &Happening::Backup("postgres".to_owned()));
    assert_eq!(backups.len(), 8 * 24);
    assert_eq!(backups[0], instant("2025-01-12T00:00:00Z"));
    let prunes = instants(timeline, &Happening::Prune("postgres".to_owned()));
    assert_eq!(prunes.len(), 8);
    assert_eq!(prunes[0], instant("2025-01-12T23:00:00Z"));
    assert_eq!(
        instants(timeline, &Happening::Write("db".to_owned())),
        backups
    );
    assert_eq!(timeline.strike, None);
    assert_eq!(rehearsal.components, ["db"]);
}

#[test]
fn a_rehearsal_of_base_backups_archives_between_them() {
    let suite = shipped("mowe-sport");
    let timeline = drill(&suite, "mowe-sport/retention-wal").timeline;
    let of =
        |what: fn(String) -> Happening, name: &str| instants(&timeline, &what(name.to_owned()));
    let bases = of(Happening::Backup, "wal");
    assert_eq!(bases.len(), 10);
    let archived = of(Happening::Archive, "wal");
    assert_eq!(archived.len(), 30);
    assert_eq!(archived[0], instant("2025-01-12T06:30:00Z"));
    // Each has something to archive, and the last one comes after the last base backup.
    let mut from = bases[0];
    for at in &archived {
        let written = of(Happening::Write, "db");
        assert!(
            written.iter().any(|write| (from..*at).contains(write)),
            "{at}"
        );
        from = *at;
    }
    assert!(archived.last() > bases.last());
    let dumps = drill(&suite, "mowe-sport/retention-daily").timeline;
    let archives = |it: &(DateTime<Utc>, Happening)| matches!(it.1, Happening::Archive(_));
    assert!(!dumps.happenings.iter().any(archives));
}

proptest! {
    #[test]
    fn an_hourly_rehearsal_has_a_day_of_runs_for_every_day(days in 2u32..20) {
        let suite = suite(&format!(
            "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@hourly\"\n\
             keep = {{ within = \"1d\" }}\n[retention]\ndays = {days}\n"
        ));
        let drills = plan(&suite).drills;
        let timeline = &drills[0].timeline;
        let runs = instants(timeline, &Happening::Backup("b".to_owned())).len();
        prop_assert_eq!(runs, days as usize * 24);
        prop_assert!(timeline.happenings.is_sorted());
    }
}
