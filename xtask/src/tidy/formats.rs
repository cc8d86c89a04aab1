//! Ids in byte layouts: each stands for one thing for ever, so each is unique and drawn in docs/formats.
//!
//! An id is a `u8` constant in a `frame.rs` of a crate that writes into the journal; flags are bits and have no id.

use std::collections::BTreeMap;

use super::sources;

/// Crates whose frames share the journal's one number space.
const WRITERS: &[&str] = &["crates/journal", "crates/storage", "crates/broker", "crates/node"];

pub fn check() -> anyhow::Result<Vec<String>> {
    let mut kinds = Vec::new();
    for folder in WRITERS {
        for file in sources::files(folder, "/frame.rs") {
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
        let drawing = format!("{id} {}", name.trim_start_matches("KIND_").replace('_', " "));
        if !drawn.contains(&drawing) {
            lines.push(format!("{place} is not drawn in docs/formats: add it there as `{drawing}`"));
        }
    }
    Ok(lines)
}

/// `pub const PUBLISH: u8 = 1;` -> ("PUBLISH", 1)
fn found(text: &str) -> Vec<(String, u8)> {
    sources::code(text)
        .filter_map(|(_, line)| {
            let (_, rest) = line.split_once("const ")?;
            let (name, value) = rest.split_once(": u8 =")?;
            let value = value.trim().trim_end_matches(';');
            let id = match value.strip_prefix("0x") {
                Some(hex) => u8::from_str_radix(hex, 16).ok()?,
                None => value.parse().ok()?,
            };
            (!name.starts_with("FLAG_")).then(|| (name.to_owned(), id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn kinds_are_found() {
        let text = "pub const A: u8 = 7;\n// const B: u8 = 8;\npub(crate) const KIND_C: u8 = 0x10;\nconst FLAG_D: u8 = 1;\n";
        assert_eq!(found(text), [("A".to_owned(), 7), ("KIND_C".to_owned(), 16)]);
    }
}
