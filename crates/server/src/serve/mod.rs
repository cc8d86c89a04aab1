//! The serve loop: one thread, one edge-triggered epoll, one node.
//!
//! Each round waits for sockets, finished disk work or a time-out; reads what has arrived, in fair shares;
//! lets the node take its turn; and writes what came of it. Nothing here knows a protocol.
//!
//! # Layout
//! - [`Server`] (here): the rounds, and who is served in which
//! - [`connection`]: one socket's two directions
//! - [`listener`]: listening sockets
//! - [`signals`]: what to stop by, and what not
//! - [`open_files`]: the limit on descriptors

mod connection;
mod listener;
mod open_files;
mod signals;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};
use model::{Now, SessionId, SessionState};
use node::{Node, Peer, Protocol};
use slab::Slab;

use crate::clock::Clock;
use connection::{BUFFER_BYTES, Connection, End};
pub use listener::{BindError, Listeners, Speaks};
pub use open_files::raise as raise_open_files;
pub use signals::Signals;

/// Unused input of all connections together at which each is read in small pieces only.
const HELD_BYTES_HIGH: usize = 64 * 1024 * 1024;
/// Unused input of all connections together, beyond which those that hold more than their share of it are closed.
const HELD_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What is read at once from a connection while `HELD_BYTES_HIGH` is passed.
const READ_BYTES_LOW: usize = 4 * 1024;
/// Further turns of the node in one round, while it has more to hand out.
const REFILLS_PER_ROUND: usize = 4;
/// New connections taken in one round.
const ACCEPTS_PER_ROUND: usize = 64;
/// How long to wait before accepting again after the system had no descriptor to give.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often connections that fell quiet give back their buffers.
const SWEEP_MS: u64 = 1_000;
/// How long a closing connection may take to read what it was sent.
const CLOSING_MS: u64 = 10_000;
/// How long a closed connection's input is still read and thrown away: closing a socket with unread input resets
/// it, and the peer might never see why it was closed.
const LINGER_MS: u64 = 2_000;
/// When stopping: how long clients may take to answer that they are being closed ...
const FAREWELL_MS: u64 = 3_000;
/// ... and how long stopping may take altogether.
const STOP_MS: u64 = 10_000;

const WAKE: Token = Token(usize::MAX);
const LISTENERS: usize = usize::MAX - 1_000;

/// The epoll instance and the waker that disk threads and signals use. Made before the node, which needs the waker.
pub struct Loop {
    poll: Poll,
    waker: Arc<Waker>,
}

impl Loop {
    /// # Errors
    /// The system has no descriptors to give.
    pub fn new() -> io::Result<Loop> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Loop { poll, waker })
    }

    /// Wakes the loop from any thread.
    #[must_use]
    pub fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || {
            // Fails only if the loop is gone, and then nobody needs to be woken.
            let _ = waker.wake();
        })
    }
}

