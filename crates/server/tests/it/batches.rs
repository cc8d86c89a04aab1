//! Batches of Kafka's producers that are not what they say.

use std::net::TcpStream;
use std::path::Path;

use kafka::client::Client;
use kafka::codec::{ApiKey, Request, error_code, fetch, produce};
use model::record::{RecordParts, rebuild};
use tempfile::tempdir;

use crate::yam::{PATIENCE, Yam, output, refused};

fn start(dir: &Path, more: &[&str]) -> (Yam, String) {
    let listen = ["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];
    let yam = Yam::start_with(dir, &[&listen[..], more].concat());
    let kafka = yam.addresses[1].to_string();
    (yam, kafka)
}

fn connect(kafka: &str) -> Client<TcpStream> {
    let stream = TcpStream::connect(kafka).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::open(stream, "test").unwrap();
    // The last one that names topics.
    client.versions.limit(ApiKey::Fetch, 12);
    client
}

/// A batch of so many records that says it is packed with a codec, 0 being none; `records` is what stands behind its head.
fn batch(records: &[u8], count: u32, codec: u8) -> Vec<u8> {
    let mut head = Vec::new();
    RecordParts::default().encode(1_700_000_000_000, &mut head);
    head[22] = codec;
    head[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    rebuild(&head, count, records)
}

fn put_varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Records without key and value.
fn plain(count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for offset in 0..count {
        let mut record = vec![0, 0];
        put_varint(&mut record, offset);
        record.extend_from_slice(&[1, 1, 0]);
        put_varint(&mut all, record.len());
        all.extend_from_slice(&record);
    }
    all
}

/// The error code and the offset.
fn send(client: &mut Client<TcpStream>, records: &[u8]) -> (i16, i64) {
    let partitions = vec![produce::RequestPartition { index: 0, records: Some(records) }];
    let topics = vec![produce::RequestTopic { name: "t", partitions, ..Default::default() }];
    let request = produce::Request { acks: -1, timeout_ms: 10_000, topics, ..Default::default() };
    let told: produce::Response<'_> = client.ask(&Request::Produce(request)).unwrap();
    let told = &told.topics[0].partitions[0];
    (told.error_code, told.base_offset)
}

/// The offset of the first batch that a reader is handed there.
fn first_read(client: &mut Client<TcpStream>, fetch_offset: i64) -> i64 {
    let partition = fetch::RequestPartition { partition: 0, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topics = vec![fetch::RequestTopic { topic: "t", partitions: vec![partition], ..Default::default() }];
    let request = fetch::Request { max_wait_ms: 5_000, min_bytes: 1, max_bytes: 1 << 20, topics, ..Default::default() };
    let told: fetch::Response<'_> = client.ask(&Request::Fetch(request)).unwrap();
    let records = told.topics[0].partitions[0].records.unwrap_or_default();
    i64::from_be_bytes(*records.first_chunk().expect("a batch"))
}

#[test]
fn a_packed_batch_that_nobody_can_read_is_refused_and_one_that_is_there_can_be_passed_over() {
    let dir = tempdir().unwrap();
    // As older versions kept it.
    let (yam, kafka) = start(dir.path(), &["--kafka-verify", "uncompressed"]);
    output(&["topic", "--kafka", &kafka, "create", "t", "--partitions", "1", "--config", "retention.ms=-1"]);
    let mut client = connect(&kafka);
    let no_gzip = batch(&plain(2), 2, 1);
    assert_eq!(send(&mut client, &batch(&plain(3), 3, 0)), (0, 0));
    assert_eq!(send(&mut client, &no_gzip), (0, 3));
    assert_eq!(send(&mut client, &batch(&plain(1), 1, 0)), (0, 5));
    drop(client);
    assert!(yam.terminate().success());

    let (_yam, kafka) = start(dir.path(), &[]);
    let mut client = connect(&kafka);
    assert_eq!(send(&mut client, &no_gzip), (error_code::INVALID_RECORD, -1));
    // A group goes on behind it, and everything before stays; or all of it is given up.
    let run = |arguments: &[&str]| output(&[&arguments[..1], &["--kafka", &kafka], &arguments[1..]].concat());
    let reset = ["group", "reset", "readers", "--topic", "t", "--partition"];
    let set = run(&[&reset[..], &["0", "--to", "5"]].concat());
    assert!(set.status.success() && String::from_utf8_lossy(&set.stdout).contains("t      0          5"), "{set:?}");
    assert!(refused(&run(&[&reset[..], &["1", "--to", "5"]].concat())).contains("topic 't' has no partition 1"));
    assert_eq!((first_read(&mut client, 0), first_read(&mut client, 3), first_read(&mut client, 5)), (0, 3, 5));
    let trim = ["topic", "trim", "t", "--partition", "0", "--before"];
    let trimmed = run(&[&trim[..], &["5"]].concat());
    assert_eq!(String::from_utf8_lossy(&trimmed.stdout), "partition 0 of topic 't' begins at offset 5\n");
    assert!(refused(&run(&[&trim[..], &["99"]].concat())).contains("cannot trim partition 0 of topic 't'"));
    assert_eq!(first_read(&mut client, 5), 5);
}

/// It takes long to look into, so that it is done beside the core: the answer comes all the same, in its turn.
#[test]
fn a_batch_of_very_many_records_is_answered_in_its_turn() {
    let dir = tempdir().unwrap();
    let (_yam, kafka) = start(dir.path(), &[]);
    output(&["topic", "--kafka", &kafka, "create", "t", "--partitions", "1"]);
    let mut client = connect(&kafka);
    for base in 0..3 {
        assert_eq!(send(&mut client, &batch(&plain(100_000), 100_000, 0)), (0, base * 100_001));
        assert_eq!(send(&mut client, &batch(&plain(100_001), 100_000, 0)), (error_code::INVALID_RECORD, -1));
        assert_eq!(send(&mut client, &batch(&plain(1), 1, 0)), (0, base * 100_001 + 100_000));
    }
}
