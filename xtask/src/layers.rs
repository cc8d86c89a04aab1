//! `cargo xtask layers`: the drawing of who names whom, made from the manifests and sources as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::{layering, sources};

/// Modules of one crate that may name each other in a circle: a state machine in a few parts, no more.
const CIRCLE_MODULES_MAX: usize = 4;

/// House rule: no circle larger than a state machine needs.
pub fn check() -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for folder in sources::packages() {
        for circle in circles(&uses(&folder)?).iter().filter(|circle| circle.len() > CIRCLE_MODULES_MAX) {
            lines.push(format!("{}: {} name each other: break the circle", folder.display(), circle.join(", ")));
        }
    }
    Ok(lines)
}

/// Print it.
pub fn run() -> anyhow::Result<()> {
    let named = layering::named()?;
    println!("Each crate below what it names; an arrow only ever points up this page.\n");
    for (name, _) in layering::MAY_NAME {
        if let Some(names) = named.get(*name) {
            let arrows = if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") };
            println!("  {name:<8} -> {arrows}");
        }
    }
    println!("\nCircles between the top modules of a crate (each is a state machine in parts, or a fault):\n");
    for folder in sources::packages() {
        for circle in circles(&uses(&folder)?) {
            println!("  {}: {}", folder.display(), circle.join(" <-> "));
        }
    }
    Ok(())
}

/// Which top module of a crate names which other one, by `crate::other`.
fn uses(folder: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let source = folder.join("src");
    let files = sources::files(&source.to_string_lossy(), ".rs");
    let top = |file: &Path| {
        let inner = file.strip_prefix(&source).ok()?;
        Some(inner.iter().next()?.to_str()?.trim_end_matches(".rs").to_owned())
    };
    let modules: BTreeSet<String> = files.iter().filter_map(|file| top(file)).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        // What only tests name draws no arrow.
        let Some(module) = top(file).filter(|_| file.file_stem().is_none_or(|stem| stem != "tests")) else { continue };
        let text = sources::text(file)?;
        for (_, line) in sources::code(&text).take_while(|(_, line)| !line.contains("#[cfg(test)]")) {
            for part in line.split("crate::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if name != module && modules.contains(&name) {
                    edges.entry(module.clone()).or_default().insert(name);
                }
            }
        }
    }
    Ok(edges)
}

/// Groups of modules of which each reaches each.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for next in edges.get(at).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> = edges.keys().map(|module| (module, reach(module))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (module, all) in reached.iter().filter(|(module, all)| all.contains(*module)) {
        if found.iter().any(|circle| circle.contains(module)) {
            continue;
        }
        let circle = all.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(module)));
        found.push(circle.map(|other| (*other).clone()).collect());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let edges = BTreeMap::from([("a".to_owned(), set(&["b"])), ("b".to_owned(), set(&["c"])), ("c".to_owned(), set(&["b"]))]);
        assert_eq!(circles(&edges), [["b".to_owned(), "c".to_owned()]]);
    }
}
