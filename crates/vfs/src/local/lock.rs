//! The data directory and its lock: one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
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

impl OpenError {
    fn of(dir: &Path, error: io::Error) -> OpenError {
        let dir = dir.to_owned();
        match error.kind() {
            _ if is_denied(&error) => OpenError::Denied { dir },
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => OpenError::NotADirectory { dir },
            _ => OpenError::Io { dir, error },
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Create the directory where it is missing, take its lock, and write this process's id into it.
pub(super) fn acquire(dir: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::of(dir, error);
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = dir.parent() {
                work::create_directories(parent, work::PARENT_MODE).map_err(failed)?;
            }
            work::create_directories(dir, work::DIRECTORY_MODE).map_err(failed)?;
        }
        found => is_directory(dir, found)?,
    }
    // Readable too, or a restart would find out only later.
    fs::read_dir(dir).map_err(failed)?;
    let mut file = open(dir).map_err(failed)?;
    hold(dir, &mut file)?;
    write_id(&mut file);
    Ok(file)
}

/// Take the lock of a directory that is only read. `None`: no lock can be there, and nobody can begin to write either,
/// at least not by this way.
pub(super) fn acquire_to_read(dir: &Path) -> Result<Option<File>, OpenError> {
    let failed = |error| OpenError::of(dir, error);
    is_directory(dir, fs::metadata(dir))?;
    match open(dir) {
        Ok(mut file) => {
            hold(dir, &mut file)?;
            write_id(&mut file);
            Ok(Some(file))
        }
        Err(error) if is_denied(&error) => match File::open(dir.join(LOCK)) {
            Ok(mut file) => hold(dir, &mut file).map(|()| Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        },
        Err(error) => Err(failed(error)),
    }
}

fn is_directory(dir: &Path, found: io::Result<fs::Metadata>) -> Result<(), OpenError> {
    match found {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { dir: dir.to_owned() }),
        Err(error) => Err(OpenError::of(dir, error)),
    }
}

fn open(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(work::FILE_MODE).open(dir.join(LOCK))
}

fn hold(dir: &Path, file: &mut File) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            Err(OpenError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() })
        }
        Err(TryLockError::Error(error)) => Err(OpenError::of(dir, error)),
    }
}

fn write_id(file: &mut File) {
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    // On a full disk the id is missing, and the lock holds all the same.
    if let Err(error) = write(file) {
        tracing::warn!(%error, "the process id could not be written to the lock file");
    }
}
