//! Ages as RabbitMQ writes them: `7D`, `1h` (`x-max-age`, `x-stream-offset`).

/// The units, in ms, the longest first.
const UNITS: [(char, u64); 6] =
    [('Y', 31_536_000_000), ('M', 2_592_000_000), ('D', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];

/// `7D`, `1h` and the like, in ms; more than none, and no more than an `i64` holds.
#[must_use]
pub fn ms(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok().filter(|count| *count > 0)?.checked_mul(*ms).filter(|ms| i64::try_from(*ms).is_ok())
}

/// An age in the longest unit that tells it exactly.
#[must_use]
pub fn text(ms: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| ms.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages() {
        for (text, ms) in [("7D", 604_800_000), ("1h", 3_600_000), ("90s", 90_000), ("1Y", 31_536_000_000), ("2M", 5_184_000_000)]
        {
            assert_eq!(super::ms(text), Some(ms), "{text}");
            assert_eq!(super::ms(&super::text(ms)), Some(ms), "{text}");
        }
        for text in ["", "h", "0s", "5x", "5", "-1h", "+1h", "1 h", "1é", "99999999999999999999Y", "9999999999Y"] {
            assert_eq!(super::ms(text), None, "{text}");
        }
        assert_eq!((&*super::text(120_000), &*super::text(90_000), &*super::text(5)), ("2m", "90s", "5ms"));
    }
}
