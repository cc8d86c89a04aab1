//! The other end of the wire: a minimal AMQP 0-9-1 client without I/O.
//!
//! It is what the simulator, the command line and the load generator speak with, to Yam and to
//! RabbitMQ alike. Bytes go in by [`Client::receive`] and out by the `Vec` that every call is
//! handed; it keeps no queue of its own and never waits.
//!
//! ```text
//! connect ──> out ~~> socket ~~> receive ──> Opened ──> open_channel ──> Method(ChannelOpenOk) ──> ...
//! ```

use crate::codec::content::{Whole, whole};
use crate::codec::frame::{self, BODY, Frame, FrameError, HEADER, METHOD, Split};
use crate::codec::method::MethodError;
use crate::codec::properties::{ContentHeader, Properties};
use crate::codec::wire::{Reader, WireError};
use crate::codec::{Method, RawTable, basic, channel, connection, field};
use model::{Table, Value};

mod content;
mod say;
#[cfg(test)]
mod tests;

pub use content::PublishTemplate;
use content::{Assembly, Lane};

/// Frames that the client is ready to take, in bytes.
pub const FRAME_MAX: u32 = 131_072;

/// Who connects, and how.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub host: &'a str,
    /// Heartbeats asked for, in seconds; 0: none.
    pub heartbeat_s: u16,
    /// Largest frame asked for, in bytes.
    pub frame_max: u32,
    /// Shown by the broker's tools.
    pub name: &'a str,
}

impl Default for ConnectOptions<'_> {
    fn default() -> Self {
        ConnectOptions { user: "guest", password: "guest", host: "/", heartbeat_s: 0, frame_max: FRAME_MAX, name: "yam" }
    }
}

/// One message as it came: everything borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// Property flags and list; see [`Message::properties`].
    pub raw_properties: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The properties, decoded.
    ///
    /// # Errors
    /// [`WireError`] where the broker sent nonsense.
    pub fn properties(&self) -> Result<Properties<'a>, WireError> {
        Properties::decode(self.raw_properties)
    }
}

/// What the broker said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClientEvent<'a> {
    /// The handshake is over; channels may be opened.
    Opened,
    Delivered {
        channel: u16,
        consumer_tag: &'a str,
        tag: u64,
        redelivered: bool,
        message: Message<'a>,
    },
    /// The answer to `get`; `remaining`: messages still ready.
    Got {
        channel: u16,
        tag: u64,
        redelivered: bool,
        remaining: u32,
        message: Message<'a>,
    },
    /// The answer to `get` on an empty queue.
    Empty {
        channel: u16,
    },
    /// A mandatory message came back.
    Returned {
        channel: u16,
        code: u16,
        text: &'a str,
        message: Message<'a>,
    },
    /// The publish number `tag` (and all before it, when `multiple`) is confirmed.
    Acked {
        channel: u16,
        tag: u64,
        multiple: bool,
    },
    /// The same, refused.
    Nacked {
        channel: u16,
        tag: u64,
        multiple: bool,
    },
    /// The broker ended a consumer.
    Cancelled {
        channel: u16,
        consumer_tag: &'a str,
    },
    /// The broker closed the channel; it was answered.
    ChannelClosed {
        channel: u16,
        code: u16,
        text: &'a str,
    },
    /// The broker closed the connection; it was answered. Nothing comes after this.
    Closed {
        code: u16,
        text: &'a str,
    },
    /// The broker agreed to `close`. Nothing comes after this.
    CloseOk,
    Blocked {
        reason: &'a str,
    },
    Unblocked,
    /// Any other method: the answers to declarations and the like.
    Method {
        channel: u16,
        method: Method<'a>,
    },
}

/// The broker cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the peer does not speak AMQP 0-9-1")]
    Protocol,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error("malformed content: {0}")]
    Content(#[from] WireError),
    #[error("unexpected frame of type {0}")]
    Unexpected(u8),
}

