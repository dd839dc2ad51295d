//! Secrets, and the canary, in logs; and the facts of a drill as they are on the disk.
//!
//! Not here: secrets in what is told of a run (see [`crate::record`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::{Doing, Result};
use crate::evidence::{LeakFact, LeakSearch, WrittenFact};

/// The name of the facts of a drill.
const FACTS: &str = "facts.json";

/// Searches every log of the drill for the run's secrets and the canary.
pub(in crate::drill) fn leaks(ctx: &Context, canary: &str) -> Result<LeakSearch> {
    let mut wanted = ctx.secrets.all();
    wanted.push(("the canary in the data".to_owned(), canary.to_owned()));
    search_files(&ctx.logs, &wanted, |_| true)
}

/// Searches the files of a directory, and of those below it that are to be entered.
pub(super) fn search_files(
    dir: &Path,
    wanted: &[(String, String)],
    enter: impl Fn(&Path) -> bool,
) -> Result<LeakSearch> {
    let mut search = LeakSearch {
        secrets: wanted.len() as u64,
        ..LeakSearch::default()
    };
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).doing_with(|| format!("list {}", dir.display()))? {
            let path = entry.doing("list a directory")?.path();
            if path.is_dir() {
                dirs.extend(Some(path).filter(|path| enter(path)));
                continue;
            }
            search.places += 1;
            for secret in
                found_in_file(&path, wanted).doing_with(|| format!("search {}", path.display()))?
            {
                let place = path
                    .strip_prefix(dir.parent().unwrap_or(&dir))
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                search.found.push(LeakFact {
                    what: secret,
                    place,
                });
            }
        }
    }
    Ok(search)
}

fn found_in_file(path: &Path, wanted: &[(String, String)]) -> std::io::Result<Vec<String>> {
    use std::io::Read as _;
    let longest = wanted
        .iter()
        .map(|(_, value)| value.len())
        .max()
        .unwrap_or(0);
    let mut file = std::fs::File::open(path)?;
    let mut window: Vec<u8> = Vec::new();
    let mut chunk = vec![0u8; 256 * 1024];
    let mut found = BTreeSet::new();
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(found.into_iter().collect());
        }
        window.extend_from_slice(&chunk[..read]);
        for (name, value) in wanted {
            if memchr::memmem::find(&window, value.as_bytes()).is_some() {
                found.insert(name.clone());
            }
        }
        let keep = window.len().saturating_sub(longest);
        window.drain(..keep);
    }
}

/// Where the facts of a drill lie.
pub(in crate::drill) fn facts_file(ctx: &Context) -> PathBuf {
    ctx.dir.join(FACTS)
}

/// Writes the drill's facts into its directory. They are copied beside the logs, which may be on a disk that is full.
pub(in crate::drill) fn write_facts(ctx: &Context, facts: &WrittenFact) -> Result<()> {
    let path = facts_file(ctx);
    let text = serde_json::to_vec_pretty(facts).doing("write the facts")?;
    std::fs::write(&path, &text).doing_with(|| format!("write {}", path.display()))?;
    // As with a log that cannot be written: what cannot be kept changes no verdict.
    let _ = std::fs::write(ctx.logs.join(FACTS), &text);
    Ok(())
}

/// Reads what lies there as the drill's facts.
pub(in crate::drill) fn read_facts(ctx: &Context) -> Result<WrittenFact> {
    let path = facts_file(ctx);
    let text = std::fs::read(&path).doing_with(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).doing("read the facts back")
}
