//! What is written is read back, and no bytes make a reader panic.

use super::field::{self, RawTable};
use super::frame::{self, FrameError, Split};
use super::method::MethodError;
use super::properties::ContentHeader;
use super::wire::Reader;
use super::*;
use model::{Table, Value};
use proptest::prelude::*;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Void),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        // Not-a-number is not equal to itself.
        (-1e30f32..1e30).prop_map(Value::F32),
        (-1e300f64..1e300).prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        ".{0,20}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        Just(Value::RawText(vec![0xff, 0xfe])),
        any::<u64>().prop_map(Value::Timestamp),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec(("[a-z]{0,9}", inner), 0..6).prop_map(|entries| Value::Table(Table(entries))),
        ]
    })
}

fn any_table() -> impl Strategy<Value = Table> {
    proptest::collection::vec((".{0,20}", any_value()), 0..8).prop_map(Table)
}

proptest! {
    #[test]
    fn tables_are_read_back(table in any_table()) {
        let bytes = field::encode_entries(&table);
        let raw = RawTable(&bytes);
        prop_assert_eq!(raw.check(), Ok(()));
        prop_assert_eq!(raw.decode(), Ok(table.clone()));
        for (name, value) in &table.0 {
            prop_assert!(raw.find(name).is_some());
            let _ = value;
        }
        // Every entry copied as it came makes the same bytes.
        let mut copy = Vec::new();
        for entry in raw.entries() {
            let (name, value) = entry.unwrap();
            field::put_raw_entry(&mut copy, name, value);
        }
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn what_checks_well_decodes_but_for_names(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let raw = RawTable(&bytes);
        let decoded = raw.decode();
        match raw.check() {
            Ok(()) => prop_assert!(matches!(decoded, Ok(_) | Err(WireError::Utf8))),
            Err(_) => prop_assert!(decoded.is_err()),
        }
    }

    #[test]
    fn properties_are_read_back(
        texts in proptest::collection::vec(proptest::option::of(".{0,40}"), 9),
        table in proptest::option::of(any_table()),
        mode in proptest::option::of(any::<u8>()),
        priority in proptest::option::of(any::<u8>()),
        timestamp in proptest::option::of(any::<u64>()),
        body_len in any::<u64>(),
    ) {
        let entries = table.map(|table| field::encode_entries(&table));
        let text = |at: usize| texts[at].as_deref();
        let properties = Properties {
            content_type: text(0), content_encoding: text(1), headers: entries.as_deref().map(RawTable),
            delivery_mode: mode, priority, correlation_id: text(2), reply_to: text(3), expiration: text(4),
            message_id: text(5), timestamp, kind: text(6), user_id: text(7), app_id: text(8), cluster_id: None,
        };
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        prop_assert_eq!(Properties::decode(&raw), Ok(properties));
        let mut frames = Vec::new();
        frame::put_content_header(&mut frames, 7, body_len as usize, &raw);
        let Ok(Split::Frame(header)) = frame::split(&frames, 1 << 20) else { panic!("no frame") };
        prop_assert_eq!(header.wire_len(), frames.len());
        let header = ContentHeader::decode(header.payload).unwrap();
        prop_assert_eq!((header.class, header.body_len, header.properties), (60, body_len, &raw[..]));
        let outline = properties::Outline::read(&raw).unwrap();
        prop_assert_eq!((outline.headers, outline.delivery_mode, outline.priority), (properties.headers, mode, priority));
        prop_assert_eq!(outline.reply_to, text(3).map(str::as_bytes));
        prop_assert_eq!(outline.expiration, text(4).map(str::as_bytes));
        prop_assert_eq!(outline.user_id, text(7).map(str::as_bytes));
        if let Some(table) = outline.headers {
            prop_assert_eq!(&raw[outline.headers_at..outline.headers_at + table.0.len()], table.0);
        }
        prop_assert!(properties::Outline::read(&raw[..raw.len() - 1]).is_err());
        // Nothing may be missing, nothing may be left over.
        prop_assert!(Properties::decode(&raw[..raw.len() - 1]).is_err());
        raw.push(0);
        prop_assert!(Properties::decode(&raw).is_err());
    }

    #[test]
    fn bodies_are_cut_at_the_frame_limit(body in proptest::collection::vec(any::<u8>(), 0..5000), frame_max in 9usize..6000) {
        let mut bytes = Vec::new();
        frame::put_body(&mut bytes, 3, frame_max, &body);
        let mut rest = &bytes[..];
        let mut joined = Vec::new();
        while !rest.is_empty() {
            let Ok(Split::Frame(part)) = frame::split(rest, frame_max) else { panic!("no frame") };
            prop_assert!(part.kind == frame::BODY && part.channel == 3 && part.wire_len() <= frame_max);
            joined.extend_from_slice(part.payload);
            rest = &rest[part.wire_len()..];
        }
        prop_assert_eq!(joined, body);
    }

    #[test]
    fn every_prefix_of_a_frame_asks_for_more(size in 0usize..300, cut in 0usize..308) {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, frame::BODY, 1, |out| out.resize(out.len() + size, 7));
        prop_assume!(cut < bytes.len());
        let Ok(Split::Need(needed)) = frame::split(&bytes[..cut], 4096) else { panic!("not enough was enough") };
        prop_assert!(needed > cut && needed <= bytes.len());
    }

    #[test]
    fn methods_of_any_bytes_are_read_or_refused(class in prop_oneof![Just(10u16), Just(20), Just(40), Just(50), Just(60), Just(85), Just(90)],
            method in (1u16..13).prop_map(|n| n * 10), more in 0u16..2, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut payload = class.to_be_bytes().to_vec();
        payload.extend_from_slice(&(method + more).to_be_bytes());
        payload.extend_from_slice(&rest);
        if let Ok(read) = Method::decode(&payload) {
            // Written again it is the same, but for spare bits and the truth values of odd octets.
            let mut frames = Vec::new();
            read.put(&mut frames, 1);
            let Ok(Split::Frame(frame)) = frame::split(&frames, 1 << 20) else { panic!("no frame") };
            prop_assert_eq!(Method::decode(frame.payload).unwrap(), read);
            prop_assert_eq!(frame.payload.len(), payload.len());
        }
    }

    #[test]
    fn strings_longer_than_255_bytes_are_cut_at_a_character(text in "[a\u{e4}\u{20ac}]{80,200}") {
        let mut out = Vec::new();
        wire::put_short(&mut out, &text);
        let short = Reader::new(&out).short().unwrap();
        prop_assert!(text.starts_with(short));
        prop_assert!(short.len() == text.len() || short.len() > 252);
    }
}

