//! How each job is done on the real file system.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, OFlags};

use super::direct;
use crate::{Done, Extent, Job};

/// Extents of one file at most this far apart are read together.
const GATHER_GAP_BYTES: u64 = 4096;
/// The most that is read together.
const GATHER_READ_BYTES_MAX: u64 = 1024 * 1024;

/// Room that is filled with zeros ahead of small writes.
const AHEAD_BYTES: u64 = 1024 * 1024;
/// Writes as large as this are better off without: writing zeros takes longer than the metadata they save.
const LARGE_WRITE_BYTES: u64 = AHEAD_BYTES / 2;

/// Zeros that may be written around the page cache too.
#[repr(align(4096))]
struct Zeros([u8; 64 * 1024]);
static ZEROS: Zeros = Zeros([0; 64 * 1024]);

/// Files kept open.
const OPEN_FILES_MAX: usize = 64;
/// Parts that one vectored write takes (the kernel's IOV_MAX).
const PARTS_PER_WRITE_MAX: usize = 1024;
/// What the broker keeps is for nobody else to read: messages, and the names of those who sent them.
pub(super) const FILE_MODE: u32 = 0o600;
pub(super) const DIRECTORY_MODE: u32 = 0o700;
/// What is missing above the data directory is made as usual.
pub(super) const PARENT_MODE: u32 = 0o777;
/// What is not complete yet has this behind its name.
const PARTIAL: &str = ".partial";

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the system's page cache.
    Cached,
    /// Around it: see [`direct`].
    Direct,
}

struct OpenFile {
    path: String,
    way: Way,
    file: Arc<File>,
}

/// A file whose blocks the file system has set aside. The first write of a block changes metadata too, which a sync
/// waits for.
pub(super) struct Reserved {
    /// Written up to here.
    written: u64,
    size: u64,
}

pub(super) struct Worker {
    root: PathBuf,
    /// Nothing is to be changed, and perhaps nothing can be.
    read_only: bool,
    /// The file system does not let one write around the page cache.
    no_direct: AtomicBool,
    /// The files used last, the newest at the end. Shared by the lanes, so that a removed file is closed
    /// everywhere and its space comes back. Held while a file is opened too, or a lane could bring back a
    /// file that the other has just replaced.
    open: Mutex<Vec<OpenFile>>,
    /// Those that this process has made and not written to their end yet, by path.
    reserved: Mutex<HashMap<String, Reserved>>,
}

impl Worker {
    pub fn new(root: &Path) -> Worker {
        Worker {
            root: root.to_owned(),
            read_only: false,
            no_direct: AtomicBool::new(false),
            open: Mutex::default(),
            reserved: Mutex::default(),
        }
    }

    /// One that refuses every job that would change something.
    pub fn read_only(root: &Path) -> Worker {
        Worker { read_only: true, ..Worker::new(root) }
    }

    /// `buffer`: of the thread that does the job, for all its jobs.
    pub fn run(&self, job: Job, buffer: &mut direct::Buffer) -> io::Result<Done> {
        if self.read_only && !matches!(job, Job::Read(_) | Job::Gather(_) | Job::Compute(_)) {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the data directory was opened to be read only"));
        }
        match job {
            Job::Allocate { path, size, recycle } => self.allocate(&path, size, recycle).map(|()| Done::Ok),
            Job::Write { path, offset, parts, sync, cached } => {
                let part = offset..offset + parts.iter().map(|part| part.len() as u64).sum::<u64>();
                self.fill(&path, self.claim_ahead(&path, part.clone(), sync))?;
                if !sync || cached || !self.write_directly(&path, part, &parts, buffer)? {
                    let file = self.file(&path, Way::Cached)?;
                    write_parts(&file, offset, &parts)?;
                    if sync {
                        file.sync_data()?;
                    }
                }
                Ok(Done::Ok)
            }
            Job::Read(extent) => self.read(&extent).map(Done::Bytes),
            Job::Gather(extents) => self.gather(&extents).map(Done::Parts),
            Job::Replace { path, parts } => {
                self.create(&path, |file| write_parts(file, 0, &parts))?;
                Ok(Done::Ok)
            }
            Job::Remove { path } => self.remove(&path).map(|()| Done::Ok),
            Job::Compute(work) => Ok(Done::Computed(work.run())),
        }
    }

