//! One connection, of whatever protocol, as a state machine without I/O.

use crate::{Event, Now, Output, Request};

/// Where a session stands, as far as its connection must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Alive: read from the socket, send what is in the output.
    Open,
    /// Read no more; send what is in the output, then close the socket.
    Closing,
}

/// Why a session would not go on with its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// In the words that the peer was told, where it was. They may quote it.
    pub text: String,
    /// The number that it was told; 0: none.
    pub code: u16,
    /// What it had asked for, in its protocol's words; empty where that is not known.
    pub operation: &'static str,
    /// The whole connection is over, not only a part of it.
    pub ends_connection: bool,
}

/// Whom a session serves, as its peer says. For people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Who has logged in, or wants to.
    pub user: &'a str,
    /// The virtual host. Empty: the peer was not let in yet.
    pub host: &'a str,
    /// What the client calls itself, or this connection; empty where it does not say.
    pub name: &'a str,
}

/// One connection of one protocol. The node calls it; it never calls anybody.
///
/// The order of a turn: `poll_request` until it returns `None`, each request answered with
/// `handle(Event::Reply | Event::Failed)` before the next is polled; `handle` for what other
/// sessions and the journal caused; `timeout` when `poll_timeout` is due.
pub trait Session {
    /// Parse the next request from the front of `input` and move `input` past what was used.
    ///
    /// `None`: more bytes are needed, or an answer is awaited (`Reply::Pending`), or the session is
    /// closing. Bytes left in `input` are offered again, with more behind them. Never panics,
    /// whatever the bytes; errors of the peer are answered through `out`.
    fn poll_request<'a>(&'a mut self, input: &mut &'a [u8], now: Now, out: &mut Output) -> Option<Request<'a>>;

    /// Hear of something. Answers go to `out`.
    fn handle(&mut self, event: Event<'_>, now: Now, out: &mut Output);

    /// When `timeout` wants to be called, in [`Now::mono_ms`].
    fn poll_timeout(&self) -> Option<u64>;

    /// The moment of `poll_timeout` has come: heartbeats, handshakes that take too long.
    fn timeout(&mut self, now: Now, out: &mut Output);

    /// What the peer says is not being read just now: that it is silent means nothing.
    fn not_heard(&mut self, _now: Now) {}

    /// What there is to complain about since the last call, for the log.
    fn poll_complaint(&mut self) -> Option<Complaint> {
        None
    }

    /// Whom it serves, as far as that is known.
    fn identity(&self) -> Identity<'_> {
        Identity::default()
    }

    fn state(&self) -> SessionState;

    /// The smallest input worth offering: 0, or the length of the frame that has begun to arrive.
    fn input_needed(&self) -> usize {
        0
    }
}
