//! Ids in byte layouts: each stands for one thing for ever, so each is unique and drawn in docs/formats.
//!
//! An id is a constant `KIND_...: u8` of a crate that writes to disk.

use std::collections::BTreeMap;

use super::sources;

/// Crates whose kinds share the journal's one number space.
const WRITERS: &[&str] = &["crates/journal", "crates/storage", "crates/broker", "crates/node"];

pub fn check() -> anyhow::Result<Vec<String>> {
    let mut kinds = Vec::new();
    for folder in WRITERS {
        for file in sources::files(folder, ".rs") {
            let text = sources::text(&file)?;
            kinds.extend(found(&text).into_iter().map(|(name, id)| (format!("{}: {name}", file.display()), name, id)));
        }
    }
    let drawn: String = sources::files("docs/formats", ".md").iter().filter_map(|page| sources::text(page).ok()).collect();
    let mut lines = Vec::new();
    let mut owners: BTreeMap<u8, String> = BTreeMap::new();
    for (place, name, id) in kinds {
        if let Some(other) = owners.insert(id, place.clone()) {
            lines.push(format!("id {id} stands for two things: {other} and {place}"));
        }
        if !drawn.contains(&name) {
            lines.push(format!("{place} = {id} is not drawn in docs/formats: add it there under that name"));
        }
    }
    Ok(lines)
}

/// `pub const KIND_MESSAGE: u8 = 1;` -> ("KIND_MESSAGE", 1)
fn found(text: &str) -> Vec<(String, u8)> {
    sources::code(text)
        .filter_map(|(_, line)| {
            let (_, rest) = line.split_once("const KIND_")?;
            let (name, value) = rest.split_once(": u8 =")?;
            let value = value.trim().trim_end_matches(';');
            let id = match value.strip_prefix("0x") {
                Some(hex) => u8::from_str_radix(hex, 16).ok()?,
                None => value.parse().ok()?,
            };
            Some((format!("KIND_{name}"), id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn kinds_are_found() {
        let text = "pub const KIND_A: u8 = 7;\n// const KIND_B: u8 = 8;\nconst KIND_C: u8 = 0x10;\n";
        assert_eq!(found(text), [("KIND_A".to_owned(), 7), ("KIND_C".to_owned(), 16)]);
    }
}
