//! `redrill reap`: removes what killed runs left behind, and what `--keep` kept.

use clap::Args;

use crate::error::Result;
use crate::exit::Exit;
use crate::provision::reap::{self, Kept};

/// Flags of `redrill reap`.
#[derive(Debug, Args)]
pub(super) struct Flags {}

/// The verb.
pub(super) async fn run(_: Flags) -> Result<Exit> {
    let reaped = reap::reap(Kept::Removed).await?;
    if reaped.is_empty() {
        super::say("nothing was left behind\n")?;
    }
    for thing in &reaped {
        match &thing.error {
            None => super::say(&format!("removed {}\n", thing.what))?,
            Some(error) => super::say(&format!("could not remove {}: {error}\n", thing.what))?,
        }
    }
    Ok(if reaped.iter().all(|thing| thing.error.is_none()) {
        Exit::Passed
    } else {
        Exit::Failed
    })
}
