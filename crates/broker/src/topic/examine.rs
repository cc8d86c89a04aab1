//! Looking into a batch before it is kept: can its records be read, and are they what its head says?
//!
//! Whoever reads it later unpacks it too, and stops there for ever where that cannot be done. What costs little is looked into
//! at once; what may hold the core up (a large packed batch, a small one that unpacks to much, one that is to be packed in
//! another way) is worked out on `vfs`'s own lane for that: its session waits, and then asks again.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use foldhash::fast::FixedState;
use model::record::{BatchHead, HEADER_BYTES, attribute};
use model::{BadRecord, BadRecordCause, Event, Failure, LogFailure, Reply, SessionId, limits};
use vfs::{Completion, Compute, Done, Job, Lane, Token, Vfs};

use super::records::{DECOMPRESSED_BYTES_MAX, Packing, repack, unpack};
use crate::broker::{Broker, Sink};

/// A packed batch of at most so many bytes, which unpacks to at most so many, is looked into at once. Few in tests, so that
/// there are others.
const AT_ONCE_BYTES_MAX: usize = if cfg!(test) { 2 * 1024 } else { 64 * 1024 };
const AT_ONCE_UNPACKED_BYTES_MAX: u64 = 8 * AT_ONCE_BYTES_MAX as u64;
/// Of what is not packed no more is looked at than lengths: so many records at once.
const AT_ONCE_RECORDS_MAX: i32 = if cfg!(test) { 256 } else { 64 * 1024 };
/// What is unpacked at a time.
const WINDOW_BYTES: usize = 64 * 1024;
/// Batches being looked into beside the core, and their bytes; other sessions wait for their turn.
const UNDER_WAY_MAX: usize = 256;
const UNDER_WAY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a partition takes: which records are to be named where it does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub keys: bool,
    /// The earliest and the latest time; `None`: any.
    pub times_ms: Option<(i64, i64)>,
}

impl Rules {
    fn broken_by(self, time_ms: i64, has_key: bool) -> Option<BadRecordCause> {
        if self.keys && !has_key {
            return Some(BadRecordCause::NoKey);
        }
        let (earliest_ms, latest_ms) = self.times_ms.filter(|_| time_ms != NO_TIME)?;
        let allowed = (earliest_ms..=latest_ms).contains(&time_ms);
        (!allowed).then_some(BadRecordCause::Time { ms: time_ms, earliest_ms, latest_ms })
    }
}

/// What the records of a batch say, where they are as many as its head says, one offset each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Examined {
    /// Their latest time; -1: none has one.
    pub newest_ms: i64,
    /// The earliest time of those that have one.
    pub oldest_ms: Option<i64>,
    /// Some record has no key.
    pub keyless: bool,
    /// Those that break the rules, [`limits::BAD_RECORDS_MAX`] at most.
    pub bad: Vec<BadRecord>,
}

impl Examined {
    /// As the head has it.
    fn believed(head: &BatchHead) -> Examined {
        let newest_ms = head.max_timestamp_ms;
        Examined { newest_ms, oldest_ms: (newest_ms != NO_TIME).then_some(newest_ms), keyless: false, bad: Vec::new() }
    }
}

/// A batch that may be kept.
#[derive(Clone, Debug)]
pub(super) struct Sound {
    pub records: Examined,
    /// It is to be kept packed in this way.
    pub repacked: Option<Bytes>,
}

/// Why a batch is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It unpacks to more than it may.
    TooMuch,
    Malformed,
    /// There are more records than the head says.
    MoreRecords,
    /// The offsets do not count up from 0.
    Offsets,
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Failure {
        let text = match unfit {
            Unfit::TooMuch => "the batch unpacks to more than 128 MiB",
            Unfit::Malformed => "the records are malformed: they cannot be unpacked, or are not as many or as long as they say",
            Unfit::MoreRecords => "more records than the batch says",
            Unfit::Offsets => "the records' offsets are not consecutive",
        };
        Failure::LogBecause { failure: LogFailure::InvalidRecord, text: text.into() }
    }
}

