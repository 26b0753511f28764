//! Power that goes and disks that fail, under the real binaries: what was acknowledged is there afterwards, once.

mod agent;
mod aggregator;
mod enrolment;
mod failing;
mod layer;
mod rounds;
