//! Redis as a service and its pipeline, against real servers: what goes in comes back, and every single change is
//! seen for what it is.
#![allow(missing_docs)]

#[path = "redis_service/world.rs"]
mod world;

#[path = "redis_service/changes.rs"]
mod changes;
#[path = "redis_service/pipeline.rs"]
mod pipeline;
#[path = "redis_service/service.rs"]
mod service;
