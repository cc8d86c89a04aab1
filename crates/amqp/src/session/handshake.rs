//! Class connection: from the protocol header to `open-ok`, and from `close` to the end.
//!
//! ```text
//! Greeting ─header→ Starting ─start-ok→ Securing ─ok→ Tuning ─tune-ok→ Opening ─open→ Running
//!                                                                                        │ close
//! errors: Closing (awaits close-ok), Deaf (the same, out of step), Silent (told nothing) ─┴→ Closed
//! ```

use model::{Identity, Now, Output, Request, Table, Value, limits};

use super::reply::{Awaited, Kind};
use super::{AmqpSession, Asked, Code, Fault, Step};
use crate::codec::frame::{self, Frame, METHOD, PROTOCOL_HEADER};
use crate::codec::method::MethodError;
use crate::codec::{Method, RawTable, connection, field};

/// The header of AMQP 0-9, which differs from 0-9-1 in nothing that matters here.
const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\x00\x09";
/// kombu and others choose their ways by product and version, so these are those of the broker
/// whose behaviour Yam follows.
const PRODUCT: &str = "RabbitMQ";
const VERSION: &str = "4.2.0";
/// Smallest frame a client may ask for (AMQP 0-9-1, `frame-min-size`), in bytes.
const FRAME_MIN: u32 = 4096;
/// A whole `connection.close-ok`.
const CLOSE_OK: [u8; 12] = [METHOD, 0, 0, 0, 0, 0, 4, 0, 10, 0, 51, frame::END];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The protocol header is awaited.
    Greeting,
    /// `start` was sent.
    Starting,
    /// The broker is asked about the credentials.
    Securing,
    /// `tune` was sent.
    Tuning,
    /// `tune-ok` has come.
    Opening,
    Running,
    /// We sent `close`.
    Closing,
    /// We sent `close` and cannot find the frames any more.
    Deaf,
    /// Nothing is said and nothing heard until the deadline.
    Silent,
    Closed,
}

/// How the client logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    AmqPlain,
}

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::AmqPlain => "AMQPLAIN",
        }
    }
}

/// What the client said it understands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capabilities {
    pub(super) blocked: bool,
    pub(super) cancel_notify: bool,
    pub(super) authentication_failure_close: bool,
}

impl Capabilities {
    fn read(properties: RawTable<'_>) -> Capabilities {
        let Some(announced) = properties.find("capabilities").and_then(|value| value.as_table()) else {
            return Capabilities::default();
        };
        let has = |name| announced.find(name).is_some_and(|value| value.is_true());
        Capabilities {
            blocked: has("connection.blocked"),
            cancel_notify: has("consumer_cancel_notify"),
            authentication_failure_close: has("authentication_failure_close"),
        }
    }
}

/// Who is at the other end, for people.
pub(super) struct PeerNames {
    user: String,
    /// What `connection.open` asked for.
    host: String,
    /// `connection_name` among the client's properties.
    name: String,
    let_in: bool,
}

impl PeerNames {
    fn new(user: &str, properties: RawTable<'_>) -> PeerNames {
        let name = properties.find("connection_name").filter(|value| value.kind == b'S').map_or(&[][..], |value| value.bytes);
        let name = String::from_utf8_lossy(name.get(..limits::NAME_BYTES_MAX).unwrap_or(name));
        PeerNames { user: limits::for_the_log(user).to_owned(), host: String::new(), name: name.into_owned(), let_in: false }
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        Identity { user: &self.user, host: if self.let_in { &self.host } else { "" }, name: &self.name }
    }
}

