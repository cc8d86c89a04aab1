//! One socket. Edge-triggered: `readable` and `writable` stay set until the system says there is no more.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;

use mio::net::TcpStream;
use model::{Now, SessionId, SessionState};
use node::Node;

/// Reads of one connection in one round; then the others have their turn.
const READS_PER_ROUND: usize = 4;
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
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::HungUp => f.write_str("the peer hung up"),
            End::TooSlow => f.write_str("the peer was too slow to read its last answers"),
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
        for _ in 0..READS_PER_ROUND {
            if !self.readable || self.full || !node.may_read(self.session) || node.state(self.session) != SessionState::Open {
                return Ok(false);
            }
            self.read_once(node, buffer, limit, now)?;
        }
        Ok(self.readable && !self.full && node.may_read(self.session))
    }

    /// Read behind what is held, offer all of it, and hold what is not used.
    fn read_once(&mut self, node: &mut Node, buffer: &mut [u8], limit: usize, now: Now) -> Result<(), End> {
        let needed = node.input_needed(self.session);
        // What is held is copied to the front of the buffer, where it is short; else the new bytes go behind it.
        let front = if self.held.len() * 2 < buffer.len() { self.held.len() } else { 0 };
        let room = &mut buffer[front..];
        let room_len = room.len().min(limit);
        let room = &mut room[..room_len];
        let count = match self.stream.read(room) {
            Ok(0) => return Err(End::HungUp),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(End::Failed(error)),
        };
        if count < room_len && !self.read_closed {
            self.readable = false;
        }
        if front == self.held.len() && front + count >= needed {
            buffer[..front].copy_from_slice(&self.held);
            let all = &buffer[..front + count];
            let used = node.receive(self.session, all, now);
            self.keep_slice(&all[used..], node.input_needed(self.session));
        } else {
            self.held.extend_from_slice(&buffer[front..front + count]);
            if self.held.len() >= needed {
                let held = std::mem::take(&mut self.held);
                let used = node.receive(self.session, &held, now);
                self.keep(held, used, node.input_needed(self.session));
            }
        }
        Ok(())
    }

    fn keep(&mut self, mut held: Vec<u8>, used: usize, needed: usize) {
        if used == 0 {
            self.held = held;
            self.judge(needed);
        } else if used == held.len() && held.capacity() <= HELD_BYTES_KEPT {
            held.clear();
            self.held = held;
            self.judge(needed);
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
        self.judge(needed);
    }

    fn judge(&mut self, needed: usize) {
        let held = self.held.len();
        self.offer_again = held > 0 && held >= needed;
        self.full = held >= if needed == 0 { HELD_BYTES_UNKNOWN } else { needed };
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
