//! A source file that no `mod` names is not compiled, and nobody notices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::sources;

pub fn check() -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for package in sources::packages() {
        let files: BTreeSet<PathBuf> = sources::files(&package.to_string_lossy(), ".rs").into_iter().collect();
        let mut reached = BTreeSet::new();
        for file in files.iter().filter(|file| is_root(file, &package)) {
            visit(file, true, &files, &mut reached)?;
        }
        for dead in files.difference(&reached) {
            lines.push(format!("{} is named by no `mod`: name it or remove it", dead.display()));
        }
    }
    Ok(lines)
}

/// Files that cargo finds by itself.
fn is_root(file: &Path, package: &Path) -> bool {
    let Ok(inner) = file.strip_prefix(package) else { return false };
    let parts: Vec<&str> = inner.iter().filter_map(|part| part.to_str()).collect();
    matches!(
        parts[..],
        ["build.rs" | "main.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"]
    )
}

fn visit(file: &Path, is_root: bool, files: &BTreeSet<PathBuf>, reached: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let text = sources::text(file)?;
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    let folder = if is_root || stem == "mod" { parent.to_owned() } else { parent.join(stem) };
    for module in modules(&text) {
        let candidates = match module {
            Module::Named(name) => vec![folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")],
            Module::At(path) => vec![parent.join(path)],
        };
        for candidate in candidates {
            if files.contains(&candidate) {
                visit(&candidate, false, files, reached)?;
            }
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Module {
    Named(String),
    At(String),
}

/// The modules a file names: `mod x;` and `#[path = "y.rs"]`.
fn modules(text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (_, line) in sources::code(text) {
        if let Some(path) = line.split_once("#[path = \"").and_then(|(_, rest)| rest.split('"').next()) {
            found.push(Module::At(path.to_owned()));
        }
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if word == "mod"
                && let Some(name) = words.peek().and_then(|next| next.strip_suffix(';'))
            {
                found.push(Module::Named(name.trim_start_matches("r#").to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_all_their_spellings() {
        let text = "mod a;\npub mod b;\n  #[cfg(test)] pub(crate) mod r#type;\n// mod dead;\nmod inline { }\n#[path = \"x/y.rs\"]\nmod z;\n";
        let found = modules(text);
        let named = |name: &str| Module::Named(name.to_owned());
        assert_eq!(found, [named("a"), named("b"), named("type"), Module::At("x/y.rs".to_owned()), named("z")]);
    }

    #[test]
    fn roots_are_what_cargo_finds() {
        let package = Path::new("crates/server");
        for root in ["src/main.rs", "src/lib.rs", "tests/it/main.rs", "examples/embedded.rs", "build.rs"] {
            assert!(is_root(&package.join(root), package), "{root}");
        }
        for inner in ["src/config.rs", "tests/it/hostile.rs", "src/cli/main.rs"] {
            assert!(!is_root(&package.join(inner), package), "{inner}");
        }
    }
}