impl AmqpSession {
    pub(super) fn greet<'i>(&mut self, input: &mut &'i [u8], now: Now, out: &mut Output) -> Step<'i> {
        let Some((header, rest)) = input.split_first_chunk::<8>() else {
            return Step::More(PROTOCOL_HEADER.len());
        };
        *input = rest;
        if *header != PROTOCOL_HEADER && *header != PROTOCOL_HEADER_0_9 {
            out.put(&PROTOCOL_HEADER);
            let header = String::from_utf8_lossy(header);
            self.complain_of(format!("no protocol header of AMQP 0-9-1: {header:?}"));
            self.phase = Phase::Closed;
            return Step::Again;
        }
        let properties = self.server_properties();
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: RawTable(&properties),
            mechanisms: b"AMQPLAIN PLAIN",
            locales: b"en_US",
        };
        out.write(|out| frame::put_method(out, 0, &start));
        self.phase = Phase::Starting;
        self.timers.sent(now);
        Step::Again
    }

    fn server_properties(&self) -> Vec<u8> {
        let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
        let capabilities = [
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "consumer_priorities",
            "authentication_failure_close",
            "per_consumer_qos",
            "direct_reply_to",
        ];
        let capabilities = capabilities.map(|name| (name.to_owned(), Value::Bool(true))).to_vec();
        let properties = Table(vec![
            ("capabilities".to_owned(), Value::Table(Table(capabilities))),
            text("cluster_name", &self.options.cluster_name),
            text("copyright", "The Yam authors"),
            text("information", &format!("Yam {}: a broker that speaks as this RabbitMQ would", self.options.version)),
            text("platform", "Yam"),
            text("product", PRODUCT),
            text("version", VERSION),
        ]);
        field::encode_entries(&properties)
    }

    /// A method on channel 0.
    pub(super) fn connection_method<'i>(&mut self, frame: Frame<'i>, now: Now, out: &mut Output) -> Result<Step<'i>, Fault> {
        let method = match Method::decode(frame.payload) {
            Err(MethodError::Empty) => return Err(super::unexpected(frame)),
            decoded => decoded?,
        };
        match (self.phase, method) {
            (Phase::Starting, Method::ConnectionStartOk(start_ok)) => self.start_ok(start_ok),
            (Phase::Tuning, Method::ConnectionTuneOk(tune_ok)) => self.tune_ok(tune_ok, now),
            (Phase::Opening, Method::ConnectionOpen(open)) => {
                self.awaited = Awaited::new(Kind::Host, 0, method.id());
                if let Some(peer) = &mut self.peer {
                    limits::for_the_log(open.virtual_host).clone_into(&mut peer.host);
                }
                Ok(Step::Ask(Asked::Ready(Request::OpenHost { host: open.virtual_host })))
            }
            (_, Method::ConnectionClose(_)) => {
                self.send_acks(out);
                self.part_with_channels();
                self.scopes_to_close.clear();
                self.phase = Phase::Closed;
                out.write(|out| frame::put_method(out, 0, &connection::CloseOk {}));
                Ok(Step::Again)
            }
            (Phase::Running, Method::ConnectionUpdateSecret(_)) => {
                out.write(|out| frame::put_method(out, 0, &connection::UpdateSecretOk {}));
                Ok(Step::Again)
            }
            (phase, _) => {
                let state = format!("{phase:?}").to_lowercase();
                Err(Fault::new(Code::ChannelError, format!("unexpected method in connection state {state}")))
            }
        }
    }

    fn start_ok<'i>(&mut self, start_ok: connection::StartOk<'i>) -> Result<Step<'i>, Fault> {
        self.capabilities = Capabilities::read(start_ok.client_properties);
        self.phase = Phase::Securing;
        let credentials = match start_ok.mechanism {
            "PLAIN" => {
                self.mechanism = Mechanism::Plain;
                plain(start_ok.response)
            }
            "AMQPLAIN" => {
                self.mechanism = Mechanism::AmqPlain;
                amqplain(start_ok.response)
            }
            other => {
                let text = format!("unknown authentication mechanism '{other}'");
                return Err(Fault::new(Code::CommandInvalid, text));
            }
        };
        let Some((user, password)) = credentials else {
            return Err(Fault::new(Code::SyntaxError, "malformed credentials"));
        };
        self.peer = Some(Box::new(PeerNames::new(user, start_ok.client_properties)));
        self.awaited = Awaited::new(Kind::Login, 0, (10, 11));
        Ok(Step::Ask(Asked::Ready(Request::Authenticate { user, password })))
    }

    pub(super) fn login_accepted(&mut self, out: &mut Output) {
        self.phase = Phase::Tuning;
        let tune = connection::Tune {
            channel_max: self.options.channel_max,
            frame_max: self.options.frame_max,
            heartbeat: self.options.heartbeat_s,
        };
        out.write(|out| frame::put_method(out, 0, &tune));
    }

    pub(super) fn login_refused(&mut self, now: Now, out: &mut Output) {
        if self.capabilities.authentication_failure_close {
            let mechanism = self.mechanism.name();
            let text =
                format!("Login was refused using authentication mechanism {mechanism}. For details see the broker logfile.");
            self.fail_connection(&Fault::new(Code::AccessRefused, text), now, out);
        } else {
            self.fall_silent(now);
        }
    }

    fn tune_ok<'i>(&mut self, tune_ok: connection::TuneOk, now: Now) -> Result<Step<'i>, Fault> {
        negotiated("frame_max", tune_ok.frame_max, FRAME_MIN, self.options.frame_max)?;
        negotiated("channel_max", tune_ok.channel_max.into(), 1, self.options.channel_max.into())?;
        self.frame_max = match tune_ok.frame_max {
            0 => u32::MAX as usize,
            frame_max => frame_max as usize,
        };
        self.channel_max = if tune_ok.channel_max == 0 { u16::MAX } else { tune_ok.channel_max };
        self.timers.start_heartbeats(tune_ok.heartbeat, now);
        self.phase = Phase::Opening;
        Ok(Step::Again)
    }

    pub(super) fn host_opened(&mut self, out: &mut Output) {
        self.phase = Phase::Running;
        if let Some(peer) = &mut self.peer {
            peer.let_in = true;
        }
        self.timers.clear_deadline();
        out.write(|out| frame::put_method(out, 0, &connection::OpenOk::default()));
    }

    /// We sent `close`: nothing counts but `close-ok`, or a `close` that crossed ours.
    pub(super) fn await_the_end(&mut self, frame: Frame<'_>, method: (u16, u16), out: &mut Output) {
        if frame.kind != METHOD || frame.channel != 0 {
            return;
        }
        match method {
            (10, 51) => self.phase = Phase::Closed,
            (10, 50) => out.write(|out| frame::put_method(out, 0, &connection::CloseOk {})),
            _ => {}
        }
    }

    /// The same where the frames cannot be told apart any more: a `close-ok` is the last thing a
    /// client says, so it is looked for at the end.
    pub(super) fn await_the_end_deaf(&mut self, input: &mut &[u8]) {
        if input.ends_with(&CLOSE_OK) {
            self.phase = Phase::Closed;
            *input = &[];
        } else {
            let keep = input.len().saturating_sub(CLOSE_OK.len() - 1);
            *input = input.get(keep..).unwrap_or_default();
        }
    }
}

