//! Which build this is.

/// The release: the workspace's, or another where whoever built this has told it by `VEDETTE_VERSION`.
pub const VERSION: &str = match option_env!("VEDETTE_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The commit, where whoever built this has told it by `VEDETTE_REVISION`; else empty.
pub const REVISION: &str = match option_env!("VEDETTE_REVISION") {
    Some(revision) => revision,
    None => "",
};
