//! A test for each notable sentence of the specification and for each error's code and words.

use std::sync::Arc;

use model::{Event, Failure, Output, Reply, Session, SessionState, Subject};

use super::{Harness, handshake, script};
use crate::codec::frame::{self, PROTOCOL_HEADER};
use crate::codec::{RawTable, basic, channel, connection, queue};
use crate::session::{AmqpSession, SessionOptions};

/// Say these lines on a running connection; the one close that follows.
fn close_after(lines: &[&str]) -> (bool, u16, String) {
    let mut harness = Harness::running();
    for line in lines {
        harness.receive(&script::frames(line));
    }
    let close = harness.close();
    let complaint = harness.session.poll_complaint().expect("the log hears of it");
    assert!(complaint.text.ends_with(&close.2) && complaint.ends_connection == close.0, "{complaint:?}");
    assert_eq!(harness.session.poll_complaint(), None);
    close
}

const CONNECTION: bool = true;
const CHANNEL: bool = false;

#[test]
fn errors_have_the_codes_and_words_of_rabbitmq() {
    let cases: &[(&[&str], bool, u16, &str)] = &[
        (&["1 channel.open"], CONNECTION, 504, "CHANNEL_ERROR - second 'channel.open' seen"),
        (&["7 queue.declare"], CONNECTION, 504, "CHANNEL_ERROR - expected 'channel.open'"),
        (&["0 queue.declare"], CONNECTION, 504, "CHANNEL_ERROR - unexpected method in connection state running"),
        (&["1 queue.declare-ok"], CONNECTION, 503, "COMMAND_INVALID - unimplemented method"),
        (&["1 connection.open"], CONNECTION, 503, "COMMAND_INVALID - unimplemented method"),
        (&["hex 01 00 01 00 00 00 04 00 3c 00 63 ce"], CONNECTION, 503, "COMMAND_INVALID - unknown method 60.99"),
        (&["hex 08 00 01 00 00 00 00 ce"], CONNECTION, 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        (&["hex 08 00 00 00 00 00 01 00 ce"], CONNECTION, 501, "FRAME_ERROR - type 8, all octets = <<0>>: unknown_frame"),
        (&["hex 04 00 01 00 00 00 00 ce"], CONNECTION, 501, "FRAME_ERROR - unknown frame type 4"),
        (
            &["hex 03 00 01 00 02 00 01"],
            CONNECTION,
            501,
            "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}",
        ),
        (&["hex 01 00 01 00 00 00 04 00 5a 00 0a cd"], CONNECTION, 501, "FRAME_ERROR - type 1: {invalid_frame_end_marker,205}"),
        (&["1 body of=x"], CONNECTION, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead"),
        (&["9 body of=x"], CONNECTION, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead"),
        (&["0 body of=x"], CONNECTION, 505, "UNEXPECTED_FRAME - type 3, all octets = <<120>>"),
        (
            &["1 basic.publish alone", "1 tx.select"],
            CONNECTION,
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        ),
        (
            &["1 basic.publish alone", "1 header class=10"],
            CONNECTION,
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 10 instead",
        ),
        (
            &["1 basic.publish alone", "1 header size=5", "1 header size=5"],
            CONNECTION,
            505,
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        ),
        (
            &["1 basic.publish alone", "1 header size=2", "1 body of=abc"],
            CONNECTION,
            501,
            "FRAME_ERROR - content body frame exceeds remaining content size",
        ),
        (
            &["1 basic.publish alone", "1 header size=999999999999"],
            CONNECTION,
            501,
            "FRAME_ERROR - content body size 999999999999 exceeds maximum allowed size 536870912",
        ),
        (
            &["1 basic.publish alone", "1 header size=16777217", "1 body of=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216",
        ),
        (&["1 basic.publish immediate body=x"], CONNECTION, 540, "NOT_IMPLEMENTED - immediate=true"),
        (&["1 basic.qos size=10"], CONNECTION, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"),
        (&["1 basic.recover"], CONNECTION, 540, "NOT_IMPLEMENTED - requeue=false"),
        (&["1 basic.recover-async"], CONNECTION, 540, "NOT_IMPLEMENTED - requeue=false"),
        (&["1 channel.flow"], CONNECTION, 540, "NOT_IMPLEMENTED - active=false"),
        (&["1 queue.bind exchange=e"], CHANNEL, 404, "NOT_FOUND - no previously declared queue"),
        (&["1 basic.consume"], CHANNEL, 404, "NOT_FOUND - no previously declared queue"),
        (&["1 basic.get"], CHANNEL, 404, "NOT_FOUND - no previously declared queue"),
        (&["1 queue.purge"], CHANNEL, 404, "NOT_FOUND - no previously declared queue"),
        (&["1 queue.declare queue=missing passive"], CHANNEL, 404, "NOT_FOUND - no queue 'missing' in vhost '/'"),
        (&["1 basic.get queue=missing"], CHANNEL, 404, "NOT_FOUND - no queue 'missing' in vhost '/'"),
        (&["1 basic.publish exchange=missing body=x"], CHANNEL, 404, "NOT_FOUND - no exchange 'missing' in vhost '/'"),
        (&["1 basic.ack tag=99"], CHANNEL, 406, "PRECONDITION_FAILED - unknown delivery tag 99"),
        (&["1 basic.publish expiration=abc body=x"], CHANNEL, 406, "PRECONDITION_FAILED - invalid expiration 'abc': no_integer"),
        (
            &["1 basic.publish expiration=5s body=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - invalid expiration '5s': {leftover_string,\"s\"}",
        ),
        (
            &["1 basic.publish expiration=-1 body=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}",
        ),
        (
            &["1 basic.publish expiration=315360000001 body=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}",
        ),
        (
            &["1 basic.publish user_id=bob body=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'",
        ),
        (
            &["1 basic.publish headers=CC:text body=x"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}",
        ),
        (
            &["1 basic.consume queue=q tag=t", "1 basic.consume queue=q tag=t"],
            CONNECTION,
            530,
            "NOT_ALLOWED - attempt to reuse consumer tag 't'",
        ),
        (
            &["1 basic.consume queue=amq.rabbitmq.reply-to"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - reply consumer cannot acknowledge",
        ),
        (
            &["1 basic.consume queue=amq.rabbitmq.reply-to no_ack", "1 basic.consume queue=amq.rabbitmq.reply-to no_ack"],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - reply consumer already set",
        ),
        (
            &[
                "1 basic.consume queue=amq.rabbitmq.reply-to no_ack tag=t",
                "1 basic.cancel tag=t",
                "1 basic.publish reply_to=amq.rabbitmq.reply-to body=x",
            ],
            CHANNEL,
            406,
            "PRECONDITION_FAILED - fast reply consumer does not exist",
        ),
        (&["1 tx.rollback"], CHANNEL, 406, "PRECONDITION_FAILED - channel is not transactional"),
    ];
    for (lines, hard, code, text) in cases {
        assert_eq!(close_after(lines), (*hard, *code, (*text).to_owned()), "{lines:?}");
    }
}

#[test]
fn every_refusal_of_the_broker_has_its_code() {
    let (name, host) = (|| "n".to_owned(), || "/".to_owned());
    let subject = Subject::Queue;
    let cases = [
        (Failure::NotFound { subject, name: name(), host: host() }, CHANNEL, 404),
        (Failure::Locked { name: name(), host: host() }, CHANNEL, 405),
        (Failure::ExclusiveUse { name: name(), host: host() }, CHANNEL, 403),
        (Failure::InUse { subject, name: name(), host: host() }, CHANNEL, 406),
        (Failure::NotEmpty { name: name(), host: host() }, CHANNEL, 406),
        (
            Failure::Inequivalent {
                subject,
                name: name(),
                host: host(),
                argument: "durable".into(),
                received: "'false'".into(),
                current: "'true'".into(),
            },
            CHANNEL,
            406,
        ),
        (
            Failure::InvalidArgument {
                subject,
                name: name(),
                host: host(),
                argument: "x-expires".into(),
                reason: "{value_zero,0}".into(),
            },
            CHANNEL,
            406,
        ),
        (Failure::InvalidProperty { property: "non-durable", name: name(), host: host() }, CHANNEL, 406),
        (Failure::UnsupportedArgument { argument: "x-expires", name: name(), host: host(), kind: "stream" }, CHANNEL, 406),
        (Failure::NoPrefetch { name: name(), host: host() }, CHANNEL, 406),
        (Failure::NotForStreams { what: "get", name: name(), host: host() }, CONNECTION, 540),
        (Failure::ReservedName { subject, name: name() }, CHANNEL, 403),
        (Failure::DefaultExchange, CHANNEL, 403),
        (Failure::SystemExchange { name: name(), host: host() }, CHANNEL, 403),
        (Failure::InternalExchange { name: name(), host: host() }, CHANNEL, 403),
        (Failure::UnknownExchangeType { kind: "zz".into() }, CHANNEL, 406),
        (Failure::InvalidBinding("x".into()), CHANNEL, 406),
        (Failure::UnknownDeliveryTag(5), CHANNEL, 406),
        (Failure::UserMismatch { claimed: "a".into(), user: "b".into() }, CHANNEL, 406),
        (Failure::LimitReached("x".into()), CHANNEL, 406),
        (Failure::NotImplemented("x".into()), CONNECTION, 540),
        (Failure::Damaged("x".into()), CHANNEL, 404),
    ];
    for (failure, hard, code) in cases {
        let mut harness = Harness::running();
        harness.broker.next = Some(Err(failure.clone()));
        harness.send(1, &queue::Declare { queue: "q", ..Default::default() });
        let (is_hard, is_code, text) = harness.close();
        assert_eq!((is_hard, is_code), (hard, code), "{failure:?}");
        assert!(text.contains(&failure.to_string()), "{text}");
    }
}

#[test]
fn a_transaction_of_which_something_was_refused_is_406() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("1 tx.select"));
    harness.said();
    harness.broker.next = Some(Ok(Reply::Refused));
    harness.receive(&script::frames("1 tx.commit"));
    assert_eq!(harness.close(), (CHANNEL, 406, "PRECONDITION_FAILED - partial tx completion".to_owned()));
}

#[test]
fn a_long_explanation_is_cut_at_255_bytes() {
    let mut harness = Harness::running();
    harness.broker.next = Some(Err(Failure::InvalidBinding("\u{e4}".repeat(300))));
    harness.send(1, &queue::Purge { queue: "q", ..Default::default() });
    let (_, _, text) = harness.close();
    assert!((254..=255).contains(&text.len()));
}

#[test]
fn after_a_channel_error_the_channel_is_deaf_until_close_ok_and_others_live() {
    let mut harness = Harness::running();
    harness.send(2, &channel::Open::default());
    harness.send(1, &basic::Ack { delivery_tag: 99, multiple: false });
    harness.said();
    assert_eq!(harness.broker.log.last().unwrap(), "close scope 1");
    harness.broker.log.clear();
    for line in ["1 basic.publish body=x", "1 header size=7", "1 body of=x", "1 queue.declare", "1 channel.open"] {
        harness.receive(&script::frames(line));
    }
    assert!(harness.said().is_empty() && harness.broker.log.is_empty());
    harness.receive(&script::frames("2 basic.publish body=x"));
    assert_eq!(harness.broker.log.len(), 1);
    harness.receive(&script::frames("1 channel.close"));
    assert_eq!(harness.said(), ["1 channel.close-ok"]);
    harness.receive(&script::frames("1 channel.close-ok"));
    harness.receive(&script::frames("1 channel.open"));
    assert_eq!(harness.said(), ["1 channel.open-ok reserved: []"]);
}

#[test]
fn a_stray_close_ok_is_no_error() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("5 channel.close-ok"));
    harness.receive(&script::frames("1 channel.close-ok"));
    assert!(harness.said().is_empty());
    assert_eq!(harness.session.state(), SessionState::Open);
}

#[test]
fn after_a_connection_error_only_the_end_is_heard() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("1 channel.flow"));
    harness.close();
    for line in ["1 queue.declare", "heartbeat", "0 connection.update-secret", "9 body of=x"] {
        harness.receive(&script::frames(line));
    }
    assert!(harness.said().is_empty());
    assert_eq!(harness.session.state(), SessionState::Open);
    harness.receive(&script::frames("0 connection.close-ok"));
    assert_eq!(harness.session.state(), SessionState::Closing);
}

#[test]
fn a_peer_that_never_says_close_ok_is_left_after_a_while() {
    for line in ["1 channel.flow", "hex 04 00 01 00 00 00 00 ce"] {
        let mut harness = Harness::running();
        harness.receive(&script::frames(line));
        harness.close();
        harness.wait(10_000);
        assert_eq!(harness.session.state(), SessionState::Closing);
    }
}

#[test]
fn out_of_step_a_close_ok_at_the_end_is_recognised() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("hex 03 00 01 00 ff ff ff"));
    harness.close();
    harness.receive(&[7; 100]);
    assert!(harness.input_len() < 12);
    harness.receive(&script::frames("0 connection.close-ok"));
    assert_eq!(harness.session.state(), SessionState::Closing);
}

#[test]
fn a_foreign_protocol_is_told_ours() {
    for header in
        [&b"GET / HTTP/1.1\r\n"[..], b"AMQP\x03\x01\x00\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"AMQP\x00\x00\x09\x02"]
    {
        let mut harness = Harness::new();
        harness.receive(header);
        assert_eq!(harness.out.take(), PROTOCOL_HEADER);
        assert_eq!(harness.session.state(), SessionState::Closing);
    }
    let mut harness = Harness::new();
    harness.receive(b"AMQP\x01\x01\x00\x09");
    assert!(harness.said()[0].starts_with("0 connection.start"));
}

#[test]
fn the_handshake_must_be_over_in_ten_seconds() {
    let bytes = handshake(131_072, 0);
    for known in [0, 5, 8, 60, bytes.len() - 3] {
        let mut harness = Harness::new();
        harness.receive(&bytes[..known]);
        harness.wait(9_000);
        assert_eq!(harness.session.state(), SessionState::Open);
        harness.wait(1_500);
        assert_eq!(harness.session.state(), SessionState::Closing);
    }
}

fn log_in(mechanism: &'static str, response: &[u8], capabilities: bool) -> Harness {
    let mut harness = Harness::new();
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let table = b"\x0ccapabilitiesF\x00\x00\x00\x1f\x1cauthentication_failure_closet\x01";
    let client_properties = if capabilities { RawTable(table) } else { RawTable(&[]) };
    let start_ok = connection::StartOk { client_properties, mechanism, response, locale: "en_US" };
    frame::put_method(&mut bytes, 0, &start_ok);
    harness.receive(&bytes);
    harness
}

#[test]
fn amqplain_is_a_table_without_its_length() {
    let mut harness = log_in("AMQPLAIN", b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest", false);
    assert_eq!(harness.broker.log, ["authenticate 'guest' 'guest'"]);
    assert!(harness.said()[1].starts_with("0 connection.tune "));
}

#[test]
fn a_refused_login_is_told_only_to_who_can_hear_it() {
    let mut harness = log_in("PLAIN", b"\0guest\0wrong", true);
    assert_eq!(
        harness.close(),
        (
            CONNECTION,
            403,
            "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
                .to_owned()
        )
    );
    let mut harness = log_in("PLAIN", b"\0guest\0wrong", false);
    assert_eq!(harness.said().len(), 1, "only start was said");
    assert_eq!(harness.session.state(), SessionState::Open);
    harness.wait(3_000);
    assert_eq!(harness.session.state(), SessionState::Closing);
}

#[test]
fn nonsense_before_the_login_is_met_with_silence() {
    let silent = |mut harness: Harness| {
        assert!(harness.said().len() <= 1);
        harness.receive(&[0; 10_000]);
        assert_eq!(harness.input_len(), 0);
        harness.wait(3_000);
        assert_eq!(harness.session.state(), SessionState::Closing);
        assert!(harness.said().is_empty());
    };
    silent(log_in("SCRAM", b"", true));
    silent(log_in("PLAIN", b"no separators", true));
    silent(log_in("AMQPLAIN", b"\xff", true));
    let mut harness = Harness::new();
    harness.receive(&PROTOCOL_HEADER);
    harness.said();
    harness.receive(&script::frames("1 channel.open"));
    silent(harness);
}

#[test]
fn a_host_that_is_not_there_is_530() {
    let mut harness = Harness::new();
    let bytes = handshake(131_072, 0);
    harness.receive(&bytes[..bytes.len() - 16]);
    harness.receive(&script::frames("0 connection.open virtual_host=nope"));
    assert_eq!(harness.close(), (CONNECTION, 530, "NOT_ALLOWED - vhost nope not found".to_owned()));
}

#[test]
fn limits_beyond_ours_are_530() {
    let cases = [
        ("channel_max=2047 frame_max=131073", "frame_max = 131073 is higher than the maximum allowed value (131072)"),
        ("channel_max=2047 frame_max=0", "frame_max = 0 is higher than the maximum allowed value (131072)"),
        ("channel_max=2047 frame_max=100", "frame_max = 100 is lower than the minimum allowed value (4096)"),
        ("channel_max=2048 frame_max=4096", "channel_max = 2048 is higher than the maximum allowed value (2047)"),
        ("channel_max=0 frame_max=4096", "channel_max = 0 is higher than the maximum allowed value (2047)"),
    ];
    for (tune, text) in cases {
        let mut harness = log_in("PLAIN", b"\0guest\0guest", true);
        harness.receive(&script::frames(&format!("0 connection.tune-ok {tune}")));
        assert_eq!(harness.close(), (CONNECTION, 530, format!("NOT_ALLOWED - negotiated {text}")));
    }
}

#[test]
fn the_negotiated_frame_max_holds_in_both_directions() {
    let mut harness = Harness::new();
    harness.receive(&handshake(4096, 0));
    harness.send(1, &channel::Open::default());
    harness.said();
    harness.receive(&script::frames("1 basic.publish routing_key=nowhere mandatory alone"));
    harness.receive(&script::frames("1 header size=9000"));
    for size in [4000, 4000, 1000] {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, frame::BODY, 1, |out| out.resize(out.len() + size, b'x'));
        harness.receive(&bytes);
    }
    let returned = harness.said();
    assert_eq!(returned[2..], ["1 body of 4088 bytes", "1 body of 4088 bytes", "1 body of 824 bytes"]);
    let mut bytes = Vec::new();
    frame::put(&mut bytes, frame::BODY, 1, |out| out.resize(out.len() + 4097, b'x'));
    harness.receive(&bytes);
    assert_eq!(harness.close().1, 501);
}

#[test]
fn heartbeats_go_out_after_half_an_interval_of_silence() {
    let mut harness = Harness::new();
    harness.receive(&handshake(131_072, 10));
    harness.said();
    let start = harness.now.mono_ms;
    let mut sent = Vec::new();
    while harness.now.mono_ms < start + 18_000 {
        harness.wait(100);
        if harness.said() == ["0 heartbeat"] {
            sent.push(harness.now.mono_ms - start);
        }
    }
    assert_eq!(sent, [5_000, 10_000, 15_000]);
    // What is said anyway is as good as a heartbeat.
    harness.receive(&script::frames("1 channel.open"));
    harness.said();
    harness.wait(4_900);
    assert!(harness.said().is_empty());
    harness.wait(200);
    assert_eq!(harness.said(), ["0 heartbeat"]);
}

#[test]
fn a_peer_silent_for_two_intervals_is_dead() {
    let mut harness = Harness::new();
    harness.receive(&handshake(131_072, 10));
    harness.wait(15_000);
    harness.receive(&script::frames("heartbeat"));
    harness.wait(19_900);
    assert_eq!(harness.session.state(), SessionState::Open);
    harness.wait(5_100);
    assert_eq!(harness.session.state(), SessionState::Closing);
}

#[test]
fn whoever_is_not_read_from_is_not_dead() {
    let mut harness = Harness::new();
    harness.receive(&handshake(131_072, 10));
    harness.event(Event::Blocked("low on disk"));
    harness.wait(100_000);
    assert_eq!(harness.session.state(), SessionState::Open);
    harness.event(Event::Unblocked);
    harness.wait(19_000);
    assert_eq!(harness.session.state(), SessionState::Open);
}

#[test]
fn without_heartbeats_nothing_is_due() {
    let mut harness = Harness::new();
    harness.receive(&handshake(131_072, 0));
    assert_eq!(harness.session.poll_timeout(), None);
}

#[test]
fn names_lose_their_line_ends() {
    let mut harness = Harness::running();
    harness.send(1, &queue::Declare { queue: "a\r\nb\n", ..Default::default() });
    assert_eq!(harness.broker.log, ["declare queue 'ab' []"]);
}

/// Found by fuzzing: the line end went, and the broker was asked for a queue without a name.
#[test]
fn a_name_of_nothing_but_line_ends_is_no_name() {
    let mut harness = Harness::running();
    harness.send(1, &queue::Declare { queue: "q", ..Default::default() });
    harness.send(1, &basic::Consume { queue: "\n", consumer_tag: "t", ..Default::default() });
    harness.send(1, &queue::Bind { queue: "\r", exchange: "e", ..Default::default() });
    assert_eq!(harness.broker.log[1..], ["subscribe in 1 to 'q' as 't' []", "bind 'e' to queue 'q' by 'q' []"]);
    harness.said();
    harness.send(2, &channel::Open::default());
    harness.send(2, &basic::Get { queue: "\n", ..Default::default() });
    assert_eq!(harness.close(), (CHANNEL, 404, "NOT_FOUND - no previously declared queue".to_owned()));
}

#[test]
fn blind_copies_are_not_delivered() {
    let mut envelope = crate::translate::Envelope::default();
    let table = model::Table(vec![
        ("CC".into(), model::Value::List(vec![model::Value::Text("cc".into()), model::Value::I32(1)])),
        ("BCC".into(), model::Value::List(vec![model::Value::Text("bcc".into())])),
        ("x".into(), model::Value::Bool(true)),
    ]);
    let entries = crate::codec::field::encode_entries(&table);
    let properties = crate::codec::Properties {
        content_type: Some("text/plain"),
        content_encoding: Some("gzip"),
        headers: Some(RawTable(&entries)),
        app_id: Some("app"),
        ..Default::default()
    };
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    envelope.fill("e", &raw, None).unwrap();
    assert_eq!(envelope.more_keys, ["cc", "bcc"]);
    let stored = crate::codec::Properties::decode(&envelope.header().value[2..]).unwrap();
    let headers = stored.headers.unwrap().decode().unwrap();
    assert_eq!(headers.0, [table.0[0].clone(), table.0[2].clone()]);
    assert_eq!(crate::codec::Properties { headers: properties.headers, ..stored }, properties);
    use model::Headers;
    assert_eq!(envelope.get("x"), Some(model::Value::Bool(true)));
    assert_eq!(envelope.get("BCC"), None);
}

#[test]
fn malformed_properties_do_not_reach_the_broker() {
    for list in [&[0x00, 0x01][..], &[0x10, 0x00], &[0x20, 0, 0, 0, 0, 9, 1], &[0, 0, 0]] {
        let mut harness = Harness::running();
        let mut bytes = Vec::new();
        frame::put_method(&mut bytes, 1, &basic::Publish::default());
        frame::put_content_header(&mut bytes, 1, 0, list);
        harness.receive(&bytes);
        assert_eq!(harness.close().1, 501, "{list:?}");
        assert!(!harness.broker.log.iter().any(|line| line.starts_with("publish")));
    }
}

#[test]
fn properties_that_are_not_text_come_back_as_they_were() {
    let mut harness = Harness::running();
    let mut bytes = Vec::new();
    frame::put_method(&mut bytes, 1, &basic::Publish { routing_key: "nowhere", mandatory: true, ..Default::default() });
    frame::put_content_header(&mut bytes, 1, 0, &[0x04, 0, 2, 0xff, 0xfe]);
    harness.receive(&bytes);
    let said = harness.out.take();
    assert_eq!(super::frames(&said)[1].payload[12..], [0x04, 0, 2, 0xff, 0xfe]);
}

#[test]
fn a_bad_table_in_a_declaration_is_502() {
    let mut harness = Harness::running();
    harness.send(1, &queue::Declare { queue: "q", arguments: RawTable(b"\x01a?"), ..Default::default() });
    assert_eq!(harness.close(), (CONNECTION, 502, "SYNTAX_ERROR - malformed table: unknown field type 63".to_owned()));
}

#[test]
fn consumers_are_told_of_their_end_only_if_they_can_hear_it() {
    let mut harness = log_in("PLAIN", b"\0guest\0guest", false);
    for line in [
        "0 connection.tune-ok channel_max=9 frame_max=4096",
        "0 connection.open virtual_host=/",
        "1 channel.open",
        "1 basic.consume queue=q tag=t",
        "1 basic.publish body=x",
    ] {
        harness.receive(&script::frames(line));
    }
    harness.said();
    harness.event(Event::Cancelled { scope: model::Scope(1), subscription: model::SubscriptionId(1) });
    harness.event(Event::Blocked("low on disk"));
    harness.event(Event::Unblocked);
    assert!(harness.said().is_empty());
}

#[test]
fn exclusive_queues_go_before_close_ok_is_read() {
    // The broker hears of the end by the session's state; nothing is asked after it.
    let mut harness = Harness::running();
    harness.receive(&script::frames("0 connection.close"));
    assert_eq!(harness.said(), ["0 connection.close-ok"]);
    assert_eq!(harness.session.state(), SessionState::Closing);
    assert!(harness.broker.log.is_empty());
}

#[test]
fn confirms_of_one_turn_are_one_frame() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("1 confirm.select"));
    harness.said();
    let turn: Vec<u8> = (0..100).flat_map(|_| script::frames("1 basic.publish body=x")).collect();
    harness.receive(&turn);
    assert_eq!(harness.said(), ["1 basic.ack delivery_tag: 100, multiple: true"]);
}

#[test]
fn a_refused_publish_is_nacked_after_what_came_before_is_acked() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("1 confirm.select"));
    harness.said();
    let one = script::frames("1 basic.publish body=x");
    let mut bytes = Vec::new();
    frame::put_method(&mut bytes, 1, &basic::Publish::default());
    frame::put_content_header(&mut bytes, 1, 0, &[0, 0]);
    harness.receive(&[&one[..], &one[..]].concat());
    harness.broker.next = Some(Ok(Reply::Refused));
    harness.receive(&bytes);
    harness.receive(&one);
    assert_eq!(
        harness.said(),
        [
            "1 basic.ack delivery_tag: 2, multiple: true",
            "1 basic.nack delivery_tag: 3, multiple: false, requeue: false",
            "1 basic.ack delivery_tag: 4, multiple: false",
        ]
    );
}

