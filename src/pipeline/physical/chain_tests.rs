use proptest::prelude::*;

use super::*;

const SIZE: u64 = 16 << 20;

fn segment(timeline: u32, part: u32) -> Segment {
    Segment {
        timeline,
        log: 0,
        part,
    }
}

/// A base backup on timeline 1 that begins in segment 2 and ends within it.
fn base() -> Base {
    Base {
        start: segment(1, 2),
        began: DateTime::UNIX_EPOCH,
        stop: Lsn(0x200_0100),
        size: SIZE,
    }
}

fn have(all: impl IntoIterator<Item = (u32, u32)>) -> BTreeMap<Segment, Have> {
    let all = all.into_iter();
    all.map(|(timeline, part)| {
        let at = format!("minute {part}");
        let found = Have {
            at,
            ..Have::default()
        };
        (segment(timeline, part), found)
    })
    .collect()
}

fn forked(text: &str) -> BTreeMap<u32, String> {
    BTreeMap::from([(2, text.to_owned())])
}

#[test]
fn a_whole_chain_leads_to_its_end() {
    let chain = follow(
        base(),
        &have([(1, 1), (1, 2), (1, 3), (1, 4)]),
        &BTreeMap::new(),
    );
    let chain = chain.expect("a chain");
    assert_eq!(chain.broken, None);
    assert_eq!(chain.reach, Some((segment(1, 4), "minute 4".to_owned())));
    chain
        .leads_to(&RecoveryTarget::EndOfWal, "r")
        .expect("whole");
}

#[test]
fn a_missing_segment_says_what_is_lost_and_is_no_hindrance_before_it() {
    let chain = follow(
        base(),
        &have([(1, 2), (1, 3), (1, 5), (1, 6)]),
        &BTreeMap::new(),
    );
    let chain = chain.expect("a chain");
    let error = chain
        .leads_to(&RecoveryTarget::EndOfWal, "offsite")
        .expect_err("broken");
    assert_eq!(
        error.to_string(),
        "WAL segment 000000010000000000000004 in repository offsite: it is missing; what was committed after minute 3 \
         (0/4000000), up to minute 6 (0/7000000), cannot be recovered from here\n  hint: read another repository; or accept \
         that loss, and recover to the end of the unbroken WAL (`unbroken`)"
    );
    let lsn = |lsn: &str| chain.leads_to(&RecoveryTarget::Lsn(lsn.to_owned()), "offsite");
    lsn("0/4000000").expect("before the gap");
    lsn("0/4000001").expect_err("in the gap");
    for target in [RecoveryTarget::Immediate, RecoveryTarget::Unbroken] {
        chain.leads_to(&target, "r").expect("before the gap");
    }
}

#[test]
fn a_base_backup_without_its_own_wal_is_of_no_use() {
    let chain = follow(base(), &have([(1, 3)]), &BTreeMap::new()).expect("a chain");
    let error = chain
        .leads_to(&RecoveryTarget::Immediate, "r")
        .expect_err("broken");
    assert!(
        error.message().contains("nothing can be recovered"),
        "{error}"
    );
    let chain = follow(base(), &have([]), &BTreeMap::new()).expect("a chain");
    chain
        .leads_to(&RecoveryTarget::EndOfWal, "r")
        .expect_err("nothing there");
}

#[test]
fn a_target_outside_of_what_is_archived_is_refused() {
    let chain = follow(base(), &have([(1, 2), (1, 3)]), &BTreeMap::new()).expect("a chain");
    let lsn = |lsn: &str| chain.leads_to(&RecoveryTarget::Lsn(lsn.to_owned()), "r");
    let early = lsn("0/2000028").expect_err("before its end");
    assert!(
        early
            .message()
            .contains("before the end of the base backup"),
        "{early}"
    );
    let time = RecoveryTarget::Time(DateTime::UNIX_EPOCH - chrono::TimeDelta::seconds(1));
    let early = chain.leads_to(&time, "r").expect_err("before its begin");
    assert!(
        early.message().contains("before the base backup began"),
        "{early}"
    );
    let late = lsn("0/4000028").expect_err("after the last");
    assert!(late.message().contains("archived at minute 3"), "{late}");
}

#[test]
fn a_new_timeline_is_followed_and_what_its_parent_did_after_the_fork_is_left_aside() {
    // The parent went on to segment 6; the child left it within segment 4.
    let have = have([(1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 4), (2, 5)]);
    let chain = follow(
        base(),
        &have,
        &forked("1\t0/4000500\tbefore LSN 0/4000500\n"),
    );
    let chain = chain.expect("a chain");
    assert_eq!(chain.broken, None);
    assert_eq!(chain.last, Some((segment(2, 5), "minute 5".to_owned())));
    assert_eq!(chain.timeline, 2);
}

#[test]
fn a_fork_whose_first_segment_is_gone_is_broken_although_its_parent_has_one_of_that_place() {
    let have = have([(1, 2), (1, 3), (1, 4), (2, 5)]);
    let chain = follow(base(), &have, &forked("1\t0/4000500\twhy\n")).expect("a chain");
    assert_eq!(
        chain.broken,
        Some((segment(2, 4), "it is missing".to_owned()))
    );
}

