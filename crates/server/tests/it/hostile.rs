//! Input nobody should send: the right answer, and nobody else notices.

use std::io::{Read as _, Write as _};

use amqp::codec::frame::PROTOCOL_HEADER;
use amqp::codec::{Properties, RawTable, basic, queue};
use tempfile::tempdir;

use crate::cli::link::Link;
use crate::yam::{Yam, consume, declare, rest, until_closed};

fn start() -> (tempfile::TempDir, Yam) {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    (dir, yam)
}

fn frame(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(end);
    frame
}

/// Send these bytes on an open connection; the broker must close it with this code.
fn closed_with(yam: &Yam, bytes: &[u8], code: &str) {
    let mut link = yam.connect();
    link.out.extend_from_slice(bytes);
    let words = until_closed(&mut link);
    assert!(words.contains(code), "expected {code}: {words}");
    yam.assert_serves();
}

#[test]
fn another_protocol_is_answered_with_ours() {
    let (_dir, yam) = start();
    for greeting in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"AMQP\x00\x00\x08\x00", &[0x16, 3, 1, 0, 200, 1, 0, 0]] {
        let mut stream = yam.raw();
        stream.write_all(greeting).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with(b"AMQP") && answer.len() == 8, "{answer:?}");
    }
    yam.assert_serves();
}

#[test]
fn half_a_handshake_is_not_waited_for_for_ever() {
    let (_dir, yam) = start();
    let mut silent = yam.raw();
    let mut half = yam.raw();
    half.write_all(b"AMQP").unwrap();
    let mut greeted = yam.raw();
    greeted.write_all(&PROTOCOL_HEADER).unwrap();
    let mut begun = yam.raw();
    begun.write_all(&PROTOCOL_HEADER).unwrap();
    begun.write_all(&[1, 0, 0, 0, 0]).unwrap();
    yam.assert_serves();
    // The broker's patience ends by itself, after some ten seconds.
    for stream in [&mut silent, &mut half, &mut greeted, &mut begun] {
        rest(stream);
    }
    yam.assert_serves();
}

#[test]
fn a_frame_larger_than_agreed_is_501() {
    let (_dir, yam) = start();
    let mut head = vec![1, 0, 1];
    head.extend_from_slice(&0x7fff_ffffu32.to_be_bytes());
    closed_with(&yam, &head, "501");
    closed_with(&yam, &frame(3, 1, &vec![0; 200_000], 0xCE), "501");
}

#[test]
fn before_tuning_frames_are_small() {
    let (_dir, yam) = start();
    let mut stream = yam.raw();
    stream.write_all(&PROTOCOL_HEADER).unwrap();
    let mut head = vec![1, 0, 0];
    head.extend_from_slice(&100_000u32.to_be_bytes());
    stream.write_all(&head).unwrap();
    rest(&mut stream);
    yam.assert_serves();
}

#[test]
fn a_wrong_frame_end_is_501() {
    let (_dir, yam) = start();
    closed_with(&yam, &frame(8, 0, &[], 0xCD), "501");
}

#[test]
fn an_unknown_frame_type_is_501() {
    let (_dir, yam) = start();
    closed_with(&yam, &frame(77, 1, &[1, 2, 3], 0xCE), "501");
}

#[test]
fn a_body_without_a_method_is_505() {
    let (_dir, yam) = start();
    closed_with(&yam, &frame(3, 1, b"body", 0xCE), "505");
}

#[test]
fn a_heartbeat_on_a_channel_is_505() {
    let (_dir, yam) = start();
    closed_with(&yam, &frame(8, 1, &[], 0xCE), "505");
}

#[test]
fn an_unknown_method_is_refused() {
    let (_dir, yam) = start();
    let mut link = yam.connect();
    link.out.extend_from_slice(&frame(1, 1, &[0, 60, 0xff, 0xff], 0xCE));
    let words = until_closed(&mut link);
    assert!(["503", "540", "501", "502"].iter().any(|code| words.contains(code)), "{words}");
    yam.assert_serves();
}

#[test]
fn a_method_cut_short_is_501() {
    let (_dir, yam) = start();
    // queue.declare with a name of 200 bytes of which 3 are there.
    closed_with(&yam, &frame(1, 1, &[0, 50, 0, 10, 0, 0, 200, b'a', b'b', b'c'], 0xCE), "501");
}

#[test]
fn a_table_bomb_is_refused_before_it_is_unfolded() {
    let (_dir, yam) = start();
    // Tables within tables, each with one entry "": the last one empty.
    let mut table = Vec::new();
    for _ in 0..10_000 {
        let mut outer = vec![0, b'F'];
        outer.extend_from_slice(&u32::try_from(table.len()).unwrap().to_be_bytes());
        outer.extend_from_slice(&table);
        table = outer;
        if table.len() > 100_000 {
            break;
        }
    }
    let mut link = yam.connect();
    let declare = queue::Declare { queue: "bomb", arguments: RawTable(&table), ..Default::default() };
    link.client.send(&mut link.out, 1, &declare);
    let words = until_closed(&mut link);
    assert!(words.contains("502") || words.contains("501"), "{words}");

    let mut link = yam.connect();
    declare_queue(&mut link, "target");
    let properties = Properties { headers: Some(RawTable(&table)), ..Properties::default() };
    link.client.publish(&mut link.out, 1, "", "target", &properties, b"boom");
    let _ = link.flush();
    yam.assert_serves();
}

