//! Moments as people write them: how long ago, or a time stamp.

/// What to write for one, in help texts and errors.
pub const EXAMPLES: &str = "a time span such as 7D or 1h, or a time stamp such as 2026-01-31T12:00:00Z";

/// `7D`, `1h`: so many milliseconds ago. The units are those that AMQP's stream queues take: Y, M, D, h, m and s.
#[must_use]
pub fn span_ms(text: &str) -> Option<u64> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "Y" => 365 * DAY_MS,
        "M" => 30 * DAY_MS,
        "D" => DAY_MS,
        "h" => 60 * 60 * 1000,
        "m" => 60 * 1000,
        "s" => 1000,
        _ => return None,
    };
    let number = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??;
    number.checked_mul(unit_ms).filter(|ms| *ms > 0)
}

/// `2026-01-31T12:00:00Z` (RFC 3339): milliseconds since 1970; nothing before.
#[must_use]
pub fn time_stamp_ms(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::{span_ms, time_stamp_ms};

    #[test]
    fn spans_and_time_stamps() {
        for (text, ms) in [("7D", 604_800_000), ("1h", 3_600_000), ("90s", 90_000), ("1Y", 31_536_000_000), ("2M", 5_184_000_000)]
        {
            assert_eq!(span_ms(text), Some(ms), "{text}");
        }
        for text in ["", "h", "0s", "5x", "5", "-1h", "+1h", "1 h", "1\u{e9}", "99999999999999999999Y", "9999999999Y"] {
            assert_eq!(span_ms(text), None, "{text}");
        }
        let stamps = [
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("2026-01-31T12:00:00Z", 1_769_860_800_000),
            ("2026-01-31T14:00:00+02:00", 1_769_860_800_000),
        ];
        for (text, ms) in stamps {
            assert_eq!(time_stamp_ms(text), Some(ms), "{text}");
        }
        for text in ["", "2026-01-31", "2026-13-31T12:00:00Z", "1969-12-31T23:59:59Z", "12:00", "7D"] {
            assert_eq!(time_stamp_ms(text), None, "{text}");
        }
    }
}
