//! How a record of a stream becomes an AMQP message (docs/protocols/mapping.md).
//!
//! Producers of other protocols write to streams too, and their batches lie there as they came: what a record says of
//! itself is checked here before a client sees it.

use model::death::DeadLetter;
use model::record::{OwnHeader, RESERVED, RecordError, StoredRecord};
use model::{Header, RecordView};

use crate::codec::field::{self, RawTable, RawValue};
use crate::codec::properties::{self, Changes, Outline, Properties};
use crate::dead_letter::{self, Rendered};
use crate::translate::Stored;

/// The header that tells the offset of a message in its stream.
const OFFSET: &str = "x-stream-offset";
/// Says that the record has no value.
const TOMBSTONE: &str = "x-kafka-tombstone";
/// A key that is no routing key, because it is too long or no text.
const KEY: &str = "x-kafka-key";
/// What other protocols see of exchange and properties has names that begin so.
const PREFIX: &str = "amqp.";
/// What the frame of a content header holds beside the header table, at most, and the headers of ours, in bytes.
const BESIDE_HEADERS_BYTES: usize = 2048;

/// Room in which the headers of a message are put together.
#[derive(Default)]
pub(crate) struct Scratch {
    exchange: Vec<u8>,
    entries: Vec<u8>,
    properties: Vec<u8>,
}

impl Scratch {
    /// The message at `offset`. The header table is cut to what fits into a frame of `frame_max` bytes where AMQP has not
    /// written it.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are no record.
    pub fn show<'a>(&'a mut self, record: &StoredRecord<'a>, offset: u64, frame_max: usize) -> Result<Stored<'a>, RecordError> {
        let view = RecordView::parse(record.batch)?;
        self.exchange.clear();
        self.entries.clear();
        self.properties.clear();
        let own = Stored::checked(&view);
        match &own {
            Some(stored) => self.show_own(stored, offset),
            None => self.show_foreign(&view, offset, frame_max),
        }
        Ok(Stored {
            exchange: &self.exchange,
            routing_key: routing_key(view.key).unwrap_or_default(),
            properties: &self.properties,
            body: view.value,
            death: None,
        })
    }

    /// A message that AMQP has written: as it came, with its offset.
    fn show_own(&mut self, stored: &Stored<'_>, offset: u64) {
        let rendered = Rendered::of(stored, 0);
        let shown = rendered.as_ref().map_or(*stored, |rendered| rendered.shown(stored));
        self.exchange.extend_from_slice(shown.exchange);
        let headers = Outline::read(shown.properties).unwrap_or_default().headers.unwrap_or_default();
        for (name, value) in headers.entries().map_while(Result::ok).filter(|(name, _)| *name != OFFSET.as_bytes()) {
            field::put_raw_entry(&mut self.entries, name, value);
        }
        self.put_offset(offset);
        let changes = Changes { headers: Some(RawTable(&self.entries)), ..Changes::default() };
        // What was checked can be written again.
        let _ = properties::rewrite_into(shown.properties, &changes, &mut self.properties);
    }

    /// A record of another protocol.
    fn show_foreign(&mut self, view: &RecordView<'_>, offset: u64, frame_max: usize) {
        self.exchange.push(0);
        let room = frame_max.saturating_sub(BESIDE_HEADERS_BYTES);
        let mut properties = Properties { timestamp: Some(view.timestamp_ms / 1000), ..Properties::default() };
        for header in view.headers().filter(|header| !header.name.starts_with(RESERVED)) {
            if !take_property(&mut properties, &header) {
                self.put_header(header.name, header.value, room);
            }
        }
        if view.is_tombstone {
            field::put_raw_entry(&mut self.entries, TOMBSTONE.as_bytes(), RawValue { kind: b't', bytes: &[1] });
        }
        if routing_key(view.key).is_none() {
            self.put_header(KEY, view.key, room);
        }
        self.put_offset(offset);
        properties.headers = Some(RawTable(&self.entries));
        properties.encode(&mut self.properties);
    }

    fn put_offset(&mut self, offset: u64) {
        field::put_raw_entry(&mut self.entries, OFFSET.as_bytes(), RawValue { kind: b'l', bytes: &offset.to_be_bytes() });
    }

