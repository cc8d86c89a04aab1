//! Bytes on their way to a socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Parts larger than this begin a new buffer, so that a long queue never has to be moved.
const PART_BYTES: usize = 256 * 1024;

enum Part {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Copied(bytes) => bytes,
            Part::Shared(bytes) => bytes,
        }
    }
}

/// An ordered run of bytes to be sent. Small things are copied in, large ones are shared slices.
#[derive(Default)]
pub struct Output {
    parts: VecDeque<Part>,
    /// Bytes of the first part that have been sent.
    sent: usize,
    /// Invariant: the sum of the parts' lengths less `sent`.
    len: usize,
}

impl Output {
    /// Bytes that wait to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Append whatever `write` puts at the end of the buffer it is given. It must only append.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = matches!(self.parts.back(), Some(Part::Copied(last)) if last.len() < PART_BYTES);
        if !fits {
            self.parts.push_back(Part::Copied(Vec::new()));
        }
        if let Some(Part::Copied(last)) = self.parts.back_mut() {
            let before = last.len();
            write(last);
            self.len += last.len() - before;
        }
    }

    /// Append a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.write(|buffer| buffer.extend_from_slice(bytes));
    }

    /// Append a slice without copying it.
    pub fn share(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(Part::Shared(bytes));
        }
    }

    /// Move the first `count` waiting bytes behind those of `to`. Slices stay slices.
    pub fn move_front(&mut self, count: usize, to: &mut Output) {
        let mut left = count;
        while left > 0 {
            let sent = self.sent;
            let moved = match self.parts.front() {
                Some(Part::Copied(bytes)) => {
                    let moved = left.min(bytes.len() - sent);
                    to.put(&bytes[sent..sent + moved]);
                    moved
                }
                Some(Part::Shared(bytes)) => {
                    let moved = left.min(bytes.len() - sent);
                    to.share(bytes.slice(sent..sent + moved));
                    moved
                }
                None => unreachable!("more was moved than waited"),
            };
            self.advance(moved);
            left -= moved;
        }
    }

    /// Fill `slices` with what comes first, for a vectored write; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (index, part) in self.parts.iter().enumerate() {
            let Some(slot) = slices.get_mut(filled) else { break };
            let bytes = part.bytes();
            let rest = if index == 0 { bytes.get(self.sent..).unwrap_or_default() } else { bytes };
            if !rest.is_empty() {
                *slot = IoSlice::new(rest);
                filled += 1;
            }
        }
        filled
    }

    /// The first `count` waiting bytes were sent.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "more was sent than waited");
        self.len -= count;
        let mut sent = self.sent + count;
        while let Some(first) = self.parts.front_mut() {
            let length = first.bytes().len();
            if sent < length {
                break;
            }
            sent -= length;
            // Keep one modest buffer for reuse, so that a busy connection does not allocate.
            if self.parts.len() == 1
                && let Some(Part::Copied(buffer)) = self.parts.front_mut()
                && buffer.capacity() <= 2 * PART_BYTES
            {
                buffer.clear();
                sent = 0;
                break;
            }
            self.parts.pop_front();
        }
        self.sent = sent;
    }

    /// Give back memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.parts = VecDeque::new();
            self.sent = 0;
        }
    }

    /// All waiting bytes in one piece, leaving nothing. For tests and the simulator.
    pub fn take(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        for (index, part) in self.parts.drain(..).enumerate() {
            let skip = if index == 0 { self.sent } else { 0 };
            all.extend_from_slice(part.bytes().get(skip..).unwrap_or_default());
        }
        self.sent = 0;
        self.len = 0;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_keeps_its_order() {
        let (mut from, mut to) = (Output::default(), Output::default());
        from.put(b"abc");
        from.share(Bytes::from_static(b"defgh"));
        from.put(b"ij");
        to.put(b"-");
        for count in [2, 0, 3, 1, 4] {
            from.move_front(count, &mut to);
        }
        assert!(from.is_empty());
        assert_eq!(to.take(), b"-abcdefghij");
        from.put(b"k");
        assert_eq!(from.take(), b"k");
    }

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_cuts() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for round in 0..50u8 {
            output.put(&[round; 33]);
            expected.extend_from_slice(&[round; 33]);
            output.share(Bytes::from(vec![round ^ 0xff; 17]));
            expected.extend_from_slice(&[round ^ 0xff; 17]);
        }
        let mut got = Vec::new();
        let mut step = 1;
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = output.slices(&mut slices);
            let mut sent = 0;
            for slice in &slices[..filled] {
                let take = slice.len().min(step - sent);
                got.extend_from_slice(&slice[..take]);
                sent += take;
            }
            output.advance(sent);
            step = step % 97 + 13;
        }
        assert_eq!(got, expected);
    }
}
