//! The journal itself: append, group commit, the durable mark.
//!
//! ```text
//!   append ──> open chunk ──> open block ──> waiting blocks ──> the one in flight ──> durable
//!                  (closed when full)   (closed by poll, or at 8 MiB, or at a file's end)
//! ```
//! A frame never crosses a chunk, a block never crosses a file, and a block is handed to the disk only when the
//! one before it is durable: so behind a torn block there is never a whole one.

use std::collections::VecDeque;
use std::{io, mem};

use bytes::Bytes;
use model::Lsn;
use model::planted::{self, Bug};
use vfs::{Completion, Extent, Job, Lane, Token, Vfs};

use crate::cache::{Cache, StoredBytes};
use crate::file::{self, FILE_HEADER_BYTES, JournalFile};
use crate::files::Files;
use crate::frame::{self, ALIGN_BYTES, BLOCK_FRAME_BYTES, FRAME_HEADER_BYTES};
use crate::options::Options;
use crate::recovery::Recovered;
use crate::start::{self, OpenError};
use crate::token;

/// A block is closed before it grows beyond this, unless one frame alone does.
const BLOCK_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Room for padding in every ordinary chunk.
const PAD_BYTES_MAX: usize = ALIGN_BYTES as usize + FRAME_HEADER_BYTES;
/// Frames of this size get a buffer of their own, which may be shared as soon as it is filled.
const OWN_BUFFER_BYTES_MIN: usize = 32 * 1024;

/// This part of a file's size is left by publishers for those who free space.
const RESERVED_SHARE: u64 = 4;

/// Who reads further behind is taken for one that reads history, and comes to what is being written when no page cache
/// has it any more.
const READ_BACK_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// So much is left in the system's page cache after the last sign that it will be read.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;

/// A write or sync failed. What was not confirmed before is uncertain: exit, and recover from what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal failed and confirms nothing any more: {reason}; start again to recover what is on disk")]
pub struct Poisoned {
    pub reason: String,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the payload.
    pub start: Lsn,
    /// Position after the frame: it is safe once `durable` has reached this.
    pub end: Lsn,
}

struct Block {
    file_first: u64,
    start: u64,
    /// Position at which the next block may start; the next file's first where this is the last of its file.
    end: u64,
    /// The BLOCK frame first.
    parts: Vec<Bytes>,
}

struct InFlight {
    end: u64,
    bytes: u64,
}

/// The journal of one process incarnation.
pub struct Journal {
    sync: bool,
    seed: u64,
    files: Files,
    cache: Cache,
    /// Blocks before this position are left in the system's page cache.
    cached_until: u64,
    /// The chunk that grows.
    open: Vec<u8>,
    /// Position of its first byte; `u64::MAX` while there is none.
    open_start: u64,
    /// A frame that ends at or before this position fits without further thought.
    /// Invariant: within the open chunk less its padding, the open block's bound and the file.
    fits_until: u64,
    block: Option<Block>,
    waiting: VecDeque<Block>,
    in_flight: Option<InFlight>,
    /// The frame appended last belongs to a group that is not complete.
    in_group: bool,
    /// Of the block closed last.
    seq: u64,
    block_bytes_last: usize,
    /// Invariant: `durable <= appended`.
    appended: u64,
    durable: u64,
    /// Bytes of frames and padding beyond `durable`.
    unsynced: u64,
    poisoned: Option<Poisoned>,
}

impl Journal {
    /// Begin a new incarnation behind what was recovered. Blocks until its first file is on disk.
    ///
    /// # Errors
    /// [`OpenError`] where the disk refuses; nothing was lost.
    pub fn create(options: Options, mut recovered: Recovered, vfs: &mut dyn Vfs) -> Result<Journal, OpenError> {
        let largest = (BLOCK_FRAME_BYTES + FRAME_HEADER_BYTES) as u64;
        assert!(
            options.segment_bytes.is_multiple_of(ALIGN_BYTES) && options.segment_bytes > largest,
            "a journal file of {} bytes holds nothing",
            options.segment_bytes
        );
        let header = start::first_file(&options, &mut recovered, vfs)?;
        Ok(Journal {
            sync: options.sync,
            seed: file::seed(header.incarnation),
            files: Files::new(header, &options, recovered.files.into_iter().zip(recovered.sizes)),
            cache: Cache::new(options.cache_bytes),
            cached_until: 0,
            open: Vec::new(),
            open_start: u64::MAX,
            fits_until: 0,
            block: None,
            waiting: VecDeque::new(),
            in_flight: None,
            in_group: false,
            seq: 0,
            block_bytes_last: 0,
            appended: header.first_lsn,
            durable: header.first_lsn,
            unsynced: 0,
            poisoned: None,
        })
    }

