//! From the host and its services to batches in the spool.
//!
//! | Part | Owns |
//! |---|---|
//! | [`Node`] | the host itself as a target: collectors, table |
//! | [`Completeness`] | up to when the data is whole (no clock) |
//! | [`Collection`] | the driver: grid, scrapes, batches, spool |

mod completeness;
mod driver;
mod node;

pub(crate) use completeness::Completeness;
pub(crate) use driver::{Collection, Request};
pub(crate) use node::Node;
