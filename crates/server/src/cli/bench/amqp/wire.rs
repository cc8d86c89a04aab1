//! AMQP 0-9-1, as little of it as a load generator needs: a blocking connection for the cold parts, and encoders.
//!
//! ```text
//! frame    type u8 | channel u16 | size u32 | payload | 0xCE
//! method   class u16 | method u16 | arguments
//! header   class u16 | weight u16 | body size u64 | property flags u16 | properties
//! ```

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::dial::{dial, explain};
use crate::cli::url::Url;

pub const FRAME_METHOD: u8 = 1;
pub const FRAME_HEADER: u8 = 2;
pub const FRAME_BODY: u8 = 3;
pub const FRAME_END: u8 = 0xCE;
/// Type, channel, size before a payload; the end octet after it.
pub const FRAME_HEAD_BYTES: usize = 7;
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEAD_BYTES + 1;

pub const CONNECTION_CLOSE: (u16, u16) = (10, 50);
pub const CONNECTION_CLOSE_OK: (u16, u16) = (10, 51);
pub const CONNECTION_BLOCKED: (u16, u16) = (10, 60);
pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
pub const BASIC_CANCEL: (u16, u16) = (60, 30);
pub const BASIC_RETURN: (u16, u16) = (60, 50);
pub const BASIC_DELIVER: (u16, u16) = (60, 60);
pub const BASIC_ACK: (u16, u16) = (60, 80);
pub const BASIC_NACK: (u16, u16) = (60, 120);

/// Arguments of a method, written in order.
pub struct Method(Vec<u8>);

impl Method {
    pub fn new(class: u16, method: u16) -> Method {
        Method(Vec::with_capacity(64)).u16(class).u16(method)
    }

