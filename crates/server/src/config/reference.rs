//! docs/configuration.md, written from the table. A test holds the file in the repository to it.

use std::fmt::Write as _;

use super::FILE_VARIABLE;
use super::settings::SETTINGS;

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Written from crates/server/src/config/settings.rs. Do not edit: change the table there, then run\n     \
         REWRITE=1 cargo test -p server reference -->\n\n\
         Every option can be given as a flag of `yam serve`, as an environment variable, or in a TOML file. A flag beats the\n\
         environment, the environment beats the file, the file beats the default. Nothing needs to be set, and nothing changes\n\
         before the next start.\n\n",
    );
    let _ = writeln!(
        page,
        "The file is named with `--config FILE` or `{FILE_VARIABLE}`; there is none by default. A key that is not in this list\n\
         is an error, and so is a misspelt variable. Relative paths start at the directory that `yam` was started in.\n"
    );
    page.push_str("```toml\n# All options with their defaults.\n");
    for setting in SETTINGS {
        let default = if setting.repeatable { format!("[\"{}\"]", setting.default) } else { literal(setting.default) };
        let _ = writeln!(page, "{} = {default}", setting.key());
    }
    page.push_str("```\n");
    for setting in SETTINGS {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| flag | environment | file | default |\n|---|---|---|---|\n\
             | `{} {}` | `{}` | `{}` | `{}` |\n",
            setting.name,
            wrapped(setting.doc),
            setting.flag(),
            setting.value.replace('|', "\\|"),
            setting.variable(),
            setting.key(),
            setting.default,
        );
    }
    page
}

/// Whole numbers stand bare in TOML.
fn literal(default: &str) -> String {
    if default.parse::<u64>().is_ok() { default.to_owned() } else { format!("\"{default}\"") }
}

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        if width > 0 && width + 1 + word.len() > 120 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.len();
    }
    out
}
