//! One AMQP connection as a state machine: bytes in, requests out; events in, bytes out.
//!
//! # Layout
//! - this file: the session and its turn
//! - `handshake`: from the protocol header to `open-ok`, and the rest of class connection
//! - `publish`: messages on their way in
//! - `consume`: those who wait for messages: consumers and their ends
//! - `method`: every other method of a channel
//! - `reply`: the broker's answers
//! - `deliver`: messages on their way out
//! - `close`: how channels and connections end when something goes wrong
//! - `channel`, `timers`, `errors`: what the above are made of

use std::sync::Arc;

use model::{Complaint, Event, Identity, Lsn, Now, Output, Publish, Random, Request, Scope, Session, SessionState, Table};

use crate::codec::frame::{self, Frame, HEARTBEAT, METHOD, Split};
use crate::codec::{basic, channel as channel_class, connection};
use crate::stream::Scratch;
use crate::translate::{self, Envelope};

mod channel;
mod close;
mod consume;
mod deliver;
mod errors;
mod handshake;
mod method;
mod publish;
mod reply;
#[cfg(test)]
mod tests;
mod timers;

use channel::{Answer, Channel, ChannelState, Content, Expect};
use close::unexpected;
pub use errors::Code;
use errors::Fault;
use handshake::{Capabilities, Mechanism, Phase};
use reply::{Awaited, Kind};
use timers::{Due, Timers};

/// Largest frame before the limits are agreed on, in bytes.
const FRAME_MAX_BEFORE_TUNE: usize = 8192;
/// How long the end of a connection may take, in milliseconds.
const CLOSE_TIMEOUT_MS: u64 = 5_000;
/// How long a peer that failed to log in, or speaks nonsense before it has, is kept waiting.
const SILENCE_MS: u64 = 3_000;
/// Bytes of bodies that may be under assembly in one session.
const ASSEMBLY_BYTES_MAX: usize = 4 * model::limits::BODY_BYTES_MAX;
/// With more channels than this, their assembly buffers are given back after each message.
const KEPT_CONTENTS_MAX: usize = 16;

/// What the sessions of one listener have in common.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Yam's version, told to clients as information.
    pub version: String,
    pub cluster_name: String,
    /// Heartbeat interval offered, in seconds; the client picks. 0: none.
    pub heartbeat_s: u16,
    /// Largest frame offered, in bytes.
    pub frame_max: u32,
    /// Highest number of channels offered.
    pub channel_max: u16,
    /// From the first byte to `connection.open`, in milliseconds.
    pub handshake_timeout_ms: u64,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_name: "yam".to_owned(),
            heartbeat_s: 60,
            frame_max: 131_072,
            channel_max: 2047,
            handshake_timeout_ms: 10_000,
        }
    }
}

/// One AMQP 0-9-1 connection.
pub struct AmqpSession {
    options: Arc<SessionOptions>,
    phase: Phase,
    capabilities: Capabilities,
    mechanism: Mechanism,
    frame_max: usize,
    channel_max: u16,
    timers: Timers,
    /// Ascending by number.
    channels: Vec<Channel>,
    /// Scopes that the broker must be told are gone.
    scopes_to_close: Vec<u16>,
    /// The request that the broker has yet to answer.
    awaited: Awaited,
    /// A second request that belongs to the one answered last: see [`AmqpSession::consume_replies`].
    asks_next: Option<Awaited>,
    /// An answer that goes out once the journal has reached this position. Nothing is asked until then.
    held_until: Option<Lsn>,
    held_answer: Vec<u8>,
    /// What the next request borrows from: of a publish its envelope, of anything else its names.
    envelope: Envelope,
    /// Where deliveries from streams are put together.
    scratch: Scratch,
    names: [String; 3],
    /// A mandatory message that may have to be returned.
    kept: Option<Box<Content>>,
    /// Some channel may have an ack to send.
    acks_due: bool,
    blocked: Option<&'static str>,
    blocked_sent: bool,
    published: bool,
    /// For made-up consumer tags.
    random: Random,
    input_left: usize,
    input_needed: usize,
    /// What the log is to hear of, in order.
    complaints: Vec<Complaint>,
    peer: Option<Box<handshake::PeerNames>>,
}

