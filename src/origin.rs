//! Where a run was made: the commit that is checked out, whether anything differs from it, and the host. What a record
//! says of its origin, and what a gate compares it with.
//!
//! In CI the job's own variables come first: they are right where the checkout is shallow, detached or not there.
//! Not here: what is made of it (see [`crate::gate`]).

use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::process::Command;

/// Variables that hold the commit of a CI job, the user's own first.
const VARIABLES: [&str; 7] = [
    "REDRILL_COMMIT",
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "BITBUCKET_COMMIT",
    "GIT_COMMIT",
];

/// How long git may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where a run is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The commit, in hex; none where none is known.
    pub commit: Option<String>,
    /// Whether files differ from the commit, or were added that git does not ignore; none where git does not say.
    pub dirty: Option<bool>,
    /// Who said so: the name of a variable, or `git`; empty where no commit is known.
    pub told_by: String,
    /// The name of this machine.
    pub host: String,
}

impl Origin {
    /// The origin of what runs in the current directory. What is written into the reports folder `out` changes nothing.
    pub async fn here(ctx: &Context, out: &Path) -> Self {
        let told = VARIABLES.into_iter().find_map(|name| {
            let commit = commit(&std::env::var(name).ok()?)?;
            Some((commit, name))
        });
        let dirty = dirty(ctx, out).await;
        let (commit, told_by) = match told {
            Some((commit, name)) => (Some(commit), name),
            None => {
                let head = git(ctx, &["rev-parse", "HEAD"]).await;
                let head = head.and_then(|head| commit(&head));
                let told_by = if head.is_some() { "git" } else { "" };
                (head, told_by)
            }
        };
        Self {
            commit,
            dirty,
            told_by: told_by.to_owned(),
            host: host(),
        }
    }

    /// A clean checkout in a CI job, for tests.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self {
            commit: Some("c0ffee".repeat(7)[..40].to_owned()),
            dirty: Some(false),
            told_by: "GITHUB_SHA".to_owned(),
            host: "runner".to_owned(),
        }
    }

    /// This origin, with a commit that the user names.
    pub fn of_commit(self, text: &str) -> Result<Self> {
        let commit = commit(text).ok_or_else(|| {
            Error::usage(format!("{text:?} is not a commit: 7 to 64 hex digits are"))
                .hint("git rev-parse HEAD prints one")
        })?;
        Ok(Self {
            commit: Some(commit),
            told_by: "--commit".to_owned(),
            ..self
        })
    }
}

/// Whether the checkout differs from its commit.
async fn dirty(ctx: &Context, out: &Path) -> Option<bool> {
    let root = git(ctx, &["rev-parse", "--show-toplevel"]).await?;
    let out = std::fs::canonicalize(out).ok();
    let out = out.and_then(|out| {
        let below = out.strip_prefix(root.trim_end()).ok()?;
        Some(below.to_str()?.to_owned())
    });
    let except = out.filter(|out| !out.is_empty());
    let except = except.map(|out| format!(":(top,exclude,literal){out}"));
    let mut status = vec![
        "status",
        "--porcelain",
        "--untracked-files=normal",
        "--",
        ":/",
    ];
    status.extend(except.as_deref());
    let changed = git(ctx, &status).await?;
    Some(!changed.is_empty())
}

/// What git answers; none where there is no git, no checkout, or git refuses.
async fn git(ctx: &Context, arguments: &[&str]) -> Option<String> {
    let asked = Command::new("git")
        .args(arguments.iter().copied())
        .env("GIT_OPTIONAL_LOCKS", "0")
        .deadline(DEADLINE);
    let finished = asked.run(ctx).await.ok()?;
    (finished.exit == Some(0)).then(|| finished.text())
}

/// A commit as git writes it: 7 to 64 hex digits.
fn commit(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let holds = (7..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
    holds.then_some(text)
}

fn host() -> String {
    let kernel = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok());
    name.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_commit_is_one() {
        let sha = "3f786850e387550fdab836ed7e6dc881de23001b";
        assert_eq!(commit(&format!(" {sha}\n")).as_deref(), Some(sha));
        assert_eq!(commit("ABCDEF1").as_deref(), Some("abcdef1"));
        for text in ["", "main", "abc", "refs/heads/x", "--all"] {
            assert_eq!(commit(text), None, "{text}");
        }
    }
}