#[test]
fn what_another_cluster_archived_stands_in_for_ours_and_leads_nowhere() {
    let with = |ours: &[(u32, u32)], foreign: &[(u32, u32)]| {
        let mut have = have(ours.iter().copied());
        for (timeline, part) in foreign {
            let found = Have {
                problem: Some("it is of cluster 2, not of 1".to_owned()),
                foreign: true,
                ..Have::default()
            };
            have.insert(segment(*timeline, *part), found);
        }
        follow(base(), &have, &BTreeMap::new()).expect("a chain")
    };
    let whole = [(1, 2), (1, 3), (1, 4)];
    // A newer timeline, and what lies further on in ours: neither is of this cluster.
    let chain = with(&whole, &[(1, 7), (2, 4), (2, 5)]);
    assert_eq!((chain.timeline, &chain.broken), (1, &None));
    assert_eq!(chain.last, Some((segment(1, 4), "minute 4".to_owned())));
    assert_eq!(chain.abandoned, []);
    chain
        .leads_to(&RecoveryTarget::EndOfWal, "r")
        .expect("whole");
    // In the middle of ours, and where the next of ours should be.
    let (middle, next) = (with(&[(1, 2), (1, 4)], &[(1, 3)]), with(&whole, &[(1, 5)]));
    for (chain, part, until) in [
        (middle, 3, ", up to minute 4 (0/5000000),"),
        (next, 5, " cannot"),
    ] {
        let broken = chain.broken.as_ref().map(|(segment, _)| *segment);
        assert_eq!(broken, Some(segment(1, part)));
        let error = chain.leads_to(&RecoveryTarget::EndOfWal, "r");
        let error = error.expect_err("broken").message();
        assert!(error.contains("it is of cluster 2, not of 1"), "{error}");
        assert!(error.contains(until), "{error}");
        chain
            .leads_to(&RecoveryTarget::Unbroken, "r")
            .expect("up to there");
    }
}

#[test]
fn a_fork_before_the_end_of_the_base_backup_is_not_its_future() {
    let error = follow(
        base(),
        &have([(1, 2), (2, 2)]),
        &forked("1\t0/2000080\twhy\n"),
    );
    let error = error.expect_err("another past");
    assert!(
        error
            .message()
            .contains("left timeline 1 at 0/2000080, before the base backup ended"),
        "{error}"
    );
    let error = follow(base(), &have([(1, 2), (2, 2)]), &BTreeMap::new());
    assert!(
        error
            .expect_err("no history")
            .message()
            .contains("00000002.history")
    );
}

proptest! {
    #[test]
    fn a_chain_is_whole_exactly_when_no_segment_up_to_the_last_is_missing(parts in proptest::collection::btree_set(0u32..20, 0..20)) {
        let have = have(parts.iter().map(|part| (1, *part)));
        let chain = follow(base(), &have, &BTreeMap::new()).expect("one timeline");
        let last = parts.iter().next_back().copied().unwrap_or(0).max(2);
        let whole = (2..=last).all(|part| parts.contains(&part));
        prop_assert_eq!(chain.broken.is_none(), whole);
        prop_assert_eq!(chain.leads_to(&RecoveryTarget::EndOfWal, "r").is_ok(), whole);
        if let Some((broken, _)) = chain.broken {
            prop_assert!((2..broken.part).all(|part| parts.contains(&part)) && !parts.contains(&broken.part));
        }
    }
}

#[test]
fn what_a_fork_left_behind_is_kept_and_told_once_it_was_passed() {
    let text = "1\t0/4000100\tno recovery target specified\n";
    let all = [(1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 4), (2, 5)];
    let chain = follow(base(), &have(all), &forked(text)).expect("a chain");
    let left = Abandoned {
        from: Lsn(0x400_0100),
        last: segment(1, 6),
        at: "minute 6".to_owned(),
    };
    assert_eq!(chain.abandoned, [left]);
    let words = chain.left_behind(Lsn(0x400_0100));
    assert_eq!(
        words,
        ["commits after 0/4000100 on timeline 1, up to minute 6 (0/7000000), are not part of it"]
    );
    assert_eq!(chain.left_behind(Lsn(0x400_00ff)), [""; 0]);
    // A primary that went down and did not write on leaves nothing.
    let all = [(1, 2), (1, 3), (2, 4), (2, 5)];
    let chain = follow(base(), &have(all), &forked(text)).expect("a chain");
    assert_eq!(chain.abandoned, []);
    let chain = follow(base(), &have([(1, 2), (1, 3)]), &BTreeMap::new()).expect("a chain");
    assert_eq!(chain.abandoned, []);
}

#[test]
fn a_time_of_minimal_wal_says_from_where_on_and_up_to_when_all_is_lost() {
    let chain = follow(base(), &have([(1, 2), (1, 3)]), &BTreeMap::new()).expect("a chain");
    let error = chain.not_logged(Lsn(0x300_0028), "near");
    let said = error.to_string();
    for words in [
        "after 0/3000028, up to minute 3 (0/4000000)",
        "repository near",
        "take a base backup",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
