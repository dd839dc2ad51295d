//! redrill
pub mod clock;
pub mod context;
pub mod error;
pub mod exit;
pub mod process;

pub mod evidence;
pub mod plan;
pub mod suite;

pub mod pipeline;
pub mod provision;
pub mod repository;
pub mod service;

pub mod event;
pub mod outcome;
