//! Cron schedules, in UTC unless a zone is named: when a backup runs, and how far apart its runs can be.
//!
//! Five fields (minute, hour, day of month, month, day of week) or a nickname such as `@hourly`. Not here: what
//! happens at those instants (see [`crate::plan`]).

use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

/// How far ahead the longest gap is looked for: a year, with the gap that goes over its end.
const HORIZON: chrono::Duration = chrono::Duration::days(400);

/// Where every timeline is anchored: the day of the first drill that was modelled, a Sunday, at 0:00 UTC.
pub fn first_day() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::Duration::days(20_100)
}

/// Two runs, the second one being the next after the first.
pub type Gap = (DateTime<Utc>, DateTime<Utc>);

/// When a backup runs.
#[derive(Debug, Clone)]
pub struct Schedule(croner::Cron);

impl Schedule {
    /// Reads a cron expression; the error says what is wrong with it. One that never comes due is wrong too.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| {
            let error = error.to_string();
            let error = error.trim_end_matches('.');
            format!("not a cron expression of five fields ({error})")
        })?;
        let schedule = Self(cron);
        match schedule.at_or_after(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err("a cron expression that never comes due".to_owned()),
        }
    }

    /// The first run at or after an instant.
    pub fn at_or_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_next_occurrence(&instant, true).ok()
    }

    /// The first run after an instant.
    pub fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_next_occurrence(&instant, false).ok()
    }

    /// The first run after an instant, the expression being read in a time zone.
    pub fn after_in(&self, instant: DateTime<Utc>, zone: chrono_tz::Tz) -> Option<DateTime<Utc>> {
        let next = self
            .0
            .find_next_occurrence(&instant.with_timezone(&zone), false);
        next.ok().map(|next| next.to_utc())
    }

    /// The last run before an instant.
    pub fn before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_previous_occurrence(&instant, false).ok()
    }

    /// Pairs of consecutive runs, the first one at or after an instant, for about a year.
    pub fn gaps(&self, from: DateTime<Utc>) -> impl Iterator<Item = Gap> {
        let mut last = self.at_or_after(from);
        std::iter::from_fn(move || {
            let start = last.filter(|start| *start <= from + HORIZON)?;
            last = self.after(start);
            Some((start, last?))
        })
    }

    /// The two consecutive runs that are farthest apart, the first such pair at or after an instant.
    ///
    /// A cron expression runs at the same times on every day that it runs on at all: when two such days have been
    /// gone through run by run, only the gaps from one day to the next are left to look at.
    pub fn longest_gap(&self, from: DateTime<Utc>) -> Option<Gap> {
        let mut longest: Option<Gap> = None;
        let mut days = 0;
        let mut run = self.at_or_after(from)?;
        while run <= from + HORIZON {
            let start = if days < 2 {
                run
            } else {
                self.before(midnight_after(run))?
            };
            let Some(next) = self.after(start) else {
                break;
            };
            if longest.is_none_or(|(from, to)| next - start > to - from) {
                longest = Some((start, next));
            }
            if next >= midnight_after(start) {
                days += 1;
            }
            run = next;
        }
        longest
    }

    /// Whether so much time can pass after a run without another one.
    pub fn leaves_room_for(&self, offset: Duration) -> bool {
        let fits = |(start, end): Gap| (end - start).to_std().is_ok_and(|gap| gap > offset);
        // Mostly the first gap is as long as any, and looking no further keeps `redrill list` quick.
        self.gaps(first_day()).next().is_some_and(fits) || self.period() > offset
    }

    /// The longest time between two runs that follow each other.
    pub fn period(&self) -> Duration {
        self.longest_gap(DateTime::UNIX_EPOCH)
            .and_then(|(start, end)| (end - start).to_std().ok())
            .unwrap_or_default()
    }
}

/// The first instant of the day after.
fn midnight_after(instant: DateTime<Utc>) -> DateTime<Utc> {
    let day = instant.date_naive() + chrono::Days::new(1);
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(text: &str) -> f64 {
        let schedule = Schedule::parse(text).expect("is a schedule");
        schedule.period().as_secs_f64() / 3600.0
    }

    #[test]
    fn the_period_is_the_longest_time_between_two_runs() {
        assert_eq!(hours("0 * * * *"), 1.0);
        assert_eq!(hours("*/15 * * * *"), 0.25);
        assert_eq!(hours("0 2 * * *"), 24.0);
        assert_eq!(hours("@hourly"), 1.0);
        assert_eq!(hours("0 9,17 * * *"), 16.0);
        assert_eq!(
            hours("0 9-17 * * 1-5"),
            64.0,
            "from Friday 17:00 to Monday 9:00"
        );
        assert_eq!(
            hours("* 9-17 * * 1-5"),
            63.0 + 1.0 / 60.0,
            "many runs, and still the weekend"
        );
        assert_eq!(hours("0 0 1 * *"), 31.0 * 24.0);
    }

    #[test]
    fn the_first_day_is_the_twelfth_of_january_2025() {
        assert_eq!(first_day().to_rfc3339(), "2025-01-12T00:00:00+00:00");
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("61 * * * *", "out of bounds"),
            ("* * *", "fields"),
            ("0 0 * * * *", "5 fields"),
            ("0 0 30 2 *", "never comes due"),
            ("@reboot", "fields"),
        ] {
            let error = Schedule::parse(text).expect_err("is no schedule");
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn the_longest_gap_is_the_longest_of_all_gaps_and_the_first_of_its_length(
            minute in "(0|30|\\*/20|5,50)",
            hour in "(\\*|2|9-17|1,13|23)",
            day in "(\\*|1|15,16|\\*/9)",
            weekday in "(\\*|1-5|0)",
            start in 0i64..100_000,
        ) {
            let text = format!("{minute} {hour} {day} * {weekday}");
            let schedule = Schedule::parse(&text).expect("is a schedule");
            let from = first_day() + chrono::Duration::minutes(start);
            let by_all = schedule
                .gaps(from)
                .reduce(|best, gap| if gap.1 - gap.0 > best.1 - best.0 { gap } else { best });
            prop_assert_eq!(schedule.longest_gap(from), by_all, "{}", text);
        }
    }
}
