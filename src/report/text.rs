//! How figures and foreign text are written: durations, sizes, rates, and what is made harmless first.
//!
//! Not here: which figures a report shows.

use std::borrow::Cow;

/// A duration in the units a person would say.
pub use crate::clock::readable as duration;

/// A measured duration beside the objective it is held against: rounding never hides which one is larger.
pub fn against(seconds: f64, objective: Option<f64>) -> String {
    let text = duration(seconds);
    match objective {
        Some(objective) if seconds > objective && duration(objective) == text => {
            format!("just over {text}")
        }
        _ => text,
    }
}

/// How long ago something was, no finer than anyone would say: `3 h`, `2 d 4 h`.
pub fn age(seconds: f64) -> String {
    let step = match seconds {
        seconds if seconds < 60.0 => 1.0,
        seconds if seconds < 3600.0 => 60.0,
        _ => 3600.0,
    };
    duration((seconds / step).floor() * step)
}

/// A part of a whole in percent, with two significant digits: `0.017 %`.
pub fn share(part: f64, whole: f64) -> String {
    let percent = part / whole * 100.0;
    if !percent.is_finite() || percent < 0.001 {
        return "under 0.001 %".to_owned();
    }
    let digits = (1.0 - percent.log10().floor()).clamp(0.0, 4.0);
    format!("{percent:.0$} %", digits as usize)
}

/// A size in decimal units: `61.2 MB`.
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64;
    let mut units = ["kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = "B";
    while (amount * 10.0).round() >= 10_000.0 {
        match units.next() {
            Some(next) => unit = next,
            None => break,
        }
        amount /= 1e3;
    }
    format!("{amount:.1} {unit}")
}

/// A rate in GB/min with three significant digits.
pub fn rate(gb_per_min: f64) -> String {
    if !gb_per_min.is_finite() {
        return "–".to_owned();
    }
    let decimals = if gb_per_min >= 100.0 {
        0
    } else if gb_per_min >= 10.0 {
        1
    } else if gb_per_min >= 1.0 {
        2
    } else if gb_per_min >= 0.1 {
        3
    } else {
        4
    };
    format!("{gb_per_min:.decimals$} GB/min")
}

/// A number with its thousands apart: `2,500`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 write`, `58 writes`.
pub fn plural(number: u64, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{} {word}s", count(number)),
    }
}

/// Foreign text in one line that cannot drive a terminal: white space becomes one space, and control and
/// direction characters are shown by their code.
pub fn line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    harmless(&words.join(" "), false)
}

/// Foreign text over several lines, otherwise as [`line`].
pub fn block(text: &str) -> String {
    harmless(&text.replace("\r\n", "\n"), true)
}

fn harmless(text: &str, keep_lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if (keep_lines && (c == '\n' || c == '\t')) || !(c.is_control() || direction) {
            safe.push(c);
        } else {
            safe.extend(c.escape_unicode());
        }
    }
    safe
}

/// At most `limit` characters, the cut being said.
pub fn at_most(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        Some((at, _)) => Cow::Owned(format!("{}… (cut)", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// Foreign text as Markdown text, safe in a table cell too.
pub fn markdown(text: &str) -> String {
    let text = line(text);
    let chars: Vec<char> = text.chars().collect();
    let mut safe = String::with_capacity(text.len());
    for (at, &c) in chars.iter().enumerate() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '_' => {
                let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
                let inside = at > 0 && word(chars.get(at - 1)) && word(chars.get(at + 1));
                safe.push_str(if inside { "_" } else { "\\_" });
            }
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '#' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}

/// redrill's own sentences with foreign names in them: text as [`markdown`], except that what stands between
/// backticks stays code, as long as they pair up.
pub fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return markdown(text);
    }
    let pieces: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => spaced(part),
            _ => code(part),
        })
        .collect();
    pieces.concat().trim().to_owned()
}

/// As [`markdown`], keeping one space at either end where there was white space.
fn spaced(text: &str) -> String {
    let inner = markdown(text);
    if inner.is_empty() {
        return if text.is_empty() { "" } else { " " }.to_owned();
    }
    let before = if text.starts_with(char::is_whitespace) {
        " "
    } else {
        ""
    };
    let after = if text.ends_with(char::is_whitespace) {
        " "
    } else {
        ""
    };
    format!("{before}{inner}{after}")
}

