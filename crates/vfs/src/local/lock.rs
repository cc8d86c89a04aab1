//! The data directory and its lock: one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::work;

/// The file whose lock says that the directory is in use.
const LOCK: &str = "LOCK";

/// Why a data directory cannot be used. Nothing in it was touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {} is in use by {}: stop that one first, or choose another with --data-dir", dir.display(), process(*pid))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("{} is not a directory: choose another with --data-dir", dir.display())]
    NotADirectory { dir: PathBuf },
    #[error("no permission to use the data directory {}: change its owner, or choose another with --data-dir", dir.display())]
    Denied { dir: PathBuf },
    #[error("the data directory {} cannot be used: {error}: choose another with --data-dir", dir.display())]
    Io { dir: PathBuf, error: io::Error },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process with id {pid}"))
}

/// Create the directory where it is missing, take its lock, and write this process's id into it.
pub(super) fn acquire(dir: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::Denied { dir: dir.to_owned() },
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => OpenError::NotADirectory { dir: dir.to_owned() },
        _ => OpenError::Io { dir: dir.to_owned(), error },
    };
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => return Err(OpenError::NotADirectory { dir: dir.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => work::create_directories(dir).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    // Readable too, or a restart would find out only later.
    fs::read_dir(dir).map_err(failed)?;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(dir.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(OpenError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let write_id = |file: &mut File| {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    // On a full disk the id is missing, and the lock holds all the same.
    if let Err(error) = write_id(&mut file) {
        tracing::warn!(%error, "the process id could not be written to the lock file");
    }
    Ok(file)
}