/// One connection, seen from the client.
pub struct Client {
    /// `\0user\0password`.
    response: Vec<u8>,
    host: String,
    name: String,
    heartbeat_s: u16,
    frame_max: u32,
    channel_max: u16,
    greeted: bool,
    closed: bool,
    /// Contents that arrive in pieces, by channel.
    lanes: Vec<Lane>,
}

/// What one step found, without a borrow of the client.
enum Found<'i> {
    Event(ClientEvent<'i>),
    /// A content was completed in this lane.
    Assembled(usize),
    Nothing,
    More,
}

impl Client {
    /// Begin a connection: the protocol header goes to `out`.
    #[must_use]
    pub fn connect(options: &ConnectOptions<'_>, out: &mut Vec<u8>) -> Client {
        out.extend_from_slice(&frame::PROTOCOL_HEADER);
        let mut response = vec![0];
        response.extend_from_slice(options.user.as_bytes());
        response.push(0);
        response.extend_from_slice(options.password.as_bytes());
        Client {
            response,
            host: options.host.to_owned(),
            name: options.name.to_owned(),
            heartbeat_s: options.heartbeat_s,
            frame_max: options.frame_max,
            channel_max: 2047,
            greeted: false,
            closed: false,
            lanes: Vec::new(),
        }
    }

