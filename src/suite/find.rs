//! Where suites are: by name under `suites/`, or by path; and reading one from its file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::{Problem, did_you_mean};
use super::{Suite, parse};
use crate::error::{Error, Kind, Result};

/// Reads a suite file. Everything that is wrong with it is reported at once, one problem to a line.
pub fn load(path: &Path) -> Result<Suite> {
    let doing = || format!("read the suite {}", path.display());
    let text = read_text(path).map_err(|error| error.doing(doing()))?;
    parse(&text, path).map_err(|problems| problems_in(&problems).doing(doing()))
}

/// The text of a file that the user wrote.
pub(super) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::new(Kind::Usage, error.to_string()))
}

/// Every problem of a file, one to a line.
pub(super) fn problems_in(problems: &[Problem]) -> Error {
    let mut message = match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    for problem in problems {
        message.push_str(&format!("\n  {problem}"));
    }
    Error::usage(message)
}

/// The file of a suite: a name under `suites/` of the current directory or of redrill's own checkout, or a path.
pub fn find(name_or_path: &str) -> Result<PathBuf> {
    find_in(name_or_path, &folders())
}

/// Every suite file under `suites/`, by name.
pub fn all() -> Vec<PathBuf> {
    all_in(&folders()).into_values().collect()
}

/// The folders that are looked in, nearest first.
fn folders() -> [PathBuf; 2] {
    [
        PathBuf::from("suites"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("suites"),
    ]
}

fn find_in(name_or_path: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let by_name = all_in(folders);
    if let Some(found) = by_name.get(name_or_path) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
    let listed = match names.as_slice() {
        [] => "there are no suites under suites/; give the path of a suite file".to_owned(),
        all => format!(
            "there are: {}; or give the path of a suite file",
            all.join(", ")
        ),
    };
    let is_path = path.components().count() > 1 || path.extension().is_some();
    let error = if is_path {
        Error::usage(format!("no such suite file: {name_or_path}")).hint(listed)
    } else {
        let nearest = did_you_mean(name_or_path, names.iter().copied())
            .filter(|hint| hint.starts_with("did you mean"));
        let hint = nearest.map_or_else(|| listed.clone(), |hint| format!("{hint} {listed}"));
        Error::usage(format!("no such suite: {name_or_path}")).hint(hint)
    };
    Err(error.doing("find the suite"))
}

/// Suites by name; of two with the same name, the one in the nearer folder.
fn all_in(folders: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_suite = path
                .extension()
                .is_some_and(|extension| extension == "toml");
            if let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
                && is_suite
            {
                all.entry(name.to_owned()).or_insert(path);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_found_by_name_and_by_path_and_an_unknown_one_names_the_nearest() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("suites");
        std::fs::create_dir(&folder).expect("created");
        for name in ["deltacrown.toml", "detection.toml", "main.rs"] {
            std::fs::write(folder.join(name), "").expect("written");
        }
        let folders = [folder.clone()];
        let by_path = folder.join("detection.toml");
        let find = |name: &str| find_in(name, &folders);
        assert_eq!(
            find("deltacrown").expect("found"),
            folder.join("deltacrown.toml")
        );
        assert_eq!(find(&by_path.to_string_lossy()).expect("found"), by_path);

        let error = find("deltacrow").expect_err("unknown");
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(
            error.hint_text(),
            Some(
                "did you mean `deltacrown`? there are: deltacrown, detection; or give the path of a suite file"
            )
        );
        let error = find("elsewhere/x.toml").expect_err("unknown");
        assert_eq!(
            error.message(),
            "find the suite: no such suite file: elsewhere/x.toml"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_the_users_error() {
        let error = load(Path::new("suites/nowhere.toml")).expect_err("is not there");
        assert_eq!(error.kind(), Kind::Usage);
        assert!(
            error
                .message()
                .starts_with("read the suite suites/nowhere.toml: ")
        );
    }
}
