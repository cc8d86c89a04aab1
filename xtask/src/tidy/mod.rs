//! House rules, as tests. Each rule hands back what breaks it, as lines that name the place and the remedy.
//!
//! # Layout
//! - [`layering`]: which crate may name which
//! - [`dead_files`]: every source file is part of a crate
//! - [`formats`]: every id of a byte layout is unique and drawn in docs/formats
//! - [`readme`]: commands and links in the papers are real
//! - [`sources`]: the files these rules read

mod dead_files;
mod formats;
pub mod layering;
mod readme;
pub mod sources;

use anyhow::bail;

type Rule = fn() -> anyhow::Result<Vec<String>>;

const RULES: &[(&str, Rule)] = &[
    ("layering", layering::check),
    ("circles between modules", crate::layers::check),
    ("dead files", dead_files::check),
    ("formats' ids", formats::check),
    ("commands and links in the papers", readme::check),
];

/// Check all rules.
pub fn run() -> anyhow::Result<()> {
    let mut broken = 0;
    for (name, rule) in RULES {
        for line in rule()? {
            println!("    {name}: {line}");
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("{broken} breaches of the house rules");
    }
    Ok(())
}
