use super::*;
use crate::topic::records::compress;
use proptest::prelude::*;

/// A record as it is written, and how much of what it says is a lie.
#[derive(Clone, Debug)]
struct Written {
    time: i64,
    delta: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn plain(delta: i64) -> Written {
    Written { time: delta, delta, key: Some(b"key".to_vec()), value: Some(b"value".to_vec()), headers: Vec::new() }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn encode(records: &[Written]) -> Vec<u8> {
    let mut all = Vec::new();
    for record in records {
        let mut out = vec![0];
        put_varint(&mut out, record.time);
        put_varint(&mut out, record.delta);
        put_nullable(&mut out, record.key.as_deref());
        put_nullable(&mut out, record.value.as_deref());
        put_varint(&mut out, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_nullable(&mut out, Some(name));
            put_nullable(&mut out, value.as_deref());
        }
        put_nullable(&mut all, Some(&out));
    }
    all
}

/// A batch that says that it is of `count` records.
fn batch_of(packed: &[u8], count: usize, codec: i16) -> (Vec<u8>, BatchHead) {
    let mut batch = Vec::new();
    model::RecordParts::default().encode(1_000, &mut batch);
    batch[22] = codec as u8;
    let batch = model::record::rebuild(&batch, count as u32, packed);
    let head = BatchHead::parse(&batch).unwrap();
    (batch, head)
}

fn examined(records: &[u8], count: usize, codec: i16, most: u64) -> Result<Examined, Unfit> {
    let packed = compress(records, Packing::of(codec)).unwrap();
    let (batch, head) = batch_of(&packed, count, codec);
    super::examine(&batch, &head, Rules::default(), most)
}

const MOST: u64 = 16 * 1024 * 1024;

#[test]
fn every_record_is_looked_at_with_every_codec() {
    for codec in 0..5 {
        let mut records: Vec<_> = (0..5_000).map(plain).collect();
        let good = Examined { newest_ms: 5_999, oldest_ms: Some(1_000), keyless: false, bad: vec![] };
        assert_eq!(examined(&encode(&records), 5_000, codec, MOST), Ok(good.clone()), "codec {codec}");
        assert_eq!(examined(&encode(&records), 5_001, codec, MOST), Err(Unfit::Malformed), "fewer than it says");
        assert_eq!(examined(&encode(&records), 4_999, codec, MOST), Err(Unfit::MoreRecords), "more than it says");
        let mut behind = encode(&records);
        behind.push(0);
        assert_eq!(examined(&behind, 5_000, codec, MOST), Err(Unfit::MoreRecords), "something behind them");
        records[7].key = Some(Vec::new());
        records[7].time = -1_001;
        records[9].time = 1_000_000;
        assert_eq!(examined(&encode(&records), 5_000, codec, MOST), Ok(Examined { newest_ms: 1_001_000, ..good }));
        records[4_999].key = None;
        assert!(examined(&encode(&records), 5_000, codec, MOST).unwrap().keyless);
        records[8].delta = 7;
        assert_eq!(examined(&encode(&records), 5_000, codec, MOST), Err(Unfit::Offsets));
    }
}

#[test]
fn nothing_is_packed_as_it_says_it_is() {
    for codec in 1..5 {
        for junk in [&b""[..], b"\0", b"no codec makes this", &[0xff; 100], &encode(&[plain(0)])] {
            let (batch, head) = batch_of(junk, 1, codec);
            assert_eq!(super::examine(&batch, &head, Rules::default(), MOST), Err(Unfit::Malformed), "codec {codec}");
        }
        // Cut short.
        let records: Vec<_> = (0..500).map(plain).collect();
        let packed = compress(&encode(&records), Packing::of(codec)).unwrap();
        let (batch, head) = batch_of(&packed[..packed.len() / 2], 500, codec);
        assert_eq!(super::examine(&batch, &head, Rules::default(), MOST), Err(Unfit::Malformed), "codec {codec}");
    }
}

#[test]
fn records_that_are_not_taken_are_named() {
    let mut records: Vec<_> = (0..10).map(plain).collect();
    records[3].key = None;
    records[7].key = None;
    records[5].time = 100_000;
    let rules = Rules { keys: true, times_ms: Some((0, 50_000)) };
    for codec in 0..5 {
        let (batch, head) = batch_of(&compress(&encode(&records), Packing::of(codec)).unwrap(), 10, codec);
        let bad = super::examine(&batch, &head, rules, MOST).unwrap().bad;
        assert_eq!(bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [3, 5, 7], "codec {codec}");
        let time = BadRecordCause::Time { ms: head.base_timestamp_ms + 100_000, earliest_ms: 0, latest_ms: 50_000 };
        assert_eq!([bad[0].why, bad[1].why], [BadRecordCause::NoKey, time]);
    }
    // Of very many not all.
    let (count, keyless) = (limits::BAD_RECORDS_MAX + 5, |delta| Written { key: None, ..plain(delta) });
    let (batch, head) = batch_of(&encode(&(0..count as i64).map(keyless).collect::<Vec<_>>()), count, 0);
    assert_eq!(super::examine(&batch, &head, rules, MOST).unwrap().bad.len(), limits::BAD_RECORDS_MAX);
}

#[test]
fn what_unpacks_to_more_than_it_may_is_not_unpacked() {
    let large = Written { value: Some(vec![0; 4 * 1024 * 1024]), ..plain(0) };
    for codec in 1..5 {
        let records = encode(std::slice::from_ref(&large));
        assert_eq!(examined(&records, 1, codec, 64 * 1024), Err(Unfit::TooMuch), "codec {codec}");
        assert_eq!(examined(&records, 1, codec, records.len() as u64 - 1), Err(Unfit::TooMuch), "codec {codec}");
        assert!(examined(&records, 1, codec, records.len() as u64).is_ok(), "codec {codec}");
    }
}

#[test]
fn lengths_that_lie_are_noticed() {
    let whole = encode(&[Written { headers: vec![(b"name".to_vec(), None)], ..plain(0) }]);
    assert!(examined(&whole, 1, 0, MOST).is_ok());
    // Every byte says something, but for attributes, key, value and the header's name.
    for at in [0, 4, 8, 14, 15] {
        for changed in [0x7e, 0x03, 0xff] {
            let mut lies = whole.clone();
            lies[at] = changed;
            for codec in 0..5 {
                assert!(examined(&lies, 1, codec, MOST).is_err(), "byte {at} {changed} codec {codec}");
            }
        }
    }
}

proptest! {
    /// Records that lie across the windows are read in another way than those that do not.
    #[test]
    fn it_does_not_matter_where_a_window_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        records in proptest::collection::vec((any::<i32>(), 0usize..40, 0usize..90, 0usize..3), 1..20),
        flipped in proptest::option::of((any::<proptest::sample::Index>(), 0u8..8)),
        window in 1usize..300,
    ) {
        let written = records.iter().enumerate().map(|(delta, (time, key, value, headers))| Written {
            time: i64::from(*time),
            delta: delta as i64,
            key: (*key > 0).then(|| vec![1; *key]),
            value: Some(vec![2; *value]),
            headers: vec![(vec![3; *key], Some(bytes.clone())); *headers],
        });
        let mut encoded = encode(&written.collect::<Vec<_>>());
        if let Some((at, bit)) = flipped {
            let at = at.index(encoded.len());
            encoded[at] ^= 1 << bit;
        }
        let (_, head) = batch_of(&encoded, records.len(), 0);
        let plainly = examine_plain(&encoded, &head, Rules::default());
        let mut reader = BufReader::with_capacity(window, &encoded[..]);
        let mut tally = Tally::new(&head, Rules::default());
        let windowed = (0..records.len()).try_for_each(|_| {
            let seen = see_next(&mut reader).map_err(Unfit::from)?;
            tally.add(&seen)
        });
        let at_end = reader.fill_buf().unwrap().is_empty();
        let windowed = windowed.and(if at_end { Ok(tally.examined) } else { Err(Unfit::MoreRecords) });
        prop_assert_eq!(plainly, windowed);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), codec in 0i16..8, count in 0usize..100_000) {
        let (batch, head) = batch_of(&bytes, count, codec);
        let _ = super::examine(&batch, &head, Rules::default(), 64 * 1024);
    }
}
