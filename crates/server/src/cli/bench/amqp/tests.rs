//! The generator must be right about what it reports: its accounts, its window and its walk through frames.

use std::io::Read;

use hdrhistogram::Histogram;
use proptest::prelude::*;

use super::options::Options;
use super::producer::Window;
use super::reader::{Item, Progress, Reader};
use super::wire;
use crate::cli::bench::ledger::{BODY_HEAD_BYTES, Ledger, Verdict, body_head, parse_head};
use clap::Parser;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &str) -> Options {
    Cli::parse_from(std::iter::once("amqp").chain(arguments.split_whitespace())).options
}

/// Hands out a byte string in pieces, as a socket would.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        let taken = self.piece.min(self.bytes.len()).min(buffer.len());
        let (now, later) = self.bytes.split_at(taken);
        buffer[..taken].copy_from_slice(now);
        self.bytes = later;
        Ok(taken)
    }
}

/// Two messages, the second longer than a frame, with a method between them.
fn stream_of_frames() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut body = body_head(3, 41, 7).to_vec();
    wire::put_publish("", "q", true, &body, 4096, &mut bytes);
    wire::put_ack(1, 9, true, &mut bytes);
    body[7] = 42;
    body.resize(10_000, b'x');
    wire::put_publish("", "q", true, &body, 4096, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn the_reader_finds_the_same_items_however_the_bytes_are_cut(piece in 1_usize..5000, room in 64_usize..9000) {
        let bytes = stream_of_frames();
        let mut source = Pieces { bytes: &bytes, piece };
        let (mut reader, mut buffer, mut seen) = (Reader::default(), vec![0; room + 64], Vec::new());
        while !source.bytes.is_empty() {
            let progress = reader.receive(&mut source, &mut buffer, |item| {
                seen.push(match item {
                    Item::Method { payload, .. } => u64::from(wire::method_id(payload).1),
                    Item::Body { head, .. } => 1000 + parse_head(&head).1,
                });
                Ok(())
            });
            prop_assert!(matches!(progress, Ok(Progress::Drained | Progress::More)));
        }
        prop_assert_eq!(seen, vec![40, 1041, 80, 40, 1042]);
    }

    #[test]
    fn every_publish_is_confirmed_once_in_whatever_order_confirms_come(order in Just((1_u64..=8).collect::<Vec<_>>()).prop_shuffle(), multiple in 0_usize..8) {
        let mut window = Window::new(8);
        let mut latency = Histogram::new_with_bounds(1, 1_000_000, 3).expect("histogram");
        let mut settled = 0;
        for round in 0..5 {
            for sequence in round * 8..round * 8 + 8 {
                prop_assert!(window.room(sequence) > 0);
                window.publish(sequence, 1);
            }
            prop_assert_eq!(window.room(round * 8 + 8), 0);
            for (index, tag) in order.iter().enumerate() {
                settled += window.settle(round * 8 + tag, index == multiple, 2, &mut latency);
            }
            prop_assert_eq!(settled, round * 8 + 8);
        }
        prop_assert_eq!(latency.len(), 40);
    }
}

#[test]
fn a_ledger_in_balance_is_clean_and_each_fault_shows() {
    let fresh = || (Ledger::new(1, 1), Vec::new());
    let verdict = |numbers: &[u64], published: u64| {
        let (mut ledger, mut last) = fresh();
        numbers.iter().for_each(|&number| ledger.book(0, 0, number, false, &mut last));
        ledger.verdict(|_, _| Some(published))
    };
    assert!(verdict(&[0, 1, 2], 3).is_clean());
    assert_eq!(verdict(&[0, 2], 3), Verdict { lost: 1, ..Verdict::default() });
    assert_eq!(verdict(&[0, 1, 1, 2], 3), Verdict { duplicated: 1, disordered: 1, ..Verdict::default() });
    assert_eq!(verdict(&[0, 2, 1], 3), Verdict { disordered: 1, ..Verdict::default() });
    assert_eq!(verdict(&[0, 0, 2], 3), Verdict { lost: 1, duplicated: 1, disordered: 1, ..Verdict::default() });
    let (mut ledger, mut last) = fresh();
    ledger.book(0, 900, 0, false, &mut last);
    assert_eq!(ledger.verdict(|_, _| Some(0)).foreign, 1);
}

#[test]
fn a_backlog_of_another_run_must_be_without_gaps() {
    let (mut ledger, mut last) = (Ledger::new(0, 1), Vec::new());
    [5, 6, 8].into_iter().for_each(|number| ledger.book(0, 2, number, false, &mut last));
    assert_eq!(ledger.verdict(|_, _| None), Verdict { lost: 1, ..Verdict::default() });
    ledger.book(0, 2, 7, true, &mut last);
    assert!(ledger.verdict(|_, _| None).is_clean());
}

#[test]
fn body_head_round_trips() {
    let head: [u8; BODY_HEAD_BYTES] = body_head(513, 1 << 40, 77);
    assert_eq!(parse_head(&head), (513, 1 << 40, 77));
}

#[test]
fn all_queues_have_a_consumer() {
    for (queues, consumers) in [(1, 1), (10, 10), (100, 7), (3, 10)] {
        let options = options(&format!("--queues {queues} --consumers {consumers}"));
        let mut covered = vec![false; queues];
        (0..consumers).flat_map(|consumer| options.queues_of(consumer)).for_each(|queue| covered[queue] = true);
        assert!(covered.iter().all(|&covered| covered), "{queues} queues, {consumers} consumers");
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    for bad in
        ["--size 8", "--queues 0", "-p 0", "-p 0 -c 0", "--prefetch 10", "--latency -p 2", "-c 0 --drain -n 1", "--warm-up NaN"]
    {
        assert!(options(bad).validate().is_err(), "{bad}");
    }
    assert!(options("").validate().is_ok());
}
