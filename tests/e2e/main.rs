//! End to end: the real binaries on loopback, asked through the API that users have, and hurt on the way.

mod continuity;
mod disk;
mod first_answers;
mod hostile;
mod identity;
mod kills;
mod peers;
mod refusals;
mod remote_write;
mod replicas;
mod series_limit;
mod service;
