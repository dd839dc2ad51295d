//! Temporary files, searched for the canary: where dumps pass through on every server, and redrill's own directory of the
//! drill. What a search came to is a fact of every encrypted backup of the component.
//!
//! Not here: logs (see [`super::leaks`]), and what servers and repositories hold as their data.

use std::collections::BTreeMap;
use std::path::Path;

use super::leaks::search_files;
use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::drill::world::World;
use crate::error::Result;
use crate::evidence::EncryptionFact;
use crate::service::Running;
use crate::suite::{Backup, Engine};

/// What was found, by component; what is no component's under an empty name.
#[derive(Debug, Default)]
pub(in crate::drill) struct Temporary(BTreeMap<String, Searched>);

#[derive(Debug, Default)]
struct Searched {
    places: u64,
    found: Vec<String>,
    unobserved: Vec<String>,
}

impl Temporary {
    /// Searches everything that is there now.
    pub async fn search(
        &mut self,
        ctx: &Context,
        world: &World<'_>,
        backups: &[&Backup],
        canary: &str,
    ) -> Result<()> {
        let encrypted = backups.iter().filter(|backup| backup.encrypt.is_some());
        let mut components: Vec<&String> = encrypted.map(|backup| &backup.component).collect();
        components.sort_unstable();
        components.dedup();
        let servers = world.servers();
        for component in &components {
            let ctx = ctx.within(Phase::Observe, component);
            let searched = self.0.entry((*component).clone()).or_default();
            let own = format!("{component}-");
            for (name, server) in servers.iter().filter(|(name, _)| name.starts_with(&own)) {
                if server.engine() != Engine::Bucket {
                    searched
                        .staging(&ctx, name, server.as_ref(), canary)
                        .await?;
                }
            }
        }
        if !components.is_empty() {
            let names: Vec<&str> = servers.iter().map(|(name, _)| name.as_str()).collect();
            let searched = self.0.entry(String::new()).or_default();
            searched.own_directory(ctx, &names, canary)?;
        }
        Ok(())
    }

    /// Adds what was found to what is known of a backup's encryption.
    pub fn tell(&self, component: &str, fact: &mut EncryptionFact) {
        for searched in [component, ""].iter().filter_map(|name| self.0.get(*name)) {
            fact.searched_places += searched.places;
            fact.canary_found.extend(searched.found.iter().cloned());
            fact.unobserved.extend(searched.unobserved.iter().cloned());
        }
    }
}

impl Searched {
    /// The directory that dumps pass through on a server; one that the scenario destroyed has no temporary files left.
    async fn staging(
        &mut self,
        ctx: &Context,
        name: &str,
        server: &dyn Running,
        canary: &str,
    ) -> Result<()> {
        if server.mode() == "local" && !server.staging().is_dir() {
            return Ok(());
        }
        let there = server.tool("test").arg("-d").arg(server.staging());
        let why = match there.run(ctx).await {
            Ok(there) if there.exit == Some(0) => None,
            // Not there; so says the engine too of a container that is gone.
            Ok(there) if there.exit == Some(1) => return Ok(()),
            Ok(there) => Some(there.stderr.trim().to_owned()),
            Err(error) => Some(stop_or_note(error)?),
        };
        if let Some(why) = why {
            let words = format!("temporary files of {name} were not looked for: {why}");
            self.unobserved.push(words);
            return Ok(());
        }
        // The canary goes in by standard input: as an argument it would stand in the log that is searched later.
        let grep = server.tool("grep").args(["-r", "-l", "-F", "-f", "-"]);
        let grep = grep.arg(server.staging());
        let searched = grep.feed(ctx, std::io::Cursor::new(format!("{canary}\n")));
        match searched.await {
            // What grep found counts, whatever else it could not read.
            Ok(finished) => {
                self.places += 1;
                let found = finished.text();
                let place = |path: &str| format!("a temporary file of {name}: {path}");
                self.found.extend(found.lines().map(place));
                if !matches!(finished.exit, Some(0 | 1)) {
                    let words = finished.stderr.trim();
                    let words = format!("temporary files of {name} were not all searched: {words}");
                    self.unobserved.push(words);
                }
            }
            Err(error) => {
                let words = stop_or_note(error)?;
                let words = format!("temporary files of {name} were not searched: {words}");
                self.unobserved.push(words);
            }
        }
        Ok(())
    }

    /// The drill's directory, without what servers, repositories and logs hold, which are searched in their own ways.
    fn own_directory(&mut self, ctx: &Context, servers: &[&str], canary: &str) -> Result<()> {
        let wanted = [("the canary".to_owned(), canary.to_owned())];
        let search = search_files(&ctx.dir, &wanted, |path| {
            path != ctx.logs && !(path.parent() == Some(&ctx.dir) && is_held(path, servers))
        })?;
        self.places += 1;
        let found = search.found.into_iter();
        self.found
            .extend(found.map(|leak| format!("a temporary file of redrill: {}", leak.place)));
        Ok(())
    }
}

/// Whether a directory is a server's (its name and a number) or a repository's.
fn is_held(path: &Path, servers: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |server: &&str| {
        let rest = name
            .strip_prefix(*server)
            .and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| rest.parse::<u64>().is_ok())
    };
    name.starts_with("repository-") || servers.iter().any(numbered)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::context::RunId;

    #[test]
    fn a_canary_in_redrills_own_directory_is_found_and_not_one_in_what_servers_repositories_and_logs_hold()
     {
        let dir = tempfile::tempdir().expect("a directory");
        let (run, top) = (RunId::fresh(Utc::now()), dir.path().join("drill"));
        let ctx = Context::new(run, top.clone(), top.join("logs"), CancellationToken::new());
        let ctx = ctx.expect("a context");
        let plant = |at: &str| {
            let path = top.join(at);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, "before canary0123 after").expect("written");
        };
        let search = || {
            let mut searched = Searched::default();
            let search = searched.own_directory(&ctx, &["db-source", "repository"], "canary0123");
            search.expect("searched");
            searched
        };
        for held in [
            "db-source-3/data/base/1",
            "repository-host/hourly/1",
            "repository-7/x",
            "logs/1.log",
        ] {
            plant(held);
        }
        let searched = search();
        assert_eq!((searched.places, searched.found), (1, Vec::<String>::new()));
        plant("db-source-spool/dump");
        let found = search().found;
        assert!(
            matches!(found.as_slice(), [place] if place.ends_with("db-source-spool/dump")),
            "{found:?}"
        );
    }
}