    /// Append one frame whose payload is the `len` bytes that `fill` appends to the buffer it gets.
    /// `more`: the next frame belongs to the same atomic group. Never blocks; the caller heeds
    /// [`Journal::disk_full`] and [`Journal::unsynced_bytes`].
    ///
    /// # Panics
    /// Where `fill` did not append `len` bytes, the kind is not the layer's above, or no file could
    /// hold the frame.
    pub fn append(&mut self, kind: u8, more: bool, len: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Appended {
        assert!(kind != frame::KIND_BLOCK && kind != frame::KIND_PAD, "frames of kind {kind} are the journal's own");
        let total = FRAME_HEADER_BYTES + len;
        if self.appended + total as u64 > self.fits_until || total >= OWN_BUFFER_BYTES_MIN {
            self.make_room(total);
        }
        let lsn = self.appended;
        let at = self.open.len();
        self.open.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        fill(&mut self.open);
        assert_eq!(self.open.len() - at, total, "a frame has another length than was announced");
        frame::seal(&mut self.open[at..], lsn, self.seed, kind, if more { frame::FLAG_MORE } else { 0 });
        self.in_group = more;
        self.appended += total as u64;
        self.unsynced += total as u64;
        if total >= OWN_BUFFER_BYTES_MIN {
            self.close_chunk();
        }
        Appended { start: Lsn(lsn + FRAME_HEADER_BYTES as u64), end: Lsn(self.appended) }
    }

    /// What is appended next belongs to the group of what was appended last.
    #[must_use]
    pub fn in_group(&self) -> bool {
        self.in_group
    }

    /// Bytes that surely have their place on disk.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.files.allocated_end().saturating_sub(self.appended)
    }

