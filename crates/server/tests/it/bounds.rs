//! Clients that take more than their share: memory stays bounded, and the others go on.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use amqp::codec::{Properties, queue};
use tempfile::tempdir;

use crate::yam::{Yam, consume, declare, drain, publish_confirmed};

const MIB: u64 = 1 << 20;

/// Write until the socket takes no more, or so many bytes are through.
fn write_all_it_takes(stream: &mut TcpStream, bytes: &[u8], most: u64) -> u64 {
    stream.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while sent < most {
        match stream.write(bytes) {
            Ok(count) => sent += count as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            // Closed for asking without ever reading: as good.
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn one_who_asks_and_never_reads_is_held_back() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let link = yam.connect();
    let before = yam.memory();
    let mut question = Vec::new();
    for _ in 0..1_000 {
        link.client.send(
            &mut question,
            1,
            &queue::Declare { queue: "no-such-queue-exists", durable: true, ..Default::default() },
        );
    }
    let mut stream = yam.raw();
    handshake(&yam, &mut stream);
    write_all_it_takes(&mut stream, &question, 64 * MIB);
    let grown = yam.memory().saturating_sub(before);
    assert!(grown < 96 * MIB, "grew by {} MiB", grown / MIB);
    yam.assert_serves();
}

/// Log in and open channel 1 blindly, on a socket that is never read.
fn handshake(yam: &Yam, stream: &mut TcpStream) {
    let mut out = Vec::new();
    let options = amqp::client::ConnectOptions::default();
    let mut client = amqp::client::Client::connect(&options, &mut out);
    let mut input = Vec::new();
    let mut opened = false;
    while !opened {
        stream.write_all(&out).unwrap();
        out.clear();
        let mut chunk = [0; 4096];
        let count = std::io::Read::read(stream, &mut chunk).unwrap();
        assert_ne!(count, 0, "{} closed the connection", yam.address());
        input.extend_from_slice(&chunk[..count]);
        let mut rest = &input[..];
        opened = client.receive(&mut rest, &mut out).unwrap().is_some();
        let used = input.len() - rest.len();
        input.drain(..used);
    }
    client.open_channel(&mut out, 1);
    stream.write_all(&out).unwrap();
}

#[test]
fn a_consumer_that_never_reads_does_not_fill_the_memory() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut stuck = yam.connect();
    declare(&mut stuck, "flood", false);
    consume(&mut stuck, "flood", false);
    let mut publisher = yam.connect();
    let before = yam.memory();
    let body = vec![3; 64 * 1024];
    let bodies: Vec<&[u8]> = std::iter::repeat_n(&body[..], 100).collect();
    for _ in 0..40 {
        // 40 x 6.25 MiB, transient.
        publish_confirmed_again(&mut publisher, &bodies);
    }
    let grown = yam.memory().saturating_sub(before);
    assert!(grown < 220 * MIB, "grew by {} MiB for 250 MiB of messages", grown / MIB);
    yam.assert_serves();
}

fn publish_confirmed_again(link: &mut crate::cli::link::Link, bodies: &[&[u8]]) {
    for body in bodies {
        link.client.publish(&mut link.out, 1, "", "flood", &Properties::default(), body);
    }
    link.flush().unwrap();
    // The answer to a question asked after them says that all were taken.
    link.client.send(&mut link.out, 1, &queue::Declare { queue: "flood", passive: true, ..Default::default() });
    link.answer().unwrap();
}

#[test]
fn a_backlog_larger_than_the_cache_is_kept_on_disk() {
    let dir = tempdir().unwrap();
    let yam = Yam::start_with(dir.path(), &["--amqp-listen", "127.0.0.1:0", "--cache-size", "8MiB"]);
    let mut link = yam.connect();
    declare(&mut link, "backlog", true);
    let before = yam.memory();
    let body = vec![5; 16 * 1024];
    let bodies: Vec<&[u8]> = std::iter::repeat_n(&body[..], 8_000).collect();
    publish_confirmed(&mut link, "backlog", &bodies, true);
    let grown = yam.memory().saturating_sub(before);
    assert!(grown < 100 * MIB, "grew by {} MiB for 125 MiB of messages", grown / MIB);
    yam.assert_serves();
}

#[test]
fn a_thousand_idle_connections_cost_little() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let one = yam.connect();
    let before = yam.memory();
    let links: Vec<_> = (0..400).map(|_| yam.connect()).collect();
    let each = yam.memory().saturating_sub(before) / links.len() as u64;
    assert!(each < 24 * 1024, "{each} bytes per idle connection");
    yam.assert_serves();
    drop((one, links));
    yam.assert_serves();
}

