//! What a Redis server defines besides its keys: function libraries (they are part of an RDB) and users (they are
//! not, and have to be kept beside it).
//!
//! The user `default` is the run's own way in, set by the server's configuration: it is neither listed nor
//! restored. Password hashes never leave this module except as the lines that are backed up.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::service::redis::client::{Client, bytes, cmd, complaint, fields, list, text};
use crate::service::redis::digest::Frames;

/// Every definition: `function LIBRARY` → engine and fingerprint of the code, `acl USER` → its rules, with `#set`
/// for every password.
pub async fn read(client: &mut Client) -> Result<BTreeMap<String, String>> {
    let mut catalogue = BTreeMap::new();
    let reply = client
        .raw(cmd("FUNCTION").arg("LIST").arg("WITHCODE"))
        .await?;
    // Servers before 7.0 have no functions.
    if complaint(&reply).is_none() {
        for library in list(reply)? {
            let mut about = fields(library)?;
            let mut part = |name: &str| bytes(about.remove(name).unwrap_or_default());
            let name = part("library_name")?;
            let engine = part("engine")?;
            let code = part("library_code")?;
            catalogue.insert(
                format!("function {}", String::from_utf8_lossy(&name)),
                format!(
                    "{} {:032x}",
                    String::from_utf8_lossy(&engine),
                    Frames::of(&[&code])
                ),
            );
        }
    }
    for line in users(client).await? {
        if let Some(user) = User::parse(&line) {
            catalogue.insert(format!("acl {}", user.name), user.masked());
        }
    }
    Ok(catalogue)
}

/// The lines of `ACL LIST` without the user `default`. They hold password hashes.
pub async fn users(client: &mut Client) -> Result<Vec<String>> {
    let lines = list(client.call(cmd("ACL").arg("LIST")).await?)?;
    let lines: Vec<String> = lines.into_iter().map(text).collect::<Result<_>>()?;
    Ok(lines
        .into_iter()
        .filter(|line| User::parse(line).is_some_and(|user| user.name != "default"))
        .collect())
}

/// Makes a user as a line of `ACL LIST` says, in place of one of that name.
pub async fn restore_user(client: &mut Client, line: &str) -> Result<()> {
    let Some(user) = User::parse(line) else {
        return Err(Error::failed(
            "a line of the user list is not one of ACL LIST",
        ));
    };
    if user.name == "default" {
        return Ok(());
    }
    let mut command = cmd("ACL");
    command.arg("SETUSER").arg(user.name).arg("reset");
    for rule in &user.rules {
        command.arg(*rule);
    }
    let reply = client.raw(&command).await?;
    // The server quotes the rule that it does not like, and that may be a password's hash.
    if complaint(&reply).is_some() {
        return Err(Error::failed(format!(
            "the server does not accept the rules of the user {}: {}",
            user.name,
            user.masked()
        ))
        .hint("restore to a server of the version that the backup was taken from"));
    }
    Ok(())
}

/// A line of `ACL LIST`: `user NAME RULE…`. Names and rules hold no spaces, except within a selector's
/// parentheses, which `ACL SETUSER` puts together again by itself.
struct User<'a> {
    name: &'a str,
    rules: Vec<&'a str>,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        if words.next() != Some("user") {
            return None;
        }
        Some(Self {
            name: words.next()?,
            rules: words.collect(),
        })
    }

    fn masked(&self) -> String {
        let rules: Vec<&str> = self
            .rules
            .iter()
            .map(|rule| match rule.as_bytes().first() {
                Some(b'#') => "#set",
                Some(b'>' | b'<' | b'!') => "#changed",
                _ => rule,
            })
            .collect();
        rules.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_without_the_hash_of_its_password() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let line = format!("user bob on #{hash} ~a* &* -@all +@read (~b* -@all +@write)");
        let user = User::parse(&line).expect("a user");
        assert_eq!(user.name, "bob");
        assert_eq!(
            user.masked(),
            "on #set ~a* &* -@all +@read (~b* -@all +@write)"
        );
    }

    #[test]
    fn a_line_of_another_kind_is_no_user() {
        assert!(User::parse("").is_none());
        assert!(User::parse("group x").is_none());
    }
}
