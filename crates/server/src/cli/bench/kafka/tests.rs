//! What the generator sends is what a broker takes, and what it reads back is what was sent.

use std::io::Read;

use clap::Parser;
use model::record::{BatchHead, HEADER_BYTES, Records, verify};
use proptest::prelude::*;

use super::batch::{Stamp, Template};
use super::link::{Frames, put_request};
use super::options::{Options, Place};
use crate::cli::bench::ledger::{body_head, parse_head};
use kafka::codec::{Request, metadata};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &str) -> Options {
    Cli::parse_from(std::iter::once("kafka").chain(arguments.split_whitespace())).options
}

/// Hands out a byte string in pieces, as a socket would.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.piece.min(self.bytes.len()).min(buffer.len());
        let (now, later) = self.bytes.split_at(taken);
        buffer[..taken].copy_from_slice(now);
        self.bytes = later;
        if taken == 0 { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

proptest! {
    #[test]
    fn a_batch_of_any_number_of_records_is_whole(size in 16_usize..3000, batch in 0_usize..40_000, part in 0.0..1.0) {
        let template = Template::new(size, batch);
        prop_assert!(template.len() <= batch || template.records() == 1);
        let records = 1 + ((template.records() - 1) as f64 * part) as usize;
        let (mut out, mut number) = (vec![7; 3], 0);
        template.put(&mut out, Stamp { records, now_ms: 77, sequence: Some((9, 2, 31)) }, || {
            number += 1;
            body_head(5, number - 1, 123)
        });
        let bytes = &out[3..];
        prop_assert_eq!(verify(bytes), Ok(bytes.len()));
        let head = BatchHead::parse(bytes).expect("a head");
        prop_assert_eq!((head.offsets as usize, head.records as usize), (records, records));
        prop_assert_eq!((head.producer_id, head.producer_epoch, head.base_sequence), (9, 2, 31));
        prop_assert_eq!((head.base_timestamp_ms, head.max_timestamp_ms), (77, 77));
        for (index, record) in Records::new(&bytes[HEADER_BYTES..], head.records).enumerate() {
            let record = record.expect("a record");
            let value = record.value.expect("a value");
            prop_assert_eq!((record.offset_delta, record.key, value.len()), (index as i64, None, size));
            prop_assert_eq!(parse_head(value.first_chunk().expect("a head")), (5, index as u64, 123));
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut(piece in 1_usize..300_000, sizes in prop::collection::vec(0_usize..100_000, 1..6)) {
        let mut bytes = Vec::new();
        for &size in &sizes {
            bytes.extend_from_slice(&(size as u32).to_be_bytes());
            bytes.resize(bytes.len() + size, size as u8);
        }
        let (mut source, mut frames, mut seen) = (Pieces { bytes: &bytes, piece }, Frames::default(), Vec::new());
        while !source.bytes.is_empty() {
            prop_assert!(frames.receive(&mut source).is_ok());
            while let Some(body) = frames.next().expect("frames") {
                prop_assert!(body.iter().all(|&byte| byte == body.len() as u8));
                seen.push(body.len());
            }
        }
        prop_assert_eq!(seen, sizes);
    }
}

#[test]
fn a_request_is_a_frame_with_its_header() {
    let mut out = Vec::new();
    put_request(&mut out, &Request::Metadata(metadata::Request::default()), 1, 5);
    assert_eq!(out[..14], [0, 0, 0, 23, 0, 3, 0, 1, 0, 0, 0, 5, 0, 9]);
    assert_eq!(&out[14..23], b"yam bench");
}

#[test]
fn all_partitions_have_one_consumer() {
    for (partitions, consumers) in [(1, 1), (10, 10), (100, 7)] {
        let options = options(&format!("--partitions {partitions} --consumers {consumers}"));
        let mut covered: Vec<i32> = (0..consumers).flat_map(|consumer| options.partitions_of(consumer)).collect();
        covered.sort_unstable();
        assert_eq!(covered, (0..partitions).collect::<Vec<_>>());
    }
}

#[test]
fn places_as_clients_write_them() {
    let place = |host: &str, port| Ok(Place { host: host.to_owned(), port });
    assert_eq!("127.0.0.1:9092".parse(), place("127.0.0.1", 9092));
    assert_eq!("[::1]:9092".parse(), place("::1", 9092));
    for wrong in ["localhost", ":9092", "h:port"] {
        assert!(wrong.parse::<Place>().is_err(), "{wrong}");
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    for bad in ["--size 8", "--partitions 0", "-c 2", "--in-flight 6", "--in-flight 0", "--acks 0 --latency", "--topic-config x"]
    {
        assert!(options(bad).validate().is_err(), "{bad}");
    }
    for good in ["", "--in-flight 6 --no-idempotence", "--in-flight 6 --acks 1"] {
        assert!(options(good).validate().is_ok(), "{good}");
    }
}
