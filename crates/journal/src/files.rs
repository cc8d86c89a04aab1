//! The files behind the journal: one is being filled, one waits allocated, the old ones retire.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use model::Lsn;
use vfs::{Extent, Job, Lane, Vfs};

use crate::file::{self, FILE_HEADER_BYTES, FileHeader, JournalFile};
use crate::options::Options;
use crate::token;

/// Retired files that are kept where space is short.
const RETIRED_MAX_SHORT: usize = 2;
/// This part of a file's size stays free beside a new file, for checkpoints.
const CHECKPOINT_SHARE: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Not on disk yet.
    Wanted,
    Allocating,
    /// On disk, without a header of ours.
    Allocated,
    /// Its header is being written.
    Heading,
    /// Blocks may be written.
    Ready,
}

struct File {
    first: u64,
    /// Position after its content; for the file being filled and later ones, the end of its range.
    end: u64,
    size: u64,
    state: State,
}

pub(crate) struct Files {
    incarnation: u128,
    relaxed: bool,
    checkpointed: bool,
    segment_bytes: u64,
    /// Oldest first, without gaps in what they hold. Invariant: `current` is in it, and one more behind.
    files: VecDeque<File>,
    /// Index of the file that appends go to.
    current: usize,
    /// Old files to be used again, oldest first; those beyond `retired_max` are removed one by one.
    retired: VecDeque<u64>,
    /// How many of them are kept.
    retired_max: usize,
    /// The disk has little room.
    short_of_space: bool,
    /// Files that cannot be used again, all older than the retired ones. Oldest first, so that what remains on disk never has a hole.
    removable: VecDeque<u64>,
    /// The file that the allocation under way recycles.
    recycling: Option<u64>,
    /// The last allocation failed.
    pub full: bool,
    /// Do not ask again before something has changed.
    paused: bool,
    /// Jobs under way.
    pub jobs: usize,
}

impl Files {
    /// `header`: of the first file of this incarnation, which is ready; later ones are as the options say.
    /// `old`: files of earlier incarnations, with their sizes.
    pub fn new(header: FileHeader, options: &Options, old: impl Iterator<Item = (JournalFile, u64)>) -> Files {
        let segment_bytes = options.segment_bytes;
        let mut files: VecDeque<File> =
            old.map(|(file, size)| File { first: file.first_lsn.0, end: file.end.0, size, state: State::Ready }).collect();
        let current = files.len();
        let mut new = Files {
            incarnation: header.incarnation,
            relaxed: header.relaxed,
            checkpointed: header.checkpointed,
            segment_bytes,
            files: VecDeque::new(),
            current,
            retired: VecDeque::new(),
            retired_max: options.spare_files,
            short_of_space: false,
            removable: VecDeque::new(),
            recycling: None,
            full: false,
            paused: false,
            jobs: 0,
        };
        let (end, size) = (header.first_lsn + header.segment_bytes, FILE_HEADER_BYTES + header.segment_bytes);
        files.push_back(File { first: header.first_lsn, end, size, state: State::Ready });
        files.push_back(new.file(end));
        new.files = files;
        new
    }

    fn file(&self, first: u64) -> File {
        let (end, size) = (first + self.segment_bytes, FILE_HEADER_BYTES + self.segment_bytes);
        File { first, end, size, state: State::Wanted }
    }

