//! From the host and its services to batches in the spool.
//!
//! | Part | Owns |
//! |---|---|
//! | [`Node`] | the host itself as a target: collectors, table |
//! | [`Alarm`] | the kernel's timer for the grid |
//! | [`Completeness`] | up to when the data is whole (no clock) |
//! | `targets` | what aggregators are told of targets |
//! | [`Collection`] | the driver: grid, scrapes, batches, spool |

mod alarm;
mod completeness;
mod driver;
mod node;
mod targets;

pub(crate) use alarm::Alarm;
pub(crate) use completeness::Completeness;
pub(crate) use driver::{Collection, Gathering, Request};
pub(crate) use node::Node;
