//! What the generator sends is what a broker takes, and what it reads back is what was sent.

use clap::Parser;
use model::record::{BatchHead, HEADER_BYTES, Records, verify};
use proptest::prelude::*;

use super::batch::{Stamp, Template};
use super::options::Options;
use crate::cli::bench::ledger::{body_head, parse_head};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &str) -> Options {
    Cli::parse_from(std::iter::once("kafka").chain(arguments.split_whitespace())).options
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
fn options_that_cannot_work_are_refused() {
    for bad in ["--size 8", "--partitions 0", "-c 2", "--in-flight 6", "--in-flight 0", "--acks 0 --latency", "--topic-config x"]
    {
        assert!(options(bad).validate().is_err(), "{bad}");
    }
    for good in ["", "--in-flight 6 --no-idempotence", "--in-flight 6 --acks 1"] {
        assert!(options(good).validate().is_ok(), "{good}");
    }
}
