//! `yam check`: verify a data directory offline.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// The directory to verify; no broker may be using it.
    #[arg(long, value_name = "DIR", default_value = "./yam-data", env = "YAM_DATA_DIR")]
    data_dir: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let _ = &arguments.data_dir;
    anyhow::bail!("to come")
}
