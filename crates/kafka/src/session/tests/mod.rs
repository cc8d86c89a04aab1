//! Conversations with a session, against a broker that answers from a short list of rules.

#![expect(clippy::indexing_slicing)]

mod admin;
mod broker;
mod every;
mod fetching;
mod groups;
mod login;
mod producing;
mod transactions;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Event, Lsn, Now, Output, Session, SessionState};

use super::{Ends, KafkaSession, SessionOptions};
use crate::codec::frame::{self, SIZE_BYTES, Split};
use crate::codec::{ApiKey, Reader, Request, RequestHeader, Response, api_versions, metadata};
use broker::FakeBroker;

/// A session with its input, its output and a broker behind it.
struct Harness {
    session: KafkaSession,
    broker: FakeBroker,
    now: Now,
    out: Output,
    input: Vec<u8>,
    correlation_id: i32,
    /// What was asked and not answered yet: key, version and correlation id.
    asked: VecDeque<(ApiKey, i16, i32)>,
    /// What the session says, as bytes that live long enough to be looked at.
    said: &'static [u8],
}

impl Harness {
    fn new() -> Harness {
        Harness::with(SessionOptions::default())
    }

    fn with(options: SessionOptions) -> Harness {
        let options = SessionOptions { cluster_id: "yam".into(), ..options };
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let ends = Ends { client_host: "10.0.0.7".into(), host: "broker.example".into(), port: 19092 };
        Harness {
            session: KafkaSession::new(Arc::new(options), ends, 7, now),
            broker: FakeBroker::default(),
            now,
            out: Output::default(),
            input: Vec::new(),
            correlation_id: 100,
            asked: VecDeque::new(),
            said: &[],
        }
    }

    /// The guest has been let in.
    fn running() -> Harness {
        let mut harness = Harness::new();
        harness.ask(9, &Request::Metadata(metadata::Request { topics: Some(vec![]), ..Default::default() }));
        assert_eq!(harness.broker.take_log(), ["authenticate 'guest' 'guest'", "open host '/'"]);
        harness
    }

    /// Bytes arrive.
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.poll();
    }

    fn poll(&mut self) {
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

    fn event(&mut self, event: Event<'_>) {
        self.session.handle(event, self.now, &mut self.out);
        self.poll();
    }

    fn durable(&mut self, lsn: u64) {
        self.event(Event::Durable(Lsn(lsn)));
    }

    /// Say a request, whose answer is awaited.
    fn send(&mut self, version: i16, request: &Request<'_>) {
        self.send_silently(version, request);
        self.asked.push_back((request.key(), version, self.correlation_id));
    }

    /// Say a request that is not answered.
    fn send_silently(&mut self, version: i16, request: &Request<'_>) {
        self.correlation_id += 1;
        let bytes = bytes_of(version, request, self.correlation_id);
        self.receive(&bytes);
    }

    /// The next answer, to the request that it belongs to; `None`: there is none yet.
    fn heard(&mut self) -> Option<Response<'static>> {
        self.take_said();
        let Split::Frame(payload) = frame::split(self.said, 1 << 30).unwrap() else { return None };
        self.said = &self.said[SIZE_BYTES + payload.len()..];
        let (key, version, asked) = self.asked.pop_front().expect("an answer that nobody asked for");
        let mut reader = Reader::new(payload);
        let correlation_id = frame::read_response_header(&mut reader, key, version).unwrap();
        assert_eq!(correlation_id, asked, "answers are in the order of the requests");
        let response = Response::decode(key, &mut reader, version).unwrap();
        assert!(reader.rest().is_empty(), "{response:?} and more");
        Some(response)
    }

    fn take_said(&mut self) {
        let mut said = self.said.to_vec();
        said.extend(self.out.take());
        self.said = said.leak();
    }

    /// Say a request and take its answer.
    fn ask(&mut self, version: i16, request: &Request<'_>) -> Response<'static> {
        self.send(version, request);
        self.heard().expect("an answer")
    }

    /// Time passes, and what is due is done.
    fn wait(&mut self, ms: u64) {
        let until = self.now.mono_ms + ms;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now.mono_ms = self.now.mono_ms.max(due);
            self.session.timeout(self.now, &mut self.out);
        }
        self.now.mono_ms = until;
        self.poll();
    }

    fn is_closing(&self) -> bool {
        self.session.state() == SessionState::Closing
    }

    /// That the connection is over without another word, and why.
    fn closed(&mut self) -> String {
        assert!(self.is_closing());
        self.take_said();
        assert!(self.said.is_empty(), "it said {:?}", self.said);
        self.session.poll_complaint().expect("a complaint").text
    }
}

fn bytes_of(version: i16, request: &Request<'_>, correlation_id: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_frame(&mut bytes, |out| {
        let header =
            RequestHeader { api_key: request.key().number(), api_version: version, correlation_id, client_id: Some("tester") };
        header.encode(out);
        request.encode(out, version);
    });
    bytes
}

fn api_versions() -> Request<'static> {
    let request = api_versions::Request { client_software_name: "tester", client_software_version: "1.0" };
    Request::ApiVersions(request)
}
