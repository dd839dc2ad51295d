//! `junit.xml`: the lines that a run is counted in, for the test view of a CI server. What did not run is skipped, and
//! what could not be established is an error; neither is ever a pass.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::error::{Error, Result, chain};
use crate::record::format::Finding;
use crate::record::{DrillRecord, Line, LineKind, Record, Severity, Verdict};

/// The report of a run: a test suite for each suite, a test case for each line.
pub fn render(record: &Record) -> Result<String> {
    let mut report = Report::new(format!("redrill {}", record.run_id));
    report.set_timestamp(record.started_at.fixed_offset());
    let lines = record.lines();
    for suite in &record.suites {
        let mut own = TestSuite::new(suite.name.as_str());
        own.set_timestamp(record.started_at.fixed_offset());
        let of = lines.iter().filter(|line| line.suite == suite.name);
        own.add_test_cases(of.map(|line| case(record, line)));
        report.add_test_suite(own);
    }
    report
        .to_string()
        .map_err(|error| Error::failed(chain(&error)).doing("write JUnit XML"))
}

fn case(record: &Record, line: &Line<'_>) -> TestCase {
    let drill = record.drills.iter().find(|drill| drill.id == line.drill);
    let findings = drill.map(|drill| against(drill, line)).unwrap_or_default();
    let status = match line.verdict {
        Some(Verdict::Passed) => TestCaseStatus::success(),
        Some(Verdict::Failed) => not_passed(NonSuccessKind::Failure, "failed", &findings),
        Some(Verdict::Undetermined) => not_passed(NonSuccessKind::Error, "undetermined", &findings),
        None => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message("it did not run");
            skipped
        }
    };
    let mut case = TestCase::new(line.name, status);
    case.set_classname(line.drill);
    case.set_time(Duration::try_from_secs_f64(line.seconds).unwrap_or_default());
    case
}

/// The findings behind a line that did not pass.
fn against<'d>(drill: &'d DrillRecord, line: &Line<'_>) -> Vec<&'d Finding> {
    let own = drill.checks.iter().filter(|check| match line.kind {
        LineKind::Test => check.test.as_deref() == Some(line.name),
        LineKind::Check => check.id == line.check && check.test.is_none(),
        LineKind::Fault | LineKind::Drill => true,
    });
    own.flat_map(|check| &check.findings)
        .filter(|finding| finding.severity > Severity::Warning)
        .collect()
}

fn not_passed(kind: NonSuccessKind, word: &str, findings: &[&Finding]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    match findings.first() {
        Some(first) => {
            status.set_type(first.kind.as_str());
            status.set_message(first.message.as_str());
        }
        None => {
            status.set_message(word);
        }
    }
    let all: Vec<String> = findings
        .iter()
        .map(|it| format!("{}: {}\nremedy: {}", it.kind, it.message, it.remedy))
        .collect();
    status.set_description(all.join("\n\n"));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    fn attribute(xml: &str, name: &str) -> u64 {
        let (_, rest) = xml.split_once(&format!(" {name}=\"")).expect("is there");
        let (number, _) = rest.split_once('"').expect("ends");
        number.parse().expect("a number")
    }

    #[test]
    fn the_counts_are_those_of_the_record_and_nothing_skipped_passes() {
        for record in [
            sample::green(),
            sample::red(),
            sample::missed(),
            sample::undetermined(),
            sample::interrupted(),
        ] {
            let xml = render(&record).expect("xml");
            let summary = record.summary;
            let all = summary.passed + summary.failed + summary.undetermined + summary.ignored;
            assert_eq!(attribute(&xml, "tests"), all, "{xml}");
            assert_eq!(attribute(&xml, "failures"), summary.failed, "{xml}");
            assert_eq!(attribute(&xml, "errors"), summary.undetermined, "{xml}");
            let skipped = xml.matches("<skipped").count() as u64;
            assert_eq!(skipped, summary.ignored, "{xml}");
        }
    }

    #[test]
    fn a_failure_says_what_is_wrong_and_what_to_do() {
        let xml = render(&sample::red()).expect("xml");
        assert!(xml.contains("type=\"rto-missed\""), "{xml}");
        assert!(xml.contains("remedy: restore with more jobs"), "{xml}");
    }
}