/// Why the loop ended without having been asked to, or not as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Stopped(#[from] node::Stopped),
    #[error(transparent)]
    NotDurable(#[from] node::NotDurable),
    #[error("cannot wait for sockets: {0}")]
    Poll(#[source] io::Error),
}

/// A node and its sockets.
pub struct Server {
    poll: Poll,
    node: Node,
    clock: Clock,
    signals: Signals,
    listeners: Listeners,
    connections_max: usize,
    connections: Slab<Connection>,
    by_session: HashMap<SessionId, usize, foldhash::fast::RandomState>,
    buffer: Box<[u8]>,
    /// Connections to be read or offered their held input in the next round, each once.
    ready: Vec<usize>,
    /// Connections that may hold buffers they no longer need, each once.
    warm: Vec<usize>,
    sweep_at: Option<u64>,
    /// Connections to be dropped when their time is over. Stale entries name a session that is gone.
    deadlines: BinaryHeap<Reverse<(u64, usize, SessionId)>>,
    /// Listeners have connections to take; `Some(later)`: not before then.
    accept_at: Option<u64>,
    refusing: bool,
    /// Invariant: the sum of the connections' held input.
    held_bytes: usize,
    /// When stopping began.
    stopping_since: Option<u64>,
}

impl Server {
    /// Everything is ready: listeners are bound, the node has recovered. From here on whoever connects is served.
    ///
    /// # Errors
    /// Somebody else listens on one of the addresses.
    pub fn new(
        event_loop: Loop,
        node: Node,
        clock: Clock,
        signals: Signals,
        mut listeners: Listeners,
        connections_max: usize,
    ) -> Result<Server, BindError> {
        listeners.listen(event_loop.poll.registry(), LISTENERS)?;
        Ok(Server {
            poll: event_loop.poll,
            node,
            clock,
            signals,
            listeners,
            connections_max,
            connections: Slab::new(),
            by_session: HashMap::default(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            ready: Vec::new(),
            warm: Vec::new(),
            sweep_at: None,
            deadlines: BinaryHeap::new(),
            accept_at: Some(0),
            refusing: false,
            held_bytes: 0,
            stopping_since: None,
        })
    }

    /// Serve until told to stop by a signal; then drain, sync and close.
    ///
    /// # Errors
    /// The journal failed: nothing may be confirmed any more, the process must go.
    pub fn run(mut self) -> Result<(), ServeError> {
        let mut events = Events::with_capacity(1_024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ServeError::Poll(error)),
            }
            let now = self.clock.now();
            self.note(&events, now);
            self.accept(now);
            self.read(now);
            self.node.turn(now)?;
            self.write(now);
            self.refill(now)?;
            self.expire(now);
            if self.stop(now) {
                break;
            }
        }
        let open = self.connections.len();
        self.connections.clear();
        self.tell_lengths();
        self.node.close()?;
        tracing::info!(connections_cut = open, "stopped");
        Ok(())
    }

    /// How long the core was busy at a stretch: who looks for the cause of slow answers finds it here.
    fn tell_lengths(&self) {
        let lengths = self.node.statistics().lengths;
        let (turn, request) = (lengths.longest_turn, lengths.longest_request);
        tracing::info!(
            longest_turn_us = turn.us,
            by = turn.what,
            p999_turn_us = lengths.turns.quantile_us(0.999),
            longest_request_us = request.us,
            asked = request.what,
            p999_request_us = lengths.requests.quantile_us(0.999),
            "the core's stretches of work"
        );
        for longest in self.node.longest() {
            tracing::debug!(what = longest.what, longest_us = longest.us, "one of the core's stretches of work");
        }
    }

    /// Where consumers lag, those whose sockets took all they were given get more before publishers are read again: a round
    /// reads more from one connection than it lets wait for another, and a queue would grow though its consumer could keep up.
    fn refill(&mut self, now: Now) -> Result<(), ServeError> {
        for _ in 0..REFILLS_PER_ROUND {
            if !self.node.lags() {
                break;
            }
            self.node.turn(now)?;
            self.write(now);
        }
        Ok(())
    }

    /// How long to wait at most: not at all while something is left to do.
    fn timeout(&self) -> Option<Duration> {
        if self.node.busy() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let accept_at = if self.stopping_since.is_none() { self.accept_at } else { None };
        // While stopping, look often: the loop ends by several conditions, and nothing wakes it for the last of them.
        let stop_at = self.stopping_since.map(|_| self.clock.now().mono_ms + 20);
        let deadline = self.deadlines.peek().map(|Reverse((at, ..))| *at);
        let next = [self.node.poll_timeout(), accept_at, self.sweep_at, deadline, stop_at].into_iter().flatten().min()?;
        // One more, so that a time-out in the middle of a millisecond is not met a little too early, again and again.
        let now = self.clock.now().mono_ms;
        Some(if next <= now { Duration::ZERO } else { Duration::from_millis(next - now + 1) })
    }

    fn note(&mut self, events: &Events, now: Now) {
        for event in events {
            let Token(key) = event.token();
            if event.token() == WAKE {
                continue;
            }
            if key >= LISTENERS {
                self.accept_at = Some(now.mono_ms);
                continue;
            }
            // An event can be left over from a connection that was closed in this very batch.
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let broken = event.is_error() || event.is_write_closed();
            if broken && !connection.lingering && !self.node.may_read(connection.session) {
                // Nobody would notice by reading: a publisher that was held back has died.
                self.drop_connection(key, &End::HungUp, now);
                continue;
            }
            if event.is_readable() || event.is_read_closed() || broken {
                connection.readable = true;
                connection.read_closed |= event.is_read_closed() || broken;
                enqueue(&mut self.ready, connection, key);
            }
            if event.is_writable() {
                connection.writable = true;
                self.write_one(key, now);
            }
        }
    }

    // ---- accepting

    fn accept(&mut self, now: Now) {
        if self.stopping_since.is_some() || self.accept_at.is_none_or(|at| at > now.mono_ms) {
            return;
        }
        self.accept_at = None;
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listeners.accept() {
                Ok(Some((stream, address, speaks))) => self.admit(stream, address, &speaks, now),
                Ok(None) => return,
                Err(error) => {
                    // No descriptors or no memory, most likely: it passes, and those connected are not to suffer.
                    if !std::mem::replace(&mut self.refusing, true) {
                        tracing::error!(%error, connections = self.connections.len(), "cannot accept connections, trying again");
                    }
                    self.accept_at = Some(now.mono_ms + ACCEPT_PAUSE_MS);
                    return;
                }
            }
        }
        self.accept_at = Some(now.mono_ms);
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream, address: SocketAddr, speaks: &Speaks, now: Now) {
        if self.connections.len() >= self.connections_max {
            if !std::mem::replace(&mut self.refusing, true) {
                tracing::error!(
                    limit = self.connections_max,
                    "too many connections, closing new ones: raise --connections-max, or the limit on open files (ulimit -n)"
                );
            }
            return;
        }
        self.refusing = false;
        // A small frame must not wait for the acknowledgement of the one before it.
        let protocol = match stream.set_nodelay(true).and_then(|()| protocol(speaks, &stream)) {
            Ok(protocol) => protocol,
            Err(error) => {
                tracing::debug!(peer = %address, %error, "connection lost before it began");
                return;
            }
        };
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(key), interest) {
            tracing::error!(peer = %address, %error, "cannot watch a new connection");
            return;
        }
        let peer = Peer { address: address.to_string(), loopback: address.ip().to_canonical().is_loopback() };
        let session = self.node.connect(protocol, peer, now);
        tracing::debug!(session = session.0, peer = %address, "connection opened");
        entry.insert(Connection::new(stream, session));
        self.by_session.insert(session, key);
    }

    // ---- reading

    fn read(&mut self, now: Now) {
        let share = HELD_BYTES_MAX / self.connections.len().max(1);
        for key in std::mem::take(&mut self.ready) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.queued = false;
            if !connection.warm {
                connection.warm = true;
                self.warm.push(key);
                self.sweep_at.get_or_insert(now.mono_ms + SWEEP_MS);
            }
            connection.active = true;
            let limit = if self.held_bytes < HELD_BYTES_HIGH { BUFFER_BYTES } else { READ_BYTES_LOW };
            self.held_bytes -= connection.held_bytes();
            let outcome = connection.read(&mut self.node, &mut self.buffer, limit, now);
            self.held_bytes += connection.held_bytes();
            let held = connection.held_bytes();
            if self.held_bytes > HELD_BYTES_MAX && held > share {
                tracing::warn!(held_bytes = held, "connections hold too much of unfinished requests, closing one");
                self.drop_connection(key, &End::HeldTooMuch, now);
                continue;
            }
            match outcome {
                Ok(true) => enqueue(&mut self.ready, connection, key),
                Ok(false) => {}
                Err(end) => self.drop_connection(key, &end, now),
            }
        }
    }

    // ---- writing

    fn write(&mut self, now: Now) {
        while let Some(session) = self.node.poll_changed() {
            let Some(&key) = self.by_session.get(&session) else { continue };
            self.write_one(key, now);
            if let Some(connection) = self.connections.get_mut(key)
                && connection.wants_turn(&self.node)
            {
                enqueue(&mut self.ready, connection, key);
            }
        }
    }

    fn write_one(&mut self, key: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.lingering {
            return;
        }
        connection.active = true;
        if !connection.warm {
            connection.warm = true;
            self.warm.push(key);
            self.sweep_at.get_or_insert(now.mono_ms + SWEEP_MS);
        }
        if let Err(end) = connection.write(&mut self.node) {
            self.drop_connection(key, &end, now);
            return;
        }
        let session = connection.session;
        if self.node.state(session) == SessionState::Open {
            return;
        }
        if !connection.closing {
            connection.closing = true;
            self.deadlines.push(Reverse((now.mono_ms + CLOSING_MS, key, session)));
        }
        if self.node.output(session).is_none_or(|output| output.is_empty()) {
            self.linger(key, now);
        }
    }

    /// The session is over and its last words are sent: wait a little for the peer to hang up.
    fn linger(&mut self, key: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let session = connection.session;
        self.node.disconnect(session, now);
        self.by_session.remove(&session);
        tracing::debug!(session = session.0, "connection closed");
        self.held_bytes -= connection.held_bytes();
        if connection.linger() {
            self.deadlines.push(Reverse((now.mono_ms + LINGER_MS, key, session)));
            enqueue(&mut self.ready, connection, key);
        } else {
            self.connections.remove(key);
        }
    }

    /// The peer is gone.
    fn drop_connection(&mut self, key: usize, end: &End, now: Now) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        self.accept_soon(now);
        if connection.lingering {
            return;
        }
        let session = connection.session;
        self.held_bytes -= connection.held_bytes();
        self.by_session.remove(&session);
        self.node.disconnect(session, now);
        tracing::debug!(session = session.0, reason = %end, "connection lost");
    }

    /// A descriptor has become free.
    fn accept_soon(&mut self, now: Now) {
        if let Some(at) = &mut self.accept_at {
            *at = now.mono_ms.min(*at);
        }
    }

    // ---- time

    fn expire(&mut self, now: Now) {
        while let Some(Reverse((at, key, session))) = self.deadlines.peek().copied() {
            if at > now.mono_ms {
                break;
            }
            self.deadlines.pop();
            if self.connections.get(key).is_some_and(|connection| connection.session == session) {
                self.drop_connection(key, &End::TooSlow, now);
            }
        }
        if self.sweep_at.is_some_and(|at| at <= now.mono_ms) {
            self.sweep(now);
        }
    }

    /// Connections that did nothing since the last sweep give back their buffers.
    fn sweep(&mut self, now: Now) {
        let (connections, node) = (&mut self.connections, &mut self.node);
        self.warm.retain(|&key| {
            let Some(connection) = connections.get_mut(key) else { return false };
            if std::mem::take(&mut connection.active) {
                return true;
            }
            connection.shrink(node);
            connection.warm = false;
            false
        });
        self.sweep_at = (!self.warm.is_empty()).then_some(now.mono_ms + SWEEP_MS);
    }

    /// Follow a stop that was asked for; true when it is done.
    fn stop(&mut self, now: Now) -> bool {
        let signals = self.signals.stops();
        let Some(since) = self.stopping_since else {
            if signals > 0 {
                tracing::info!(connections = self.connections.len(), "stopping: closing connections");
                self.stopping_since = Some(now.mono_ms);
                self.listeners.close();
                self.node.shutdown(now);
                self.write(now);
            }
            return false;
        };
        let elapsed = now.mono_ms - since;
        if elapsed >= STOP_MS || signals > 1 {
            tracing::warn!(idle = self.node.idle(), "stopping without waiting any longer");
            return true;
        }
        if !self.node.idle() {
            return false;
        }
        self.by_session.is_empty() || (elapsed >= FAREWELL_MS && self.flushed())
    }

    fn flushed(&mut self) -> bool {
        let node = &mut self.node;
        self.by_session.keys().all(|session| node.output(*session).is_none_or(|output| output.is_empty()))
    }
}

/// What this connection speaks.
fn protocol(speaks: &Speaks, stream: &mio::net::TcpStream) -> io::Result<Protocol> {
    Ok(match speaks {
        Speaks::Amqp => Protocol::Amqp,
        Speaks::Kafka { advertised: Some(at) } => Protocol::Kafka { host: at.host.clone(), port: at.port },
        Speaks::Kafka { advertised: None } => {
            let here = stream.local_addr()?;
            Protocol::Kafka { host: here.ip().to_canonical().to_string(), port: here.port() }
        }
    })
}

fn enqueue(ready: &mut Vec<usize>, connection: &mut Connection, key: usize) {
    if !std::mem::replace(&mut connection.queued, true) {
        ready.push(key);
    }
}