    /// A header as a long string, or as bytes where it is no text; none where there is no room for it.
    fn put_header(&mut self, name: &str, value: &[u8], room: usize) {
        if name.len() > 255 || self.entries.len() + name.len() + value.len() + 6 > room {
            return;
        }
        let kind = if std::str::from_utf8(value).is_ok() { b'S' } else { b'x' };
        field::put_raw_entry(&mut self.entries, name.as_bytes(), RawValue { kind, bytes: value });
    }
}

/// The key, where it can be a routing key.
fn routing_key(key: &[u8]) -> Option<&[u8]> {
    (key.len() <= model::limits::NAME_BYTES_MAX && std::str::from_utf8(key).is_ok()).then_some(key)
}

/// Whether a header is a property that producers of other protocols may set so, and was not set before.
fn take_property<'a>(properties: &mut Properties<'a>, header: &Header<'a>) -> bool {
    let Some(name) = header.name.strip_prefix(PREFIX) else { return false };
    let Some(text) = routing_key(header.value).and_then(|value| std::str::from_utf8(value).ok()) else { return false };
    let place = match name {
        "content-type" => &mut properties.content_type,
        "content-encoding" => &mut properties.content_encoding,
        "correlation-id" => &mut properties.correlation_id,
        "reply-to" => &mut properties.reply_to,
        "message-id" => &mut properties.message_id,
        "type" => &mut properties.kind,
        "app-id" => &mut properties.app_id,
        _ => return false,
    };
    if place.is_some() {
        return false;
    }
    *place = Some(text);
    true
}

/// What AMQP says of a message, for those who read the stream in another protocol: its headers by their names, and exchange
/// and properties by `amqp.` and theirs.
pub(crate) fn plain_headers(headers: &[Header<'_>]) -> Vec<OwnHeader> {
    let stored = Stored::of(b"", b"", headers.iter().copied());
    let mut plain = Vec::new();
    let exchange = stored.exchange.get(1..).unwrap_or_default();
    if !exchange.is_empty() {
        plain.push((format!("{PREFIX}exchange"), exchange.to_vec()));
    }
    let Ok(outline) = Outline::read(stored.properties) else { return plain };
    plain.extend(properties::texts(stored.properties).into_iter().map(|(name, text)| (format!("{PREFIX}{name}"), text)));
    let letter = stored.death.and_then(DeadLetter::from_bytes);
    let history = letter.map(|letter| dead_letter::headers(&stored, &letter)).unwrap_or_default();
    for (name, value) in outline.headers.unwrap_or_default().entries().map_while(Result::ok) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name.starts_with(RESERVED) || history.get(name).is_some() {
            continue;
        }
        if let Ok(value) = value.decode() {
            plain.push((name.to_owned(), value.to_plain()));
        }
    }
    plain.extend(history.0.into_iter().map(|(name, value)| (name, value.to_plain())));
    plain
}

