//! The client against the session, with nothing between but bytes.

use std::sync::Arc;

use bytes::Bytes;
use model::record::StoredRecord;
use model::{DeliveryTag, Event, Lsn, Now, Output, Reply, Request, Scope, Session, SubscriptionId, Table, Value};
use proptest::prelude::*;

use super::*;
use crate::codec::{exchange, frame as wire_frame, queue, tx};
use crate::{AmqpSession, SessionOptions};

/// Both ends, and a broker of three lines between them.
struct Pair {
    client: Client,
    session: AmqpSession,
    to_client: Vec<u8>,
    to_session: Vec<u8>,
    published: Vec<(String, String, Vec<u8>)>,
}

impl Pair {
    fn new(frame_max: u32) -> Pair {
        let mut to_session = Vec::new();
        let options = ConnectOptions { frame_max, ..ConnectOptions::default() };
        let client = Client::connect(&options, &mut to_session);
        let session = AmqpSession::new(Arc::new(SessionOptions::default()), 1, Now::default());
        Pair { client, session, to_client: Vec::new(), to_session, published: Vec::new() }
    }

    /// Let the session hear and answer what was said.
    fn serve(&mut self, events: Vec<Event<'_>>) {
        let now = Now::default();
        let mut out = Output::default();
        for event in events {
            self.session.handle(event, now, &mut out);
        }
        let mut used = 0;
        loop {
            let mut rest = &self.to_session[used..];
            let answer = self.session.poll_request(&mut rest, now, &mut out).map(|request| match request {
                Request::Publish(publish) => {
                    let (exchange, key) = (publish.exchange.to_owned(), publish.routing_key.to_owned());
                    self.published.push((exchange, key, publish.record.value.to_vec()));
                    Reply::Published { durable_at: Some(Lsn(self.published.len() as u64)), routed: !publish.mandatory }
                }
                Request::DeclareQueue(declare) => {
                    Reply::QueueDeclared { name: declare.name.to_owned(), messages: 0, subscriptions: 0, durable_at: None }
                }
                Request::Subscribe(_) => Reply::Subscribed { subscription: SubscriptionId(1) },
                Request::Get { .. } => Reply::Pending,
                _ => Reply::Ok,
            });
            used = self.to_session.len() - rest.len();
            match answer {
                Some(reply) => self.session.handle(Event::Reply(reply), now, &mut out),
                None => break,
            }
        }
        self.to_session.drain(..used);
        self.to_client.extend(out.take());
    }

    /// What the client hears, as debug text.
    fn hear(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut rest = &self.to_client[..];
        while let Some(event) = self.client.receive(&mut rest, &mut self.to_session).unwrap() {
            heard.push(format!("{event:?}"));
        }
        let left = rest.len();
        self.to_client.drain(..self.to_client.len() - left);
        heard
    }

    fn open(frame_max: u32) -> Pair {
        let mut pair = Pair::new(frame_max);
        let mut heard = Vec::new();
        for _ in 0..4 {
            pair.serve(vec![]);
            heard.extend(pair.hear());
        }
        assert_eq!(heard, ["Opened"]);
        pair.client.open_channel(&mut pair.to_session, 1);
        pair.serve(vec![]);
        assert_eq!(pair.hear().len(), 1);
        pair
    }
}

fn stored(body: &[u8]) -> Bytes {
    let mut envelope = crate::translate::Envelope::default();
    envelope.fill("e", &[0x10, 0, 2], None).unwrap();
    let mut batch = Vec::new();
    model::RecordParts { key: b"k", value: body, own: Some(envelope.header()), headers: &[] }.encode(0, &mut batch);
    batch.into()
}

#[test]
fn a_conversation_from_end_to_end() {
    let mut pair = Pair::open(FRAME_MAX);
    let Pair { client, to_session: out, .. } = &mut pair;
    let arguments = Table(vec![("x-max-length".into(), Value::I32(5))]);
    client.declare_queue(out, 1, queue::Declare { queue: "q", ..queue::Declare::default() }, &arguments);
    client.send(out, 1, &exchange::Declare { exchange: "e", kind: "topic", ..exchange::Declare::default() });
    client.confirm_select(out, 1);
    client.prefetch(out, 1, 10);
    client.consume(out, 1, "q", "t", false);
    client.publish(out, 1, "e", "k", &Properties::persistent(), b"body");
    pair.serve(vec![]);
    let heard = pair.hear();
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert_eq!(pair.published, [("e".to_owned(), "k".to_owned(), b"body".to_vec())]);

    let (small, large) = (stored(b"small"), stored(&vec![7; 300_000]));
    let deliver = |batch, tag| Event::Deliver {
        scope: Scope(1),
        subscription: SubscriptionId(1),
        tag: DeliveryTag(tag),
        redelivered: tag == 2,
        returns: 0,
        offset: None,
        record: StoredRecord { batch, buffer: None },
    };
    pair.serve(vec![Event::Durable(Lsn(1)), deliver(&small, 1), deliver(&large, 2)]);
    let heard = pair.hear();
    assert_eq!(heard[0], "Acked { channel: 1, tag: 1, multiple: false }");
    assert!(heard[1].contains("tag: 1, redelivered: false") && heard[1].contains("exchange: \"e\""));
    assert!(heard[2].contains("tag: 2, redelivered: true"));
    assert_eq!(heard[2].matches("7, ").count() + 1, 300_000);

    pair.client.ack(&mut pair.to_session, 1, 2, true);
    pair.client.get(&mut pair.to_session, 1, "q", false);
    pair.serve(vec![]);
    let got = Event::Got {
        scope: Scope(1),
        tag: DeliveryTag(3),
        redelivered: false,
        returns: 0,
        remaining: 9,
        record: StoredRecord { batch: &small, buffer: None },
    };
    pair.serve(vec![got]);
    assert!(pair.hear()[0].starts_with("Got { channel: 1, tag: 3, redelivered: false, remaining: 9"));
    pair.client.get(&mut pair.to_session, 1, "q", false);
    pair.serve(vec![]);
    pair.serve(vec![Event::Empty { scope: Scope(1) }]);
    assert_eq!(pair.hear(), ["Empty { channel: 1 }"]);

    pair.serve(vec![Event::Blocked("low on disk")]);
    assert_eq!(pair.hear(), ["Blocked { reason: \"low on disk\" }"]);
    pair.serve(vec![Event::Unblocked]);
    pair.serve(vec![Event::Cancelled { scope: Scope(1), subscription: SubscriptionId(1) }]);
    assert_eq!(pair.hear(), ["Unblocked", "Cancelled { channel: 1, consumer_tag: \"t\" }"]);

    pair.client.send(&mut pair.to_session, 1, &tx::Commit {});
    pair.serve(vec![]);
    assert_eq!(
        pair.hear(),
        ["ChannelClosed { channel: 1, code: 406, text: \"PRECONDITION_FAILED - channel is not transactional\" }"]
    );
    // The client has answered, so the channel can be had again.
    pair.client.open_channel(&mut pair.to_session, 1);
    pair.serve(vec![]);
    assert!(pair.hear()[0].contains("ChannelOpenOk"));
    pair.client.close(&mut pair.to_session);
    pair.serve(vec![]);
    assert_eq!(pair.hear(), ["CloseOk"]);
    assert!(pair.client.is_closed());
}

