//! The little language of the transcripts in testdata/: a line that a client says, as frames.
//!
//! `1 basic.publish exchange=e routing_key=k mandatory body=hello` and the like; what is left out is
//! empty or false. `hex` and `header`/`body` lines make odd frames.

use std::collections::HashMap;

use model::{Table, Value};

use crate::codec::frame::{self, BODY, HEADER, METHOD};
use crate::codec::{Method, Properties, RawTable, access, basic, channel, confirm, connection, exchange, field, queue, tx};

struct Words<'a>(HashMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default()
    }
    fn option(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }
    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.option(name).map_or_else(T::default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    }
    fn flag(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// `arguments=x:1,y:text`, integers being signed 32-bit.
    fn table(&self, name: &str) -> Vec<u8> {
        let entries = self.text(name).split(',').filter(|entry| !entry.is_empty()).map(|entry| {
            let (name, value) = entry.split_once(':').expect("name:value");
            let value = match value.split_once('|') {
                Some((first, rest)) => Value::List([first, rest].iter().map(|item| Value::Text((*item).to_owned())).collect()),
                None => value.parse().map_or_else(|_| Value::Text(value.to_owned()), Value::I32),
            };
            (name.to_owned(), value)
        });
        field::encode_entries(&Table(entries.collect()))
    }
}

