//! Conversations with a session, against a broker that answers from a short list of rules.

mod broker;
mod confirms;
mod golden;
mod limits;
mod rules;
mod script;

use std::sync::Arc;

use model::{Event, Now, Output, Session, SessionState};

use super::{AmqpSession, SessionOptions};
use crate::codec::frame::{self, PROTOCOL_HEADER, Split};
use crate::codec::{Frame, Method, MethodArguments, RawTable, connection};
use broker::FakeBroker;

/// A session with its input, its output and a broker behind it.
pub(super) struct Harness {
    pub(super) session: AmqpSession,
    pub(super) broker: FakeBroker,
    pub(super) now: Now,
    pub(super) out: Output,
    input: Vec<u8>,
}

impl Harness {
    pub(super) fn new() -> Harness {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        Harness {
            session: AmqpSession::new(Arc::new(SessionOptions::default()), 7, now),
            broker: FakeBroker::default(),
            now,
            out: Output::default(),
            input: Vec::new(),
        }
    }

    /// Logged in, with channel 1 open and everything said so far taken away.
    pub(super) fn running() -> Harness {
        let mut harness = Harness::new();
        harness.receive(&handshake(131_072, 0));
        harness.send(1, &crate::codec::channel::Open::default());
        assert_eq!(harness.session.state(), SessionState::Open);
        harness.out.take();
        harness.broker.log.clear();
        harness
    }

    /// Bytes arrive.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.poll();
    }

    pub(super) fn poll(&mut self) {
        let mut used = 0;
        loop {
            let mut rest = &self.input[used..];
            let request = self.session.poll_request(&mut rest, self.now, &mut self.out);
            let event = request.map(|request| self.broker.answer(&request));
            used = self.input.len() - rest.len();
            match event {
                Some(event) => self.session.handle(event, self.now, &mut self.out),
                None => break,
            }
        }
        self.input.drain(..used);
    }

    pub(super) fn send<'m, M: MethodArguments<'m>>(&mut self, channel: u16, method: &M) {
        let mut bytes = Vec::new();
        frame::put_method(&mut bytes, channel, method);
        self.receive(&bytes);
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        self.session.handle(event, self.now, &mut self.out);
        self.poll();
    }

    /// Time passes, and what is due is done.
    pub(super) fn wait(&mut self, ms: u64) {
        let until = self.now.mono_ms + ms;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now.mono_ms = self.now.mono_ms.max(due);
            self.session.timeout(self.now, &mut self.out);
        }
        self.now.mono_ms = until;
        self.poll();
    }

    /// What the session says, as lines.
    pub(super) fn said(&mut self) -> Vec<String> {
        describe(&self.out.take())
    }

    /// Code and text of the one close that the session says; whether it is the connection's.
    pub(super) fn close(&mut self) -> (bool, u16, String) {
        let bytes = self.out.take();
        let closes: Vec<_> = frames(&bytes)
            .into_iter()
            .filter_map(|frame| match Method::decode(frame.payload) {
                Ok(Method::ConnectionClose(close)) => Some((true, close.reply_code, close.reply_text.to_owned())),
                Ok(Method::ChannelClose(close)) => Some((false, close.reply_code, close.reply_text.to_owned())),
                _ => None,
            })
            .collect();
        assert_eq!(closes.len(), 1, "{:?}", describe(&bytes));
        closes.into_iter().next().unwrap()
    }

    pub(super) fn input_len(&self) -> usize {
        self.input.len()
    }
}

/// Everything a client says until the connection is open.
pub(super) fn handshake(frame_max: u32, heartbeat: u16) -> Vec<u8> {
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let capabilities = crate::codec::field::encode_entries(&model::Table(vec![(
        "capabilities".to_owned(),
        model::Value::Table(model::Table(
            ["authentication_failure_close", "connection.blocked", "consumer_cancel_notify"]
                .map(|name| (name.to_owned(), model::Value::Bool(true)))
                .to_vec(),
        )),
    )]));
    let start_ok = connection::StartOk {
        client_properties: RawTable(&capabilities),
        mechanism: "PLAIN",
        response: b"\0guest\0guest",
        locale: "en_US",
    };
    frame::put_method(&mut bytes, 0, &start_ok);
    frame::put_method(&mut bytes, 0, &connection::TuneOk { channel_max: 2047, frame_max, heartbeat });
    frame::put_method(&mut bytes, 0, &connection::Open { virtual_host: "/", ..Default::default() });
    bytes
}

/// The frames of what a session said, which must be whole.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Split::Frame(frame) = frame::split(bytes, 1 << 30).unwrap() else { panic!("half a frame") };
        bytes = &bytes[frame.wire_len()..];
        frames.push(frame);
    }
    frames
}

pub(super) fn describe(bytes: &[u8]) -> Vec<String> {
    if bytes.starts_with(b"AMQP") {
        return vec!["protocol header".to_owned()];
    }
    frames(bytes).into_iter().map(describe_frame).collect()
}

fn describe_frame(frame: Frame<'_>) -> String {
    let what = match frame.kind {
        frame::METHOD => {
            let method = Method::decode(frame.payload).unwrap();
            let debug = match method {
                // Long strings of it are text.
                Method::ConnectionStart(start) => {
                    format!("_ {{ {:?}, mechanisms: {}", start.server_properties, String::from_utf8_lossy(start.mechanisms))
                }
                method => format!("{method:?}"),
            };
            // `QueueDeclareOk(DeclareOk { .. })`: the name is said better.
            let arguments = debug.split_once(" { ").map_or("", |(_, rest)| rest.trim_end_matches(" })"));
            format!("{} {arguments}", method.name()).trim_end().to_owned()
        }
        frame::HEADER => {
            let header = crate::codec::properties::ContentHeader::decode(frame.payload).unwrap();
            // A client's own text that is not UTF-8 goes through as it came.
            let Ok(properties) = crate::codec::Properties::decode(header.properties) else {
                return format!("header size={} {:?}", header.body_len, header.properties);
            };
            let some: Vec<_> = format!("{properties:?}")
                .trim_start_matches("Properties { ")
                .trim_end_matches(" }")
                .split(", ")
                .filter(|part| !part.ends_with(": None"))
                .map(str::to_owned)
                .collect();
            format!("header size={} {}", header.body_len, some.join(", ")).trim_end().to_owned()
        }
        frame::BODY if frame.payload.len() > 100 => format!("body of {} bytes", frame.payload.len()),
        frame::BODY => format!("body {}", String::from_utf8_lossy(frame.payload)),
        frame::HEARTBEAT => "heartbeat".to_owned(),
        kind => format!("frame of type {kind}"),
    };
    format!("{} {what}", frame.channel)
}

/// A record as the journal would hand it out.
pub(super) fn record(key: &str, exchange: &str, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let mut envelope = crate::translate::Envelope::default();
    envelope.fill(exchange, properties, None).unwrap();
    let parts = model::RecordParts { key: key.as_bytes(), value: body, own: Some(envelope.header()), headers: &[] };
    let mut batch = Vec::new();
    parts.encode(0, &mut batch);
    batch
}