    /// Position after the last frame.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        Lsn(self.appended)
    }

    /// Everything before this position is safe.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable)
    }

    /// Bytes appended and not yet durable.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced
    }

    /// Everything is durable and no job is under way.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.unsynced == 0 && self.in_flight.is_none() && self.files.jobs == 0
    }

    /// The bytes at `[pos, pos + len)`, if they are in memory. They must lie within one frame.
    #[must_use]
    pub fn cached(&self, pos: Lsn, len: usize) -> Option<StoredBytes<'_>> {
        if pos.0 >= self.open_start {
            let offset = usize::try_from(pos.0 - self.open_start).ok()?;
            let bytes = self.open.get(offset..offset.checked_add(len)?)?;
            return Some(StoredBytes { bytes, buffer: None, cold: false });
        }
        self.cache.find(pos.0, len)
    }

    /// What to read when [`Journal::cached`] said `None`: the extent and the position at which it starts.
    /// Up to `ahead` bytes behind the wanted ones are read with them. `None`: the journal does not hold that.
    #[must_use]
    pub fn extent(&self, pos: Lsn, len: usize, ahead: usize) -> Option<(Extent, Lsn)> {
        self.files.extent(pos.0, len, ahead, self.durable).map(|extent| (extent, pos))
    }

    /// What lies at `pos` is read from the disk. Somebody lags, and what is written now will soon be read as well.
    pub fn read_back(&mut self, pos: Lsn) {
        if self.appended.saturating_sub(pos.0) < READ_BACK_BYTES {
            self.expect_reads();
        }
    }

    /// What is written now will be read from the disk soon: it should be in the system's page cache.
    pub fn expect_reads(&mut self) {
        self.cached_until = self.appended + CACHED_BYTES;
    }

    /// Keep the bytes that a cold read brought from `start` on, for [`Journal::cached`].
    pub fn insert_cached(&mut self, start: Lsn, bytes: Bytes) {
        self.cache.insert_cold(start.0, bytes);
    }

    /// As [`Journal::insert_cached`], of a single record, which will be asked for from its start.
    pub fn insert_cached_record(&mut self, start: Lsn, bytes: Bytes) {
        self.cache.insert_cold_record(start.0, bytes);
    }

    /// Hand out what is to be done: the next block if none is in flight, further files, removals.
    pub fn poll(&mut self, vfs: &mut dyn Vfs) {
        if self.poisoned.is_some() {
            return;
        }
        self.files.poll(vfs);
        if self.in_flight.is_some() {
            return;
        }
        if self.waiting.is_empty() && self.block.is_some() {
            self.close_block(false);
        }
        let ready = |block: &mut Block| self.files.is_ready(block.file_first);
        let Some(block) = self.waiting.pop_front_if(ready) else { return };
        // Invariant: one block in flight, and it is the one behind `durable`.
        assert!(block.start >= self.durable, "a block is written twice");
        let bytes = block.parts.iter().map(|part| part.len() as u64).sum();
        self.in_flight = Some(InFlight { end: block.end, bytes });
        let offset = FILE_HEADER_BYTES + (block.start - block.file_first);
        let job = Job::Write {
            path: file::path(block.file_first),
            offset,
            parts: block.parts,
            sync: self.sync && !planted::is(Bug::ConfirmBeforeSync),
            cached: block.start < self.cached_until,
        };
        vfs.submit(Lane::Journal, token::WRITE, job);
    }

    /// Hear of a finished job whose token the journal [`owns`](Journal::owns). Then `poll` again.
    ///
    /// # Errors
    /// [`Poisoned`] after a write or sync failed, for ever.
    pub fn completed(&mut self, completion: Completion) -> Result<(), Poisoned> {
        let mut result = completion.result.map(|_| ());
        if planted::is(Bug::FailureIgnored) && completion.token != token::ALLOCATE {
            result = Ok(());
        }
        match completion.token {
            token::WRITE => match (result, self.in_flight.take()) {
                (Ok(()), Some(done)) if self.poisoned.is_none() => {
                    self.durable = done.end;
                    self.unsynced -= done.bytes;
                    assert!(self.durable <= self.appended, "more is durable than was appended");
                    self.cache.evict(self.durable);
                }
                (Err(error), _) => self.poison("a block", &error),
                (Ok(()), _) => {}
            },
            token::ALLOCATE => self.files.allocated(result),
            token::HEADER => {
                if let Err(error) = result {
                    self.poison("the header of a file", &error);
                } else {
                    self.files.headed();
                }
            }
            token::REMOVE => self.files.removed(result),
            other => debug_assert!(false, "completion of a job that is not the journal's: {other:x}"),
        }
        self.poisoned.clone().map_or(Ok(()), Err)
    }

    /// Whether a job of that token is the journal's.
    #[must_use]
    pub fn owns(token: Token) -> bool {
        token & token::OWNER_MASK == token::OWNER
    }

    /// The files, oldest first.
    pub fn files(&self) -> impl Iterator<Item = JournalFile> {
        self.files.iter(self.appended)
    }

    /// Nothing before `lsn` is needed any more: whole files before it are recycled or removed.
    pub fn cut(&mut self, lsn: Lsn) {
        let lsn = lsn.0.min(self.durable);
        self.files.cut(lsn);
        self.cache.cut(lsn);
    }

    /// The disk has little room, so that files which nobody needs are given back, or it has room again.
    pub fn set_short_of_space(&mut self, short: bool) {
        self.files.set_short_of_space(short);
    }

    /// No further file could be allocated. It is tried again after [`Journal::cut`] and
    /// [`Journal::retry_allocation`].
    #[must_use]
    pub fn disk_full(&self) -> bool {
        self.files.full
    }

    /// What is left of the files on disk is kept for those who free space: they settle, delete and end transactions.
    /// Passing while the next file is being made, lasting while the disk is full.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        self.room() < self.files.segment_bytes() / RESERVED_SHARE
    }

    /// The same for those who free nothing and may be asked to come again: half of it is for the others alone.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        self.files.full && self.room() < self.files.segment_bytes() / RESERVED_SHARE / 2
    }

    /// Bytes of files on disk that nobody needs and that are kept to be used again.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        self.files.spare_bytes()
    }

    /// Remove the files that are kept to be used again: somebody needs their room more.
    pub fn give_back_spares(&mut self) {
        self.files.give_back_spares();
    }

    /// Try again to allocate a file, if that had failed. Call this now and then while the disk is full.
    pub fn retry_allocation(&mut self) {
        self.files.retry();
    }

    fn poison(&mut self, what: &str, error: &io::Error) {
        let reason = format!("{what} could not be written: {error}");
        self.poisoned.get_or_insert(Poisoned { reason });
    }

    /// Make the open chunk one that a frame of `total` bytes fits into: the slow way of `append`.
    fn make_room(&mut self, total: usize) {
        let needed = total as u64;
        if let Some(block) = &self.block {
            let grown = self.appended + needed - block.start;
            if self.appended + needed > self.files.current_end() {
                self.close_block(true);
            } else if grown > BLOCK_BYTES_MAX && self.appended > block.start + BLOCK_FRAME_BYTES as u64 {
                self.close_block(false);
            }
        }
        let block_start = match &self.block {
            Some(block) => block.start,
            None => self.open_block(needed),
        };
        let own = total >= OWN_BUFFER_BYTES_MIN;
        if own || self.open.capacity() - self.open.len() < total + PAD_BYTES_MAX {
            self.close_chunk();
            let room = total + PAD_BYTES_MAX;
            self.open = if own { self.cache.own_buffer(total) } else { self.cache.buffer(room, self.block_bytes_last) };
        }
        if self.open.is_empty() {
            self.open_start = self.appended;
        }
        let chunk_rest = (self.open.capacity() - self.open.len()).saturating_sub(PAD_BYTES_MAX) as u64;
        self.fits_until = (self.appended + chunk_rest).min(self.files.current_end()).min(block_start + BLOCK_BYTES_MAX);
    }

    /// Begin a block that can take a frame of `needed` bytes, in the next file if need be. Returns its start.
    fn open_block(&mut self, needed: u64) -> u64 {
        let needed = BLOCK_FRAME_BYTES as u64 + needed;
        if self.appended + needed > self.files.current_end() {
            if self.appended < self.files.current_end() {
                // A block that only says that the file ends here.
                self.begin_block();
                self.close_block(true);
            } else {
                self.files.enter_next();
            }
            assert!(self.appended + needed <= self.files.current_end(), "a frame is larger than a journal file");
        }
        self.begin_block()
    }

    fn begin_block(&mut self) -> u64 {
        let start = self.appended;
        debug_assert!(start.is_multiple_of(ALIGN_BYTES) && start < self.files.current_end());
        let file_first = self.files.current_first();
        let mut parts = Vec::with_capacity(4);
        // The place of the BLOCK frame, which is known when the block is closed.
        parts.push(Bytes::new());
        self.block = Some(Block { file_first, start, end: start, parts });
        self.appended += BLOCK_FRAME_BYTES as u64;
        self.unsynced += BLOCK_FRAME_BYTES as u64;
        start
    }

    /// The open chunk will not grow any more: it can be shared.
    fn close_chunk(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let chunk = mem::take(&mut self.open);
        let (bytes, cost) = if chunk.len() < chunk.capacity() / 4 {
            // Little came: rather a copy than a large buffer held for it.
            let bytes = Bytes::copy_from_slice(&chunk);
            self.cache.give_back(chunk);
            let cost = bytes.len();
            (bytes, cost)
        } else {
            let cost = chunk.capacity();
            (Bytes::from(chunk), cost)
        };
        if let Some(block) = &mut self.block {
            block.parts.push(bytes.clone());
        }
        self.cache.push(self.open_start, bytes, cost);
        self.open_start = u64::MAX;
        self.fits_until = 0;
    }

    /// The open block is complete. `next_file`: the next one begins a new file.
    fn close_block(&mut self, next_file: bool) {
        let file_end = self.files.current_end();
        let mut padding = frame::align_up(self.appended) - self.appended;
        let header = FRAME_HEADER_BYTES as u64;
        if next_file && padding < header && self.appended + padding < file_end {
            padding += ALIGN_BYTES;
        }
        if padding > 0 {
            if self.open.capacity() - self.open.len() < PAD_BYTES_MAX {
                self.close_chunk();
                self.open = self.cache.buffer(PAD_BYTES_MAX, 0);
            }
            if self.open.is_empty() {
                self.open_start = self.appended;
            }
            let at = self.open.len();
            self.open.resize(at + padding as usize, 0);
            if padding >= header {
                let flags = match (next_file, self.files.next_is_ready()) {
                    (true, true) => frame::FLAG_NEXT_FILE | frame::FLAG_NEXT_ON_DISK,
                    (true, false) => frame::FLAG_NEXT_FILE,
                    (false, _) => 0,
                };
                frame::seal(&mut self.open[at..], self.appended, self.seed, frame::KIND_PAD, flags);
            }
        }
        self.close_chunk();
        let Some(mut block) = self.block.take() else { return };
        self.appended += padding;
        self.unsynced += padding;
        self.seq += 1;
        let len = self.appended - block.start;
        debug_assert!(len.is_multiple_of(ALIGN_BYTES) && self.appended <= file_end);
        self.block_bytes_last = len as usize;
        block.parts[0] = Bytes::copy_from_slice(&frame::block_frame(block.start, self.seed, self.seq, len as u32));
        if next_file {
            self.appended = file_end;
            self.files.enter_next();
        }
        block.end = self.appended;
        self.fits_until = 0;
        self.waiting.push_back(block);
    }
}