/// Foreign text as Markdown code, safe in a table cell too.
pub fn code(text: &str) -> String {
    let text = line(text);
    if text.is_empty() {
        return "–".to_owned();
    }
    if text.contains(['|', '`']) {
        let mut html = String::from("<code>");
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '|' | '`' | '\\' | '*' | '_' | '[' | ']' | '~' | '$' => {
                    html.push_str(&format!("&#{};", c as u32));
                }
                _ => html.push(c),
            }
        }
        html.push_str("</code>");
        return html;
    }
    format!("`{text}`")
}

/// A fenced block in a language (`sh`, `text`); the fence is longer than any run of backticks inside.
pub fn fenced(command: &str, language: &str, indent: &str) -> String {
    let command = block(command);
    let command = at_most(command.trim_end(), 4000);
    let mut longest = 0;
    let mut run = 0;
    for c in command.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(3.max(longest + 1));
    let mut text = format!("{indent}{fence}{language}\n");
    for line in command.lines() {
        text.push_str(indent);
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&format!("{indent}{fence}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_has_two_significant_digits() {
        let shares = [
            (2.4, 14_400.0),
            (3.0, 900.0),
            (81.0, 900.0),
            (1800.0, 900.0),
            (0.0, 1.0),
        ];
        let texts = shares.map(|(part, whole)| share(part, whole));
        assert_eq!(
            texts,
            ["0.017 %", "0.33 %", "9.0 %", "200 %", "under 0.001 %"]
        );
    }

    #[test]
    fn durations_read_as_a_person_would_say_them() {
        let cases = [
            (0.0, "0 s"),
            (0.0004, "0 s"),
            (0.34, "340 ms"),
            (0.9996, "1 s"),
            (1.24, "1.2 s"),
            (59.96, "1 m"),
            (60.0, "1 m"),
            (754.0, "12 m 34 s"),
            (3480.0, "58 m"),
            (3602.0, "1 h 2 s"),
            (93600.0, "1 d 2 h"),
            (f64::NAN, "–"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_time_just_over_its_objective_never_reads_as_equal_to_it() {
        assert_eq!(against(3600.3, Some(3600.0)), "just over 1 h");
        assert_eq!(against(3602.0, Some(3600.0)), "1 h 2 s");
        assert_eq!(against(3600.0, Some(3600.0)), "1 h");
        assert_eq!(against(5.0, None), "5 s");
    }

    #[test]
    fn sizes_are_decimal_and_never_read_a_thousand_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (12_300_000_000, "12.3 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(rate(1.2249), "1.22 GB/min");
        assert_eq!(rate(0.0123), "0.0123 GB/min");
        assert_eq!(count(2_500_000), "2,500,000");
        assert_eq!(plural(1, "write"), "1 write");
    }

    #[test]
    fn foreign_text_cannot_break_a_table_or_drive_a_terminal() {
        assert_eq!(markdown("a|b\n`c` <d>"), "a\\|b \\`c\\` &lt;d&gt;");
        assert_eq!(markdown("_x_ snake_case"), "\\_x\\_ snake_case");
        assert_eq!(line("red\u{1b}[31m\u{202e}x"), "red\\u{1b}[31m\\u{202e}x");
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a|b`c"), "<code>a&#124;b&#96;c</code>");
        assert_eq!(
            sentence("table `a|b` of *public*"),
            "table <code>a&#124;b</code> of \\*public\\*"
        );
        assert_eq!(sentence("one ` alone"), "one \\` alone");
    }

    #[test]
    fn a_fence_is_longer_than_the_backticks_it_holds() {
        assert_eq!(
            fenced("echo ```x```", "sh", ""),
            "````sh\necho ```x```\n````\n".to_owned()
        );
    }

    proptest! {
        #[test]
        fn no_text_ends_a_cell_or_a_line_early(text in "\\PC*|[\\x00-\\x7f]*") {
            for written in [markdown(&text), code(&text), sentence(&text)] {
                let breaks = written.contains(['\n', '\r', '\u{1b}']);
                prop_assert!(!breaks, "{}", written);
                let bare = written.replace("\\\\", "").replace("\\|", "");
                prop_assert!(!bare.contains('|'), "{}", written);
            }
        }

        #[test]
        fn a_longer_time_or_size_never_reads_shorter(bytes in 0..u64::MAX) {
            let text = size(bytes);
            let number: f64 = text.split(' ').next().expect("number").parse().expect("number");
            prop_assert!(number < 1000.0);
        }
    }
}
