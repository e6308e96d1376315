//! Formats times since 1970 as HTTP headers, CouchDB and Kubernetes objects spell them.

use std::time::Duration;

/// The time since 1970 by the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the clock; everywhere else time is an argument"
)]
pub(crate) fn wall_clock() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Formats as `2026-11-21T00:46:01Z`, the form of `creationTimestamp`.
pub(crate) fn rfc3339(since_epoch: Duration) -> String {
    let d = Civil::from_unix(since_epoch.as_secs());
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", d.year, d.month, d.day, d.hour, d.minute, d.second)
}

/// Formats as `2026-11-21T00:39:43.605305Z`, the form of CouchDB's seed timestamps.
pub(crate) fn rfc3339_micros(since_epoch: Duration) -> String {
    let whole = rfc3339(since_epoch);
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), since_epoch.subsec_micros())
}

/// Formats as `Sat, 21-Nov-2026 00:46:01 GMT`, the form of `Expires` in mochiweb's cookies.
pub(crate) fn cookie_date(since_epoch: Duration) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let secs = since_epoch.as_secs();
    let d = Civil::from_unix(secs);
    // 1970-01-01 was a Thursday.
    let weekday = DAYS[(secs / 86_400 % 7) as usize];
    let month = MONTHS[d.month as usize - 1];
    format!("{weekday}, {:02}-{month}-{:04} {:02}:{:02}:{:02} GMT", d.day, d.year, d.hour, d.minute, d.second)
}

/// A date and time in UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// Howard Hinnant's `civil_from_days`, for dates after 1970.
    fn from_unix(secs: u64) -> Self {
        // Days since 0000-03-01: with the year starting in March, leap days are the last days of their years.
        let days = secs / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            hour: secs / 3_600 % 24,
            minute: secs / 60 % 60,
            second: secs % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_spells_known_times() {
        let t = Duration::new(1_795_221_961, 605_305_000);
        assert_eq!(rfc3339(t), "2026-11-21T00:46:01Z");
        assert_eq!(rfc3339_micros(t), "2026-11-21T00:46:01.605305Z");
        assert_eq!(cookie_date(t), "Sat, 21-Nov-2026 00:46:01 GMT");
        assert_eq!(rfc3339(Duration::from_secs(951_782_400)), "2000-02-29T00:00:00Z");
    }
}
