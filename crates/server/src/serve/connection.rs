//! One socket. Edge-triggered: `readable` and `writable` stay set until the system says there is no more.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::ops::Range;

use mio::net::TcpStream;
use model::{Now, SessionId, SessionState};
use node::Node;

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// Reads of one connection in one round; then the others have their turn.
const READS_PER_ROUND: usize = 4;
/// Room for the input of a round.
pub const BUFFER_BYTES: usize = READS_PER_ROUND * READ_BYTES;
/// Unused input that is moved to the front of the buffer before the next read.
const MOVED_BYTES_MAX: usize = 8 * 1024;
/// Slices handed to one write.
const SLICES_PER_WRITE: usize = 64;
/// Capacity that an active connection may keep for its unused input.
const HELD_BYTES_KEPT: usize = 4 * 1024;
/// Unused input of a session that does not say how much it needs, at which reading stops.
const HELD_BYTES_UNKNOWN: usize = 64 * 1024;

/// Why a connection is over.
#[derive(Debug)]
pub enum End {
    HungUp,
    TooSlow,
    HeldTooMuch,
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::HungUp => f.write_str("the peer hung up"),
            End::TooSlow => f.write_str("the peer was too slow to read its last answers"),
            End::HeldTooMuch => f.write_str("all connections together hold too much of unfinished requests"),
            End::Failed(error) => error.fmt(f),
        }
    }
}

/// A socket, and what belongs to it on this side of the node.
pub struct Connection {
    stream: TcpStream,
    pub session: SessionId,
    /// Input that the session has not used yet.
    held: Vec<u8>,
    /// `held` may be used as it is once the session has changed: it does not merely lack the rest of a frame.
    offer_again: bool,
    /// So much is held that reading on would not help the session.
    full: bool,
    pub readable: bool,
    pub writable: bool,
    /// No more than what has arrived will come: a short read does not mean that an event follows.
    pub read_closed: bool,
    /// Stands in the server's list `ready`.
    pub queued: bool,
    /// Stands in the server's list `warm`.
    pub warm: bool,
    /// Was served since the last sweep.
    pub active: bool,
    /// The session is closing; its output is still being sent.
    pub closing: bool,
    /// The session is gone; input is thrown away until the peer hangs up.
    pub lingering: bool,
}

impl Connection {
    #[must_use]
    pub fn new(stream: TcpStream, session: SessionId) -> Connection {
        Connection {
            stream,
            session,
            held: Vec::new(),
            offer_again: false,
            full: false,
            readable: false,
            // The first write finds out.
            writable: true,
            read_closed: false,
            queued: false,
            warm: false,
            active: false,
            closing: false,
            lingering: false,
        }
    }

    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The session has changed: has this connection something to do in the next round?
    #[must_use]
    pub fn wants_turn(&self, node: &Node) -> bool {
        !self.lingering && (self.offer_again || (self.readable && node.may_read(self.session)))
    }

    /// Offer held input again, then read. `Ok(true)`: there is more for the next round.
    ///
    /// # Errors
    /// The connection is over.
    pub fn read(&mut self, node: &mut Node, buffer: &mut [u8], limit: usize, now: Now) -> Result<bool, End> {
        if self.lingering {
            return self.discard(buffer);
        }
        if self.offer_again {
            let held = std::mem::take(&mut self.held);
            let used = node.receive(self.session, &held, now);
            self.keep(held, used, node.input_needed(self.session));
        }
        // What the session has not used stays in the buffer while this connection has its turn, and is held after it.
        let mut unused = 0..0;
        for _ in 0..READS_PER_ROUND {
            if !self.readable || self.full || !node.may_read(self.session) || node.state(self.session) != SessionState::Open {
                break;
            }
            if unused.len() >= buffer.len() / 2 {
                self.keep_slice(&buffer[std::mem::take(&mut unused)], node.input_needed(self.session));
            }
            if self.held.len() >= buffer.len() / 2 {
                self.read_behind_held(node, buffer, limit, now)?;
            } else {
                self.read_once(node, buffer, &mut unused, limit, now)?;
            }
        }
        if self.held.is_empty() {
            self.keep_slice(&buffer[unused], node.input_needed(self.session));
        }
        let open = node.state(self.session) == SessionState::Open;
        Ok(open && self.readable && !self.full && node.may_read(self.session))
    }

    /// Read behind what is unused, and offer all of it.
    fn read_once(
        &mut self,
        node: &mut Node,
        buffer: &mut [u8],
        unused: &mut Range<usize>,
        limit: usize,
        now: Now,
    ) -> Result<(), End> {
        // Little is moved to the front, where the buffer is in the processor's caches; much is read behind.
        if unused.len() < MOVED_BYTES_MAX || buffer.len() - unused.end < READ_BYTES {
            buffer.copy_within(unused.clone(), 0);
            *unused = 0..unused.len();
        }
        let at = unused.end + self.held.len();
        let to = buffer.len().min(at + READ_BYTES.min(limit));
        let count = self.receive(&mut buffer[at..to])?;
        if count == 0 {
            return Ok(());
        }
        if !self.held.is_empty() {
            // Then nothing else is unused.
            buffer[..at].copy_from_slice(&self.held);
            self.held.clear();
        }
        unused.end = at + count;
        if unused.len() >= node.input_needed(self.session) {
            unused.start += node.receive(self.session, &buffer[unused.clone()], now);
        }
        self.judge(unused.len(), node.input_needed(self.session));
        Ok(())
    }