#[test]
fn what_is_safe_is_acked_before_the_channel_or_the_connection_ends() {
    for end in ["1 basic.publish exchange=missing body=x", "1 channel.close", "0 connection.close", "1 channel.flow"] {
        let mut harness = Harness::running();
        harness.receive(&script::frames("1 confirm.select"));
        harness.said();
        harness.receive(&[script::frames("1 basic.publish body=x"), script::frames(end)].concat());
        assert_eq!(harness.said()[0], "1 basic.ack delivery_tag: 1, multiple: false", "{end}");
    }
}

#[test]
fn a_session_that_has_not_opened_is_simply_dropped_at_shutdown() {
    let mut session = AmqpSession::new(Arc::new(SessionOptions::default()), 1, model::Now::default());
    let mut out = Output::default();
    session.handle(Event::Shutdown("maintenance"), model::Now::default(), &mut out);
    assert_eq!(session.state(), SessionState::Closing);
    assert!(out.is_empty());
}

#[test]
fn an_answer_to_nothing_is_ignored() {
    let mut harness = Harness::running();
    harness.event(Event::Reply(Reply::Ok));
    harness.event(Event::Empty { scope: model::Scope(1) });
    harness.event(Event::Durable(model::Lsn(5)));
    assert!(harness.said().is_empty());
}