impl From<io::Error> for Unfit {
    fn from(_: io::Error) -> Unfit {
        Unfit::Malformed
    }
}

/// A record without a time.
const NO_TIME: i64 = -1;

/// Bytes of a record, wherever they come from.
trait Source {
    fn byte(&mut self) -> io::Result<u8>;
    fn skip(&mut self, len: u64) -> io::Result<()>;
    fn left(&self) -> u64;
}

/// A record that lies in memory as a whole.
impl Source for &[u8] {
    fn byte(&mut self) -> io::Result<u8> {
        let (&byte, rest) = self.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        *self = rest;
        Ok(byte)
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        *self = self.get(len..).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }

    fn left(&self) -> u64 {
        self.len() as u64
    }
}

/// A record of which a part is unpacked at a time.
impl<R: BufRead> Source for io::Take<R> {
    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.fill_buf()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.consume(1);
        Ok(byte)
    }

    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let here = self.fill_buf()?.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            if here == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.consume(here);
            len -= here as u64;
        }
        Ok(())
    }

    fn left(&self) -> u64 {
        self.limit()
    }
}

fn varint(from: &mut impl Source) -> io::Result<i64> {
    let mut bits = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = from.byte()?;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Pass over a length and so many bytes; `false`: there is nothing, not even of length 0.
fn skip_nullable(from: &mut impl Source) -> io::Result<bool> {
    match varint(from)? {
        -1 => Ok(false),
        len => from.skip(u64::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?).map(|()| true),
    }
}

/// What of a record is of interest.
struct Seen {
    timestamp_delta: i64,
    offset_delta: i64,
    has_key: bool,
}

/// Read one record, all of it.
fn see(mut record: impl Source) -> io::Result<Seen> {
    let record = &mut record;
    record.byte()?;
    let (timestamp_delta, offset_delta) = (varint(record)?, varint(record)?);
    let has_key = skip_nullable(record)?;
    skip_nullable(record)?;
    // Each takes two bytes at least: the loop ends with the record, whatever it says.
    for _ in 0..u64::try_from(varint(record)?).map_err(|_| io::ErrorKind::InvalidData)? {
        if !skip_nullable(record)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        skip_nullable(record)?;
    }
    if record.left() > 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Seen { timestamp_delta, offset_delta, has_key })
}

/// The next record of what is unpacked a window at a time; mostly it lies in the window as a whole.
fn see_next(reader: &mut BufReader<impl Read>) -> io::Result<Seen> {
    let mut window = reader.fill_buf()?;
    let before = window.len();
    if let Ok(len) = varint(&mut window)
        && let Some(record) = usize::try_from(len).ok().and_then(|len| window.get(..len))
    {
        let seen = see(record)?;
        let used = before - window.len() + record.len();
        reader.consume(used);
        return Ok(seen);
    }
    let len = u64::try_from(varint(&mut reader.take(u64::MAX))?).map_err(|_| io::ErrorKind::InvalidData)?;
    see(reader.take(len))
}

/// What there is to see in the records of a batch.
struct Tally {
    head: BatchHead,
    rules: Rules,
    next_offset: i64,
    examined: Examined,
}

impl Tally {
    fn new(head: &BatchHead, rules: Rules) -> Tally {
        let examined = Examined { newest_ms: NO_TIME, oldest_ms: None, keyless: false, bad: Vec::new() };
        Tally { head: *head, rules, next_offset: 0, examined }
    }

    fn add(&mut self, seen: &Seen) -> Result<(), Unfit> {
        if seen.offset_delta != self.next_offset {
            return Err(Unfit::Offsets);
        }
        self.next_offset += 1;
        let time_ms = self.head.base_timestamp_ms.saturating_add(seen.timestamp_delta);
        let Examined { newest_ms, oldest_ms, keyless, bad } = &mut self.examined;
        *keyless |= !seen.has_key;
        if let Some(why) = self.rules.broken_by(time_ms, seen.has_key)
            && bad.len() < limits::BAD_RECORDS_MAX
        {
            bad.push(BadRecord { index: seen.offset_delta as u32, why });
        }
        if time_ms != NO_TIME {
            *newest_ms = (*newest_ms).max(time_ms);
            *oldest_ms = Some(oldest_ms.map_or(time_ms, |oldest| oldest.min(time_ms)));
        }
        Ok(())
    }
}