    /// So much is held that it is not copied: read into the buffer, add that, and offer all of it.
    fn read_behind_held(&mut self, node: &mut Node, buffer: &mut [u8], limit: usize, now: Now) -> Result<(), End> {
        let needed = node.input_needed(self.session);
        // What comes behind the frame would only make the room for it too small.
        let missing = needed.checked_sub(self.held.len()).filter(|missing| *missing > 0).unwrap_or(READ_BYTES);
        let to = READ_BYTES.min(limit).min(buffer.len()).min(missing);
        let count = self.receive(&mut buffer[..to])?;
        hold(&mut self.held, &buffer[..count], needed);
        if self.held.len() >= needed {
            let held = std::mem::take(&mut self.held);
            let used = node.receive(self.session, &held, now);
            self.keep(held, used, node.input_needed(self.session));
        }
        Ok(())
    }

    /// Read from the socket. 0: nothing was there.
    fn receive(&mut self, room: &mut [u8]) -> Result<usize, End> {
        match self.stream.read(room) {
            Ok(0) => Err(End::HungUp),
            Ok(count) => {
                if count < room.len() && !self.read_closed {
                    self.readable = false;
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(End::Failed(error)),
        }
    }

    fn keep(&mut self, mut held: Vec<u8>, used: usize, needed: usize) {
        if used == 0 {
            self.held = held;
            self.judge(self.held.len(), needed);
        } else if used == held.len() && held.capacity() <= HELD_BYTES_KEPT {
            held.clear();
            self.held = held;
            self.judge(0, needed);
        } else {
            self.held = Vec::new();
            self.keep_slice(&held[used..], needed);
        }
    }

    fn keep_slice(&mut self, rest: &[u8], needed: usize) {
        if self.held.capacity() > HELD_BYTES_KEPT {
            self.held = Vec::new();
        }
        self.held.clear();
        self.held.extend_from_slice(rest);
        self.judge(rest.len(), needed);
    }

    fn judge(&mut self, unused: usize, needed: usize) {
        self.offer_again = unused > 0 && unused >= needed;
        self.full = unused >= if needed == 0 { HELD_BYTES_UNKNOWN } else { needed };
    }

    /// Send what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is over.
    pub fn write(&mut self, node: &mut Node) -> Result<(), End> {
        let mut sent = false;
        while self.writable {
            let Some(output) = node.output(self.session) else { break };
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let filled = output.slices(&mut slices);
            if filled == 0 {
                break;
            }
            let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(count) => {
                    self.writable = count == offered;
                    output.advance(count);
                    sent = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
        }
        if sent {
            node.sent(self.session);
        }
        Ok(())
    }

    /// Say that nothing more will be sent. False: the peer is gone already.
    pub fn linger(&mut self) -> bool {
        self.lingering = true;
        self.offer_again = false;
        self.held = Vec::new();
        self.readable = true;
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    fn discard(&mut self, buffer: &mut [u8]) -> Result<bool, End> {
        for _ in 0..READS_PER_ROUND {
            match self.stream.read(buffer) {
                Ok(0) => return Err(End::HungUp),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
        }
        Ok(true)
    }

    /// Give back memory that a quiet connection does not need.
    pub fn shrink(&mut self, node: &mut Node) {
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        if !self.lingering
            && let Some(output) = node.output(self.session)
        {
            output.shrink();
        }
    }
}

/// Hold more input. There is room for the `needed` bytes of a frame as they come, and never for more than twice of what has
/// arrived: what a frame says of its length is not believed. The last move to a larger room is from one of half the frame.
fn hold(held: &mut Vec<u8>, more: &[u8], needed: usize) {
    let len = held.len() + more.len();
    if len > held.capacity() {
        let mut room = needed.max(len);
        while room / 2 >= len {
            room = room.div_ceil(2);
        }
        held.reserve_exact(room - held.len());
    }
    held.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_frame_as_it_comes_and_no_more() {
        let frame = vec![7; 12 << 20];
        for needed in [frame.len(), 100 << 20, 0] {
            let (mut held, mut moves, mut rooms) = (Vec::new(), 0, Vec::new());
            for part in frame.chunks(READ_BYTES) {
                let before = held.capacity();
                hold(&mut held, part, needed);
                moves += usize::from(held.capacity() != before);
                rooms.push(held.capacity());
                let room = held.capacity();
                assert!(room <= 2 * held.len() && room <= needed.max(held.len()), "{room} for {} of {needed}", held.len());
            }
            assert_eq!(held, frame);
            assert!(needed == 0 || moves <= 8, "moved {moves} times");
            assert!(needed != frame.len() || rooms.contains(&(needed / 2)), "{rooms:?}");
        }
    }
}
