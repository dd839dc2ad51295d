//! Keys that a sync leaves out, by the patterns of `aws s3 sync --exclude`: matched against the whole key; `*` is
//! anything, `/` included; `?` one character; `[…]` and `[!…]` one of a set. Source: the AWS CLI's documentation of
//! `--exclude`, and Python's `fnmatch`, which it uses.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Compiled patterns.
#[derive(Debug, Clone)]
pub struct Excluded(GlobSet);

impl Excluded {
    /// Compiles patterns; a malformed one is a usage error.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let glob = GlobBuilder::new(&as_glob(pattern))
                .literal_separator(false)
                .backslash_escape(false)
                .build()
                .map_err(|error| {
                    Error::usage(format!("exclude pattern {pattern:?}: {}", error.kind()))
                        .hint("use `*`, `?` and `[…]`, matched against the whole key")
                })?;
            set.add(glob);
        }
        let set = set.build();
        set.map(Self)
            .map_err(|error| Error::usage(format!("exclude patterns: {error}")))
    }

    /// Whether a key is left out.
    pub fn matches(&self, key: &str) -> bool {
        self.0.is_match(key)
    }
}

/// The few places where globset knows more than fnmatch: braces, and two stars in a row.
fn as_glob(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    let mut in_set = false;
    for c in pattern.chars() {
        match c {
            '[' => in_set = true,
            ']' => in_set = false,
            _ => {}
        }
        match c {
            '*' if !in_set && glob.ends_with('*') => {}
            '{' | '}' if !in_set => glob.extend(['[', c, ']']),
            _ => glob.push(c),
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_keys_and_a_star_crosses_slashes() {
        let patterns = [
            "*.pyc",
            "__pycache__/*",
            ".DS_Store",
            "raw/{x}?",
            "tmp/**/z",
        ];
        let excluded = Excluded::new(&patterns.map(str::to_owned)).expect("valid");
        for key in [
            "x.pyc",
            "scripts/deep/x.pyc",
            "__pycache__/y",
            "__pycache__/a/b",
            ".DS_Store",
            "raw/{x}1",
            "tmp/a/b/z",
        ] {
            assert!(excluded.matches(key), "{key}");
        }
        for key in [
            "x.pyc/b",
            "a/__pycache__/y",
            "images/.DS_Store",
            "raw/x1",
            "X.PYC",
            "tmp/z",
        ] {
            assert!(!excluded.matches(key), "{key}");
        }
        assert!(Excluded::new(&["[".to_owned()]).is_err());
    }
}