/// A request, before it borrows from the session.
enum Asked<'i> {
    /// Borrows from the input only, or from nothing.
    Ready(Request<'i>),
    /// A publish that lies whole in the input.
    Publish { scope: Scope, exchange: &'i str, routing_key: &'i str, mandatory: bool, body: &'i [u8] },
    /// A publish put together in this channel.
    Assembled { channel: usize },
    /// The rest: the names are in [`AmqpSession::names`].
    Named { what: method::Named, arguments: Table },
}

enum Step<'i> {
    Ask(Asked<'i>),
    Again,
    /// So many bytes are needed; 0: something else must happen first.
    More(usize),
}

impl AmqpSession {
    /// A connection has been accepted. `seed` makes up consumer tags.
    #[must_use]
    pub fn new(options: Arc<SessionOptions>, seed: u64, now: Now) -> AmqpSession {
        AmqpSession {
            phase: Phase::Greeting,
            capabilities: Capabilities::default(),
            mechanism: Mechanism::Plain,
            frame_max: FRAME_MAX_BEFORE_TUNE,
            channel_max: options.channel_max,
            timers: Timers::new(now, options.handshake_timeout_ms),
            channels: Vec::new(),
            scopes_to_close: Vec::new(),
            awaited: Awaited::default(),
            asks_next: None,
            held_until: None,
            held_answer: Vec::new(),
            envelope: Envelope::default(),
            scratch: Scratch::default(),
            names: Default::default(),
            kept: None,
            acks_due: false,
            blocked: None,
            blocked_sent: false,
            published: false,
            random: Random(seed),
            input_left: 0,
            input_needed: 0,
            complaints: Vec::new(),
            peer: None,
            options,
        }
    }

    fn find(&self, number: u16) -> Result<usize, usize> {
        // Most connections use one channel, and most others number theirs from 1.
        let guess = usize::from(number).wrapping_sub(1);
        if self.channels.get(guess).is_some_and(|channel| channel.number == number) {
            return Ok(guess);
        }
        self.channels.binary_search_by_key(&number, |channel| channel.number)
    }

    fn open_channel(&mut self, number: u16) -> Option<&mut Channel> {
        let at = self.find(number).ok()?;
        self.channels.get_mut(at).filter(|channel| channel.state == ChannelState::Open)
    }

    /// Go on until the broker is needed or the input is used up.
    fn advance<'i>(&mut self, input: &mut &'i [u8], now: Now, out: &mut Output) -> Option<Asked<'i>> {
        self.input_needed = 0;
        loop {
            if self.awaited.kind != Kind::Nothing {
                return None;
            }
            if let Some(number) = self.scopes_to_close.pop() {
                self.awaited = Awaited::new(Kind::ScopeGone, number, (0, 0));
                return Some(Asked::Ready(Request::CloseScope { scope: Scope(number) }));
            }
            if self.held_until.is_some() {
                return None;
            }
            if let Some(declared) = self.asks_next.take() {
                return Some(self.consume_replies(declared));
            }
            let mut at = (0, (0, 0));
            match self.step(input, now, out, &mut at) {
                Ok(Step::Ask(asked)) => return Some(asked),
                Ok(Step::Again) => {}
                Ok(Step::More(needed)) => {
                    self.input_needed = needed;
                    return None;
                }
                Err(fault) => self.fail(at.0, fault.of(at.1), now, out),
            }
        }
    }

    /// Take one frame. `at` is told the channel and method, for errors.
    fn step<'i>(
        &mut self,
        input: &mut &'i [u8],
        now: Now,
        out: &mut Output,
        at: &mut (u16, (u16, u16)),
    ) -> Result<Step<'i>, Fault> {
        match self.phase {
            Phase::Greeting => return Ok(self.greet(input, now, out)),
            Phase::Silent | Phase::Closed => {
                *input = &[];
                return Ok(Step::More(0));
            }
            Phase::Deaf => {
                self.await_the_end_deaf(input);
                return Ok(Step::More(0));
            }
            _ => {}
        }
        let frame = match frame::split(input, self.frame_max)? {
            Split::Frame(frame) => frame,
            Split::Need(needed) => return Ok(Step::More(needed)),
        };
        at.0 = frame.channel;
        if frame.kind == METHOD {
            at.1 = publish::method_id(frame.payload);
        }
        if self.phase == Phase::Running && frame.channel != 0 {
            if at.1 == publish::PUBLISH
                && let Ok(index) = self.find(frame.channel)
                && self.channels[index].state == ChannelState::Open
                && self.channels[index].expect == Expect::Method
            {
                return self.publish(index, input, frame, out);
            }
            *input = input.get(frame.wire_len()..).unwrap_or_default();
            return self.channel_frame(frame, out);
        }
        *input = input.get(frame.wire_len()..).unwrap_or_default();
        if self.phase == Phase::Closing {
            self.await_the_end(frame, at.1, out);
            return Ok(Step::Again);
        }
        match frame.kind {
            HEARTBEAT if frame.channel == 0 && frame.payload.is_empty() => Ok(Step::Again),
            METHOD if frame.channel == 0 => self.connection_method(frame, now, out),
            _ => Err(unexpected(frame)),
        }
    }

    fn channel_frame<'i>(&mut self, frame: Frame<'i>, out: &mut Output) -> Result<Step<'i>, Fault> {
        if frame.kind == HEARTBEAT {
            return Err(unexpected(frame));
        }
        let Ok(index) = self.find(frame.channel) else {
            return self.unopened_channel_frame(frame);
        };
        let channel = &mut self.channels[index];
        if channel.state == ChannelState::Closing {
            match publish::method_id(frame.payload) {
                CHANNEL_CLOSE_OK if frame.kind == METHOD => {
                    self.channels.remove(index);
                }
                CHANNEL_CLOSE if frame.kind == METHOD => {
                    out.write(|out| frame::put_method(out, frame.channel, &channel_class::CloseOk {}));
                }
                _ => {}
            }
            return Ok(Step::Again);
        }
        match (channel.expect, frame.kind) {
            (Expect::Method, METHOD) => self.channel_method(index, frame, out),
            _ => self.content_frame(index, frame),
        }
    }

    /// The request that was decided on, borrowing from the session what is not in the input.
    fn request<'a>(&'a self, asked: Asked<'a>) -> Request<'a> {
        let (scope, exchange, routing_key, mandatory, body) = match asked {
            Asked::Ready(request) => return request,
            Asked::Named { what, arguments } => return what.request(&self.names, arguments),
            Asked::Publish { scope, exchange, routing_key, mandatory, body } => (scope, exchange, routing_key, mandatory, body),
            Asked::Assembled { channel } => {
                let channel = &self.channels[channel];
                let content = channel.content.as_ref().expect("the channel assembled a publish");
                let content: &Content = content;
                (channel.scope(), &*content.exchange, &*content.routing_key, content.mandatory, &*content.body)
            }
        };
        let envelope = &self.envelope;
        Request::Publish(Publish {
            scope,
            exchange,
            routing_key: translate::route_of(exchange, routing_key),
            more_keys: &envelope.more_keys,
            mandatory,
            persistent: envelope.persistent,
            expiration_ms: envelope.expiration_ms,
            priority: envelope.priority,
            user_id: envelope.user_id(),
            headers: envelope,
            record: model::RecordParts { key: routing_key.as_bytes(), value: body, own: Some(envelope.header()), headers: &[] },
        })
    }

    /// Send the confirms that have become due. Where nothing was refused, one per channel says it all.
    fn send_acks(&mut self, out: &mut Output) {
        self.acks_due = false;
        for channel in &mut self.channels {
            while let Some(answer) = channel.confirms.take_answer() {
                out.write(|out| match answer {
                    Answer::Ack { delivery_tag, multiple } => {
                        frame::put_method(out, channel.number, &basic::Ack { delivery_tag, multiple });
                    }
                    Answer::Nack { delivery_tag } => {
                        frame::put_method(out, channel.number, &basic::Nack { delivery_tag, multiple: false, requeue: false });
                    }
                });
            }
        }
    }
}