#[test]
fn the_broker_may_close() {
    let mut pair = Pair::open(FRAME_MAX);
    pair.serve(vec![Event::Shutdown("maintenance")]);
    assert_eq!(pair.hear(), ["Closed { code: 320, text: \"CONNECTION_FORCED - maintenance\" }"]);
    assert!(pair.client.is_closed());
    pair.serve(vec![]);
    assert_eq!(pair.session.state(), model::SessionState::Closing);
}

#[test]
fn another_protocol_is_noticed() {
    let mut out = Vec::new();
    let mut client = Client::connect(&ConnectOptions::default(), &mut out);
    assert_eq!(client.receive(&mut &b"AMQP\x00\x00\x09\x01"[..], &mut out), Err(ClientError::Protocol));
}

#[test]
fn contents_of_two_channels_may_be_interleaved() {
    let mut bytes = Vec::new();
    let deliver = |tag| basic::Deliver { consumer_tag: "t", delivery_tag: tag, ..basic::Deliver::default() };
    wire_frame::put_method(&mut bytes, 1, &deliver(1));
    wire_frame::put_method(&mut bytes, 2, &deliver(2));
    wire_frame::put_content_header(&mut bytes, 2, 2, &[0, 0]);
    wire_frame::put_content_header(&mut bytes, 1, 4, &[0, 0]);
    wire_frame::put_body(&mut bytes, 1, 10, b"ab");
    wire_frame::put_body(&mut bytes, 2, 4096, b"xy");
    wire_frame::put_heartbeat(&mut bytes);
    wire_frame::put_body(&mut bytes, 1, 10, b"cd");
    let mut pair = Pair::new(4096);
    pair.to_client = bytes;
    let heard = pair.hear();
    assert_eq!(heard.len(), 2);
    assert!(heard[0].contains("channel: 2") && heard[0].contains("body: [120, 121]"));
    assert!(heard[1].contains("channel: 1") && heard[1].contains("body: [97, 98, 99, 100]"));
}

proptest! {
    #[test]
    fn bodies_of_any_size_arrive_as_they_were_sent(
        sizes in proptest::collection::vec(0usize..20_000, 1..5),
        frame_max in 4096u32..9000,
        mandatory in any::<bool>(),
    ) {
        let mut pair = Pair::open(frame_max);
        let template = PublishTemplate::new(
            1, basic::Publish { exchange: "e", routing_key: "k", mandatory, ..Default::default() }, &Properties::default());
        for size in &sizes {
            template.put(&mut pair.to_session, pair.client.frame_max(), &vec![*size as u8; *size]);
        }
        pair.serve(vec![]);
        let bodies: Vec<_> = pair.published.iter().map(|(_, _, body)| body.clone()).collect();
        prop_assert_eq!(&bodies, &sizes.iter().map(|size| vec![*size as u8; *size]).collect::<Vec<_>>());
        // What is returned is the same again.
        let heard = pair.hear();
        prop_assert_eq!(heard.len(), if mandatory { sizes.len() } else { 0 });
        for (heard, body) in heard.iter().zip(&bodies) {
            let start = "Returned { channel: 1, code: 312, text: \"NO_ROUTE\"";
            prop_assert!(heard.starts_with(start), "{}", heard);
            let text = format!("body: {body:?}");
            prop_assert!(heard.contains(&text));
        }
    }

    #[test]
    fn no_bytes_make_the_client_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = Vec::new();
        let deliver = basic::Deliver { consumer_tag: "t", ..basic::Deliver::default() };
        for body in [&b"one"[..], b"", &[7; 50]] {
            wire_frame::put_method(&mut bytes, 1, &deliver);
            wire_frame::put_content_header(&mut bytes, 1, body.len(), &[0, 0]);
            wire_frame::put_body(&mut bytes, 1, 30, body);
        }
        for (at, octet) in changes {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        let mut out = Vec::new();
        let mut client = Client::connect(&ConnectOptions::default(), &mut out);
        let mut rest = &bytes[..];
        while let Ok(Some(_)) = client.receive(&mut rest, &mut out) {}
    }
}
