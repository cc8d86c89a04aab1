//! From files to frames after a restart: what is whole is handed on, a torn tail is cut, corruption is refused.
//!
//! A block is written only when the one before it is durable. So a bad frame is a *torn tail* where nothing
//! proves that it had been confirmed, and *corruption* where something does: a whole BLOCK frame of the same
//! incarnation further on, or a later incarnation's file header, which says up to where the content before it is valid.

mod directory;

use std::io;

use bytes::Bytes;
use model::Lsn;
use vfs::{Extent, Vfs};

use crate::file::{self, FILE_HEADER_BYTES, JournalFile};
use crate::frame::{self, ALIGN_BYTES, BLOCK_FRAME_BYTES, FLAG_MORE, FLAG_NEXT_FILE, FLAG_NEXT_ON_DISK, FRAME_HEADER_BYTES};
pub use directory::known_version;
use directory::{DamagedFile, Directory, Live, Window};

/// A frame read back.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub kind: u8,
    /// Position of the payload.
    pub start: Lsn,
    /// Position after the frame.
    pub end: Lsn,
    pub payload: &'a [u8],
    /// The next entry belongs to the same atomic group.
    pub more: bool,
}

/// What the journal was found to be. The default is an empty one.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Position after everything that was recovered.
    pub end: Lsn,
    /// The files that hold it, oldest first.
    pub files: Vec<JournalFile>,
    /// The incarnation that wrote last.
    pub incarnation: Option<u128>,
    /// Bytes of a write that had not ended, and were cut off.
    pub torn_bytes: u64,
    /// Where the oldest file says that it begins. What lay before is in a checkpoint, unless this is 0.
    pub begins: Lsn,
    /// A checkpoint lies beside the journal: the files say so. Journals that go on from here will say so too.
    pub checkpointed: bool,
    /// Where a new file may begin.
    pub(crate) next_first: u64,
    /// What the next file says of the content before it.
    pub(crate) cut: u64,
    /// Sizes of `files`.
    pub(crate) sizes: Vec<u64>,
    /// Files without content, and their sizes.
    pub(crate) leftovers: Vec<(vfs::Path, u64)>,
    /// The last block, which no later one vouches for.
    pub(crate) tail: Option<Extent>,
    /// The last file was written without syncs.
    relaxed: bool,
}

impl Recovered {
    /// The journal was durable up to this position: it may not end before it. (A relaxed one may, and goes on from there.)
    ///
    /// # Errors
    /// [`RecoverError::Missing`] where it does.
    pub fn reach(&mut self, at: Lsn) -> Result<(), RecoverError> {
        if at <= self.end {
            return Ok(());
        }
        let end = std::mem::replace(&mut self.end, at);
        self.next_first = self.next_first.max(frame::align_up(at.0));
        if !self.relaxed {
            return Err(RecoverError::Missing { lsn: at, found: format!("the journal ends at {}", self.cut) });
        }
        tracing::warn!(from = %at, %end, "the relaxed journal lost its end; going on from the checkpoint");
        Ok(())
    }
}

/// Why the journal is not read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(
        "{path} is damaged at byte {offset} (position {lsn}): {reason}, and what was confirmed lies behind it. \
         Nothing was changed. Run `yam check` to see what else is damaged, and restore the file from a copy"
    )]
    Corrupt { path: vfs::Path, offset: u64, lsn: Lsn, reason: &'static str },
    #[error(
        "the journal has no file for position {lsn} ({found}). \
         Nothing was changed. Run `yam check`, and restore the missing files of `journal/` from a copy"
    )]
    Missing { lsn: Lsn, found: String },
    #[error(
        "{path} was written by another version of yam ({writer}format {version}; this is {}, which reads format {}): \
         use the version that wrote it. Nothing was changed",
        env!("CARGO_PKG_VERSION"), file::VERSION
    )]
    Version { path: vfs::Path, version: u32, writer: Writer },
    #[error("{path} cannot be read: {source}. Run `yam check`")]
    Io { path: vfs::Path, source: io::Error },
}

/// Which version of yam wrote a file, where it says so.
#[derive(Clone, Debug)]
pub struct Writer(pub(crate) Option<String>);

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |version| write!(f, "{version}, "))
    }
}

impl RecoverError {
    /// The position where what is damaged or missing begins, where that is known.
    #[must_use]
    pub fn lsn(&self) -> Option<Lsn> {
        match self {
            RecoverError::Corrupt { lsn, .. } | RecoverError::Missing { lsn, .. } => Some(*lsn),
            RecoverError::Version { .. } | RecoverError::Io { .. } => None,
        }
    }

