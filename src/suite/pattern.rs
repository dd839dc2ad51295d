//! Glob patterns, as the command line and a backup's excludes use them: `*` matches anything, `/` too, as in
//! `aws s3 sync --exclude`; then `?`, `[ab]` and `{this,that}`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns of which one must match.
#[derive(Debug, Clone)]
pub struct Patterns(GlobSet);

impl Patterns {
    /// Reads patterns; the error names the one that is wrong, and why.
    pub fn parse<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let glob = GlobBuilder::new(pattern)
                .literal_separator(false)
                .build()
                .map_err(|error| format!("not a glob pattern: `{pattern}` ({})", error.kind()))?;
            set.add(glob);
        }
        set.build().map(Self).map_err(|error| error.to_string())
    }

    /// Whether one of them matches all of the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_crosses_slashes_and_braces_list_alternatives() {
        let patterns = Patterns::parse(["*.pyc", "{a,b}/x?"]).expect("are patterns");
        assert!(patterns.matches("deep/down/file.pyc"));
        assert!(patterns.matches("b/x1"));
        assert!(!patterns.matches("file.py"));
        assert!(Patterns::parse(["[a"]).is_err_and(|error| error.contains("`[a`")));
    }
}
