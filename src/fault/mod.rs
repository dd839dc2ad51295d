//! What a scenario or a detection drill can break: strikes on running services ([`strike`]), and planted faults in
//! artifacts and restores ([`plant`]), the network between ([`link`]).
//!
//! Not here: when anything is broken (see [`crate::drill`]) or who must notice ([`crate::check`]).

pub mod damaged;
pub mod link;
pub mod plant;
pub mod strike;
