//! The layers of `src/lib.rs`, held by reading the source: who may use whom, and where third-party crates may stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Layers from the ground up; a module may use its own layer and those listed for it.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    (
        "ground",
        &[
            "exit", "error", "clock", "context", "process", "origin", "http", "sha256", "shelf",
        ],
        &[],
    ),
    ("words", &["suite", "plan", "evidence"], &["ground"]),
    (
        "world",
        &["service", "provision", "repository", "pipeline", "fault"],
        &["ground", "words"],
    ),
    (
        "judgement",
        &["check", "outcome", "event"],
        &["ground", "words"],
    ),
    (
        "drive",
        &["drill"],
        &["ground", "words", "world", "judgement"],
    ),
    (
        "telling",
        &["record", "history", "seal", "gate", "report", "announce"],
        &["ground", "words", "judgement"],
    ),
    (
        "doors",
        &["cli", "harness", "schedule", "main", "lib"],
        &["ground", "words", "world", "judgement", "drive", "telling"],
    ),
];

/// Crates that only one part of the program may know, by the start of the path below `src/`.
const CRATES: &[(&str, &[&str])] = &[
    ("aws_sdk_s3", &["service/s3"]),
    ("s3s", &["provision/object_store"]),
    ("hyper", &["provision/object_store", "report/serve"]),
    ("tokio_postgres", &["service/postgres/"]),
    ("age", &["pipeline/"]),
    ("aws_lc_rs::digest", &["sha256"]),
    ("md5", &["service/s3"]),
    ("testcontainers_modules", &["provision/containers"]),
    ("croner", &["suite/schedule"]),
    ("chrono_tz", &["suite/"]),
    ("globset", &["suite/", "pipeline/bucket_sync/exclude"]),
    ("tabled", &["report/"]),
    (
        "tar",
        &["fault/plant/base", "pipeline/given", "pipeline/files"],
    ),
    ("indicatif", &["report/"]),
    ("clap", &["cli/"]),
    ("libtest_mimic", &["harness"]),
    ("toml", &["suite/"]),
    ("nix", &["process/", "provision/"]),
    ("ed25519_dalek", &["seal", "provision/local/tls"]),
    ("ureq", &["http", "announce/http", "pipeline/given/place"]),
    (
        "rustls",
        &[
            "http",
            "provision/local/tls",
            "service/live",
            "service/redis/live",
        ],
    ),
    (
        "tokio_rustls",
        &["provision/local/tls", "service/redis/live"],
    ),
    ("rcgen", &["provision/local/tls"]),
    ("lettre", &["announce/email"]),
    ("maud", &["report/html"]),
    ("quick_junit", &["report/junit"]),
    ("socket2", &["provision/port"]),
    ("redb", &["shelf"]),
    ("postcard", &["shelf"]),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("src can be listed") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .expect("below src")
                    .display()
                    .to_string();
                found.push((name, code(&std::fs::read_to_string(&path).expect("source"))));
            }
        }
    }
    assert!(found.len() > 30, "the source was not found");
    found
}

/// The source without comments, and without its unit tests.
fn code(text: &str) -> String {
    let product = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let lines = product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn layer_of(module: &str) -> Option<&'static str> {
    LAYERS
        .iter()
        .find(|(_, modules, _)| modules.contains(&module))
        .map(|(layer, ..)| *layer)
}

fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

/// Names of crate modules that a source uses: `crate::x`, also in a braced list.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                for item in list.split('}').next().unwrap_or_default().split(',') {
                    let name: String = item
                        .trim()
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    found.insert(name);
                }
            }
            None => {
                found.insert(
                    rest.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect(),
                );
            }
        }
    }
    found
}

#[test]
fn every_module_stands_in_one_layer() {
    for (file, _) in sources() {
        assert!(
            layer_of(module_of(&file)).is_some(),
            "{file} stands in no layer"
        );
    }
}

#[test]
fn no_module_uses_a_layer_that_it_may_not_see() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(layer) = layer_of(module_of(&file)) else {
            continue;
        };
        let (_, _, may) = LAYERS
            .iter()
            .find(|(name, ..)| *name == layer)
            .expect("known");
        for used in uses(&text) {
            if let Some(other) = layer_of(&used)
                && other != layer
                && !may.contains(&other)
            {
                wrong.push(format!("{file} ({layer}) uses {used} ({other})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_third_party_crate_is_known_to_one_part_of_the_program() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (name, places) in CRATES {
            let here = places.iter().any(|place| file.starts_with(place));
            let used = [
                format!("use {name}::"),
                format!(" {name}::"),
                format!("({name}::"),
                format!("<{name}::"),
                format!("&{name}::"),
            ];
            if !here && used.iter().any(|word| text.contains(word.as_str())) {
                wrong.push(format!("{file} uses {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn judgement_is_pure() {
    let forbidden = [
        "tokio::",
        "std::fs",
        "std::net",
        "async fn",
        ".await",
        "SystemClock",
        "Utc::now",
        "Instant::now",
        // It reads the disk.
        "shelf",
    ];
    let mut wrong: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (file, text) in sources() {
        if layer_of(module_of(&file)) == Some("judgement") {
            let found: Vec<&str> = forbidden
                .into_iter()
                .filter(|word| text.contains(word))
                .collect();
            if !found.is_empty() {
                wrong.insert(file, found);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_below_the_telling_layer_prints() {
    for (file, text) in sources() {
        if matches!(layer_of(module_of(&file)), Some("doors" | "telling")) {
            continue;
        }
        for word in [
            "println!",
            "eprintln!",
            "print!(",
            "io::stdout()",
            "io::stderr()",
        ] {
            assert!(!text.contains(word), "{file} prints: {word}");
        }
    }
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, _) in sources() {
        let lines = std::fs::read_to_string(root.join(&file))
            .expect("source")
            .lines()
            .count();
        assert!(lines <= 600, "{file} has {lines} lines: look for a split");
    }
}
