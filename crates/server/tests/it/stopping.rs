//! SIGTERM and SIGKILL, and what is there after them.

use std::io::Write as _;

use amqp::codec::exchange;
use tempfile::tempdir;

use crate::yam::{Yam, consume, count, declare, drain, publish_confirmed, rest, until_closed};

fn bodies(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("message {number}").into_bytes()).collect()
}

fn publish(yam: &Yam, name: &str, bodies: &[Vec<u8>], persistent: bool) {
    let mut link = yam.connect();
    declare(&mut link, name, true);
    let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    publish_confirmed(&mut link, name, &slices, persistent);
    link.close().unwrap();
}

fn kept(yam: &Yam, name: &str) -> Vec<Vec<u8>> {
    let mut link = yam.connect();
    drain(&mut link, name).into_iter().map(|(body, _)| body).collect()
}

#[test]
fn sigterm_keeps_what_is_durable_and_ends_with_0() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    publish(&yam, "durable", &bodies(1_000), true);
    let mut link = yam.connect();
    declare(&mut link, "transient", false);
    let topic = exchange::Declare { exchange: "kept", kind: "topic", durable: true, ..Default::default() };
    link.client.send(&mut link.out, 1, &topic);
    link.answer().unwrap();
    drop(link);
    assert_eq!(yam.terminate().code(), Some(0));

    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    link.client.send(&mut link.out, 1, &exchange::Declare { passive: true, ..topic });
    link.answer().unwrap();
    assert_eq!(kept(&yam, "durable"), bodies(1_000));
    assert!(count(&mut link, "transient").unwrap_err().contains("404"));
    assert_eq!(yam.terminate().code(), Some(0));
}

#[test]
fn sigterm_tells_clients_why() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    yam.signal("-TERM");
    let words = until_closed(&mut link);
    assert!(words.contains("320"), "{words}");
    let _ = link.flush();
    assert_eq!(yam.terminate().code(), Some(0));
}

#[test]
fn sigterm_does_not_wait_for_ever_for_a_client_that_does_not_answer() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    // One that has finished its handshake and never reads again, one that has not even begun.
    let _silent = yam.connect();
    let mut half = yam.raw();
    half.write_all(b"AMQ").unwrap();
    assert_eq!(yam.terminate().code(), Some(0));
    rest(&mut half);
}

#[test]
fn sigkill_loses_nothing_that_was_confirmed() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    publish(&yam, "durable", &bodies(2_000), true);
    yam.kill();
    let yam = Yam::start(dir.path());
    assert_eq!(kept(&yam, "durable"), bodies(2_000));
}

#[test]
fn what_was_out_comes_back_in_order_and_marked() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    publish(&yam, "durable", &bodies(10), true);
    let mut link = yam.connect();
    link.client.prefetch(&mut link.out, 1, 4);
    link.answer().unwrap();
    consume(&mut link, "durable", false);
    let mut seen = 0;
    while seen < 4 {
        link.next(Some(crate::yam::PATIENCE), &mut |event| {
            Ok(matches!(event, amqp::client::ClientEvent::Delivered { .. }).then_some(()))
        })
        .unwrap()
        .expect("a delivery");
        seen += 1;
    }
    // The first is settled for ever: a publish that came after its ack is confirmed.
    link.client.ack(&mut link.out, 1, 1, false);
    publish_confirmed(&mut link, "durable", &[b"last"], true);
    yam.kill();

    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    let back = drain(&mut link, "durable");
    let mut expected = bodies(10).split_off(1);
    expected.push(b"last".to_vec());
    assert_eq!(back.iter().map(|(body, _)| body.clone()).collect::<Vec<_>>(), expected);
    let marked: Vec<bool> = back.iter().map(|(_, redelivered)| *redelivered).collect();
    assert!(marked[..3].iter().all(|flag| *flag), "{marked:?}");
}

#[test]
fn a_relaxed_broker_keeps_everything_over_sigkill_too() {
    let dir = tempdir().unwrap();
    let arguments = ["--amqp-listen", "127.0.0.1:0", "--durability", "relaxed"];
    let yam = Yam::start_with(dir.path(), &arguments);
    publish(&yam, "durable", &bodies(500), true);
    yam.kill();
    let yam = Yam::start_with(dir.path(), &arguments);
    assert_eq!(kept(&yam, "durable"), bodies(500));
}

/// SIGHUP (a terminal that is closed, log rotation), SIGUSR1 and SIGUSR2 ended it on the spot.
#[test]
fn signals_that_ask_for_nothing_here_end_nobody() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    publish(&yam, "durable", &bodies(10), true);
    for signal in ["-HUP", "-USR1", "-USR2", "-HUP"] {
        yam.signal(signal);
    }
    yam.assert_serves();
    assert_eq!(kept(&yam, "durable"), bodies(10));
    assert_eq!(yam.terminate().code(), Some(0));
}
