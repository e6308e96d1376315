//! A time that a user gives up waiting after.

use std::time::Duration;

/// Parses a time with a unit: `90s`, `2m` or `1h`.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    let unit = |suffix: &str, seconds: u64| {
        let number: u64 = text.strip_suffix(suffix)?.parse().ok()?;
        number.checked_mul(seconds).map(Duration::from_secs)
    };
    unit("s", 1)
        .or_else(|| unit("m", 60))
        .or_else(|| unit("h", 3600))
        .ok_or_else(|| "expected a time such as '90s', '30m' or '2h'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(time_limit("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time_limit("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time_limit("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "2", "5", "m", "-1s", "-5m", "1.5m", "1.5h", "5 m", "5ü"] {
            assert!(time_limit(wrong).is_err(), "{wrong}");
        }
        for too_long in ["99999999999999999999h", "18446744073709551615h"] {
            assert!(time_limit(too_long).is_err(), "{too_long}");
        }
    }
}