    /// The damaged file or directory, and what is wrong with it.
    #[must_use]
    pub fn place(self) -> (vfs::Path, String) {
        match self {
            RecoverError::Corrupt { path, offset, lsn, reason } => {
                (path, format!("at byte {offset} (journal position {lsn}): {reason}"))
            }
            RecoverError::Missing { lsn, found } => {
                (file::DIRECTORY.into(), format!("a file with position {lsn} is missing ({found})"))
            }
            RecoverError::Version { path, version, .. } => {
                (path, format!("it was written by another version (format {version})"))
            }
            RecoverError::Io { path, source } => (path, format!("cannot be read: {source}")),
        }
    }
}

/// Hears of a damaged place. Reading goes on behind it where this says so.
type OnDamage<'a> = dyn FnMut(RecoverError) -> Result<(), RecoverError> + 'a;

/// Read everything from `from` on (`None`: all there is), check every frame, and hand the frames of whole groups to
/// `visit` in order.
///
/// # Errors
/// [`RecoverError`] where the journal cannot be trusted. `visit` may have been called before.
pub fn recover(vfs: &mut dyn Vfs, from: Option<Lsn>, visit: &mut dyn FnMut(Entry<'_>)) -> Result<Recovered, RecoverError> {
    let recovered = read(vfs, from, false, visit, &mut Err)?;
    if recovered.torn_bytes > 0 {
        tracing::info!(bytes = recovered.torn_bytes, at = recovered.end.0, "cut off a write that had not ended");
    }
    Ok(recovered)
}

/// Read all there is past every damage, as far as that can be done: `report` hears of each damaged place, `visit` of
/// every whole group that is left. `from`: where [`recover`] would begin.
pub fn survey(
    vfs: &mut dyn Vfs,
    from: Option<Lsn>,
    visit: &mut dyn FnMut(Entry<'_>),
    report: &mut dyn FnMut(RecoverError),
) -> Recovered {
    let mut go_on = |error| {
        report(error);
        Ok(())
    };
    match read(vfs, from, true, visit, &mut go_on) {
        Ok(recovered) => recovered,
        Err(error) => {
            report(error);
            Recovered::default()
        }
    }
}

/// `all`: what lies before `from` is read too.
fn read(
    vfs: &mut dyn Vfs,
    from: Option<Lsn>,
    all: bool,
    visit: &mut dyn FnMut(Entry<'_>),
    damage: &mut OnDamage<'_>,
) -> Result<Recovered, RecoverError> {
    let directory = Directory::read(vfs, damage)?;
    let mut recovered = Recovered {
        next_first: directory.next_first()?,
        begins: Lsn(directory.live.first().map_or(0, |file| file.header.previous_end)),
        checkpointed: directory.live.iter().any(|file| file.header.checkpointed),
        ..Recovered::default()
    };
    let first = match directory.file_of(from) {
        Ok(first) if !all => first,
        Ok(_) => 0,
        Err(error) => {
            damage(error)?;
            0
        }
    };
    let start = if all { 0 } else { from.map_or(0, |lsn| lsn.0) };
    let mut walk = Walk { vfs, from: start, visit, damage, group: Vec::new(), seq: None, tail: None, torn_bytes: 0 };
    let live = directory.live.get(first..).unwrap_or_default();
    // Where the content goes on, as far as the files before say.
    let mut pos = live.first().map_or(0, |file| file.header.previous_end);
    let mut used = 0;
    for (index, file) in live.iter().enumerate() {
        if file.header.previous_end != pos && index > 0 {
            let found = format!("the file before ends at {pos}, {} begins at {}", file.path, file.header.first_lsn);
            (walk.damage)(RecoverError::Missing { lsn: Lsn(pos), found })?;
            walk.lose_track();
        }
        if index > 0 && live[index - 1].header.incarnation != file.header.incarnation {
            walk.group.clear();
            walk.seq = Some(0);
        }
        let mut later = live.get(index + 1..).unwrap_or_default();
        let gap = later.first().filter(|next| next.header.previous_end > file.range_end());
        if let Some(next) = gap {
            let found = format!("{} ends there, and {} goes on at {}", file.path, next.path, next.header.previous_end);
            (walk.damage)(RecoverError::Missing { lsn: Lsn(file.range_end()), found })?;
            // It proves nothing of this file: what lies between does, or would.
            later = &[];
        }
        let (end, torn) = match walk.file(file, later) {
            Ok(found) => found,
            Err(error) => {
                (walk.damage)(error)?;
                walk.lose_track();
                (file.limit(), false)
            }
        };
        pos = end;
        used = index + 1;
        let end = Lsn(end.max(file.header.first_lsn));
        recovered.files.push(JournalFile { first_lsn: Lsn(file.header.first_lsn), end });
        recovered.sizes.push(file.size);
        recovered.incarnation = Some(file.header.incarnation);
        if let Some(next) = gap {
            walk.lose_track();
            pos = next.header.previous_end;
        } else if torn {
            break;
        }
    }
    // What lies before those that are needed may be whatever it is.
    let needed = |damaged: &&DamagedFile| {
        all || from.is_none() || live.first().is_none_or(|first| damaged.first_lsn > first.header.first_lsn)
    };
    for damaged in directory.damaged.iter().filter(needed) {
        walk.damaged(damaged, recovered.incarnation)?;
    }
    let damage = walk.damage;
    (recovered.tail, recovered.torn_bytes) = (walk.tail, walk.torn_bytes);
    recovered.cut = pos;
    recovered.end = Lsn(pos);
    recovered.relaxed = live.last().is_some_and(|file| file.header.relaxed);
    if let Err(error) = recovered.reach(from.unwrap_or_default()) {
        damage(error)?;
    }
    recovered.next_first = recovered.next_first.max(frame::align_up(recovered.end.0));
    // Files before the wanted ones are still there, for `Journal::cut` to retire.
    let older = directory.live.get(..first).unwrap_or_default();
    let before = |file: &Live| JournalFile { first_lsn: Lsn(file.header.first_lsn), end: Lsn(file.size_limit()) };
    recovered.files.splice(..0, older.iter().map(before));
    recovered.sizes.splice(..0, older.iter().map(|file| file.size));
    recovered.leftovers = directory.leftovers;
    recovered.leftovers.extend(live.iter().skip(used).map(|file| (file.path.clone(), file.size)));
    Ok(recovered)
}

/// A frame of a group whose end has not been seen.
struct Waiting {
    kind: u8,
    start: u64,
    payload: Bytes,
}

/// The way through the files.
struct Walk<'a> {
    vfs: &'a mut dyn Vfs,
    from: u64,
    visit: &'a mut dyn FnMut(Entry<'_>),
    damage: &'a mut OnDamage<'a>,
    group: Vec<Waiting>,
    /// Of the last block; `None` where the walk began in the middle of an incarnation.
    seq: Option<u64>,
    tail: Option<Extent>,
    torn_bytes: u64,
}

/// Where one frame led.
enum Step {
    /// To this position.
    To(u64),
    /// To the next file, which is `on_disk` already.
    NextFile {
        on_disk: bool,
    },
    Bad(&'static str),
}

/// The block being read.
struct Block {
    start: u64,
    end: u64,
}

fn corrupt(file: &Live, pos: u64, reason: &'static str) -> RecoverError {
    RecoverError::Corrupt { path: file.path.clone(), offset: file.offset(pos), lsn: Lsn(pos), reason }
}

impl Walk<'_> {
    /// Something is missing from here on: no group goes on behind it, and any block may be the next.
    fn lose_track(&mut self) {
        self.group.clear();
        self.seq = None;
    }

    /// Read one file. Returns where its content ends, and whether that is a torn tail, the end of the journal.
    fn file(&mut self, file: &Live, later: &[Live]) -> Result<(u64, bool), RecoverError> {
        let mut window = Window::new(&file.path, file.size);
        let limit = file.limit();
        let mut pos = file.header.first_lsn;
        let mut block = Block { start: pos, end: pos };
        let cut_short = file.size_limit() < limit;
        while pos < limit {
            let step = if pos == block.end {
                self.block(file, &mut window, pos, &mut block)?
            } else {
                self.frame(file, &mut window, pos, block.end)?
            };
            match step {
                Step::To(next) => pos = next,
                Step::NextFile { on_disk } => {
                    pos = file.range_end();
                    // Where later files are there, they tell what is missing.
                    if on_disk && file.said_end.is_none() {
                        let found = format!("{} says that there is one", file.path);
                        (self.damage)(RecoverError::Missing { lsn: Lsn(pos), found })?;
                    }
                }
                Step::Bad(_) if cut_short => {
                    (self.damage)(corrupt(file, pos, "the file is cut short"))?;
                    self.lose_track();
                    return Ok((limit, false));
                }
                Step::Bad(reason) if self.was_confirmed(file, later, &mut window, pos, reason)? => {
                    (self.damage)(corrupt(file, pos, reason))?;
                    pos = self.resume(file, &mut window, pos, &mut block)?;
                }
                Step::Bad(_) => {
                    self.torn_bytes = block.end - pos;
                    self.note_tail(file, block.start, pos);
                    return Ok((pos, true));
                }
            }
        }
        if pos != limit {
            (self.damage)(corrupt(file, limit, "its content goes on where the next file says that it ends"))?;
            self.lose_track();
            return Ok((limit, false));
        }
        self.note_tail(file, block.start, pos.min(block.end));
        Ok((pos, false))
    }

    /// Where reading goes on behind the damage at `pos`.
    fn resume(&mut self, file: &Live, window: &mut Window<'_>, pos: u64, block: &mut Block) -> Result<u64, RecoverError> {
        let seed = file::seed(file.header.incarnation);
        if pos < block.end {
            self.group.clear();
            // Its length may be intact.
            let len = window.get(self.vfs, file.offset(pos), FRAME_HEADER_BYTES)?.and_then(frame::claimed_len);
            let next = pos + len.unwrap_or(0) as u64;
            if next > pos && next + FRAME_HEADER_BYTES as u64 <= block.end {
                let len = window.get(self.vfs, file.offset(next), FRAME_HEADER_BYTES)?.and_then(frame::claimed_len);
                if let Some(len) = len.filter(|&len| len as u64 <= block.end - next)
                    && window
                        .get(self.vfs, file.offset(next), len)?
                        .is_some_and(|bytes| frame::parse(bytes, next, seed).is_some())
                {
                    return Ok(next);
                }
            }
            return Ok(block.end);
        }
        // Where only a block before it is missing, this one is the next.
        let mut next = if self.seq.is_some() { pos } else { pos + ALIGN_BYTES };
        self.lose_track();
        while next < file.limit() {
            let bytes = window.get(self.vfs, file.offset(next), BLOCK_FRAME_BYTES)?;
            let found = bytes.and_then(|bytes| frame::parse_block(bytes, next, seed));
            if found.is_some_and(|(_, len)| len <= file.range_end() - next) {
                break;
            }
            next += ALIGN_BYTES;
        }
        let next = next.min(file.limit());
        *block = Block { start: next, end: next };
        Ok(next)
    }

    fn note_tail(&mut self, file: &Live, start: u64, end: u64) {
        if end > start {
            let (path, offset) = (file.path.clone(), file.offset(start));
            self.tail = Some(Extent { path, offset, len: (end - start) as usize });
        }
    }

    /// The BLOCK frame at `pos`.
    fn block(&mut self, file: &Live, window: &mut Window<'_>, pos: u64, block: &mut Block) -> Result<Step, RecoverError> {
        let seed = file::seed(file.header.incarnation);
        let bytes = window.get(self.vfs, file.offset(pos), BLOCK_FRAME_BYTES)?;
        let Some((seq, len)) = bytes.and_then(|bytes| frame::parse_block(bytes, pos, seed)) else {
            return Ok(Step::Bad("no block begins here"));
        };
        if self.seq.is_some_and(|last| seq != last + 1) {
            return Ok(Step::Bad("a block is missing before this one"));
        }
        if len > file.range_end() - pos {
            return Ok(Step::Bad("a block is longer than the file"));
        }
        self.seq = Some(seq);
        *block = Block { start: pos, end: pos + len };
        Ok(Step::To(pos + BLOCK_FRAME_BYTES as u64))
    }

    /// The frame at `pos`, in a block that ends at `block_end`.
    fn frame(&mut self, file: &Live, window: &mut Window<'_>, pos: u64, block_end: u64) -> Result<Step, RecoverError> {
        let rest = block_end - pos;
        if rest < FRAME_HEADER_BYTES as u64 {
            let zeros = window.get(self.vfs, file.offset(pos), rest as usize)?;
            let intact = zeros.is_some_and(|zeros| zeros.iter().all(|&byte| byte == 0));
            return Ok(if intact { Step::To(block_end) } else { Step::Bad("the padding of a block is not zero") });
        }
        let offset = file.offset(pos);
        let Some(len) = window.get(self.vfs, offset, FRAME_HEADER_BYTES)?.and_then(frame::claimed_len) else {
            return Ok(Step::Bad("a frame has no length"));
        };
        if len as u64 > rest {
            return Ok(Step::Bad("a frame is longer than its block"));
        }
        let seed = file::seed(file.header.incarnation);
        let bytes = window.get(self.vfs, offset, len)?;
        let Some(frame) = bytes.and_then(|bytes| frame::parse(bytes, pos, seed)) else {
            return Ok(Step::Bad("a frame fails its checksum"));
        };
        let end = pos + len as u64;
        let more = frame.flags & FLAG_MORE != 0;
        let (kind, start) = (frame.kind, pos + FRAME_HEADER_BYTES as u64);
        match kind {
            frame::KIND_BLOCK => return Ok(Step::Bad("a block begins inside another")),
            frame::KIND_PAD if end != block_end => return Ok(Step::Bad("a block goes on behind its padding")),
            frame::KIND_PAD if frame.flags & FLAG_NEXT_FILE != 0 => {
                return Ok(Step::NextFile { on_disk: frame.flags & FLAG_NEXT_ON_DISK != 0 });
            }
            frame::KIND_PAD => {}
            _ if more || !self.group.is_empty() => {
                let payload = window.share(offset + FRAME_HEADER_BYTES as u64, len - FRAME_HEADER_BYTES);
                self.group.push(Waiting { kind, start, payload });
                if !more {
                    self.deliver_group();
                }
            }
            _ if pos >= self.from => {
                (self.visit)(Entry { kind, start: Lsn(start), end: Lsn(end), payload: frame.payload, more });
            }
            _ => {}
        }
        Ok(Step::To(end))
    }

    fn deliver_group(&mut self) {
        let last = self.group.len() - 1;
        for (index, waiting) in self.group.drain(..).enumerate() {
            if waiting.start >= self.from + FRAME_HEADER_BYTES as u64 {
                let (kind, start, payload) = (waiting.kind, Lsn(waiting.start), &waiting.payload[..]);
                let end = start.advance(payload.len() as u64);
                (self.visit)(Entry { kind, start, end, payload, more: index < last });
            }
        }
    }

    /// Whether something proves that a bad frame at `pos` had been confirmed.
    fn was_confirmed(
        &mut self,
        file: &Live,
        later: &[Live],
        window: &mut Window<'_>,
        pos: u64,
        reason: &'static str,
    ) -> Result<bool, RecoverError> {
        let incarnation = file.header.incarnation;
        if later.iter().any(|later| later.header.incarnation != incarnation) {
            return Ok(true);
        }
        let seed = file::seed(incarnation);
        let mut found = self.any_block(window, file.header.first_lsn, frame::align_up(pos + 1), seed)?;
        for later in later {
            let first = later.header.first_lsn;
            found = found || self.any_block(&mut Window::new(&later.path, later.size), first, first, seed)?;
        }
        if found && file.header.relaxed {
            tracing::warn!(path = file.path, lsn = pos, "{reason}; written without syncs, cut here with all behind it");
            found = false;
        }
        Ok(found)
    }

    /// A file whose header is unreadable must never have held anything.
    fn damaged(&mut self, damaged: &DamagedFile, incarnation: Option<u128>) -> Result<(), RecoverError> {
        let [a, b] = damaged.incarnations;
        for incarnation in [incarnation.unwrap_or(a), a, b] {
            let (first, seed) = (damaged.first_lsn, file::seed(incarnation));
            if self.any_block(&mut Window::new(&damaged.path, damaged.size), first, first, seed)? {
                let path = damaged.path.clone();
                let reason = "its header is unreadable";
                return (self.damage)(RecoverError::Corrupt { path, offset: 0, lsn: Lsn(first), reason });
            }
        }
        Ok(())
    }

    /// Whether a block of that seed begins in the file `first..` at `pos` or later.
    fn any_block(&mut self, window: &mut Window<'_>, first: u64, pos: u64, seed: u64) -> Result<bool, RecoverError> {
        let mut lsn = pos;
        while let Some(bytes) = window.get(self.vfs, FILE_HEADER_BYTES + (lsn - first), BLOCK_FRAME_BYTES)? {
            if frame::parse_block(bytes, lsn, seed).is_some() {
                return Ok(true);
            }
            lsn += ALIGN_BYTES;
        }
        Ok(false)
    }
}