#[test]
fn connections_beyond_the_limit_are_closed_and_room_is_found_again() {
    let dir = tempdir().unwrap();
    let yam = Yam::start_with(dir.path(), &["--amqp-listen", "127.0.0.1:0", "--connections-max", "3"]);
    let links: Vec<_> = (0..3).map(|_| yam.connect()).collect();
    let mut fourth = yam.raw();
    assert!(crate::yam::rest(&mut fourth).is_empty());
    for link in links {
        link.close().unwrap();
    }
    // The broker learns of hang-ups in its own time; each try is a connection that is served or closed.
    let mut tries = 0;
    while crate::cli::link::Link::open(&yam.url().parse().unwrap()).is_err() {
        tries += 1;
        assert!(tries < 10_000, "no room was found again");
    }
}

#[test]
fn a_full_disk_holds_publishers_and_lets_consumers_go_on() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    declare(&mut link, "full", true);
    publish_confirmed(&mut link, "full", &[b"one", b"two"], true);
    yam.kill();

    // No disk has so much free.
    let yam = Yam::start_with(dir.path(), &["--amqp-listen", "127.0.0.1:0", "--disk-free-limit", "1000000TiB"]);
    let mut publisher = yam.connect();
    publisher.client.confirm_select(&mut publisher.out, 1);
    publisher.answer().unwrap();
    publisher.client.publish(&mut publisher.out, 1, "", "full", &Properties::persistent(), b"three");
    let blocked = publisher.next(Some(crate::yam::PATIENCE), &mut |event| match event {
        amqp::client::ClientEvent::Blocked { reason } => Ok(Some(reason.to_owned())),
        amqp::client::ClientEvent::Acked { .. } => panic!("confirmed on a full disk"),
        _ => Ok(None),
    });
    assert_eq!(blocked.unwrap().as_deref(), Some("low on disk"));

    let mut consumer = yam.connect();
    consume(&mut consumer, "full", false);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let delivered = consumer.next(Some(crate::yam::PATIENCE), &mut |event| match event {
            amqp::client::ClientEvent::Delivered { tag, message, .. } => Ok(Some((tag, message.body.to_vec()))),
            _ => Ok(None),
        });
        let (tag, body) = delivered.unwrap().expect("a delivery");
        consumer.client.ack(&mut consumer.out, 1, tag, false);
        seen.push(body);
    }
    assert_eq!(seen, [b"one", b"two"]);
    consumer.close().unwrap();
    // The acks are kept, and stopping does not hang on the publisher that is held back.
    assert_eq!(yam.terminate().code(), Some(0));
    let yam = Yam::start(dir.path());
    assert_eq!(crate::yam::count(&mut yam.connect(), "full"), Ok(0));
}

/// Bodies that end anywhere in what is read at once, or are longer than all of it.
#[test]
fn bodies_of_any_length_come_back_whole() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    declare(&mut link, "bodies", true);
    let lengths = [0, 1, 4_000, 65_300, 65_536, 131_064, 200_000, 524_288, 1_100_000];
    let body = |number: usize| -> Vec<u8> {
        let len = lengths[number % lengths.len()] + number / lengths.len();
        (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8 ^ number as u8).collect()
    };
    let bodies: Vec<Vec<u8>> = (0..8 * lengths.len()).map(body).collect();
    publish_confirmed(&mut link, "bodies", &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>(), true);
    let drained = drain(&mut link, "bodies");
    assert_eq!(drained.len(), bodies.len());
    for (number, ((got, _), sent)) in drained.iter().zip(&bodies).enumerate() {
        assert!(got == sent, "body {number} of {} bytes came back otherwise", sent.len());
    }
}
