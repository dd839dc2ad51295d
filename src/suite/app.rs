//! The user's own application, started on the restored copy and asked over HTTP, as a runbook ends: `app` of a component or
//! of a file of questions, and the `[[smoke]]` questions that begin with `get`.
//!
//! ```toml
//! app = { command = ["./server"], ready = "/health", deadline = "60s" }
//!
//! [[smoke]]
//! get = "/api/tournaments/count"
//! expect = { min = 1 }
//! ```
//!
//! Not here: starting and asking it (see [`crate::drill`]).

use std::path::PathBuf;
use std::time::Duration;

use super::Expect;

/// An application, and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// The program and its arguments. How it reaches the restored service, and the `PORT` that it is to answer on, are in its
    /// environment.
    pub command: Vec<String>,
    /// The folder that it is started in: that of the file that names it.
    pub home: PathBuf,
    /// The path that is answered with 2xx once it is ready.
    pub ready: String,
    /// How long it may take until then.
    pub deadline: Duration,
    /// What is asked of it.
    pub requests: Vec<Request>,
}

/// A question to an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What it shows, in a few words.
    pub name: String,
    /// The path, with its query.
    pub path: String,
    /// The status of the answer; any from 200 to 299 where none is named.
    pub status: Option<u16>,
    /// What the body must be, without the white space around it; anything where nothing is said.
    pub expect: Option<Expect>,
}

impl Request {
    /// Whether a status is the wanted one.
    pub fn is_met_by(&self, status: u16) -> bool {
        match self.status {
            Some(wanted) => status == wanted,
            None => (200..300).contains(&status),
        }
    }

    /// What is expected, in words.
    pub fn expected(&self) -> String {
        let status = match self.status {
            Some(status) => format!("status {status}"),
            None => "a status from 200 to 299".to_owned(),
        };
        match &self.expect {
            Some(expect) => format!("{status} and {expect}"),
            None => status,
        }
    }
}