/// `authorization id, NUL, user, NUL, password` (RFC 4616).
fn plain(response: &[u8]) -> Option<(&str, &[u8])> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    let _authorization = parts.next()?;
    let user = std::str::from_utf8(parts.next()?).ok()?;
    Some((user, parts.next()?))
}

/// A table without its length, with `LOGIN` and `PASSWORD`.
fn amqplain(response: &[u8]) -> Option<(&str, &[u8])> {
    let text = |name| RawTable(response).find(name).filter(|value| value.kind == b'S').map(|value| value.bytes);
    Some((std::str::from_utf8(text("LOGIN")?).ok()?, text("PASSWORD")?))
}

/// A limit that the client picked must not exceed ours, and 0 means no limit.
fn negotiated(name: &str, picked: u32, min: u32, max: u32) -> Result<(), Fault> {
    let text = if picked != 0 && picked < min {
        format!("negotiated {name} = {picked} is lower than the minimum allowed value ({min})")
    } else if max != 0 && (picked == 0 || picked > max) {
        format!("negotiated {name} = {picked} is higher than the maximum allowed value ({max})")
    } else {
        return Ok(());
    };
    // The method named with it is tune-ok, which is at fault. RabbitMQ 4 names its own tune.
    Err(Fault::new(Code::NotAllowed, text))
}
