//! `yam check`: verify a data directory offline.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use vfs::local::LocalDisk;
use vfs::{Around, Done, Job, Vfs};

const EXAMPLES: &str = "\
Examples:
  yam check --data-dir /var/lib/yam
      Read everything there is and verify every checksum; exit status 1 where something is damaged.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The directory to verify; no broker may be using it.
    #[arg(long, value_name = "DIR", default_value = "./yam-data", env = "YAM_DATA_DIR")]
    data_dir: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let dir = &arguments.data_dir;
    // A broker creates the directory it is given; a check must not.
    if !dir.is_dir() {
        bail!("there is no data directory {}: name one with --data-dir", dir.display());
    }
    // Nor must it leave a lock file in a directory that is none of a broker's.
    if !holds_data(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        bail!("no Yam data in {}: name the directory that `yam serve` was given", dir.display());
    }
    let disk = LocalDisk::open_read_only(dir)?;
    let bar = ProgressBar::new(size(dir).with_context(|| format!("cannot read {}", dir.display()))?);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}") {
        bar.set_style(style);
    }
    let mut watched = Watched { disk, bar: bar.clone() };
    let mut damaged = 0;
    // Whoever has seen enough of it still wants the verdict.
    let say = |line: String| bar.suspend(|| drop(super::print(line.as_bytes())));
    let summary = node::check(&mut watched, &mut |finding| {
        let (path, what) = (&finding.path, &finding.what);
        if finding.harmless {
            return say(format!("harmless {path}: {what}; nothing that is kept lies there\n"));
        }
        damaged += 1;
        say(format!("DAMAGED {path}: {what}\n"));
    })?;
    bar.finish_and_clear();
    let verdict = match damaged {
        0 => "sound".to_owned(),
        1 => "damaged in 1 place".to_owned(),
        _ => format!("damaged in {damaged} places"),
    };
    let line =
        format!("{}: {} files, {} records, {} bytes: {verdict}\n", dir.display(), summary.files, summary.records, summary.bytes);
    match super::print(line.as_bytes()) {
        Err(error) if !error.is::<super::ReaderGone>() => return Err(error),
        _ => {}
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a broker's files end in: those of its journal, its checkpoints and its segments.
const ENDINGS: [&str; 3] = ["jnl", "ckp", "seg"];

/// Whether a broker has ever written here.
fn holds_data(dir: &Path) -> io::Result<bool> {
    let ours = |path: &Path| path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    Ok(files(dir)?.iter().any(|(path, _)| ours(path)))
}

/// Bytes of all of a broker's files.
fn size(dir: &Path) -> io::Result<u64> {
    Ok(files(dir)?.iter().map(|(_, bytes)| bytes).sum())
}

/// The files where a broker's lie, with their sizes in bytes.
fn files(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for directory in node::DIRECTORIES {
        let entries = match std::fs::read_dir(dir.join(directory)) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file() {
                files.push((entry.path(), facts.len()));
            }
        }
    }
    Ok(files)
}

/// A disk that shows how much was read.
struct Watched {
    disk: LocalDisk,
    bar: ProgressBar,
}

impl Around for Watched {
    type Disk = LocalDisk;

    fn disk(&mut self) -> &mut LocalDisk {
        &mut self.disk
    }

    fn running(&mut self, job: Job) -> io::Result<Done> {
        let done = self.disk.run(job)?;
        if let Done::Bytes(bytes) = &done {
            self.bar.inc(bytes.len() as u64);
        }
        Ok(done)
    }
}