/// The bytes of one line.
pub(super) fn frames(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut parts = line.split_whitespace();
    let first = parts.next().expect("a channel, `hex` or `handshake`");
    match first {
        "hex" => return parts.map(|octet| u8::from_str_radix(octet, 16).expect("hex")).collect(),
        "handshake" => return super::handshake(131_072, parts.next().map_or(0, |s| s.parse().expect("seconds"))),
        "header" => return frame::PROTOCOL_HEADER.to_vec(),
        "heartbeat" => {
            frame::put_heartbeat(&mut out);
            return out;
        }
        _ => {}
    }
    let number: u16 = first.parse().expect("a channel");
    let name = parts.next().expect("a method");
    let w = Words(parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect());
    let table = w.table("arguments");
    let arguments = RawTable(&table);
    let method = match name {
        "header" => {
            frame::put(&mut out, HEADER, number, |out| {
                out.extend_from_slice(&w.option("class").map_or(60u16, |c| c.parse().unwrap()).to_be_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&w.number::<u64>("size").to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            });
            return out;
        }
        "body" => {
            frame::put(&mut out, BODY, number, |out| out.extend_from_slice(w.text("of").as_bytes()));
            return out;
        }
        "basic.publish" => {
            publish(&mut out, number, &w);
            return out;
        }
        "connection.start-ok" => Method::ConnectionStartOk(connection::StartOk {
            mechanism: w.text("mechanism"),
            response: &w.text("response").replace("\\0", "\0").into_bytes().leak()[..],
            locale: "en_US",
            ..Default::default()
        }),
        "connection.tune-ok" => Method::ConnectionTuneOk(connection::TuneOk {
            channel_max: w.number("channel_max"),
            frame_max: w.number("frame_max"),
            heartbeat: w.number("heartbeat"),
        }),
        "connection.open" => {
            Method::ConnectionOpen(connection::Open { virtual_host: w.text("virtual_host"), ..Default::default() })
        }
        "connection.close" => Method::ConnectionClose(connection::Close { reply_code: 200, ..Default::default() }),
        "connection.close-ok" => Method::ConnectionCloseOk(connection::CloseOk {}),
        "connection.update-secret" => Method::ConnectionUpdateSecret(connection::UpdateSecret::default()),
        "channel.open" => Method::ChannelOpen(channel::Open::default()),
        "channel.close" => Method::ChannelClose(channel::Close { reply_code: 200, ..Default::default() }),
        "channel.close-ok" => Method::ChannelCloseOk(channel::CloseOk {}),
        "channel.flow" => Method::ChannelFlow(channel::Flow { active: w.flag("active") }),
        "access.request" => Method::AccessRequest(access::Request { realm: "/data", ..Default::default() }),
        "exchange.declare" => Method::ExchangeDeclare(exchange::Declare {
            ticket: 0,
            exchange: w.text("exchange"),
            kind: w.text("type"),
            passive: w.flag("passive"),
            durable: w.flag("durable"),
            auto_delete: w.flag("auto_delete"),
            internal: w.flag("internal"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "exchange.delete" => Method::ExchangeDelete(exchange::Delete {
            ticket: 0,
            exchange: w.text("exchange"),
            if_unused: w.flag("if_unused"),
            no_wait: w.flag("no_wait"),
        }),
        "exchange.bind" => Method::ExchangeBind(exchange::Bind {
            ticket: 0,
            destination: w.text("destination"),
            source: w.text("source"),
            routing_key: w.text("routing_key"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "exchange.unbind" => Method::ExchangeUnbind(exchange::Unbind {
            ticket: 0,
            destination: w.text("destination"),
            source: w.text("source"),
            routing_key: w.text("routing_key"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "queue.declare" => Method::QueueDeclare(queue::Declare {
            ticket: 0,
            queue: w.text("queue"),
            passive: w.flag("passive"),
            durable: w.flag("durable"),
            exclusive: w.flag("exclusive"),
            auto_delete: w.flag("auto_delete"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "queue.bind" => Method::QueueBind(queue::Bind {
            ticket: 0,
            queue: w.text("queue"),
            exchange: w.text("exchange"),
            routing_key: w.text("routing_key"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "queue.unbind" => Method::QueueUnbind(queue::Unbind {
            ticket: 0,
            queue: w.text("queue"),
            exchange: w.text("exchange"),
            routing_key: w.text("routing_key"),
            arguments,
        }),
        "queue.purge" => Method::QueuePurge(queue::Purge { ticket: 0, queue: w.text("queue"), no_wait: w.flag("no_wait") }),
        "queue.delete" => Method::QueueDelete(queue::Delete {
            ticket: 0,
            queue: w.text("queue"),
            if_unused: w.flag("if_unused"),
            if_empty: w.flag("if_empty"),
            no_wait: w.flag("no_wait"),
        }),
        "basic.qos" => Method::BasicQos(basic::Qos {
            prefetch_size: w.number("size"),
            prefetch_count: w.number("count"),
            global: w.flag("global"),
        }),
        "basic.consume" => Method::BasicConsume(basic::Consume {
            ticket: 0,
            queue: w.text("queue"),
            consumer_tag: w.text("tag"),
            no_local: false,
            no_ack: w.flag("no_ack"),
            exclusive: w.flag("exclusive"),
            no_wait: w.flag("no_wait"),
            arguments,
        }),
        "basic.cancel" => Method::BasicCancel(basic::Cancel { consumer_tag: w.text("tag"), no_wait: w.flag("no_wait") }),
        "basic.get" => Method::BasicGet(basic::Get { ticket: 0, queue: w.text("queue"), no_ack: w.flag("no_ack") }),
        "basic.ack" => Method::BasicAck(basic::Ack { delivery_tag: w.number("tag"), multiple: w.flag("multiple") }),
        "basic.nack" => Method::BasicNack(basic::Nack {
            delivery_tag: w.number("tag"),
            multiple: w.flag("multiple"),
            requeue: w.flag("requeue"),
        }),
        "basic.reject" => Method::BasicReject(basic::Reject { delivery_tag: w.number("tag"), requeue: w.flag("requeue") }),
        "basic.recover" => Method::BasicRecover(basic::Recover { requeue: w.flag("requeue") }),
        "basic.recover-async" => Method::BasicRecoverAsync(basic::RecoverAsync { requeue: w.flag("requeue") }),
        "tx.select" => Method::TxSelect(tx::Select {}),
        "tx.commit" => Method::TxCommit(tx::Commit {}),
        "tx.rollback" => Method::TxRollback(tx::Rollback {}),
        "confirm.select" => Method::ConfirmSelect(confirm::Select { no_wait: w.flag("no_wait") }),
        "queue.declare-ok" => Method::QueueDeclareOk(queue::DeclareOk::default()),
        other => panic!("the transcripts do not know {other}"),
    };
    method.put(&mut out, number);
    out
}

/// Method, header and body; with `alone` the method only.
fn publish(out: &mut Vec<u8>, number: u16, w: &Words<'_>) {
    let method = basic::Publish {
        ticket: 0,
        exchange: w.text("exchange"),
        routing_key: w.text("routing_key"),
        mandatory: w.flag("mandatory"),
        immediate: w.flag("immediate"),
    };
    frame::put_method(out, number, &method);
    if w.flag("alone") {
        return;
    }
    let headers = w.table("headers");
    let properties = Properties {
        content_type: w.option("content_type"),
        headers: w.flag("headers").then_some(RawTable(&headers)),
        delivery_mode: w.flag("persistent").then_some(2),
        priority: w.option("priority").map(|text| text.parse().unwrap()),
        reply_to: w.option("reply_to"),
        expiration: w.option("expiration"),
        user_id: w.option("user_id"),
        ..Properties::default()
    };
    let mut list = Vec::new();
    properties.encode(&mut list);
    let body = w.text("body").as_bytes();
    frame::put_content_header(out, number, body.len(), &list);
    frame::put_body(out, number, w.option("frame_max").map_or(4096, |text| text.parse().unwrap()), body);
    assert_eq!(out.first(), Some(&METHOD));
}
