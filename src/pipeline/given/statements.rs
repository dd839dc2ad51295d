//! What the statements of a dump need of the server that they are restored on: roles and extensions by name. Pure.
//!
//! Not here: whether the server has them (see [`crate::service::postgres::needs`]).

use std::collections::BTreeSet;

/// Words in the place of a role that name none.
const NO_ROLES: [&str; 4] = ["public", "current_user", "session_user", "current_role"];
/// Extensions that every server has.
const OWN: [&str; 1] = ["plpgsql"];

/// What must be there before a dump is restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Roles that own something, or are granted something.
    pub roles: BTreeSet<String>,
    /// Extensions that are created.
    pub extensions: BTreeSet<String>,
}

impl Needs {
    /// Takes note of an owner.
    pub fn owner(&mut self, role: &str) {
        if !role.is_empty() {
            self.roles.insert(role.to_owned());
        }
    }

    /// Takes note of an extension.
    pub fn extension(&mut self, name: &str) {
        if !OWN.contains(&name) {
            self.extensions.insert(name.to_owned());
        }
    }

    /// Takes note of what a statement, or several, name: owners, who is granted what, whose defaults are set, whom a policy
    /// is for.
    pub fn statements(&mut self, sql: &str) {
        for line in sql.lines() {
            self.statement(line);
        }
    }

    /// The same of a statement on one line, as pg_dump writes those that name roles.
    pub fn statement(&mut self, line: &str) {
        let first = line.split(' ').next().unwrap_or_default();
        match first {
            "ALTER" | "GRANT" | "REVOKE" | "SET" => {}
            "CREATE" if line.starts_with("CREATE POLICY ") => {}
            "CREATE" if line.starts_with("CREATE EXTENSION ") => {
                let words = words(line);
                let mut names = words
                    .iter()
                    .skip_while(|word| !word.is("extension"))
                    .skip(1);
                let name = names.find(|word| !["if", "not", "exists"].iter().any(|it| word.is(it)));
                if let Some(name) = name {
                    self.extension(&name.text);
                }
                return;
            }
            _ => return,
        }
        let words = words(line);
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it: &Word| it.is(word));
        let to = match first {
            "GRANT" => "to",
            "REVOKE" => "from",
            _ => "",
        };
        for at in 0..words.len() {
            let begins = match first {
                "ALTER" if is(at, "owner") && is(at + 1, "to") => at + 2,
                "ALTER" if is(at, "for") && is(at + 1, "role") => at + 2,
                // Of the default privileges.
                "ALTER"
                    if line.starts_with("ALTER DEFAULT ") && (is(at, "to") || is(at, "from")) =>
                {
                    at + 1
                }
                "CREATE" if is(at, "to") => at + 1,
                "SET" if is(at, "session") && is(at + 1, "authorization") => at + 2,
                "GRANT" | "REVOKE" if is(at, to) => at + 1,
                _ => continue,
            };
            self.listed(&words[begins.min(words.len())..]);
        }
    }

    /// Roles with commas between them.
    fn listed(&mut self, words: &[Word]) {
        for word in words {
            let none = NO_ROLES.iter().any(|it| word.is(it)) || word.is("default");
            if !none && !word.text.is_empty() {
                self.roles.insert(word.text.clone());
            }
            if !word.comma {
                return;
            }
        }
    }
}

/// A word of a statement.
struct Word {
    text: String,
    quoted: bool,
    /// A comma follows it.
    comma: bool,
}

impl Word {
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }
}

/// The words of a statement: names without their quotes, what stands in single quotes as one word.
fn words(line: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' | '\'' => {
                let mut text = String::new();
                while let Some(inner) = letters.next() {
                    if inner == letter && letters.peek() == Some(&letter) {
                        letters.next();
                    } else if inner == letter {
                        break;
                    }
                    text.push(inner);
                }
                words.push(Word {
                    // A text is no name.
                    text: if letter == '"' { text } else { String::new() },
                    quoted: true,
                    comma: false,
                });
            }
            ',' => {
                if let Some(last) = words.last_mut() {
                    last.comma = true;
                }
            }
            plain if plain.is_alphanumeric() || plain == '_' => {
                let mut text = plain.to_string();
                let inside = |c: &char| c.is_alphanumeric() || "_$".contains(*c);
                while let Some(next) = letters.next_if(inside) {
                    text.push(next);
                }
                words.push(Word {
                    text,
                    quoted: false,
                    comma: false,
                });
            }
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_which_a_dump_names_a_role_is_known() {
        let mut needs = Needs::default();
        needs.statements(
            "ALTER TABLE public.orders OWNER TO shop;\n\
             GRANT SELECT ON TABLE public.orders TO \"Odd \"\"Role\";\n\
             GRANT ALL ON SCHEMA public TO PUBLIC;\n\
             REVOKE ALL ON TABLE a.b FROM auditor;\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA public GRANT SELECT ON TABLES TO reader;\n\
             CREATE POLICY p ON public.orders TO clerk, chief USING ((owner = 'to nobody'::text));\n\
             SET SESSION AUTHORIZATION granter;\nSET SESSION AUTHORIZATION DEFAULT;\n\
             ALTER TABLE ONLY public.orders ALTER COLUMN id SET DEFAULT nextval('x');\n\
             CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;\n\
             CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;\n\
             CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;\n",
        );
        let roles: Vec<&str> = needs.roles.iter().map(String::as_str).collect();
        assert_eq!(
            roles,
            [
                "Odd \"Role",
                "auditor",
                "chief",
                "clerk",
                "granter",
                "maker",
                "reader",
                "shop"
            ]
        );
        let extensions: Vec<&str> = needs.extensions.iter().map(String::as_str).collect();
        assert_eq!(extensions, ["pg_trgm", "uuid-ossp"]);
    }
}
