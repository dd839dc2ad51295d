//! A cron expression in the words of systemd's `OnCalendar=`.
//!
//! Where both the day of the month and the day of the week are restricted, cron runs on either and systemd on both:
//! such an expression becomes two lines.

const DAYS: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

/// The five fields of an expression, with nicknames spelled out.
pub(super) fn fields(cron: &str) -> Option<[String; 5]> {
    let spelled = match cron.trim().to_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => cron.trim(),
    };
    let fields: Vec<String> = spelled.split_whitespace().map(str::to_uppercase).collect();
    let mut fields: [String; 5] = fields.try_into().ok()?;
    fields[4] = sunday_first(&fields[4]);
    // Where both are restricted, a drill is due on either. For cron a field that begins with a star restricts nothing, and
    // it would run on both: what such a field means is spelled out.
    if fields[2] != "*" && fields[4] != "*" {
        fields[2] = starless(&fields[2], "1-31");
        fields[4] = starless(&fields[4], "0-6");
    }
    Some(fields)
}

/// A field with all that a star stands for in its place.
fn starless(field: &str, all: &str) -> String {
    let one = |item: &str| match item.strip_prefix('*') {
        Some(step) => format!("{all}{step}"),
        None => item.to_owned(),
    };
    let items: Vec<String> = field.split(',').map(one).collect();
    items.join(",")
}

/// Days of the week without a 7, which not every scheduler takes for Sunday.
fn sunday_first(days: &str) -> String {
    let one = |item: &str| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), "7", Ok(step)) = (first.parse::<usize>(), last, step.parse()) else {
            return item.to_owned();
        };
        let days = (first..=7).step_by(std::cmp::max(step, 1));
        let days: Vec<String> = days.map(|day| (day % 7).to_string()).collect();
        days.join(",")
    };
    let items: Vec<String> = days.split(',').map(one).collect();
    items.join(",")
}

/// Whether it is all numbers, names, ranges, lists and steps: what every scheduler knows.
pub(super) fn is_plain(cron: &str) -> bool {
    let Some([minute, hour, day, month, weekday]) = fields(cron) else {
        return false;
    };
    let weekdays: Vec<String> = DAYS[..7].iter().map(|day| day.to_uppercase()).collect();
    let weekdays: Vec<&str> = weekdays.iter().map(String::as_str).collect();
    let all = [
        minute,
        hour,
        day,
        named(&month, &MONTHS, 1),
        named(&weekday, &weekdays, 0),
    ];
    all.iter().all(|field| {
        field
            .chars()
            .all(|c| c.is_ascii_digit() || "*,-/".contains(c))
    })
}

/// The lines of `OnCalendar=`, without a zone; none where systemd has no words for it (`L`, `W`, `#`).
pub(super) fn on_calendar(cron: &str) -> Option<Vec<String>> {
    let [minute, hour, day, month, weekday] = fields(cron)?;
    let time = format!("{}:{}:00", numbers(&hour, 0)?, numbers(&minute, 0)?);
    let month = numbers(&named(&month, &MONTHS, 1), 1)?;
    let days = weekdays(&weekday)?;
    let date = numbers(&day, 1)?;
    let line = |days: &str, date: &str| match days {
        "" => format!("*-{month}-{date} {time}"),
        days => format!("{days} *-{month}-{date} {time}"),
    };
    Some(match (days.as_str(), date.as_str()) {
        ("", date) => vec![line("", date)],
        (days, "*") => vec![line(days, "*")],
        (days, date) => vec![line("", date), line(days, "*")],
    })
}

/// Numbers in the place of names.
fn named(field: &str, names: &[&str], first: usize) -> String {
    let mut field = field.to_owned();
    for (at, name) in names.iter().enumerate() {
        field = field.replace(name, &(at + first).to_string());
    }
    field
}

/// A field of numbers: `*`, `5`, `1-5`, `*/15`, `8-18/2`, and lists of them; `first` is where `*` begins.
fn numbers(field: &str, first: u32) -> Option<String> {
    let item = |item: &str| {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok()?)),
            None => (item, None),
        };
        let range = match (range, step) {
            ("*" | "?", None) => "*".to_owned(),
            ("*", Some(_)) => first.to_string(),
            (range, _) => match range.split_once('-') {
                Some((from, to)) => {
                    format!("{}..{}", from.parse::<u32>().ok()?, to.parse::<u32>().ok()?)
                }
                None => range.parse::<u32>().ok()?.to_string(),
            },
        };
        Some(step.map_or(range.clone(), |step| format!("{range}/{step}")))
    };
    let items: Option<Vec<String>> = field.split(',').map(item).collect();
    Some(items?.join(","))
}

/// Days of the week by name; empty for any. systemd knows no steps here, so they are spelled out.
fn weekdays(field: &str) -> Option<String> {
    let upper = DAYS[..7].iter().map(|day| day.to_uppercase());
    let upper: Vec<String> = upper.collect();
    let names: Vec<&str> = upper.iter().map(String::as_str).collect();
    let field = named(field, &names, 0);
    if field == "*" || field == "?" {
        return Some(String::new());
    }
    let mut days = Vec::new();
    for item in field.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (item, 1),
        };
        let (from, to): (usize, usize) = match (range, range.split_once('-')) {
            ("*", _) => (0, 6),
            (_, Some((from, to))) => (from.parse().ok()?, to.parse().ok()?),
            (one, None) => (one.parse().ok()?, one.parse().ok()?),
        };
        for day in (from..=to).step_by(step) {
            let name = DAYS.get(day)?;
            if !days.contains(name) {
                days.push(name);
            }
        }
    }
    Some(days.join(","))
}