/// aiormq and aio-pika go on counting after they have closed a channel, and died at number 2048.
#[test]
fn channel_max_is_how_many_are_open_and_not_the_highest_number() {
    let mut harness = Harness::running();
    harness.receive(&script::frames("2048 channel.open"));
    assert_eq!(harness.said(), ["2048 channel.open-ok reserved: []"]);
    for number in 2..2047 {
        harness.send(number, &channel::Open::default());
    }
    harness.said();
    harness.send(3000, &channel::Open::default());
    let text = "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)";
    assert_eq!(harness.close(), (CONNECTION, 530, text.to_owned()));
}

/// Once they came back at the publish, and stayed returned after a rollback.
#[test]
fn mandatory_messages_of_a_transaction_come_back_with_its_commit() {
    let publish = "1 basic.publish exchange=e routing_key=nowhere mandatory body=lost";
    let mut harness = Harness::running();
    for line in ["1 tx.select", publish, "1 tx.rollback"] {
        harness.receive(&script::frames(line));
    }
    assert_eq!(harness.said(), ["1 tx.select-ok", "1 tx.rollback-ok"]);
    harness.receive(&script::frames(publish));
    assert!(harness.said().is_empty());
    harness.receive(&script::frames("1 tx.commit"));
    harness.event(Event::Durable(model::Lsn(u64::MAX)));
    let said = harness.said();
    assert!(said[0].starts_with("1 basic.return") && said.last().unwrap() == "1 tx.commit-ok", "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("return")).count(), 1, "{said:?}");
}
