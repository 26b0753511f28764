//! The Gregorian calendar in UTC, for any number of seconds since the epoch.

const DAY_SECONDS: i64 = 86_400;

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// From 1.
    pub(crate) day_of_year: i64,
    /// From Sunday, 0.
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl Civil {
    /// One second after the last that i64 holds.
    pub(crate) const AFTER_I64: Self = Self {
        year: 292_277_026_596,
        month: 12,
        day: 4,
        day_of_year: 339,
        weekday: 0,
        hour: 15,
        minute: 30,
        second: 8,
    };

    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS);
        let rest = seconds.rem_euclid(DAY_SECONDS);
        let (year, month, day) = from_days(days);
        Self {
            year,
            month,
            day,
            day_of_year: days - to_days(year, 1, 1) + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    pub(crate) fn days_in_month(&self) -> i64 {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        to_days(year, month, 1) - to_days(self.year, self.month, 1)
    }
}

/// The date that is so many days after 1970-01-01. Years are counted from March, so that the leap day is last.
fn from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// How many days after 1970-01-01 a date is.
fn to_days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `2006-01-02T15:04:05Z`
pub(crate) fn format_rfc3339(seconds: i64) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_seconds(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        assert_eq!(format_rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_rfc3339(-1), "1969-12-31T23:59:59Z");
        let last = Civil::from_seconds(i64::MAX);
        assert_eq!(Civil { second: last.second + 1, ..last }, Civil::AFTER_I64);
        let leap = Civil::from_seconds(1_709_164_800);
        assert_eq!((leap.days_in_month(), leap.day_of_year, leap.weekday), (29, 60, 4));
        let last = Civil::from_seconds(1_735_689_599);
        assert_eq!((last.year, last.day_of_year, last.days_in_month()), (2024, 366, 31));
    }
}
