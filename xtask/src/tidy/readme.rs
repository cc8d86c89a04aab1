//! What the papers tell people to type exists, and what they link to is there.

use std::path::Path;
use std::process::Command;

use super::sources;
use crate::{commands, processes, root};

pub fn check() -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut papers = sources::files("docs", ".md");
    papers.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(Into::into));
    processes::cargo(&["build", "--quiet", "-p", "server"])?;
    for paper in papers {
        let text = sources::text(&paper)?;
        for (number, line) in shell_lines(&text) {
            if let Err(problem) = check_command(line) {
                lines.push(format!("{}:{number}: `{line}`: {problem}", paper.display()));
            }
        }
        for (number, target) in links(&text) {
            let place = paper.parent().unwrap_or(Path::new("")).join(target);
            if !root().join(&place).exists() {
                lines.push(format!("{}:{number}: links to {target}, which is not there", paper.display()));
            }
        }
    }
    Ok(lines)
}

/// The command lines in blocks marked `sh`.
fn shell_lines(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside && language.trim() == "sh";
        } else if inside && !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            found.push((index + 1, line.trim()));
        }
    }
    found
}

/// Targets of links to files of the repository.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// Only our own commands are looked at; each by itself where a line joins several.
fn check_command(line: &str) -> Result<(), String> {
    for part in line.split(['|', ';', '&']) {
        let words: Vec<&str> = part.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words[..] {
            ["yam", ref rest @ ..]
            | ["cargo", "run", "--release", "--", ref rest @ ..]
            | ["target/release/yam", ref rest @ ..] => {
                check_yam(rest)?;
            }
            ["cargo", "xtask", command, ..] if !commands().iter().any(|known| known == command) => {
                return Err(format!("there is no `cargo xtask {command}`"));
            }
            ["cargo", "run", "--release", "-p", package, ..] if !has_package(package) => {
                return Err(format!("there is no package {package}"));
            }
            [program, ..] if is_ours(program) && !root().join(program).exists() => {
                return Err(format!("{program} is not there"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A program of the repository, named by its path; what cargo builds is looked at elsewhere.
fn is_ours(program: &str) -> bool {
    program.contains('/') && !program.starts_with(['/', '~', '$']) && !program.starts_with("target/")
}

fn has_package(name: &str) -> bool {
    sources::packages().iter().any(|folder| folder.ends_with(name))
}

/// The subcommand answers to `--help`, and its help names every flag that is used.
fn check_yam(words: &[&str]) -> Result<(), String> {
    let Some(command) = words.first().filter(|word| !word.starts_with('-')) else { return Ok(()) };
    let yam = processes::built("debug", "yam");
    let help = processes::output(Command::new(yam).args([command, "--help"]).stderr(std::process::Stdio::null()))
        .map_err(|_| format!("there is no `yam {command}`"))?;
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap_or_default();
        if !help.split([' ', ',', '\n']).any(|word| word == flag) {
            return Err(format!("`yam {command}` has no {flag}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shell_blocks_are_read() {
        let text = "```sh\n# a comment\nyam serve\n```\n```toml\nyam = 1\n```\ntext\n```sh\ncargo xtask test\n```\n";
        assert_eq!(shell_lines(text), [(3, "yam serve"), (10, "cargo xtask test")]);
    }

    #[test]
    fn links_to_files_are_found() {
        let text = "see [a](docs/a.md#part) and [b](https://example.org) and\n[c](../c.md)";
        assert_eq!(links(text), [(1, "docs/a.md"), (2, "../c.md")]);
    }

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        assert!(check_command("cargo xtask dance").is_err());
        assert!(check_command("cargo xtask test && ls").is_ok());
        assert!(check_command("cargo run --release -p nothing").is_err());
    }
}
