//! A whole connection: any bytes in any pieces, a broker that answers as the input says, and the
//! events of other sessions and of the journal between.
//!
//! ```text
//! input: one octet of options, then turns: op u8, len u8, bytes
//! op < 160: the bytes arrive; otherwise something happens that the op names
//! ```
#![no_main]

use std::sync::Arc;

use amqp::codec::frame::{self, Split};
use amqp::codec::{RawTable, channel, connection};
use amqp::{AmqpSession, SessionOptions};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use model::death::DeadLetter;
use model::record::{RecordParts, StoredRecord};
use model::request::Destination;
use model::{
    DeliveryTag, Event, Failure, Lsn, Now, Output, Reply, Request, Scope, Session, SessionState, Subject, SubscriptionId,
};

/// Everything a client says until channel 1 is open.
fn opening() -> Vec<u8> {
    let capability = b"\x0ccapabilitiesF\x00\x00\x00\x15\x12connection.blockedt\x01";
    let start_ok = connection::StartOk {
        client_properties: RawTable(capability),
        mechanism: "PLAIN",
        response: b"\0guest\0guest",
        locale: "en_US",
    };
    let mut bytes = frame::PROTOCOL_HEADER.to_vec();
    frame::put_method(&mut bytes, 0, &start_ok);
    frame::put_method(&mut bytes, 0, &connection::TuneOk { channel_max: 9, frame_max: 4096, heartbeat: 60 });
    frame::put_method(&mut bytes, 0, &connection::Open { virtual_host: "/", ..connection::Open::default() });
    frame::put_method(&mut bytes, 1, &channel::Open::default());
    bytes
}

struct World {
    session: AmqpSession,
    input: Vec<u8>,
    out: Output,
    now: Now,
    lsn: u64,
    subscriptions: u64,
    /// What the broker will say; each answer takes one.
    moods: Vec<u8>,
    /// A get that is to be answered.
    got: Option<Scope>,
}

impl World {
    fn poll(&mut self) {
        let mut used = 0;
        for _ in 0..100_000 {
            let mut rest = &self.input[used..];
            let request = self.session.poll_request(&mut rest, self.now, &mut self.out);
            let mood = self.moods.pop().unwrap_or(0);
            let answer = request.map(|request| answer(&request, mood, &mut self.lsn, &mut self.subscriptions));
            used = self.input.len() - rest.len();
            match answer {
                Some((reply, got)) => {
                    assert!(self.got.is_none(), "a request while an answer is awaited");
                    self.got = got;
                    self.session.handle(reply.map_or_else(Event::Failed, Event::Reply), self.now, &mut self.out);
                }
                None => {
                    self.input.drain(..used);
                    // Three frames of the largest size hold any message that is waited for whole.
                    assert!(self.session.input_needed() <= 3 * 131_072);
                    return;
                }
            }
        }
        panic!("the session never comes to rest");
    }

    /// Everything said is whole frames within the limit.
    fn listen(&mut self) {
        let said = self.out.take();
        let mut rest = &said[..];
        if rest.starts_with(b"AMQP") {
            return;
        }
        while !rest.is_empty() {
            let Ok(Split::Frame(frame)) = frame::split(rest, 131_072) else { panic!("half a frame") };
            if frame.kind == frame::METHOD {
                amqp::codec::Method::decode(frame.payload).expect("what we say is well-formed");
            }
            rest = &rest[frame.wire_len()..];
        }
    }
}

fn answer(request: &Request<'_>, mood: u8, lsn: &mut u64, subscriptions: &mut u64) -> (Result<Reply, Failure>, Option<Scope>) {
    let failure = match mood {
        250 => Some(Failure::NotFound { subject: Subject::Queue, name: "n".into(), host: "/".into() }),
        251 => Some(Failure::LoginRefused { user: "u".into() }),
        252 => Some(Failure::Damaged("no".into())),
        253 => Some(Failure::Locked { name: "n".repeat(255), host: "\u{e4}".repeat(100) }),
        _ => None,
    };
    if let Some(failure) = failure {
        return (Err(failure), None);
    }
    let mut later = || {
        *lsn += 10;
        (mood & 1 == 1).then_some(Lsn(*lsn))
    };
    let reply = match request {
        Request::DeclareQueue(declare) => Reply::QueueDeclared {
            name: if declare.name.is_empty() { "made-up".to_owned() } else { declare.name.to_owned() },
            messages: u64::MAX,
            subscriptions: 1,
            durable_at: later(),
        },
        Request::DeleteQueue { .. } | Request::PurgeQueue { .. } => Reply::Removed { messages: 5, durable_at: later() },
        Request::Publish(publish) => {
            // Touch everything that is borrowed.
            let mut batch = Vec::new();
            publish.record.encode(0, &mut batch);
            assert_eq!(batch.len(), publish.record.encoded_len());
            let _ = publish.headers.get("x");
            let _ = (publish.more_keys.len(), publish.user_id.map(str::len));
            assert!(publish.record.key.ends_with(publish.routing_key.as_bytes()));
            if mood & 4 == 4 { Reply::Refused } else { Reply::Published { durable_at: later(), routed: mood & 2 == 0 } }
        }
        Request::Subscribe(subscribe) => {
            assert!(!subscribe.tag.is_empty() && !subscribe.queue.is_empty());
            *subscriptions += 1;
            Reply::Subscribed { subscription: SubscriptionId(*subscriptions) }
        }
        Request::Get { scope, queue, .. } => {
            assert!(!queue.is_empty());
            return (Ok(Reply::Pending), Some(*scope));
        }
        Request::Bind(binding) | Request::Unbind(binding) => {
            assert!(!matches!(binding.destination, Destination::Queue("")));
            later().map_or(Reply::Ok, Reply::DurableAt)
        }
        Request::Commit { .. } | Request::DeclareExchange(_) => later().map_or(Reply::Ok, Reply::DurableAt),
        _ => Reply::Ok,
    };
    (Ok(reply), None)
}