    pub fn list(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(self.root.join(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    pub fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Remove what an earlier process left half made in this directory.
    pub fn sweep(&self, directory: &str) -> io::Result<()> {
        for (name, _) in self.list(directory)? {
            if name.ends_with(PARTIAL) {
                fs::remove_file(self.root.join(directory).join(name))?;
            }
        }
        Ok(())
    }

    /// Take from others what earlier versions let them read in this directory.
    pub fn close_to_others(&self, directory: &str) -> io::Result<()> {
        let path = self.root.join(directory);
        if !path.is_dir() {
            return Ok(());
        }
        keep_mode(&path, DIRECTORY_MODE)?;
        for (name, _) in self.list(directory)? {
            keep_mode(&path.join(name), FILE_MODE)?;
        }
        Ok(())
    }

    /// What is to be filled with zeros before that part of a file is written, so that later syncs have no metadata to write.
    pub(super) fn claim_ahead(&self, path: &str, part: Range<u64>, sync: bool) -> Range<u64> {
        let mut reserved = self.reserved();
        let nothing = part.end..part.end;
        let Some(file) = reserved.get_mut(path).filter(|file| file.written < part.end) else { return nothing };
        let small = sync && part.end - part.start < LARGE_WRITE_BYTES;
        let end = if small { part.end.next_multiple_of(AHEAD_BYTES).min(file.size) } else { part.end };
        file.written = end;
        if end >= file.size {
            reserved.remove(path);
        }
        part.end..end
    }

    fn fill(&self, path: &str, part: Range<u64>) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        if direct::fits(&part) && self.directly(|| write_zeros(&*self.file(path, Way::Direct)?, part.clone()))? {
            return Ok(());
        }
        write_zeros(&*self.file(path, Way::Cached)?, part)
    }

    /// Write around the page cache and sync, if that can be done.
    fn write_directly(&self, path: &str, part: Range<u64>, parts: &[Bytes], buffer: &mut direct::Buffer) -> io::Result<bool> {
        if !direct::fits(&part) {
            return Ok(false);
        }
        self.directly(|| {
            let file = self.file(path, Way::Direct)?;
            direct::write_parts(&file, part.start, parts, buffer)?;
            file.sync_data()
        })
    }

    /// Whether it was done: a file system that cannot is not asked again.
    pub(super) fn directly(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        if self.no_direct.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match write() {
            Err(error) if direct::is_refused(&error) => {
                tracing::info!(%error, "the file system does not write around the page cache; it is written through it");
                self.no_direct.store(true, Ordering::Relaxed);
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    pub(super) fn reserved(&self) -> MutexGuard<'_, HashMap<String, Reserved>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_files(&self) -> MutexGuard<'_, Vec<OpenFile>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &str, way: Way) -> io::Result<Arc<File>> {
        let mut open = self.open_files();
        if let Some(index) = open.iter().rposition(|known| known.path == path && known.way == way) {
            let known = open.remove(index);
            let file = Arc::clone(&known.file);
            open.push(known);
            return Ok(file);
        }
        let file = Arc::new(options(way).write(!self.read_only).open(self.root.join(path))?);
        if open.len() >= OPEN_FILES_MAX {
            open.remove(0);
        }
        open.push(OpenFile { path: path.to_owned(), way, file: Arc::clone(&file) });
        Ok(file)
    }

    /// The name means another file from now on.
    fn forget(&self, path: &str) {
        self.open_files().retain(|known| known.path != path);
    }

    fn read(&self, extent: &Extent) -> io::Result<Bytes> {
        let file = self.file(&extent.path, Way::Cached)?;
        // Never allocate for more than the file has.
        let rest = usize::try_from(file.metadata()?.len().saturating_sub(extent.offset)).unwrap_or(usize::MAX);
        let len = extent.len.min(rest);
        let mut bytes = Vec::with_capacity(len);
        // The system fills them, so that they need not be cleared first: that costs a quarter of what reading does.
        while bytes.len() < len {
            let from = extent.offset + bytes.len() as u64;
            match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), from) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(len);
        Ok(Bytes::from(bytes))
    }

    fn gather(&self, extents: &[Extent]) -> io::Result<Vec<Bytes>> {
        let mut parts = Vec::with_capacity(extents.len());
        let mut rest = extents;
        while let Some(first) = rest.first() {
            // Neighbours are read in one go, with what lies between them.
            let mut end = first.offset + first.len as u64;
            let near = |next: &&Extent| {
                let joins = next.path == first.path
                    && (end..=end + GATHER_GAP_BYTES).contains(&next.offset)
                    && next.offset + next.len as u64 - first.offset <= GATHER_READ_BYTES_MAX;
                end = if joins { next.offset + next.len as u64 } else { end };
                joins
            };
            let count = 1 + rest[1..].iter().take_while(near).count();
            let (now, later) = rest.split_at(count);
            rest = later;
            let last = &now[count - 1];
            let len = (last.offset + last.len as u64 - first.offset) as usize;
            let stretch = self.read(&Extent { path: first.path.clone(), offset: first.offset, len })?;
            if stretch.len() < len {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} is cut short", first.path)));
            }
            // Whoever keeps a slice keeps all of the stretch: of one that is mostly gaps, copies.
            let sparse = now.iter().map(|extent| extent.len).sum::<usize>() < len / 2;
            parts.extend(now.iter().map(|extent| {
                let from = (extent.offset - first.offset) as usize;
                let part = from..from + extent.len;
                if sparse { Bytes::copy_from_slice(&stretch[part]) } else { stretch.slice(part) }
            }));
        }
        Ok(parts)
    }

    fn allocate(&self, path: &str, size: u64, recycle: Option<String>) -> io::Result<()> {
        if let Some(old) = recycle {
            let from = self.root.join(&old);
            if fs::metadata(&from).is_ok_and(|found| found.is_file() && found.len() == size) {
                let to = self.prepare(path)?;
                fs::rename(&from, &to)?;
                self.forget(&old);
                self.forget(path);
                let reserved = self.reserved().remove(&old);
                self.reserved().extend(reserved.map(|file| (path.to_owned(), file)));
                sync_directory_of(&to)?;
                if from.parent() != to.parent() {
                    sync_directory_of(&from)?;
                }
                return Ok(());
            }
        }
        // Tells at once whether there is room. Not all file systems know it.
        let mut reserved = true;
        self.create(path, |file| match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                reserved = false;
                write_zeros(file, 0..size)
            }
            Err(error) => Err(error.into()),
        })?;
        if reserved {
            self.reserved().insert(path.to_owned(), Reserved { written: 0, size });
        }
        Ok(())
    }