#[cfg(test)]
mod tests {
    use model::death::Death;
    use model::record::Records;
    use model::{RecordParts, Table, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::translate::{Envelope, HEADER_NAME};

    fn batch(parts: &RecordParts<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        parts.encode(1_700_000_000_999, &mut out);
        out
    }

    /// What a client sees: exchange, key, properties, headers, body.
    fn shown(batch: &[u8]) -> (Vec<u8>, Vec<u8>, String, Table, Vec<u8>) {
        let mut scratch = Scratch::default();
        let stored = scratch.show(&StoredRecord { batch, buffer: None }, 42, 131_072).unwrap();
        let properties = Properties::decode(stored.properties).unwrap();
        let headers = properties.headers.unwrap().decode().unwrap();
        let rest = format!("{:?}", Properties { headers: None, ..properties });
        (stored.exchange.to_vec(), stored.routing_key.to_vec(), rest, headers, stored.body.to_vec())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn what_amqp_wrote_is_read_back_with_its_offset() {
        let own = Table(vec![("n".into(), Value::U16(7)), (OFFSET.into(), text("old")), ("t".into(), text("x"))]);
        let table = field::encode_entries(&own);
        let properties = Properties {
            content_type: Some("text/plain"),
            headers: Some(RawTable(&table)),
            delivery_mode: Some(1),
            correlation_id: Some("c"),
            expiration: Some("5000"),
            timestamp: Some(9),
            user_id: Some("guest"),
            ..Properties::default()
        };
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        let mut envelope = Envelope::default();
        envelope.fill("events", &raw, None).unwrap();
        let own = envelope.header();
        let plain = plain_headers(&[own]);
        let plain_headers: Vec<_> = plain.iter().map(|(name, value)| Header { name, value }).collect();
        let written = batch(&RecordParts { key: b"a.b", value: b"body", own: Some(own), headers: &plain_headers });
        let (exchange, key, rest, headers, body) = shown(&written);
        assert_eq!((&*exchange, &*key, &*body), (&b"\x06events"[..], &b"a.b"[..], &b"body"[..]));
        assert_eq!(rest, format!("{:?}", Properties { headers: None, ..properties }));
        let expected = [("n".into(), Value::U16(7)), ("t".into(), text("x")), (OFFSET.into(), Value::I64(42))];
        assert_eq!(headers.0, expected);
        // And what others see of it.
        let seen: Vec<_> = plain.iter().map(|(name, value)| (&**name, std::str::from_utf8(value).unwrap())).collect();
        let expected = [
            ("amqp.exchange", "events"),
            ("amqp.content-type", "text/plain"),
            ("amqp.delivery-mode", "1"),
            ("amqp.correlation-id", "c"),
            ("amqp.expiration", "5000"),
            ("amqp.timestamp", "9"),
            ("amqp.user-id", "guest"),
            ("n", "7"),
            (OFFSET, "old"),
            ("t", "x"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_message_without_properties_still_tells_its_offset() {
        let mut envelope = Envelope::default();
        envelope.fill("", &properties::NONE, None).unwrap();
        let written = batch(&RecordParts { key: b"q", own: Some(envelope.header()), ..RecordParts::default() });
        let (exchange, key, rest, headers, body) = shown(&written);
        assert_eq!((&*exchange, &*key, &*body), (&[0][..], &b"q"[..], &b""[..]));
        assert_eq!(rest, format!("{:?}", Properties::default()));
        assert_eq!(headers.0, [(OFFSET.into(), Value::I64(42))]);
        assert!(plain_headers(&[envelope.header()]).is_empty());
    }

    #[test]
    fn a_record_of_another_protocol_has_headers_and_its_time() {
        let headers = [
            Header { name: "trace", value: b"1" },
            Header { name: "raw", value: b"\xff\x00" },
            Header { name: "amqp.content-type", value: b"application/json" },
            Header { name: "amqp.content-type", value: b"again" },
            Header { name: "amqp.user-id", value: b"root" },
            Header { name: "yam.other", value: b"ours" },
        ];
        let written = batch(&RecordParts { key: b"k", value: b"v", own: None, headers: &headers });
        let (exchange, key, rest, headers, body) = shown(&written);
        assert_eq!((&*exchange, &*key, &*body), (&[0][..], &b"k"[..], &b"v"[..]));
        let expected =
            Properties { content_type: Some("application/json"), timestamp: Some(1_700_000_000), ..Properties::default() };
        assert_eq!(rest, format!("{expected:?}"));
        let expected = [
            ("trace".into(), text("1")),
            ("raw".into(), Value::Bytes(vec![0xff, 0])),
            ("amqp.content-type".into(), text("again")),
            ("amqp.user-id".into(), text("root")),
            (OFFSET.into(), Value::I64(42)),
        ];
        assert_eq!(headers.0, expected);
    }

    #[test]
    fn a_key_that_is_no_text_and_a_missing_value_are_told() {
        let written = batch(&RecordParts { key: b"\xfe\x01", ..RecordParts::default() });
        let (_, key, _, headers, _) = shown(&written);
        assert_eq!(key, b"");
        assert_eq!(headers.0[0], (KEY.into(), Value::Bytes(vec![0xfe, 1])));
        // Length 6: no attributes, deltas 0, key "k", null value, no headers.
        let record = [14, 0, 0, 0, 2, b'k', 1, 0];
        let alone = Records::new(&record, 1).next().unwrap().unwrap();
        let mut tombstone = Vec::new();
        alone.encode_alone(5_000, &mut tombstone);
        let (_, key, _, headers, body) = shown(&tombstone);
        assert_eq!((&*key, &*body), (&b"k"[..], &b""[..]));
        assert_eq!(headers.0[0], (TOMBSTONE.into(), Value::Bool(true)));
    }

    #[test]
    fn what_says_nonsense_of_amqp_was_not_written_by_it() {
        let death = DeadLetter::default().to_bytes();
        // No exchange; an exchange that is no text; flags nobody knows; a list that is too short; a broken table.
        for value in [&b""[..], b"\x01\xff\x00\x00", b"\x00\x00\x01", b"\x00\x80\x00", b"\x00\x20\x00\x00\x00\x00\x02\x01a"] {
            let headers = [Header { name: HEADER_NAME, value }, Header { name: model::death::HEADER, value: &death }];
            let written = batch(&RecordParts { key: b"k", value: b"v", own: None, headers: &headers });
            let (exchange, _, _, headers, _) = shown(&written);
            assert_eq!((&*exchange, headers.0.len()), (&[0][..], 1), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_record_says_of_itself_a_client_can_read_what_it_is_shown(
            own in proptest::collection::vec(any::<u8>(), 0..40),
            death in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            flags in any::<u16>(),
            key in proptest::collection::vec(any::<u8>(), 0..300),
            name in "(amqp\\.|yam\\.|x-stream-)?[a-z-]{0,12}",
        ) {
            let own = [&[0][..], &flags.to_be_bytes(), &own].concat();
            let history = DeadLetter { exchange: name.repeat(40), ..DeadLetter::default() }.to_bytes();
            let headers = [
                Header { name: HEADER_NAME, value: &own },
                Header { name: &name, value: &key },
                Header { name: model::death::HEADER, value: death.as_deref().unwrap_or(&history) },
            ];
            for headers in [&headers[..], &headers[1..]] {
                let written = batch(&RecordParts { key: &key, value: b"v", own: None, headers });
                let mut scratch = Scratch::default();
                let stored = scratch.show(&StoredRecord { batch: &written, buffer: None }, 7, 4096).unwrap();
                prop_assert_eq!(usize::from(stored.exchange[0]), stored.exchange.len() - 1);
                prop_assert!(std::str::from_utf8(&stored.exchange[1..]).is_ok() && stored.routing_key.len() <= 255);
                let outline = Outline::read(stored.properties).unwrap();
                outline.headers.unwrap().check().unwrap();
                prop_assert_eq!(outline.headers.unwrap().find(OFFSET).unwrap().decode().unwrap(), Value::I64(7));
                plain_headers(headers);
            }
        }
    }

    #[test]
    fn headers_that_do_not_fit_into_a_frame_are_left_out() {
        let long = vec![b'x'; 3_000];
        let headers =
            [Header { name: "a", value: &long }, Header { name: "b", value: b"short" }, Header { name: "c", value: &long }];
        let written = batch(&RecordParts { headers: &headers, ..RecordParts::default() });
        let mut scratch = Scratch::default();
        let stored = scratch.show(&StoredRecord { batch: &written, buffer: None }, 1, 6_000).unwrap();
        assert!(stored.properties.len() + 22 <= 6_000);
        let table = Properties::decode(stored.properties).unwrap().headers.unwrap().decode().unwrap();
        assert_eq!(table.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b", OFFSET]);
    }

    #[test]
    fn a_dead_letter_in_a_stream_tells_its_history_in_both_ways() {
        let mut letter = DeadLetter::default();
        letter.add(Death {
            queue: "q".into(),
            reason: "rejected".into(),
            count: 1,
            time_ms: 5_000,
            exchange: None,
            routing_keys: vec!["k".into()],
        });
        letter.exchange = "dlx".into();
        let history = letter.to_bytes();
        let mut envelope = Envelope::default();
        envelope.fill("events", &properties::NONE, None).unwrap();
        let headers = [envelope.header(), Header { name: model::death::HEADER, value: &history }];
        let (exchange, _, _, table, _) = shown(&batch(&RecordParts { headers: &headers, ..RecordParts::default() }));
        assert_eq!(exchange, b"\x03dlx");
        assert_eq!(table.get("x-first-death-queue"), Some(&text("q")));
        assert_eq!(table.get(OFFSET), Some(&Value::I64(42)));
        let plain = plain_headers(&headers);
        let deaths = plain.iter().find(|(name, _)| name == "x-death").unwrap();
        assert!(String::from_utf8_lossy(&deaths.1).contains(r#""reason":"rejected""#));
    }
}
