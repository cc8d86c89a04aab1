//! Answers on their way out: one as it is put together, and those that wait for the disk, in the order of their requests.

use std::collections::VecDeque;

use bytes::Bytes;
use model::{Lsn, Output, limits};

use crate::codec::ApiKey;
use crate::codec::frame::{self, SIZE_BYTES};

/// Answers that may wait in one session before nothing further is asked.
const WAITING_MAX: usize = 4096;
/// What a session keeps of its buffer between two answers, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// A frame: bytes of its own, and slices of shared buffers between them.
#[derive(Default)]
pub(super) struct Frame {
    pub bytes: Vec<u8>,
    /// What stands before which place of `bytes`, in order.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

impl Frame {
    /// Begin a response: its size, to be known later, and its header. What was there is gone.
    pub fn begin(&mut self, key: ApiKey, version: i16, correlation_id: i32) {
        self.begin_bare();
        frame::put_response_header(&mut self.bytes, key, version, correlation_id);
    }

    /// Begin a frame without a header.
    pub fn begin_bare(&mut self) {
        self.bytes.clear();
        self.shared.clear();
        self.shared_len = 0;
        frame::put_size(&mut self.bytes, 0);
    }

    /// Append record bytes, as a slice where that is worth it.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < limits::SHARED_SLICE_BYTES_MIN {
            self.bytes.extend_from_slice(&bytes);
        } else {
            self.shared_len += bytes.len();
            self.shared.push((self.bytes.len(), bytes));
        }
    }

    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_len
    }

    fn send(&mut self, out: &mut Output) {
        let size = (self.len() - SIZE_BYTES) as i32;
        if let Some(place) = self.bytes.first_chunk_mut::<SIZE_BYTES>() {
            *place = size.to_be_bytes();
        }
        let mut from = 0;
        for (at, bytes) in self.shared.drain(..) {
            out.put(self.bytes.get(from..at).unwrap_or_default());
            out.share(bytes);
            from = at;
        }
        out.put(self.bytes.get(from..).unwrap_or_default());
        self.shared_len = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Answers that wait until what they say is safe. Those behind them wait too: the order of the requests is kept.
#[derive(Default)]
pub(super) struct Answers {
    held: Output,
    /// For each answer from where on it is safe, and how many bytes of `held` it has.
    /// Invariant: the lengths add up to that of `held`.
    waiting: VecDeque<(Lsn, usize)>,
    durable: Lsn,
}

impl Answers {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// So much waits that nothing further must be asked.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX || self.held.len() >= limits::OUTPUT_BYTES_HIGH
    }

    /// Answer with this frame, once `safe_at` is durable.
    pub fn put(&mut self, frame: &mut Frame, safe_at: Lsn, out: &mut Output) {
        if self.waiting.is_empty() && safe_at <= self.durable {
            frame.send(out);
            return;
        }
        self.waiting.push_back((safe_at, frame.len()));
        frame.send(&mut self.held);
    }

    /// Everything before `durable` is safe.
    pub fn durable(&mut self, durable: Lsn, out: &mut Output) {
        self.durable = self.durable.max(durable);
        let mut sent = 0;
        while let Some(&(safe_at, len)) = self.waiting.front()
            && safe_at <= self.durable
        {
            sent += len;
            self.waiting.pop_front();
        }
        self.held.move_front(sent, out);
        if self.waiting.is_empty() {
            self.held.shrink();
        }
    }
}