    pub fn u8(mut self, value: u8) -> Method {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Method {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Method {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Method {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A short string; the names used here are far below its 255 bytes, and longer ones are cut.
    pub fn short(mut self, value: &str) -> Method {
        let length = value.len().min(255);
        self.0.push(length as u8);
        self.0.extend_from_slice(&value.as_bytes()[..length]);
        self
    }

    /// A long string or an already encoded table: both are a length and bytes.
    pub fn long(mut self, value: &[u8]) -> Method {
        self.0.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// The method as a frame, appended to `out`.
    pub fn frame(self, channel: u16, out: &mut Vec<u8>) {
        put_frame(FRAME_METHOD, channel, &self.0, out);
    }
}

/// Appends one frame.
pub fn put_frame(kind: u8, channel: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}

/// Appends a whole publish on channel 1; returns where in `out` the body's first byte stands.
pub fn put_publish(
    exchange: &str,
    routing_key: &str,
    persistent: bool,
    body: &[u8],
    frame_max: usize,
    out: &mut Vec<u8>,
) -> usize {
    Method::new(60, 40).u16(0).short(exchange).short(routing_key).u8(0).frame(1, out);
    // The delivery mode is the only property: 1 transient, 2 persistent.
    let header = Method::new(60, 0).u64(body.len() as u64).u16(1 << 12).u8(1 + u8::from(persistent));
    put_frame(FRAME_HEADER, 1, &header.0, out);
    let start = out.len() + FRAME_HEAD_BYTES;
    for part in body.chunks(frame_max - FRAME_OVERHEAD_BYTES) {
        put_frame(FRAME_BODY, 1, part, out);
    }
    start
}

/// Appends basic.ack.
pub fn put_ack(channel: u16, tag: u64, multiple: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[FRAME_METHOD]);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&13_u32.to_be_bytes());
    out.extend_from_slice(&[0, 60, 0, 80]);
    out.extend_from_slice(&tag.to_be_bytes());
    out.extend_from_slice(&[u8::from(multiple), FRAME_END]);
}

/// An opened connection with channel 1, used with blocking calls until it is handed to the event loop.
pub struct Connection {
    stream: TcpStream,
    /// `product` and `version` of the server's properties.
    pub product: String,
    pub version: String,
    pub frame_max: usize,
}

impl Connection {
    /// Connects, logs in and opens channel 1; keeps trying for `patience` while nobody listens.
    pub fn open(url: &Url, patience: Duration) -> Result<Connection> {
        let stream = dial(&url.host, url.port, patience, "--url")?;
        let mut connection = Connection { stream, product: String::new(), version: String::new(), frame_max: 131_072 };
        connection.handshake(url).with_context(|| format!("opening an AMQP connection to {}", url.place()))?;
        Ok(connection)
    }

    fn handshake(&mut self, url: &Url) -> Result<()> {
        self.stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let start = self.expect(0, (10, 10)).context("no AMQP 0-9-1 greeting")?;
        (self.product, self.version) = identity(&start);
        // connection.blocked tells that the broker holds publishers back; without the capability a broker stays silent.
        let mut capabilities = Vec::new();
        for name in ["connection.blocked", "basic.nack", "publisher_confirms"] {
            capabilities.push(name.len() as u8);
            capabilities.extend_from_slice(name.as_bytes());
            capabilities.extend_from_slice(b"t\x01");
        }
        let mut properties = b"\x0ccapabilitiesF".to_vec();
        properties.extend_from_slice(&(capabilities.len() as u32).to_be_bytes());
        properties.extend_from_slice(&capabilities);
        let response = format!("\0{}\0{}", url.user, url.password);
        let start_ok = Method::new(10, 11).long(&properties).short("PLAIN").long(response.as_bytes()).short("en_US");
        self.send(0, start_ok)?;
        let tune = self.expect(0, (10, 30)).context("the login was refused (a guest may only come from loopback)")?;
        let number = |at: usize| tune.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let channel_max = tune.get(..2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        // No larger than anybody's default, so that every broker sees the same frames.
        self.frame_max = match number(2) {
            0 => 131_072,
            max => (max as usize).min(131_072),
        };
        // Heartbeats off: a connection under load needs none, and an idle one is to cost nothing but itself.
        self.send(0, Method::new(10, 31).u16(channel_max).u32(self.frame_max as u32).u16(0))?;
        self.call(0, Method::new(10, 40).short(&url.vhost).short("").u8(0), (10, 41))?;
        self.open_channel(1)
    }

    pub fn open_channel(&mut self, channel: u16) -> Result<()> {
        self.call(channel, Method::new(20, 10).short(""), (20, 11)).map(drop)
    }

    pub fn select_confirms(&mut self) -> Result<()> {
        self.call(1, Method::new(85, 10).u8(0), (85, 11)).map(drop)
    }

    pub fn set_prefetch(&mut self, channel: u16, messages: u16) -> Result<()> {
        self.call(channel, Method::new(60, 10).u32(0).u16(messages).u8(0), (60, 11)).map(drop)
    }

    pub fn declare_queue(&mut self, name: &str, durable: bool) -> Result<()> {
        let declare = Method::new(50, 10).u16(0).short(name).u8(u8::from(durable) << 1).long(&[]);
        self.call(1, declare, (50, 11)).map(drop)
    }

    /// Messages ready in a queue, by a passive declaration.
    pub fn count_messages(&mut self, name: &str) -> Result<u64> {
        let answer = self.call(1, Method::new(50, 10).u16(0).short(name).u8(1).long(&[]), (50, 11))?;
        let at = 1 + usize::from(*answer.first().context("short queue.declare-ok")?);
        let count = answer.get(at..at + 4).context("short queue.declare-ok")?;
        Ok(u64::from(u32::from_be_bytes([count[0], count[1], count[2], count[3]])))
    }

    pub fn purge_queue(&mut self, name: &str) -> Result<()> {
        self.call(1, Method::new(50, 30).u16(0).short(name).u8(0), (50, 31)).map(drop)
    }

    pub fn delete_queue(&mut self, name: &str) -> Result<()> {
        self.call(1, Method::new(50, 40).u16(0).short(name).u8(0), (50, 41)).map(drop)
    }

    pub fn declare_fanout(&mut self, name: &str, durable: bool) -> Result<()> {
        let declare = Method::new(40, 10).u16(0).short(name).short("fanout").u8(u8::from(durable) << 1).long(&[]);
        self.call(1, declare, (40, 11)).map(drop)
    }

    pub fn delete_exchange(&mut self, name: &str) -> Result<()> {
        self.call(1, Method::new(40, 20).u16(0).short(name).u8(0), (40, 21)).map(drop)
    }

    pub fn bind_queue(&mut self, queue: &str, exchange: &str) -> Result<()> {
        let bind = Method::new(50, 20).u16(0).short(queue).short(exchange).short("").u8(0).long(&[]);
        self.call(1, bind, (50, 21)).map(drop)
    }

    /// Sends a method and waits for its answer; returns the answer's arguments.
    pub fn call(&mut self, channel: u16, method: Method, answer: (u16, u16)) -> Result<Vec<u8>> {
        self.send(channel, method)?;
        self.expect(channel, answer)
    }

    fn send(&mut self, channel: u16, method: Method) -> Result<()> {
        let mut bytes = Vec::with_capacity(128);
        method.frame(channel, &mut bytes);
        self.stream.write_all(&bytes).context("writing to the broker")
    }

    fn expect(&mut self, channel: u16, wanted: (u16, u16)) -> Result<Vec<u8>> {
        loop {
            let mut head = [0; FRAME_HEAD_BYTES];
            self.stream.read_exact(&mut head).map_err(explain)?;
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            if &head[..4] == b"AMQP" || size > 1 << 20 {
                bail!("the peer does not speak AMQP 0-9-1");
            }
            let mut payload = vec![0; size + 1];
            self.stream.read_exact(&mut payload).map_err(explain)?;
            payload.truncate(size);
            if head[0] != FRAME_METHOD || size < 4 {
                continue;
            }
            let id = method_id(&payload);
            if id == CONNECTION_CLOSE || id == CHANNEL_CLOSE {
                return Err(close_error(&payload));
            }
            if id == wanted && u16::from_be_bytes([head[1], head[2]]) == channel {
                return Ok(payload.split_off(4));
            }
        }
    }

    /// The socket, non-blocking, for the event loop. Invariant: no answer is outstanding, so nothing read is left behind.
    pub fn into_stream(self) -> Result<mio::net::TcpStream> {
        self.stream.set_nonblocking(true)?;
        Ok(mio::net::TcpStream::from_std(self.stream))
    }
}

pub fn method_id(payload: &[u8]) -> (u16, u16) {
    match payload {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

/// What a connection.close or channel.close says.
pub fn close_error(payload: &[u8]) -> anyhow::Error {
    let code = payload.get(4..6).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let length = payload.get(6).map_or(0, |&length| usize::from(length));
    let text = String::from_utf8_lossy(payload.get(7..7 + length).unwrap_or_default()).into_owned();
    anyhow!("the broker refused: {code} {text}")
}

/// Product and version of a server. Yam calls itself RabbitMQ, because clients look for that name, and says what it is in
/// `platform` and `information`.
fn identity(start: &[u8]) -> (String, String) {
    let text = |name: &[u8]| property(start, name).unwrap_or_else(|| "unknown".to_owned());
    if text(b"platform") == "Yam" {
        let information = text(b"information");
        let version = information.trim_start_matches("Yam ").split(':').next().unwrap_or_default();
        return ("Yam".to_owned(), version.to_owned());
    }
    (text(b"product"), text(b"version"))
}

/// A long-string property of connection.start, found by its name: good enough for a name in a summary.
fn property(start: &[u8], name: &[u8]) -> Option<String> {
    let at = start
        .windows(name.len() + 2)
        .position(|w| w[0] as usize == name.len() && &w[1..=name.len()] == name && w[name.len() + 1] == b'S')?;
    let rest = &start[at + name.len() + 2..];
    let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    Some(String::from_utf8_lossy(rest.get(4..4 + length)?).into_owned())
}
