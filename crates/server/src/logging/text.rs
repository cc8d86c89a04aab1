//! Values as they are written for people. Names come from clients, and a name may hold a line end, an escape sequence or a
//! whole page: none of it reaches a reader as what it is.

use std::fmt::{self, Write as _};

use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// Most characters of one value.
const VALUE_CHARS_MAX: usize = 1024;

/// One field of a line.
pub fn put(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        let (italic, dim, plain) = if out.has_ansi_escapes() { ("\x1b[3m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        write!(out, "{italic}{field}{plain}{dim}={plain}")?;
    }
    write!(Printable { out, left: VALUE_CHARS_MAX }, "{value:?}")
}

/// Escapes what a terminal would not just show, and ends in time.
struct Printable<'a, W> {
    out: &'a mut W,
    left: usize,
}

impl<W: fmt::Write> fmt::Write for Printable<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.out.write_char('…')?,
                _ if matches!(character, '\'' | '"' | '\\') => self.out.write_char(character)?,
                _ => write!(self.out, "{}", character.escape_debug())?,
            }
            self.left -= 1;
        }
        Ok(())
    }
}

/// The same words with everything escaped that a terminal would not just show. Not cut.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let _ = Printable { out: &mut out, left: usize::MAX }.write_str(text);
    out
}

/// The same of a text of several lines, which stay lines.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    let words = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    text.split('\n').map(words).collect::<Vec<_>>().join("\n")
}

/// A line of JSON: what its writer escapes is valid, and not all that a terminal obeys.
#[must_use]
pub fn json(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        let shown = character.is_ascii() || matches!(character.escape_debug().next(), Some(first) if first == character);
        if (shown && character != '\x7f') || u32::from(character) > 0xffff {
            out.push(character);
        } else {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name with a line end wrote a line of its own.
    #[test]
    fn nothing_but_text_is_left_of_a_hostile_name() {
        let name = "a\n2026 INFO all is well \x1b[2J\r\t\u{9b}31m\u{202e}\u{2028}\0ü '\"\\";
        let out = printable(name);
        assert_eq!(out, r#"a\n2026 INFO all is well \u{1b}[2J\r\t\u{9b}31m\u{202e}\u{2028}\0ü '"\"#);
        let line = format!("{}\n", serde_json::json!({ "user": name }));
        let escaped = json(line.as_bytes());
        assert!(escaped.trim_end().chars().all(|character| character == 'ü' || matches!(character, ' '..='~')), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap()["user"], name);
    }

    #[test]
    fn a_value_ends_in_time() {
        let mut out = String::new();
        let mut printable = Printable { out: &mut out, left: 4 };
        for part in ["ab", "cdef", "more"] {
            printable.write_str(part).unwrap();
        }
        assert_eq!(out, "abc…");
    }
}