fn declare_queue(link: &mut Link, name: &str) {
    declare(link, name, false);
}

#[test]
fn a_flood_of_channels_ends_at_the_limit() {
    let (_dir, yam) = start();
    let before = yam.memory();
    let mut link = yam.connect();
    for channel in 2..=2_047 {
        link.client.open_channel(&mut link.out, channel);
    }
    for _ in 2..=2_047 {
        link.answer().unwrap();
    }
    let per_channel = yam.memory().saturating_sub(before) / 2_047;
    assert!(per_channel < 8 * 1024, "{per_channel} bytes per idle channel");
    link.client.open_channel(&mut link.out, 2_048);
    let words = until_closed(&mut link);
    assert!(words.contains("530") || words.contains("504"), "{words}");
    yam.assert_serves();
}

#[test]
fn opening_and_closing_channels_for_ever_costs_nothing() {
    let (_dir, yam) = start();
    let mut link = yam.connect();
    let round = |link: &mut Link| {
        for channel in 2..500 {
            link.client.open_channel(&mut link.out, channel);
            link.client.close_channel(&mut link.out, channel);
        }
        for _ in 0..2 * 498 {
            link.answer().unwrap();
        }
    };
    round(&mut link);
    let before = yam.memory();
    for _ in 0..20 {
        round(&mut link);
    }
    let grown = yam.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
}

#[test]
fn a_body_size_out_of_all_bounds_is_refused_and_not_allocated() {
    let (_dir, yam) = start();
    let before = yam.memory();
    let mut link = yam.connect();
    declare_queue(&mut link, "target");
    link.client.send(&mut link.out, 1, &basic::Publish { routing_key: "target", ..Default::default() });
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(1u64 << 60).to_be_bytes());
    header.extend_from_slice(&[0, 0]);
    link.out.extend_from_slice(&frame(2, 1, &header, 0xCE));
    let words = until_closed(&mut link);
    assert!(words.contains("406") || words.contains("501"), "{words}");
    assert!(yam.memory().saturating_sub(before) < 32 << 20);
    yam.assert_serves();
}

#[test]
fn a_slow_sender_is_served_and_delays_nobody() {
    let (_dir, yam) = start();
    let mut slow = yam.connect();
    declare_queue(&mut slow, "slow");
    consume(&mut slow, "slow", true);
    let mut bytes = Vec::new();
    slow.client.publish(&mut bytes, 1, "", "slow", &Properties::default(), &[9; 300]);
    for (index, byte) in bytes.iter().enumerate() {
        slow.out.push(*byte);
        slow.flush().unwrap();
        if index % 100 == 0 {
            yam.assert_serves();
        }
    }
    let body = slow
        .next(Some(crate::yam::PATIENCE), &mut |event| match event {
            amqp::client::ClientEvent::Delivered { message, .. } => Ok(Some(message.body.to_vec())),
            _ => Ok(None),
        })
        .unwrap();
    assert_eq!(body, Some(vec![9; 300]));
}

#[test]
fn noise_is_answered_with_a_close() {
    let (_dir, yam) = start();
    // A fixed stream of nonsense, different for every connection.
    let mut state = 0x1234_5678_9abc_def0u64;
    for _ in 0..50 {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        })
        .take(500)
        .collect();
        let mut stream = yam.raw();
        stream.write_all(&PROTOCOL_HEADER).unwrap();
        let mut greeting = [0; 7];
        stream.read_exact(&mut greeting).unwrap();
        // The broker may close before it has read all of it.
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(&mut stream);
    }
    yam.assert_serves();
}

#[test]
fn a_length_that_lies_to_the_kafka_listener_ends_its_connection_with_a_line_in_the_log() {
    let dir = tempdir().unwrap();
    let log = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
    let listeners = ["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];
    let yam = Yam::start_logging(&dir.path().join("data"), &listeners, "info", log.reopen().unwrap());
    let before = yam.memory();
    // Metadata 1, of two thousand million topics.
    let body = [&[0, 3, 0, 1, 0, 0, 0, 9, 0, 1, b'x'][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    let bomb = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    // A frame of two thousand million bytes.
    let endless = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9];
    for bytes in [&bomb[..], &endless] {
        let mut stream = std::net::TcpStream::connect(yam.addresses[1]).unwrap();
        stream.set_read_timeout(Some(crate::yam::PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        assert_eq!(rest(&mut stream), b"", "it ends without an answer");
    }
    assert!(yam.memory() < before + 16 * 1024 * 1024, "{} after {before}", yam.memory());
    yam.assert_serves();
    // The log is written beside: all of it is there when the broker has ended.
    assert!(yam.terminate().success());
    let said = std::fs::read_to_string(log.path()).unwrap();
    for words in ["Metadata", "2147483647"] {
        assert!(said.lines().any(|line| line.contains("connection ended") && line.contains(words)), "{words} in {said}");
    }
}