    /// Positions in each file that is made from now on.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn current(&self) -> &File {
        &self.files[self.current]
    }

    /// First position of the file that appends go to.
    pub fn current_first(&self) -> u64 {
        self.current().first
    }

    /// Position after the last one of the file that appends go to.
    pub fn current_end(&self) -> u64 {
        self.current().end
    }

    /// Appends go on in the next file, whether it is on disk yet or not.
    pub fn enter_next(&mut self) {
        self.current += 1;
        let last = self.current_end();
        if self.current + 1 == self.files.len() {
            self.files.push_back(self.file(last));
        }
    }

    /// Whether the file after the one that appends go to is on disk, with its header.
    pub fn next_is_ready(&self) -> bool {
        self.files.get(self.current + 1).is_some_and(|next| next.state == State::Ready)
    }

    /// Whether blocks may be written to the file that begins at `first`.
    pub fn is_ready(&self, first: u64) -> bool {
        self.files.iter().rev().any(|file| file.first == first && file.state == State::Ready)
    }

    /// Position after the last one that surely has its place on disk.
    pub fn allocated_end(&self) -> u64 {
        let allocated = self.files.iter().skip(self.current).take_while(|file| file.state >= State::Allocated);
        allocated.last().map_or(0, |file| file.end)
    }

    /// The files that hold something; `appended` ends the newest.
    pub fn iter(&self, appended: u64) -> impl Iterator<Item = JournalFile> {
        self.files
            .iter()
            .take(self.current + 1)
            .map(move |file| JournalFile { first_lsn: Lsn(file.first), end: Lsn(file.end.min(appended)) })
    }

    /// Where `[pos, pos + len)` lies on disk, and up to `ahead` bytes behind it, as far as they are written.
    pub fn extent(&self, pos: u64, len: usize, ahead: usize, durable: u64) -> Option<Extent> {
        let after = self.files.partition_point(|file| file.first <= pos);
        let file = self.files.get(after.checked_sub(1)?)?;
        let written = file.end.min(durable).checked_sub(pos)?;
        if (len as u64) > written {
            return None;
        }
        let len = written.min(len as u64 + ahead as u64) as usize;
        Some(Extent { path: file::path(file.first), offset: FILE_HEADER_BYTES + (pos - file.first), len })
    }

    /// Whole files before `lsn` retire.
    pub fn cut(&mut self, lsn: u64) {
        while self.current > 0
            && let Some(file) = self.files.pop_front_if(|file| file.end <= lsn)
        {
            self.current -= 1;
            if file.size == FILE_HEADER_BYTES + self.segment_bytes {
                self.retired.push_back(file.first);
            } else {
                // It cannot be recycled. What is older must go before it.
                self.removable.extend(self.retired.drain(..));
                self.removable.push_back(file.first);
            }
        }
        self.paused = false;
    }

    /// Bytes of files that wait to be used again: nobody's, and so as good as free.
    pub fn spare_bytes(&self) -> u64 {
        self.retired.len() as u64 * (FILE_HEADER_BYTES + self.segment_bytes)
    }

    /// Every file that waits to be used again goes, for somebody who needs the room more.
    pub fn give_back_spares(&mut self) {
        self.removable.extend(self.retired.drain(..));
    }

    /// Give back space, or not any more.
    pub fn set_short_of_space(&mut self, short: bool) {
        self.short_of_space = short;
    }

    /// The next file to be removed, if there are any: the oldest of all.
    fn next_removal(&mut self) -> Option<u64> {
        let kept = if self.short_of_space { RETIRED_MAX_SHORT.min(self.retired_max) } else { self.retired_max };
        self.removable.pop_front().or_else(|| if self.retired.len() > kept { self.retired.pop_front() } else { None })
    }

    /// Try again to allocate, if that had failed.
    pub fn retry(&mut self) {
        self.paused = false;
    }

    /// Ask for what is wanted.
    pub fn poll(&mut self, vfs: &mut dyn Vfs) {
        if self.find_state(State::Allocated).is_some() {
            self.write_header(vfs);
        }
        self.want_file(vfs);
        // The next file does not wait behind many removals: one at a time, when nothing else is under way.
        if self.jobs == 0
            && let Some(first) = self.next_removal()
        {
            self.jobs += 1;
            vfs.submit(Lane::Background, token::REMOVE, Job::Remove { path: file::path(first) });
        }
    }

    fn want_file(&mut self, vfs: &mut dyn Vfs) {
        if self.paused || self.files.iter().any(|file| matches!(file.state, State::Allocating | State::Heading)) {
            return;
        }
        if self.find_state(State::Wanted).is_some() {
            self.allocate(vfs);
        }
    }

    fn allocate(&mut self, vfs: &mut dyn Vfs) {
        // What is older and only waits to be removed would stay behind, before a hole.
        let recycles = self.removable.is_empty() && !self.retired.is_empty();
        if !recycles && self.takes_the_last(vfs) {
            self.set_full(&io::Error::from(io::ErrorKind::StorageFull));
            return;
        }
        self.recycling = if recycles { self.retired.pop_front() } else { None };
        let recycle = self.recycling.map(file::path);
        let Some(file) = self.find_state(State::Wanted) else { return };
        file.state = State::Allocating;
        let job = Job::Allocate { path: file::path(file.first), size: file.size, recycle };
        self.jobs += 1;
        vfs.submit(Lane::Background, token::ALLOCATE, job);
    }

    /// Whether a new file would leave no room for the checkpoint without which nothing can be cut.
    fn takes_the_last(&self, vfs: &mut dyn Vfs) -> bool {
        let needed = FILE_HEADER_BYTES + self.segment_bytes + self.segment_bytes / CHECKPOINT_SHARE;
        vfs.free_bytes().is_ok_and(|free| free < needed)
    }

    fn set_full(&mut self, error: &io::Error) {
        // Said once: it is tried again every second.
        if !self.full {
            let bytes = FILE_HEADER_BYTES + self.segment_bytes;
            tracing::warn!(%error, bytes, "no room for a further journal file; publishers will have to wait");
        }
        (self.full, self.paused) = (true, true);
    }

    fn write_header(&mut self, vfs: &mut dyn Vfs) {
        let (incarnation, relaxed, checkpointed, segment_bytes) =
            (self.incarnation, self.relaxed, self.checkpointed, self.segment_bytes);
        let Some(file) = self.find_state(State::Allocated) else { return };
        file.state = State::Heading;
        let first_lsn = file.first;
        let header = FileHeader { incarnation, first_lsn, previous_end: first_lsn, segment_bytes, relaxed, checkpointed };
        let parts = vec![Bytes::from(header.encode())];
        self.jobs += 1;
        vfs.submit(
            Lane::Background,
            token::HEADER,
            Job::Write { path: file::path(first_lsn), offset: 0, parts, sync: true, cached: false },
        );
    }

    fn find_state(&mut self, state: State) -> Option<&mut File> {
        self.files.iter_mut().find(|file| file.state == state)
    }

    /// The allocation under way has ended.
    pub fn allocated(&mut self, result: io::Result<()>) {
        self.jobs -= 1;
        let recycled = self.recycling.take();
        let allocated = result.is_ok();
        match result {
            Ok(()) => {
                if self.full {
                    tracing::info!("journal files can be allocated again");
                }
                (self.full, self.paused) = (false, false);
            }
            Err(error) => {
                self.set_full(&error);
                // It is older than everything that is still there, and whether it was renamed is unknown.
                recycled.into_iter().for_each(|first| self.removable.push_front(first));
            }
        }
        if let Some(file) = self.find_state(State::Allocating) {
            file.state = if allocated { State::Allocated } else { State::Wanted };
        }
    }

    /// The header is on disk.
    pub fn headed(&mut self) {
        self.jobs -= 1;
        if let Some(file) = self.find_state(State::Heading) {
            file.state = State::Ready;
        }
    }

    /// A file is gone, or not: then it is merely in the way until the next start.
    pub fn removed(&mut self, result: io::Result<()>) {
        self.jobs -= 1;
        if let Err(error) = result {
            tracing::warn!(%error, "an old journal file could not be removed");
        }
    }
}