const CHANNEL_CLOSE: (u16, u16) = (20, 40);
const CHANNEL_CLOSE_OK: (u16, u16) = (20, 41);

impl Session for AmqpSession {
    fn poll_request<'a>(&'a mut self, input: &mut &'a [u8], now: Now, out: &mut Output) -> Option<Request<'a>> {
        if input.len() > self.input_left {
            self.timers.received(now);
        }
        let before = out.len();
        let asked = self.advance(input, now, out);
        if asked.is_none() && self.acks_due {
            self.send_acks(out);
        }
        if out.len() != before {
            self.timers.sent(now);
        }
        self.input_left = input.len();
        let this: &'a Self = self;
        asked.map(|asked| this.request(asked))
    }

    fn handle(&mut self, event: Event<'_>, now: Now, out: &mut Output) {
        let before = out.len();
        match event {
            Event::Deliver { scope, subscription, tag, redelivered, returns, offset, record } => {
                self.deliver(scope, subscription, tag, (redelivered, returns, offset), &record, now, out);
            }
            Event::Reply(reply) => self.answered(reply, now, out),
            Event::Durable(lsn) => self.durable(lsn, out),
            // A get that its channel did not outlive may still be answered.
            Event::Failed(_) if self.awaited.kind == Kind::Nothing => {}
            Event::Failed(failure) => self.refused(failure, now, out),
            Event::Got { scope, tag, redelivered, returns, remaining, record } => {
                self.got(scope, tag, (redelivered, returns), remaining, &record, now, out);
            }
            Event::Empty { scope } => self.got_nothing(scope, out),
            Event::Cancelled { scope, subscription } => self.cancelled(scope, subscription, out),
            Event::Blocked(reason) => {
                self.blocked = Some(reason);
                self.tell_blocked(out);
            }
            Event::Unblocked => self.unblocked(now, out),
            Event::Shutdown(reason) => self.shut_down(reason, now, out),
        }
        if out.len() != before {
            self.timers.sent(now);
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Closed => None,
            _ => self.timers.next(),
        }
    }

