//! What the tables of all protocols have in common.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Writes `name`.json and `name`.md.
pub fn write_both(dir: &Path, name: &str, figures: &impl Serialize, tables: &str) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(format!("{name}.json")), serde_json::to_vec_pretty(figures)?)?;
    std::fs::write(dir.join(format!("{name}.md")), tables)?;
    Ok(())
}

/// A figure in a table; there may be none.
pub fn cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        _ => "-".to_owned(),
    }
}

/// What became of a target, if there is one.
pub fn mark(passes: Option<bool>) -> &'static str {
    match passes {
        Some(true) => "pass",
        Some(false) => "**FAIL**",
        None => "",
    }
}
