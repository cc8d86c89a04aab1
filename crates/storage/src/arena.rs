//! Transient records in memory: append-only chunks, each freed when its last record is settled.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::LogId;

enum Body {
    Growing(Vec<u8>),
    Frozen(Bytes),
    Freed,
}

struct Chunk {
    body: Body,
    live: u32,
    /// The logs with records in it, for paging out.
    logs: Vec<LogId>,
}

/// Chunks in order; a position is `chunk number << 32 | offset in the chunk`.
pub(crate) struct Arena {
    chunk_bytes: usize,
    chunks: VecDeque<Chunk>,
    /// Number of the first chunk in `chunks`.
    first: u64,
    bytes: usize,
    spare: Option<Vec<u8>>,
}

impl Arena {
    pub fn new(chunk_bytes: usize) -> Arena {
        Arena { chunk_bytes, chunks: VecDeque::new(), first: 0, bytes: 0, spare: None }
    }

    /// Bytes of all chunks that are not freed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the chunk that grows.
    pub fn current(&self) -> u64 {
        self.first + (self.chunks.len() as u64).saturating_sub(1)
    }

    /// Room for a record of `len` bytes, referred to `users` times; `fill` appends exactly that.
    pub fn append(&mut self, len: usize, users: u32, fill: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let fits =
            matches!(self.chunks.back(), Some(Chunk { body: Body::Growing(bytes), .. }) if bytes.len() + len <= bytes.capacity());
        if !fits {
            self.freeze();
            let chunk_bytes = self.chunk_bytes;
            let body = if len > chunk_bytes {
                Vec::with_capacity(len)
            } else {
                self.spare.take().unwrap_or_else(|| Vec::with_capacity(chunk_bytes))
            };
            self.bytes += body.capacity();
            self.chunks.push_back(Chunk { body: Body::Growing(body), live: 0, logs: Vec::new() });
        }
        let number = self.current();
        let Some(Chunk { body: Body::Growing(bytes), live, .. }) = self.chunks.back_mut() else {
            unreachable!("the last chunk grows");
        };
        let offset = bytes.len();
        fill(bytes);
        debug_assert_eq!(bytes.len() - offset, len);
        *live += users;
        // A record with a chunk of its own can be shared at once.
        if len > self.chunk_bytes / 4 {
            self.freeze();
        }
        number << 32 | offset as u64
    }

    fn freeze(&mut self) {
        if let Some(chunk) = self.chunks.back_mut()
            && let Body::Growing(bytes) = &mut chunk.body
        {
            let bytes = std::mem::take(bytes);
            if chunk.live == 0 {
                self.bytes -= bytes.capacity();
                chunk.body = Body::Freed;
                self.recycle(bytes);
            } else {
                chunk.body = Body::Frozen(Bytes::from(bytes));
            }
        }
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() == self.chunk_bytes {
            bytes.clear();
            self.spare = Some(bytes);
        }
    }

    /// Note that `log` has a record in the chunk that grows.
    pub fn enter(&mut self, log: LogId) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.logs.push(log);
        }
    }

    pub fn read(&self, position: u64, len: usize) -> Option<(&[u8], Option<&Bytes>)> {
        let chunk = self.chunks.get((position >> 32).checked_sub(self.first)? as usize)?;
        let offset = position as u32 as usize;
        match &chunk.body {
            Body::Growing(bytes) => Some((bytes.get(offset..offset + len)?, None)),
            Body::Frozen(bytes) => Some((bytes.get(offset..offset + len)?, Some(bytes))),
            Body::Freed => None,
        }
    }

    /// One reference to a record in the chunk of `position` is gone.
    pub fn release(&mut self, position: u64) {
        let Some(index) = (position >> 32).checked_sub(self.first) else { return };
        let last = self.chunks.len() as u64 == index + 1;
        let Some(chunk) = self.chunks.get_mut(index as usize) else { return };
        chunk.live -= 1;
        if chunk.live > 0 {
            return;
        }
        match std::mem::replace(&mut chunk.body, Body::Freed) {
            Body::Growing(bytes) if last => chunk.body = Body::Growing(bytes),
            Body::Growing(bytes) => self.bytes -= bytes.capacity(),
            Body::Frozen(bytes) => {
                self.bytes -= bytes.len().max(if bytes.len() <= self.chunk_bytes { self.chunk_bytes } else { 0 });
                if let Ok(bytes) = bytes.try_into_mut() {
                    self.recycle(bytes.into());
                }
            }
            Body::Freed => {}
        }
        while self.chunks.len() > 1 && matches!(self.chunks.front(), Some(Chunk { body: Body::Freed, .. })) {
            self.chunks.pop_front();
            self.first += 1;
        }
    }

    /// The logs of the oldest chunk with records in it, other than the one that grows.
    pub fn oldest_logs(&self) -> Option<(u64, &[LogId])> {
        let index = self.chunks.iter().position(|chunk| matches!(chunk.body, Body::Frozen(_)))?;
        Some((self.first + index as u64, &self.chunks[index].logs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK_BYTES: usize = 256 * 1024;

    #[test]
    fn memory_comes_back_when_everything_is_released() {
        let mut arena = Arena::new(CHUNK_BYTES);
        let mut positions = VecDeque::new();
        for round in 0..200_000u32 {
            let len = 100 + round as usize % 900;
            positions.push_back((arena.append(len, 1, |out| out.resize(out.len() + len, round as u8)), len, round as u8));
            if round % 3 != 0 {
                let (position, len, byte) = positions.pop_front().unwrap();
                let (bytes, _) = arena.read(position, len).unwrap();
                assert!(bytes.iter().all(|&b| b == byte));
                arena.release(position);
            }
        }
        assert!(arena.bytes() > 30_000_000);
        for (position, _, _) in positions {
            arena.release(position);
        }
        assert!(arena.bytes() <= 2 * CHUNK_BYTES, "{} bytes are left", arena.bytes());
    }

    #[test]
    fn a_large_record_gets_a_chunk_of_its_own() {
        let mut arena = Arena::new(CHUNK_BYTES);
        let position = arena.append(1_000_000, 2, |out| out.resize(out.len() + 1_000_000, 7));
        assert!(arena.read(position, 1_000_000).unwrap().1.is_some());
        arena.release(position);
        assert!(arena.read(position, 1_000_000).is_some());
        arena.release(position);
        assert!(arena.read(position, 1_000_000).is_none());
    }
}
