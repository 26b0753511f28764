//! The clock on the wall.

use std::time::{SystemTime, UNIX_EPOCH};

use vedette_model::Timestamp;

/// The time on the wall, also where it stands before 1970.
#[expect(clippy::disallowed_methods, reason = "driver: engines get their time from here")]
pub fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}
