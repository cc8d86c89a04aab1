//! Moments as people write them: how long ago ([`model::age`]), or a time stamp.

/// What to write for one, in help texts and errors.
pub const EXAMPLES: &str = "a time span such as 7D or 1h, or a time stamp such as 2026-01-31T12:00:00Z";

/// `2026-01-31T12:00:00Z` (RFC 3339): milliseconds since 1970; nothing before.
#[must_use]
pub fn time_stamp_ms(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::time_stamp_ms;

    #[test]
    fn time_stamps() {
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
