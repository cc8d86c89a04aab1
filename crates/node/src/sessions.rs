//! Connections and their output.

use std::collections::VecDeque;
use std::sync::Arc;

use amqp::AmqpSession;
use broker::Sink;
use kafka::KafkaSession;
use model::{Complaint, Event, Identity, Lsn, Now, Output, Session, SessionId, SessionState, limits};
use slab::Slab;

use crate::greeting;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: String,
    /// It is on this machine.
    pub loopback: bool,
}

impl Peer {
    /// The address without its port.
    fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(&self.address, |(host, _)| host)
    }
}

/// What a connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Amqp,
    Kafka {
        /// Where clients reach this broker, as they are told: the address they came by, or another that leads here.
        host: String,
        port: u16,
    },
}

/// What the sessions of each protocol have in common.
pub(crate) struct Common {
    pub amqp: Arc<amqp::SessionOptions>,
    pub kafka: Arc<kafka::SessionOptions>,
}

pub(crate) struct Connection {
    generation: u32,
    /// The other end's address, for people.
    pub peer: Box<str>,
    /// What it speaks, for people.
    speaks: &'static str,
    /// What it was taken for by its first bytes, if that is something else.
    foreign: Option<&'static str>,
    /// Its first bytes were used.
    greeted: bool,
    /// The log has it that its peer was let in.
    announced: bool,
    opened_ms: u64,
    pub session: Box<dyn Session>,
    pub output: Output,
    /// It has published: it is made to wait when publishers must.
    pub publishes: bool,
    /// Something it was answered is safe only from here on; 0: nothing is awaited.
    awaits: Lsn,
    /// Stands in `awaiting`.
    awaiting: bool,
    /// Stands in `changed`.
    changed: bool,
    /// So much output waits that it is handed nothing more, or not listened to, until most of it is sent.
    pub paused: bool,
    /// Output was sent since the last look.
    pub takes: bool,
}

/// All connections of a node.
#[derive(Default)]
pub(crate) struct Sessions {
    connections: Slab<Connection>,
    generation: u32,
    changed: VecDeque<SessionId>,
    awaiting: Vec<SessionId>,
    /// Sessions that were answered late, and may have more to ask.
    answered: Vec<SessionId>,
    /// The moment of the current turn.
    pub now: Now,
}

impl Sessions {
    pub fn open(&mut self, protocol: Protocol, peer: &Peer, common: &Common, seed: u64, now: Now) -> SessionId {
        let speaks = match protocol {
            Protocol::Amqp => greeting::AMQP,
            Protocol::Kafka { .. } => greeting::KAFKA,
        };
        let session: Box<dyn Session> = match protocol {
            Protocol::Amqp => Box::new(AmqpSession::new(common.amqp.clone(), seed, now)),
            Protocol::Kafka { host, port } => {
                let ends = kafka::Ends { client_host: peer.host().to_owned(), host, port };
                Box::new(KafkaSession::new(common.kafka.clone(), ends, seed, now))
            }
        };
        self.generation = self.generation.wrapping_add(1);
        let connection = Connection {
            generation: self.generation,
            peer: peer.address.as_str().into(),
            speaks,
            foreign: None,
            greeted: false,
            announced: false,
            opened_ms: now.mono_ms,
            session,
            output: Output::default(),
            publishes: false,
            awaits: Lsn(0),
            awaiting: false,
            changed: false,
            paused: false,
            takes: false,
        };
        let key = self.connections.insert(connection);
        SessionId(u64::from(self.generation) << 32 | key as u64)
    }

    pub fn get(&self, id: SessionId) -> Option<&Connection> {
        let generation = (id.0 >> 32) as u32;
        self.connections.get(id.0 as u32 as usize).filter(|connection| connection.generation == generation)
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Connection> {
        let generation = (id.0 >> 32) as u32;
        self.connections.get_mut(id.0 as u32 as usize).filter(|connection| connection.generation == generation)
    }

    pub fn remove(&mut self, id: SessionId) {
        if self.get(id).is_some() {
            self.connections.remove(id.0 as u32 as usize);
        }
    }

    pub fn ids(&self) -> Vec<SessionId> {
        let id = |(key, connection): (usize, &Connection)| SessionId(u64::from(connection.generation) << 32 | key as u64);
        self.connections.iter().map(id).collect()
    }

    /// The roof should look at this connection.
    pub fn mark_changed(&mut self, id: SessionId) {
        if let Some(connection) = self.get_mut(id)
            && !connection.changed
        {
            connection.changed = true;
            self.changed.push_back(id);
        }
    }

    pub fn poll_changed(&mut self) -> Option<SessionId> {
        let now = self.now;
        while let Some(id) = self.changed.pop_front() {
            if let Some(connection) = self.get_mut(id) {
                connection.changed = false;
                connection.log(now);
                return Some(id);
            }
        }
        None
    }

    /// The session was answered something that is safe only once the journal is durable up to `lsn`.
    pub fn await_durable(&mut self, id: SessionId, lsn: Lsn) {
        let Some(connection) = self.get_mut(id) else { return };
        connection.awaits = connection.awaits.max(lsn);
        if !connection.awaiting {
            connection.awaiting = true;
            self.awaiting.push(id);
        }
    }

    /// A session that was answered late.
    pub fn poll_answered(&mut self) -> Option<SessionId> {
        self.answered.pop()
    }

    /// Tell everybody who waits how far the journal is durable.
    pub fn durable(&mut self, lsn: Lsn) {
        let mut awaiting = std::mem::take(&mut self.awaiting);
        awaiting.retain(|id| {
            self.send(*id, Event::Durable(lsn));
            let Some(connection) = self.get_mut(*id) else { return false };
            connection.awaiting = connection.awaits > lsn;
            connection.awaiting
        });
        self.awaiting = awaiting;
    }

    /// Call the sessions whose time-outs are due. `held`: publishers are not read from.
    pub fn timeouts(&mut self, now: Now, held: bool) {
        let due = |connection: &Connection| connection.session.poll_timeout().is_some_and(|at| at <= now.mono_ms);
        let keys: Vec<usize> = self.connections.iter().filter(|(_, connection)| due(connection)).map(|(key, _)| key).collect();
        for key in keys {
            let connection = &mut self.connections[key];
            // One that takes none of what fills its output is not heard either, and is dead after a while.
            let takes = std::mem::take(&mut connection.takes);
            if connection.is_held(held) || (!connection.has_room() && takes) {
                connection.session.not_heard(now);
            }
            connection.session.timeout(now, &mut connection.output);
            let id = SessionId(u64::from(connection.generation) << 32 | key as u64);
            self.mark_changed(id);
        }
    }
}

impl Connection {
    /// Whether there is room for answers to what more input would ask.
    pub fn has_room(&self) -> bool {
        self.output.len() < 2 * limits::OUTPUT_BYTES_HIGH
    }