/// A record with an own header of these bytes, and the history of a dead letter if `dead`.
fn record(len: usize, own: &[u8], dead: bool) -> Bytes {
    let header = model::Header { name: amqp::translate::HEADER_NAME, value: own };
    let mut batch = Vec::new();
    let body = vec![7; len];
    let letter =
        DeadLetter { exchange: "dlx".into(), deaths: vec![], first: ("q".into(), "expired".into(), None), rekeyed: false };
    let death = [model::Header { name: model::death::HEADER, value: &letter.to_bytes() }];
    let headers = if dead { &death[..] } else { &[] };
    RecordParts { key: b"key", value: &body, own: (!own.is_empty()).then_some(header), headers }.encode(0, &mut batch);
    batch.into()
}

fuzz_target!(|data: &[u8]| {
    let Some((&options, mut turns)) = data.split_first() else { return };
    let now = Now { mono_ms: 1000, wall_ms: 1 };
    let mut world = World {
        session: AmqpSession::new(Arc::new(SessionOptions::default()), 3, now),
        input: Vec::new(),
        out: Output::default(),
        now,
        lsn: 0,
        subscriptions: 0,
        moods: Vec::new(),
        got: None,
    };
    if options & 1 == 0 {
        world.input.extend_from_slice(&opening());
        world.poll();
        assert_eq!(world.session.state(), SessionState::Open);
    }
    while let Some((&[op, len], rest)) = turns.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
        turns = rest;
        let number = u64::from(len);
        match op {
            0..160 => world.input.extend_from_slice(bytes),
            160..170 => world.moods = bytes.to_vec(),
            170..180 => world.session.handle(Event::Durable(Lsn(number * 10)), world.now, &mut world.out),
            180..200 => {
                let batch = record(usize::from(op - 180) * 1000, bytes, len & 1 == 1);
                let record = StoredRecord { batch: &batch, buffer: (op & 1 == 0).then_some(&batch) };
                let (tag, redelivered) = (DeliveryTag(number), op & 2 == 0);
                let event = match world.got.take() {
                    Some(scope) => Event::Got { scope, tag, redelivered, returns: number as u32, remaining: number, record },
                    None => Event::Deliver {
                        scope: Scope(1),
                        subscription: SubscriptionId(number % 8),
                        tag,
                        redelivered,
                        returns: number as u32,
                        offset: (op & 4 == 4).then_some(number),
                        record,
                    },
                };
                world.session.handle(event, world.now, &mut world.out);
            }
            200..210 => {
                if let Some(scope) = world.got.take() {
                    world.session.handle(Event::Empty { scope }, world.now, &mut world.out);
                }
            }
            210..220 => {
                let event = Event::Cancelled { scope: Scope(1), subscription: SubscriptionId(number % 8) };
                world.session.handle(event, world.now, &mut world.out);
            }
            220..225 => world.session.handle(Event::Blocked("low on disk"), world.now, &mut world.out),
            225..230 => world.session.handle(Event::Unblocked, world.now, &mut world.out),
            230 => {
                world.got = None;
                world.session.handle(Event::Shutdown("maintenance"), world.now, &mut world.out);
            }
            _ => {
                world.now.mono_ms += number * 100;
                if world.session.poll_timeout().is_some_and(|due| due <= world.now.mono_ms) {
                    world.session.timeout(world.now, &mut world.out);
                    if world.session.state() == SessionState::Closing {
                        world.got = None;
                    }
                    assert!(world.session.poll_timeout().is_none_or(|due| due > world.now.mono_ms));
                }
            }
        }
        let closed = world.session.state() == SessionState::Closing;
        world.poll();
        world.listen();
        assert!(!closed || world.session.state() == SessionState::Closing);
    }
});