/// Look into a batch. Nothing of it is kept but one window, and the block that a codec has in hand.
///
/// # Errors
/// [`Unfit`].
fn examine(batch: &[u8], head: &BatchHead, rules: Rules, unpacked_bytes_max: u64) -> Result<Examined, Unfit> {
    let packed = batch.get(HEADER_BYTES..head.len).ok_or(Unfit::Malformed)?;
    if head.attributes & attribute::COMPRESSION == 0 {
        return examine_plain(packed, head, rules);
    }
    let mut tally = Tally::new(head, rules);
    // One more: where that is reached, there is too much.
    let mut reader = BufReader::with_capacity(WINDOW_BYTES, unpack(packed, head.attributes)?.take(unpacked_bytes_max + 1));
    for _ in 0..head.records {
        match see_next(&mut reader) {
            Ok(seen) => tally.add(&seen)?,
            Err(_) if reader.get_ref().limit() == 0 => return Err(Unfit::TooMuch),
            Err(_) => return Err(Unfit::Malformed),
        }
    }
    let more = !reader.fill_buf()?.is_empty();
    match reader.get_ref().limit() {
        0 => Err(Unfit::TooMuch),
        _ if more => Err(Unfit::MoreRecords),
        _ => Ok(tally.examined),
    }
}

fn examine_plain(mut records: &[u8], head: &BatchHead, rules: Rules) -> Result<Examined, Unfit> {
    let mut tally = Tally::new(head, rules);
    for _ in 0..head.records {
        let len = usize::try_from(varint(&mut records)?).map_err(|_| Unfit::Malformed)?;
        let (record, rest) = records.split_at_checked(len).ok_or(Unfit::Malformed)?;
        records = rest;
        tally.add(&see(record)?)?;
    }
    if records.is_empty() { Ok(tally.examined) } else { Err(Unfit::MoreRecords) }
}

/// Look into a batch, and pack it in another way where that is asked for.
fn examine_and_repack(batch: &[u8], head: &BatchHead, rules: Rules, packing: Option<Packing>) -> Result<Sound, Unfit> {
    let records = examine(batch, head, rules, DECOMPRESSED_BYTES_MAX)?;
    let repacked = packing.map(|packing| repack(batch, head, packing)).transpose().map_err(|_| Unfit::Malformed)?;
    Ok(Sound { records, repacked: repacked.map(Bytes::from) })
}

/// How much is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How it is to be kept; `None`: as it is.
    pub packing: Option<Packing>,
    /// The heads of packed batches are believed.
    pub believed: bool,
    pub rules: Rules,
}

/// A batch that a session has asked for.
struct UnderWay {
    session: SessionId,
    /// The batch's checksum and length, so that it is not taken for another.
    is: (u32, usize),
    packing: Option<Packing>,
}

/// Batches that are being looked into beside the core.
#[derive(Default)]
pub(crate) struct Examinations {
    next: Token,
    under_way: HashMap<Token, UnderWay, FixedState>,
    bytes: usize,
    /// To be handed in.
    jobs: Vec<(Token, Compute)>,
    /// What was found, for a session that has not asked again yet.
    found: HashMap<SessionId, (UnderWay, Result<Sound, Unfit>), FixedState>,
    /// Sessions for whose batch there is no room.
    waiting: VecDeque<SessionId>,
    /// Sessions that are to ask again.
    ready: Vec<SessionId>,
}

impl Examinations {
    fn has_room(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX && self.bytes < UNDER_WAY_BYTES_MAX
    }

