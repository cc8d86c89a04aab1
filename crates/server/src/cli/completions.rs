//! `yam completions SHELL`

use clap::CommandFactory as _;

const EXAMPLES: &str = "\
Examples:
  yam completions bash > /etc/bash_completion.d/yam
  yam completions zsh > \"${fpath[1]}/_yam\"
  yam completions fish > ~/.config/fish/completions/yam.fish";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell that the script is for.
    shell: clap_complete::Shell,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Yam::command(), "yam", &mut script);
    super::print(&script)
}
