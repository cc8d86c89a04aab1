//! The repository's files, as the rules see them.

use std::path::{Path, PathBuf};

use crate::root;

/// Folders that hold nothing of ours.
const FOREIGN: &[&str] = &["target", "node_modules", ".git", ".venv", "yam-data", "__pycache__", "corpus", "artifacts"];

/// All files below `folder` whose paths end so, sorted, relative to the repository.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    found.iter().filter_map(|path| path.strip_prefix(root()).ok().map(Path::to_owned)).collect()
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) {
                walk(&path, ending, found);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// The text of a file that is named relative to the repository.
pub fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(root().join(path)).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// The folders with a Cargo.toml of their own: crates/*, xtask, bench.
pub fn packages() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = files("crates", "Cargo.toml");
    all.extend(["xtask", "bench"].iter().map(|name| Path::new(name).join("Cargo.toml")));
    all.iter().filter_map(|path| path.parent().map(Path::to_owned)).filter(|path| root().join(path).exists()).collect()
}

/// Source text without comments, so that words in them are not taken for code. Good enough for this house:
/// `//` inside a string cuts the line short, which hides nothing a rule looks for.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}
