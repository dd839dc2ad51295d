//! redrill: *if today were the disaster, would the data come back, how much of it, how fast, and would anyone have
//! noticed that the backup was bad?*
//!
//! It starts real services, seeds them, runs real backup and restore pipelines against them under a fast-forwarded
//! clock, breaks the system on purpose, recovers it, and judges what came back.
//!
//! # One way through
//!
//! ```text
//! suite ─► plan ─► drill { provision ─► service ─► pipeline ⇄ repository ─► fault ─► recover } ─► evidence
//!                                                                                                  │
//!                        report | history | gate ◄─ record ◄─ outcome ◄─ check ◄───────────────────┘
//! ```
//!
//! Events leave sideways to observers; nothing flows back. `redrill verify` enters half-way: an artifact that somebody
//! else made ([`pipeline::given`]) is recovered, looked at and judged as one of a drill is ([`drill::verify`]).
//!
//! # Layers
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | ground | [`exit`] [`error`] [`clock`] [`context`] [`process`] [`origin`] [`http`] [`sha256`] [`shelf`] | std, chrono; tokio in context and process only, redb in shelf, AWS-LC in sha256 |
//! | words and facts | [`suite`] [`plan`] [`evidence`] | ground |
//! | world | [`service`] [`provision`] [`repository`] [`pipeline`] [`fault`] | the two above |
//! | judgement | [`check`] [`outcome`] [`event`] | words and facts; no I/O, clock or async |
//! | drive | [`drill`] | all of the above |
//! | telling | [`record`] [`history`] [`seal`] [`gate`] [`report`] [`announce`] | judgement and below, never the world |
//! | doors | [`cli`] [`harness`] [`schedule`] | everything, with no logic of their own |
//!
//! World and judgement never see each other. `suites/layers.rs` reads `src/` and holds every module to this table.
//!
//! # Invariants
//!
//! - Checks never touch a service: they are pure functions of [`evidence::Evidence`].
//! - No outcome before teardown has ended.
//! - Nothing is printed below the telling layer.
//! - Every wait has a deadline.
//! - Time and chance come only through [`clock::Clock`] and the drill's seed; what must not be guessed (passwords, keys,
//!   run ids, canaries) comes from the system's random numbers.
//! - What observed nothing cannot pass ([`outcome::Outcome::of`]).
//! - Telling comes after the verdict and changes none: not a full disk, not a webhook that hangs.
//! - The gate fails closed: only a record that can be read and holds opens it.
//! - Everything started carries the run id, and can be reaped by it.
//! - A restore only ever writes to a server that this run started.

pub mod clock;
pub mod context;
pub mod error;
pub mod exit;
pub mod http;
pub mod origin;
pub mod process;
pub mod sha256;
pub mod shelf;

pub mod evidence;
pub mod plan;
pub mod suite;

pub mod fault;
pub mod pipeline;
pub mod provision;
pub mod repository;
pub mod service;

pub mod check;
pub mod event;
pub mod outcome;

pub mod drill;

pub mod announce;
pub mod gate;
pub mod history;
pub mod record;
pub mod report;
pub mod seal;

pub mod cli;
pub mod harness;
pub mod schedule;
