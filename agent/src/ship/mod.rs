//! From the spool to the replicas.
//!
//! | Part | Owns |
//! |---|---|
//! | [`plan`] | whom to call (no socket, no clock) |
//! | [`Fleet`] | one task for each of them |
//! | `Courier` | one task: calls, waits, calls again |
//! | `Conversation` | one connection: does what the session says |

mod conversation;
mod courier;
mod fleet;
mod plan;

pub(crate) use fleet::{Fleet, FleetConfig, settle};
