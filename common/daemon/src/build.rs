//! Which build this is.

/// The release; all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, where whoever built this has told it by `VEDETTE_REVISION`; else empty.
pub const REVISION: &str = match option_env!("VEDETTE_REVISION") {
    Some(revision) => revision,
    None => "",
};
