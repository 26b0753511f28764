use std::path::PathBuf;

/// How the storage is to behave. Every bound is named; [`StorageConfig::new`] gives the shipped defaults.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The folder. It belongs to one process at a time.
    pub path: PathBuf,
    /// Samples older than this are not answered, and partitions wholly older are deleted.
    pub retention_ms: i64,
    /// The head is frozen into parts when it holds this many samples; a histogram counts as many as take its memory. At twice as many, appends fail until the
    /// freeze is done.
    pub head_samples_max: u64,
    /// Exemplars kept of one series and day, the newest of them. 0: none.
    pub exemplars_max: usize,
    /// The head is frozen when its oldest batch is this old.
    pub head_age_max_ms: i64,
    /// Frames that wait for the writer thread.
    pub queue_frames_max: usize,
    /// Their bytes.
    pub queue_bytes_max: usize,
    /// Frames written with one sync.
    pub group_frames_max: usize,
    /// Logs that are remembered. A log is forgotten when retention has dropped all it may have brought.
    pub logs_max: usize,
    /// Series that are stored of one segment of a log; further ones are masked.
    pub series_per_agent_max: usize,
    /// Generations of the log on disk. When there are more, segments that are still open in the oldest are copied into
    /// the newest, and the oldest is dropped.
    pub generations_max: usize,
    /// A partition's parts of one level are merged when there are this many.
    pub merge_parts_min: usize,
    /// A partition that is over is merged into one part when nothing came for it for so long.
    pub merge_quiet_ms: i64,
    /// Memory for blocks read from disk.
    pub block_cache_bytes: usize,
    /// Memory for what queries have opened of these blocks, and for which series they have found.
    pub opened_cache_bytes: usize,
    /// Called with a name at places where a crash is worth testing.
    pub crash_point: Option<fn(&'static str)>,
}

impl StorageConfig {
    /// The defaults, for the folder `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        const MINUTE_MS: i64 = 60_000;
        Self {
            path: path.into(),
            retention_ms: 15 * 24 * 60 * MINUTE_MS,
            head_samples_max: 5_000_000,
            exemplars_max: 1000,
            head_age_max_ms: 5 * MINUTE_MS,
            queue_frames_max: 4096,
            queue_bytes_max: 64 << 20,
            group_frames_max: 1024,
            logs_max: 1_000_000,
            series_per_agent_max: 500_000,
            generations_max: 8,
            merge_parts_min: 8,
            merge_quiet_ms: 60 * MINUTE_MS,
            block_cache_bytes: 64 << 20,
            opened_cache_bytes: 64 << 20,
            crash_point: None,
        }
    }
}
