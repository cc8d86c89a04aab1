//! Which crate may name which. The table is the one of ARCHITECTURE.md; nothing else is allowed.

use std::collections::BTreeMap;

use super::sources;

/// A crate of ours, and what it may name of ours. Invariant: a crate names only such as stand above it.
pub const MAY_NAME: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("vfs", &["model"]),
    ("journal", &["model", "vfs"]),
    ("storage", &["model", "vfs", "journal"]),
    ("broker", &["model", "vfs", "storage"]),
    // A protocol names the waist and nothing else.
    ("amqp", &["model"]),
    ("kafka", &["model"]),
    ("node", &["model", "vfs", "journal", "storage", "broker", "amqp", "kafka"]),
    // The roofs. The server's command line speaks AMQP and Kafka as a client.
    ("server", &["model", "vfs", "node", "amqp", "kafka"]),
    ("sim", &["model", "vfs", "node", "amqp", "kafka", "journal", "storage", "broker"]),
    // Tools outside the house: clients of it.
    ("bench", &["model", "amqp"]),
    ("xtask", &["model", "amqp", "kafka"]),
];

/// Every package of the workspace and what it names of ours, tests included.
pub fn named() -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut all = BTreeMap::new();
    for folder in sources::packages() {
        let text = sources::text(&folder.join("Cargo.toml"))?;
        let manifest: toml::Table = text.parse()?;
        let Some(name) = manifest.get("package").and_then(|package| package.get("name")).and_then(|name| name.as_str()) else {
            continue;
        };
        let mut names: Vec<String> = ["dependencies", "dev-dependencies", "build-dependencies"]
            .iter()
            .filter_map(|section| manifest.get(*section)?.as_table())
            .flat_map(|section| section.keys().cloned())
            // A crate's tests may want a feature of its own.
            .filter(|key| key != name && MAY_NAME.iter().any(|(ours, _)| ours == key))
            .collect();
        names.sort();
        names.dedup();
        all.insert(name.to_owned(), names);
    }
    Ok(all)
}

pub fn check() -> anyhow::Result<Vec<String>> {
    Ok(breaches(&named()?))
}

fn breaches(named: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, names) in named {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(ours, _)| ours == name) else {
            lines.push(format!("{name} has no place in the table: give it one in xtask/src/tidy/layering.rs"));
            continue;
        };
        for other in names.iter().filter(|other| !allowed.contains(&other.as_str())) {
            lines.push(format!("{name} names {other}, which it may not: see the table in xtask/src/tidy/layering.rs"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_upward_arrow() {
        for (index, (name, allowed)) in MAY_NAME.iter().enumerate() {
            for other in *allowed {
                let place = MAY_NAME.iter().position(|(ours, _)| ours == other);
                assert!(place.is_some_and(|place| place < index), "{name} names {other}, which does not stand above it");
            }
        }
    }

    #[test]
    fn an_upward_arrow_is_found() {
        let named = BTreeMap::from([("journal".to_owned(), vec!["broker".to_owned(), "vfs".to_owned()])]);
        let lines = breaches(&named);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("journal names broker"));
    }
}
