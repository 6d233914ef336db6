//! Times of log lines.

use std::cell::Cell;

use serde::Serialize;

/// A time as `2026-01-31T12:34:56.789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; 24]);

thread_local! {
    /// The last second formatted by this thread: most lines fall into the same second.
    static SECOND: Cell<(i64, Timestamp)> = const { Cell::new((i64::MIN, Timestamp([b'0'; 24]))) };
}

impl Timestamp {
    /// This number of milliseconds after the Unix epoch.
    pub fn new(unix_millis: i64) -> Self {
        let (second, millis) = (unix_millis.div_euclid(1000), unix_millis.rem_euclid(1000));
        let (known, mut time) = SECOND.get();
        if known != second {
            time = Self::whole(second);
            SECOND.set((second, time));
        }
        let [.., hundreds, tens, ones, _] = &mut time.0;
        let digit = |value: i64| b'0' + (value % 10) as u8;
        (*hundreds, *tens, *ones) = (digit(millis / 100), digit(millis / 10), digit(millis));
        time
    }

    /// The time as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn whole(unix_seconds: i64) -> Self {
        let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z");
        // Years have four digits until 9999.
        Self(text.as_bytes().try_into().unwrap_or([b'0'; 24]))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The proleptic Gregorian date of a day since the Unix epoch. Years start in March here, so that
/// the leap day is the last of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_the_epoch() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_769_862_896_789, "2026-01-31T12:34:56.789Z"),
            (1_769_862_896_005, "2026-01-31T12:34:56.005Z"),
        ] {
            assert_eq!(Timestamp::new(millis).as_str(), expected);
        }
    }
}
