//! `redrill init`: a first suite to start from.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Doing, Error, Result};
use crate::exit::Exit;

/// Flags of `redrill init`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The file to write
    #[arg(value_name = "FILE", default_value = "suites/first.toml")]
    file: PathBuf,
}

const TEMPLATE: &str = include_str!("template.toml");

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let path = &flags.file;
    if path.exists() {
        return Err(
            Error::usage(format!("{} is there already", path.display())).hint("name another file")
        );
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent).doing_with(|| format!("create {}", parent.display()))?;
    }
    std::fs::write(path, TEMPLATE).doing_with(|| format!("write {}", path.display()))?;
    super::say(&format!(
        "wrote {0}; drill it with: redrill drill {0}\n",
        path.display()
    ))?;
    Ok(Exit::Passed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_a_suite_without_problems() {
        let path = std::path::Path::new("suites/first.toml");
        crate::suite::parse(super::TEMPLATE, path).expect("the template parses");
    }
}
