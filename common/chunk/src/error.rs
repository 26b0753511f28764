/// Why bytes are not a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A newer release wrote it.
    #[error("column has version {found}, this release reads up to {known}")]
    Newer {
        /// Its version.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// It says that it holds more than the caller allows.
    #[error("column says it holds {count} samples, at most {count_max} are allowed")]
    TooMany {
        /// What it says.
        count: u64,
        /// What is allowed.
        count_max: usize,
    },
    /// It ends too early.
    #[error("column ends too early")]
    Truncated,
    /// Something in it can not be.
    #[error("column is damaged: {0}")]
    Damaged(&'static str),
}