/// A value inside `depth` arrays or tables.
fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..depth {
        let mut outer = vec![kind];
        let inner = if kind == b'F' { [&[0][..], &value].concat() } else { value };
        outer.extend_from_slice(&(inner.len() as u32).to_be_bytes());
        outer.extend_from_slice(&inner);
        value = outer;
    }
    [&[0][..], &value].concat()
}

#[test]
fn nesting_is_capped() {
    for kind in [b'A', b'F'] {
        let deep = nested(kind, model::limits::VALUE_DEPTH_MAX - 1);
        assert_eq!(RawTable(&deep).check(), Ok(()));
        assert!(RawTable(&deep).decode().is_ok());
        for depth in [model::limits::VALUE_DEPTH_MAX, 10_000] {
            let bomb = nested(kind, depth);
            assert_eq!(RawTable(&bomb).check(), Err(WireError::Deep));
            assert_eq!(RawTable(&bomb).decode(), Err(WireError::Deep));
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let lies = [&b"\x01aS\xff\xff\xff\xff"[..], b"\x01aF\x7f\xff\xff\xff\x00", b"\x05a", b"\x01aI\x00\x00", b"\x01a?"];
    for bytes in lies {
        assert!(RawTable(bytes).check().is_err());
        assert!(RawTable(bytes).decode().is_err());
    }
}

#[test]
fn lower_s_is_a_16_bit_integer_and_upper_l_is_signed() {
    let bytes = b"\x01as\xff\xfe\x01bL\xff\xff\xff\xff\xff\xff\xff\xff";
    let table = RawTable(bytes).decode().unwrap();
    assert_eq!(table.get("a"), Some(&Value::I16(-2)));
    assert_eq!(table.get("b"), Some(&Value::I64(-1)));
}

#[test]
fn frames_out_of_step_are_refused_at_once() {
    let head = |kind, size: u32| {
        let mut bytes = vec![kind, 0, 1];
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes
    };
    assert_eq!(frame::split(&head(4, 0), 4096), Err(FrameError::Kind { kind: 4, channel: 1 }));
    let large = head(3, 4097);
    assert_eq!(frame::split(&large, 4096), Err(FrameError::TooLarge { kind: 3, channel: 1, size: 4097, max: 4088 }));
    assert_eq!(frame::split(&head(3, 4096), 4096), Ok(Split::Need(4104)));
    let mut bytes = head(1, 2);
    bytes.extend_from_slice(&[0, 0, 0xCD]);
    assert_eq!(frame::split(&bytes, 4096), Err(FrameError::End { kind: 1, channel: 1, marker: 0xCD }));
}

#[test]
fn exchange_unbind_ok_has_number_51() {
    let mut bytes = Vec::new();
    Method::ExchangeUnbindOk(exchange::UnbindOk {}).put(&mut bytes, 1);
    assert_eq!(bytes, [1, 0, 1, 0, 0, 0, 4, 0, 40, 0, 51, 0xCE]);
}

#[test]
fn a_method_with_bytes_left_over_is_refused() {
    assert_eq!(Method::decode(&[0, 90, 0, 10]), Ok(Method::TxSelect(tx::Select {})));
    let left_over = MethodError::Arguments { class: 90, method: 10, cause: WireError::Trailing };
    assert_eq!(Method::decode(&[0, 90, 0, 10, 0]), Err(left_over));
    assert_eq!(Method::decode(&[0, 90, 0, 99]), Err(MethodError::Unknown { class: 90, method: 99 }));
    assert_eq!(Method::decode(&[0, 90, 0]), Err(MethodError::Empty));
}

#[test]
fn bits_share_an_octet_lowest_first() {
    let consume = basic::Consume { no_ack: true, no_wait: true, ..basic::Consume::default() };
    let mut bytes = Vec::new();
    consume.encode(&mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0b1010, 0, 0, 0, 0]);
}
