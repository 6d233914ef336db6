//! Periods: the windows in which requests are counted, in UTC.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The number of periods.
pub(crate) const COUNT: usize = 6;

/// A period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

/// From the shortest to the longest.
pub(crate) const ALL: [Period; COUNT] =
    [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month, Period::Year];

impl Period {
    /// Its field in `config`.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its name in headers.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Second => "Second",
            Self::Minute => "Minute",
            Self::Hour => "Hour",
            Self::Day => "Day",
            Self::Month => "Month",
            Self::Year => "Year",
        }
    }

    /// When the window began that contains this Unix second.
    pub(crate) fn start(self, now: i64) -> i64 {
        let whole = |length: i64| now - now.rem_euclid(length);
        match self {
            Self::Second => now,
            Self::Minute => whole(60),
            Self::Hour => whole(3600),
            Self::Day => whole(DAY),
            Self::Month => {
                let (year, month) = month_of(now.div_euclid(DAY));
                first_day(year, month) * DAY
            }
            Self::Year => first_day(month_of(now.div_euclid(DAY)).0, 1) * DAY,
        }
    }

    /// When the window ends that contains this Unix second.
    pub(crate) fn end(self, now: i64) -> i64 {
        match self {
            Self::Second => now + 1,
            Self::Minute => self.start(now) + 60,
            Self::Hour => self.start(now) + 3600,
            Self::Day => self.start(now) + DAY,
            Self::Month => {
                let (year, month) = month_of(now.div_euclid(DAY));
                first_day(year + month / 12, month % 12 + 1) * DAY
            }
            Self::Year => first_day(month_of(now.div_euclid(DAY)).0 + 1, 1) * DAY,
        }
    }
}

/// Year and month, from 1, of a day since 1970 in the Gregorian calendar. Days are counted from a 1 March, so that the
/// day that some years lack is the last of its year.
fn month_of(day: i64) -> (i64, i64) {
    const FOUR_CENTURIES: i64 = 146_097;
    let since_march_0000 = day + 719_468;
    let (era, day) = (since_march_0000.div_euclid(FOUR_CENTURIES), since_march_0000.rem_euclid(FOUR_CENTURIES));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let year = era * 400 + year;
    if month < 10 { (year, month + 3) } else { (year + 1, month - 9) }
}

/// The first day of a month, in days since 1970.
fn first_day(year: i64, month: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * month + 2) / 5;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29T12:34:56Z
    const LEAP: i64 = 1_709_210_096;

    #[test]
    fn windows_begin_and_end_with_the_calendar() {
        let windows = ALL.map(|period| (period.start(LEAP), period.end(LEAP)));
        let expected = [
            (LEAP, LEAP + 1),
            (1_709_210_040, 1_709_210_100),
            (1_709_208_000, 1_709_211_600),
            (1_709_164_800, 1_709_251_200),
            (1_706_745_600, 1_709_251_200),
            (1_704_067_200, 1_735_689_600),
        ];
        assert_eq!(windows, expected);
    }

    #[test]
    fn every_second_is_in_the_window_that_begins_before_and_ends_after_it() {
        for period in ALL {
            let mut now = -3 * DAY;
            for _ in 0..2000 {
                let (start, end) = (period.start(now), period.end(now));
                assert!(start <= now && now < end, "{period:?} {now}");
                assert_eq!((period.start(start), period.start(end), period.start(end - 1)), (start, end, start));
                now += 1_234_567;
            }
        }
    }
}
