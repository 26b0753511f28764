use std::time::{SystemTime, UNIX_EPOCH};

use vedette_model::Timestamp;

/// The time on the wall.
#[expect(clippy::disallowed_methods, reason = "driver: engines get their time from here")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
