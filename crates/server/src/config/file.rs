//! The TOML file: one key per option, named as the flag with `_` for `-`. Anything else in it is an error that
//! names the line.

use toml::de::{DeTable, DeValue};

use super::settings::{SETTINGS, Setting};

/// One key of the file.
pub struct Entry {
    pub setting: &'static Setting,
    pub values: Vec<String>,
    pub line: usize,
}

/// What is wrong, and in which line.
#[derive(Debug)]
pub struct Problem {
    pub line: usize,
    pub text: String,
}

/// Read the file's text.
///
/// # Errors
/// The first thing that is not TOML or not an option.
pub fn parse(text: &str) -> Result<Vec<Entry>, Problem> {
    let table = DeTable::parse(text).map_err(|error| Problem {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        text: format!("not valid TOML: {}", error.message()),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        let name: &str = key.get_ref();
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == name) else {
            return Err(Problem { line, text: unknown(name) });
        };
        let values = texts(setting, value.get_ref()).map_err(|text| Problem { line, text: format!("{name}: {text}") })?;
        entries.push(Entry { setting, values, line });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn texts(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(list) if setting.repeatable => list.iter().map(|item| scalar(item.get_ref())).collect(),
        other => Ok(vec![scalar(other)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        other => Err(format!("a {} is not expected here: write a string or a whole number", other.type_str())),
    }
}

fn unknown(name: &str) -> String {
    let nearest = SETTINGS.iter().map(Setting::key).min_by_key(|key| distance(key, name));
    match nearest {
        Some(key) if distance(&key, name) <= 3 => format!("unknown option '{name}': did you mean '{key}'?"),
        _ => format!("unknown option '{name}': `yam serve --help` lists the options (with - for _)"),
    }
}

/// Edits that turn one word into the other.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}

fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}