    fn begin(&mut self, session: SessionId, batch: &[u8], head: &BatchHead, Asked { packing, rules, .. }: Asked) {
        if !self.has_room() {
            self.waiting.push_back(session);
            return;
        }
        let (batch, head) = (Bytes::copy_from_slice(batch), *head);
        self.next += 1;
        self.bytes += batch.len();
        self.under_way.insert(self.next, UnderWay { session, is: identity(&batch), packing });
        self.jobs.push((self.next, Compute::new(move || examine_and_repack(&batch, &head, rules, packing))));
    }

    fn end(&mut self, completion: Completion) {
        let Some(done) = self.under_way.remove(&completion.token) else { return };
        self.bytes -= done.is.1;
        let session = done.session;
        // Where nothing was worked out, asking again begins it anew.
        if let Ok(Done::Computed(found)) = completion.result
            && let Ok(found) = found.downcast()
        {
            self.found.insert(session, (done, *found));
        }
        self.ready.push(session);
        // Each may take up all the room again.
        self.ready.extend(self.waiting.pop_front().filter(|_| self.has_room()));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let Examinations { next: _, under_way, bytes, jobs, found, waiting, ready } = self;
        let lists = [jobs.is_empty(), found.is_empty(), waiting.is_empty(), ready.is_empty(), under_way.is_empty()];
        *bytes == 0 && lists == [true; 5]
    }

    /// The session is gone.
    pub fn forget(&mut self, session: SessionId) {
        self.found.remove(&session);
        self.waiting.retain(|other| *other != session);
    }
}

fn identity(batch: &[u8]) -> (u32, usize) {
    let crc = batch.get(17..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |crc| u32::from_be_bytes(*crc));
    (crc, batch.len())
}

impl Broker {
    /// Look into a batch. `None`: the session is told when to ask again.
    pub(super) fn examine(
        &mut self,
        session: SessionId,
        batch: &[u8],
        head: &BatchHead,
        asked: Asked,
    ) -> Result<Option<Sound>, Failure> {
        let Asked { packing, believed, rules } = asked;
        let examinations = &mut self.topics.examinations;
        if let Some((of, found)) = examinations.found.remove(&session)
            && of.is == identity(batch)
            && of.packing == packing
        {
            return Ok(Some(found?));
        }
        let packed = head.attributes & attribute::COMPRESSION != 0;
        let sound = |records| Ok(Some(Sound { records, repacked: None }));
        if packing.is_none() {
            if packed && believed {
                return sound(Examined::believed(head));
            }
            let little = if packed { batch.len() <= AT_ONCE_BYTES_MAX } else { head.records <= AT_ONCE_RECORDS_MAX };
            match little.then(|| examine(batch, head, rules, AT_ONCE_UNPACKED_BYTES_MAX)) {
                None | Some(Err(Unfit::TooMuch)) => {}
                Some(found) => return sound(found?),
            }
        }
        examinations.begin(session, batch, head, asked);
        Ok(None)
    }

    /// Hand in what is to be worked out beside the core.
    pub fn submit_work(&mut self, vfs: &mut dyn Vfs) {
        for (token, work) in self.topics.examinations.jobs.drain(..) {
            vfs.submit(Lane::Compute, token, Job::Compute(work));
        }
    }

    /// Something was worked out.
    pub fn worked_out(&mut self, completion: Completion) {
        self.topics.examinations.end(completion);
    }

    /// Something is being worked out.
    #[must_use]
    pub fn works(&self) -> bool {
        !self.topics.examinations.under_way.is_empty()
    }

    /// Have those ask again whose batches were looked into, or who have room for it now.
    pub(crate) fn answer_examined(&mut self, sink: &mut impl Sink) {
        let examinations = &mut self.topics.examinations;
        // One that was told of room may have gone without taking it.
        if examinations.under_way.is_empty() {
            examinations.ready.extend(examinations.waiting.drain(..));
        }
        for session in std::mem::take(&mut examinations.ready) {
            if self.sessions.contains_key(&session) {
                sink.send(session, Event::Reply(Reply::Again));
            } else {
                self.topics.examinations.forget(session);
            }
        }
    }
}

#[cfg(test)]
mod tests;