    /// Look at the first bytes of what comes, to be able to say what they are.
    pub fn look(&mut self, input: &[u8]) {
        if !self.greeted && self.foreign.is_none() {
            self.foreign = greeting::foreign(self.speaks, input);
        }
    }

    pub fn used(&mut self, bytes: usize) {
        self.greeted |= bytes > 0;
    }

    /// Tell the log what is new: that its peer was let in, and what that did wrong, each once.
    pub fn log(&mut self, now: Now) {
        if !self.announced && !self.session.identity().host.is_empty() {
            self.announced = true;
            let Identity { user, host, name } = self.session.identity();
            let name = known(name);
            tracing::info!(peer = &*self.peer, protocol = self.speaks, user, vhost = host, name, "connection opened");
        }
        while let Some(complaint) = self.session.poll_complaint() {
            self.log_complaint(&complaint, now);
        }
    }

    fn log_complaint(&self, complaint: &Complaint, now: Now) {
        let Complaint { text, code, operation, ends_connection } = complaint;
        let (peer, protocol) = (&*self.peer, self.speaks);
        let Identity { user, host, name } = self.session.identity();
        let [user, vhost, name, operation] = [user, host, name, operation].map(known);
        let code = (*code != 0).then_some(*code);
        if let Some(foreign) = self.foreign {
            tracing::warn!(
                peer,
                protocol,
                "connection refused: the client seems to speak {foreign}, and this port speaks {protocol}"
            );
        } else if *ends_connection && vhost.is_none() {
            tracing::warn!(peer, protocol, user, name, code, operation, reason = text, "connection ended before it was opened");
        } else if *ends_connection {
            let duration_ms = now.mono_ms.saturating_sub(self.opened_ms);
            tracing::warn!(peer, protocol, user, vhost, name, code, operation, duration_ms, reason = text, "connection ended");
        } else {
            tracing::warn!(peer, protocol, user, vhost, name, code, operation, reason = text, "channel error");
        }
    }

    /// It is gone.
    pub fn log_end(&mut self, now: Now) {
        self.log(now);
        let (peer, protocol) = (&*self.peer, self.speaks);
        let Identity { user, host, name } = self.session.identity();
        let [user, vhost, name] = [user, host, name].map(known);
        let duration_ms = now.mono_ms.saturating_sub(self.opened_ms);
        let orderly = self.state() == SessionState::Closing;
        if self.announced {
            let reason = if orderly { "closed in order" } else { "the peer hung up, or was lost" };
            tracing::info!(peer, protocol, user, vhost, name, duration_ms, reason, "connection closed");
        } else if self.greeted && !orderly {
            tracing::info!(peer, protocol, user, name, duration_ms, "connection lost before it was opened");
        } else {
            // Whoever only looks whether the port is open is no news.
            tracing::debug!(peer, protocol, duration_ms, "connection closed before it was opened");
        }
    }

    /// Whether it must wait while publishers are held.
    pub fn is_held(&self, held: bool) -> bool {
        held && self.publishes
    }

    pub fn state(&self) -> SessionState {
        self.session.state()
    }
}

/// A name that is not there is left out of a line.
fn known(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

impl Sink for Sessions {
    fn send(&mut self, id: SessionId, event: Event<'_>) -> usize {
        let now = self.now;
        match &event {
            Event::Reply(reply) => {
                if let Some(lsn) = reply.durable_at() {
                    self.await_durable(id, lsn);
                }
                self.answered.push(id);
            }
            Event::Failed(_) => self.answered.push(id),
            _ => {}
        }
        let Some(connection) = self.get_mut(id) else { return 0 };
        connection.session.handle(event, now, &mut connection.output);
        let waiting = connection.output.len();
        connection.paused |= waiting >= limits::OUTPUT_BYTES_HIGH;
        if !connection.changed {
            connection.changed = true;
            self.changed.push_back(id);
        }
        waiting
    }
}