    /// Take the next event from the front of `input` and move `input` past it. `None`: more bytes are
    /// needed; what is left in `input` must be offered again with more behind it. Answers that the
    /// protocol demands (the handshake, close-ok) go to `out`.
    ///
    /// # Errors
    /// [`ClientError`] where the broker cannot be followed; the connection is of no further use.
    pub fn receive<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<ClientEvent<'a>>, ClientError> {
        let lane = loop {
            if self.closed {
                return Ok(None);
            }
            match self.step(input, out)? {
                Found::Event(event) => return Ok(Some(event)),
                Found::Assembled(lane) => break lane,
                Found::Nothing => {}
                Found::More => return Ok(None),
            }
        };
        match self.lanes.get(lane) {
            Some(lane) => lane.event().map(Some),
            None => Ok(None),
        }
    }

    fn step<'i>(&mut self, input: &mut &'i [u8], out: &mut Vec<u8>) -> Result<Found<'i>, ClientError> {
        if !self.greeted && input.starts_with(b"AMQP") {
            return Err(ClientError::Protocol);
        }
        let Split::Frame(first) = frame::split(input, self.frame_max as usize)? else {
            return Ok(Found::More);
        };
        self.greeted = true;
        if first.kind == METHOD && content::has_content(first.payload) {
            let behind = input.get(first.wire_len()..).unwrap_or_default();
            match whole(behind, first.channel, self.frame_max as usize) {
                Whole::Here { header, body, rest } => {
                    *input = rest;
                    let event = content::event(first.channel, first.payload, header.properties, body)?;
                    return Ok(Found::Event(event));
                }
                Whole::More(_) => return Ok(Found::More),
                Whole::InPieces => {}
            }
        }
        *input = input.get(first.wire_len()..).unwrap_or_default();
        match first.kind {
            METHOD if content::has_content(first.payload) => {
                let lane = self.lane(first.channel);
                lane.assembly.begin(first.payload);
                Ok(Found::Nothing)
            }
            METHOD => self.method(first, out),
            HEADER | BODY => {
                let at = self.lanes.iter().position(|lane| lane.channel == first.channel);
                let lane = at.and_then(|at| self.lanes.get_mut(at)).ok_or(ClientError::Unexpected(first.kind))?;
                let complete = lane.assembly.add(first.kind, first.payload)?;
                Ok(if complete { at.map_or(Found::Nothing, Found::Assembled) } else { Found::Nothing })
            }
            _ => Ok(Found::Nothing),
        }
    }

    fn lane(&mut self, channel: u16) -> &mut Lane {
        let at = self.lanes.iter().position(|lane| lane.channel == channel).unwrap_or_else(|| {
            self.lanes.push(Lane { channel, assembly: Assembly::default() });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    fn method<'i>(&mut self, first: Frame<'i>, out: &mut Vec<u8>) -> Result<Found<'i>, ClientError> {
        let channel = first.channel;
        Ok(Found::Event(match Method::decode(first.payload)? {
            Method::BasicAck(ack) => ClientEvent::Acked { channel, tag: ack.delivery_tag, multiple: ack.multiple },
            Method::BasicNack(nack) => ClientEvent::Nacked { channel, tag: nack.delivery_tag, multiple: nack.multiple },
            Method::BasicGetEmpty(_) => ClientEvent::Empty { channel },
            Method::ConnectionStart(_) => {
                self.start_ok(out);
                return Ok(Found::Nothing);
            }
            Method::ConnectionTune(tune) => {
                self.tune_ok(tune, out);
                return Ok(Found::Nothing);
            }
            Method::ConnectionOpenOk(_) => ClientEvent::Opened,
            Method::ConnectionClose(close) => {
                self.closed = true;
                frame::put_method(out, 0, &connection::CloseOk {});
                ClientEvent::Closed { code: close.reply_code, text: close.reply_text }
            }
            Method::ConnectionCloseOk(_) => {
                self.closed = true;
                ClientEvent::CloseOk
            }
            Method::ConnectionBlocked(blocked) => ClientEvent::Blocked { reason: blocked.reason },
            Method::ConnectionUnblocked(_) => ClientEvent::Unblocked,
            Method::ChannelClose(close) => {
                self.lanes.retain(|lane| lane.channel != channel);
                frame::put_method(out, channel, &channel::CloseOk {});
                ClientEvent::ChannelClosed { channel, code: close.reply_code, text: close.reply_text }
            }
            Method::BasicCancel(cancel) => ClientEvent::Cancelled { channel, consumer_tag: cancel.consumer_tag },
            method => ClientEvent::Method { channel, method },
        }))
    }

    fn start_ok(&mut self, out: &mut Vec<u8>) {
        let capability = |name: &str| (name.to_owned(), Value::Bool(true));
        let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
        let capabilities = [
            "authentication_failure_close",
            "basic.nack",
            "connection.blocked",
            "consumer_cancel_notify",
            "exchange_exchange_bindings",
            "publisher_confirms",
        ];
        let properties = Table(vec![
            text("product", "yam"),
            text("connection_name", &self.name),
            ("capabilities".to_owned(), Value::Table(Table(capabilities.map(capability).to_vec()))),
        ]);
        frame::put_method(
            out,
            0,
            &connection::StartOk {
                client_properties: RawTable(&field::encode_entries(&properties)),
                mechanism: "PLAIN",
                response: &self.response,
                locale: "en_US",
            },
        );
        self.response = Vec::new();
    }

    fn tune_ok(&mut self, tune: connection::Tune, out: &mut Vec<u8>) {
        if tune.frame_max != 0 {
            self.frame_max = self.frame_max.min(tune.frame_max);
        }
        if tune.channel_max != 0 {
            self.channel_max = tune.channel_max;
        }
        let answer = connection::TuneOk { channel_max: self.channel_max, frame_max: self.frame_max, heartbeat: self.heartbeat_s };
        frame::put_method(out, 0, &answer);
        frame::put_method(out, 0, &connection::Open { virtual_host: &self.host, ..connection::Open::default() });
    }

    /// The largest frame agreed on, in bytes.
    #[must_use]
    pub fn frame_max(&self) -> usize {
        self.frame_max as usize
    }

    /// How often the broker expects a sign of life, in seconds; 0: never.
    #[must_use]
    pub fn heartbeat_s(&self) -> u16 {
        self.heartbeat_s
    }

    /// Nothing more will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}