    fn timeout(&mut self, now: Now, out: &mut Output) {
        let deaf = self.awaited.kind != Kind::Nothing || self.held_until.is_some() || self.blocked.is_some();
        match self.timers.due(now, deaf) {
            Due::Nothing => {}
            Due::SendHeartbeat => {
                out.write(frame::put_heartbeat);
                self.timers.sent(now);
                self.give_back_memory();
            }
            due @ (Due::PeerIsDead | Due::DeadlinePassed) => {
                if due == Due::PeerIsDead {
                    self.complain_of("nothing was heard for two heartbeats");
                } else if !matches!(self.phase, Phase::Closing | Phase::Deaf | Phase::Silent) {
                    self.complain_of("the handshake took too long");
                }
                self.part_with_channels();
                self.phase = Phase::Closed;
            }
        }
    }

    fn poll_complaint(&mut self) -> Option<Complaint> {
        (!self.complaints.is_empty()).then(|| self.complaints.remove(0))
    }

    fn identity(&self) -> Identity<'_> {
        self.peer.as_ref().map(|peer| peer.identity()).unwrap_or_default()
    }

    fn not_heard(&mut self, now: Now) {
        self.timers.received(now);
    }

    fn state(&self) -> SessionState {
        if self.phase == Phase::Closed { SessionState::Closing } else { SessionState::Open }
    }

    fn input_needed(&self) -> usize {
        self.input_needed
    }
}

impl AmqpSession {
    /// Buffers that a quiet connection does not need.
    fn give_back_memory(&mut self) {
        if self.awaited.kind == Kind::Nothing {
            self.envelope.shrink(64);
            self.scratch = Scratch::default();
            self.kept = None;
            for name in &mut self.names {
                name.clear();
                name.shrink_to(0);
            }
            for channel in &mut self.channels {
                if channel.expect == Expect::Method {
                    channel.content = None;
                }
            }
        }
    }

    fn tell_blocked(&mut self, out: &mut Output) {
        if let Some(reason) = self.blocked
            && self.published
            && self.capabilities.blocked
            && !self.blocked_sent
            && self.phase == Phase::Running
        {
            self.blocked_sent = true;
            out.write(|out| frame::put_method(out, 0, &connection::Blocked { reason }));
        }
    }

    fn unblocked(&mut self, now: Now, out: &mut Output) {
        self.blocked = None;
        self.timers.received(now);
        if std::mem::take(&mut self.blocked_sent) && self.phase == Phase::Running {
            out.write(|out| frame::put_method(out, 0, &connection::Unblocked {}));
        }
    }
}