    /// A new file that is there complete or not at all.
    fn create(&self, path: &str, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let target = self.prepare(path)?;
        let mut partial = target.clone().into_os_string();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let made = options(Way::Cached).create(true).truncate(true).mode(FILE_MODE).open(&partial).and_then(|file| {
            fill(&file)?;
            file.sync_all()?;
            fs::rename(&partial, &target)
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        self.forget(path);
        sync_directory_of(&target)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let target = self.root.join(path);
        let removed = fs::remove_file(&target);
        self.forget(path);
        self.reserved().remove(path);
        match removed {
            Ok(()) => sync_directory_of(&target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where a new file of that path goes, with its directory made.
    fn prepare(&self, path: &str) -> io::Result<PathBuf> {
        let target = self.root.join(path);
        if let Some(directory) = target.parent() {
            create_directories(directory, DIRECTORY_MODE)?;
        }
        Ok(target)
    }
}

fn options(way: Way) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if way == Way::Direct {
        options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    }
    options
}

fn write_zeros(file: &File, part: Range<u64>) -> io::Result<()> {
    let len = (part.end - part.start) as usize;
    let mut zeros = vec![Bytes::from_static(&ZEROS.0); len / ZEROS.0.len()];
    zeros.push(Bytes::from_static(&ZEROS.0[..len % ZEROS.0.len()]));
    write_parts(file, part.start, &zeros)
}

fn write_parts(file: &File, mut offset: u64, parts: &[Bytes]) -> io::Result<()> {
    let mut next = 0;
    // Bytes of the part `next` that are written.
    let mut done = 0;
    while next < parts.len() {
        let rest = parts.iter().skip(next).enumerate();
        let slices: Vec<IoSlice<'_>> = rest
            .map(|(index, part)| IoSlice::new(if index == 0 { &part[done..] } else { part }))
            .take(PARTS_PER_WRITE_MAX)
            .collect();
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut written = match rustix::io::pwritev(file, &slices, offset) {
            Ok(0) if total > 0 => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        offset += written as u64;
        written += done;
        while let Some(part) = parts.get(next).filter(|part| part.len() <= written) {
            written -= part.len();
            next += 1;
        }
        done = written;
    }
    Ok(())
}

/// Create a directory and what is missing above it, each synced into its parent.
pub(super) fn create_directories(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directories(parent, mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => Err(error),
        _ => sync_directory_of(directory),
    }
}

/// Nobody may do more with the file or directory than `mode` says.
fn keep_mode(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode();
    if found & 0o777 & !mode == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(found & mode))
}

/// Sync the directory that holds `path`.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
