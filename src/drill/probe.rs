//! Looking at what is stored and what was left behind: artifacts as they lie in their repositories, the pruner's
//! leftovers, ciphertext, and places where secrets must not be.

mod artifacts;
mod encryption;
mod leaks;
mod retention;
mod temporary;

pub(super) use artifacts::{Read, artifacts};
pub(super) use encryption::encryption;
pub(super) use leaks::{facts_file, leaks, read_facts, write_facts};
pub(super) use retention::retention;
pub(super) use temporary::Temporary;
