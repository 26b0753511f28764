//! End to end: the real binaries on loopback, asked through the API that users have, and hurt on the way.

mod catch_up;
mod compose;
mod continuity;
mod deletes;
mod disk;
mod exemplars;
mod first_answers;
mod fleet;
mod grafana;
mod heavy_queries;
mod hostile;
mod http_api;
mod identity;
mod kills;
mod network;
mod peers;
mod refusals;
mod remote_write;
mod replicas;
mod revocation;
mod series_limit;
mod service;
mod status;
mod stopping;
