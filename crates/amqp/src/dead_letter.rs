//! A message whose history changes what RabbitMQ shows of it.
//!
//! A dead letter has the headers `x-death`, `x-first-death-*` and `x-last-death-*`, no `expiration`, and the exchange
//! it was sent on through. One that came back to a queue that counts this has `x-delivery-count`.
//!
//! An `x-death` of the client's own is that of a dead letter published again: its entries are told on behind ours,
//! and count on in ours where queue and reason are the same.
//!
//! Source: RabbitMQ documentation, "Dead Letter Exchanges", section "Effects on messages"; "Quorum Queues", section
//! "Poison Message Handling".

use model::death::{DeadLetter, Death};
use model::{Headers as _, Table, Value};

use crate::codec::field::{self, RawTable};
use crate::codec::properties::{self, Changes, Outline};
use crate::codec::wire::put_short;
use crate::translate::Stored;

const DELIVERY_COUNT: &str = "x-delivery-count";

/// What takes the place of exchange and properties of such a message.
pub(crate) struct Rendered {
    /// Unless it is the one it was published to.
    exchange: Option<Vec<u8>>,
    properties: Vec<u8>,
}

impl Rendered {
    /// What is to be shown instead, if the message was dead-lettered or came back `returns` times.
    pub fn of(stored: &Stored<'_>, returns: u32) -> Option<Rendered> {
        let letter = stored.death.and_then(DeadLetter::from_bytes);
        (letter.is_some() || returns > 0).then(|| Rendered::new(stored, letter.as_ref(), returns))
    }

    fn new(stored: &Stored<'_>, letter: Option<&DeadLetter>, returns: u32) -> Rendered {
        // What a publisher wrote is kept byte for byte: neither names nor texts need be UTF-8.
        let own = Outline::read(stored.properties).unwrap_or_default();
        let mut added = letter.map(|letter| headers(stored, letter)).unwrap_or_default();
        if returns > 0 {
            added.0.push((DELIVERY_COUNT.to_owned(), Value::I64(returns.into())));
        }
        let mut entries = Vec::with_capacity(512 + own.headers.map_or(0, |table| table.0.len()));
        for (name, value) in own.headers.unwrap_or_default().entries().map_while(Result::ok) {
            let replaced = added.0.iter().any(|(other, _)| other.as_bytes() == name);
            let without = letter.is_some_and(|letter| letter.rekeyed) && name == b"CC";
            if !replaced && !without {
                field::put_raw_entry(&mut entries, name, value);
            }
        }
        field::put_entries(&mut entries, &added);
        let without_expiration = letter.is_some();
        let changes = Changes { headers: Some(RawTable(&entries)), without_expiration, ..Changes::default() };
        let properties =
            properties::rewrite(stored.properties, &changes).or_else(|_| properties::rewrite(&properties::NONE, &changes));
        let exchange = letter.map(|letter| {
            let mut exchange = Vec::with_capacity(1 + letter.exchange.len());
            put_short(&mut exchange, &letter.exchange);
            exchange
        });
        Rendered { exchange, properties: properties.unwrap_or_else(|_| properties::NONE.to_vec()) }
    }

    pub fn shown<'a>(&'a self, stored: &Stored<'a>) -> Stored<'a> {
        let exchange = self.exchange.as_deref().unwrap_or(stored.exchange);
        Stored { exchange, properties: &self.properties, ..*stored }
    }
}

/// The headers that a dead letter has beside its publisher's.
pub(crate) fn headers(stored: &Stored<'_>, letter: &DeadLetter) -> Table {
    let own = Outline::read(stored.properties).unwrap_or_default();
    let client = own.headers.unwrap_or_default();
    let expiration = own.expiration.map(String::from_utf8_lossy);
    let published = String::from_utf8_lossy(stored.exchange.get(1..).unwrap_or_default());
    let mut earlier: Vec<Table> = match client.get("x-death") {
        Some(Value::List(deaths)) => deaths.into_iter().filter_map(as_table).collect(),
        _ => Vec::new(),
    };
    // The first death of all was told before it was published again.
    let first_is_told = !earlier.is_empty() && client.find("x-first-death-queue").is_some();

    let text = |text: &str| Value::Text(text.to_owned());
    let exchange = |name: &Option<String>| text(name.as_deref().unwrap_or(&published));
    let mut table = |death: &Death| {
        let same = |other: &Table| {
            let is = |name: &str, text: &str| other.get(name).and_then(Value::as_text) == Some(text);
            is("queue", &death.queue) && is("reason", &death.reason)
        };
        let before = earlier.iter().position(same).map(|at| earlier.remove(at));
        let before = before.and_then(|entry| entry.get("count")?.as_integer()).unwrap_or(0);
        let count = i64::try_from(death.count).unwrap_or(i64::MAX).saturating_add(before.max(0));
        let mut fields = vec![
            ("count".to_owned(), Value::I64(count)),
            ("reason".to_owned(), text(&death.reason)),
            ("queue".to_owned(), text(&death.queue)),
            ("time".to_owned(), Value::Timestamp(death.time_ms / 1000)),
            ("exchange".to_owned(), exchange(&death.exchange)),
            ("routing-keys".to_owned(), Value::List(death.routing_keys.iter().map(|key| text(key)).collect())),
        ];
        // It had its expiration until it died for the first time.
        if let Some(expiration) = &expiration
            && death.exchange.is_none()
        {
            fields.push(("original-expiration".to_owned(), text(expiration)));
        }
        Value::Table(Table(fields))
    };
    let mut deaths: Vec<Value> = letter.deaths.iter().map(&mut table).collect();
    deaths.extend(earlier.into_iter().map(Value::Table));

    let mut entries = vec![("x-death".to_owned(), Value::List(deaths))];
    let mut mark = |which: &str, queue: &str, reason: &str, exchange: Value| {
        entries.push((format!("x-{which}-death-queue"), text(queue)));
        entries.push((format!("x-{which}-death-reason"), text(reason)));
        entries.push((format!("x-{which}-death-exchange"), exchange));
    };
    if !first_is_told {
        let (queue, reason, first) = &letter.first;
        mark("first", queue, reason, exchange(first));
    }
    if let Some(last) = letter.deaths.first() {
        mark("last", &last.queue, &last.reason, exchange(&last.exchange));
    }
    Table(entries)
}

fn as_table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Properties;

    #[test]
    fn a_dead_letter_tells_its_history() {
        let mut letter = DeadLetter::default();
        let death = |queue: &str, exchange: Option<&str>| Death {
            queue: queue.into(),
            reason: "expired".into(),
            count: 1,
            time_ms: 7_999,
            exchange: exchange.map(str::to_owned),
            routing_keys: vec!["key".into()],
        };
        letter.add(death("first", None));
        letter.add(death("second", Some("dlx")));
        letter.exchange = "dlx".into();
        let table = field::encode_entries(&Table(vec![("mine".into(), Value::I32(1)), ("x-death".into(), Value::Bool(true))]));
        let mut raw = Vec::new();
        Properties { headers: Some(RawTable(&table)), expiration: Some("100"), app_id: Some("app"), ..Properties::default() }
            .encode(&mut raw);
        let stored = Stored { exchange: b"\x04orig", routing_key: b"k", properties: &raw, body: b"body", death: None };
        let rendered = Rendered::new(&stored, Some(&letter), 0);
        let shown = rendered.shown(&stored);
        assert_eq!(shown.exchange, b"\x03dlx");
        let properties = Properties::decode(shown.properties).unwrap();
        assert_eq!((properties.app_id, properties.expiration), (Some("app"), None));
        let headers = properties.headers.unwrap().decode().unwrap();
        assert_eq!(headers.get("mine"), Some(&Value::I32(1)));
        let Some(Value::List(deaths)) = headers.get("x-death") else { panic!("no x-death: {headers:?}") };
        let Value::Table(last) = &deaths[0] else { panic!("not a table") };
        assert_eq!(last.get("queue"), Some(&Value::Text("second".into())));
        assert_eq!(last.get("exchange"), Some(&Value::Text("dlx".into())));
        assert_eq!(last.get("time"), Some(&Value::Timestamp(7)));
        let Value::Table(first) = &deaths[1] else { panic!("not a table") };
        assert_eq!(first.get("exchange"), Some(&Value::Text("orig".into())));
        assert_eq!(first.get("original-expiration"), Some(&Value::Text("100".into())));
        assert_eq!(headers.get("x-first-death-exchange"), Some(&Value::Text("orig".into())));
        assert_eq!(headers.get("x-last-death-queue"), Some(&Value::Text("second".into())));
    }

    #[test]
    fn properties_and_names_that_are_not_text_survive_a_death() {
        // A header named 0xff, a correlation id of 0xfe, an expiration.
        let raw = b"\x25\x00\x00\x00\x00\x03\x01\xffV\x01\xfe\x0260";
        let stored = Stored { exchange: b"\x00", routing_key: b"k", properties: raw, body: b"", death: None };
        let mut letter = DeadLetter::default();
        letter.add(Death {
            queue: "q".into(),
            reason: "maxlen".into(),
            count: 1,
            time_ms: 0,
            exchange: None,
            routing_keys: vec![],
        });
        let rendered = Rendered::new(&stored, Some(&letter), 0);
        let shown = Outline::read(rendered.shown(&stored).properties).unwrap();
        assert_eq!(shown.expiration, None);
        assert_eq!(shown.headers.unwrap().entries().count(), 8);
        assert!(rendered.properties.ends_with(b"\x01\xfe"));
        assert!(rendered.properties.windows(3).any(|part| part == b"\x01\xffV"));
    }

    fn shown_headers(own: Table, letter: Option<&DeadLetter>, returns: u32) -> Table {
        let table = field::encode_entries(&own);
        let mut raw = Vec::new();
        Properties { headers: Some(RawTable(&table)), ..Properties::default() }.encode(&mut raw);
        let stored = Stored { exchange: b"\x00", routing_key: b"k", properties: &raw, body: b"", death: None };
        let rendered = Rendered::new(&stored, letter, returns);
        Properties::decode(rendered.shown(&stored).properties).unwrap().headers.unwrap().decode().unwrap()
    }

    fn rejected(queue: &str) -> DeadLetter {
        let mut letter = DeadLetter::default();
        letter.add(Death {
            queue: queue.into(),
            reason: "rejected".into(),
            count: 1,
            time_ms: 0,
            exchange: None,
            routing_keys: vec!["k".into()],
        });
        letter
    }

    /// The usual way to try again later by hand: take a dead letter and publish it as it is.
    #[test]
    fn a_dead_letter_published_again_counts_on() {
        let death = |queue: &str, count| {
            let text = |text: &str| Value::Text(text.into());
            Value::Table(Table(vec![
                ("count".into(), Value::I64(count)),
                ("queue".into(), text(queue)),
                ("reason".into(), text("rejected")),
            ]))
        };
        let own = Table(vec![
            ("x-death".into(), Value::List(vec![death("other", 7), death("q", 2), Value::I32(1)])),
            ("x-first-death-queue".into(), Value::Text("other".into())),
            ("x-last-death-queue".into(), Value::Text("other".into())),
        ]);
        let headers = shown_headers(own, Some(&rejected("q")), 0);
        let Some(Value::List(deaths)) = headers.get("x-death") else { panic!("no x-death: {headers:?}") };
        let told = |death: &Value| match death {
            Value::Table(table) => (table.get("queue").cloned(), table.get("count").and_then(Value::as_integer)),
            other => panic!("not a table: {other:?}"),
        };
        let text = |text: &str| Some(Value::Text(text.into()));
        assert_eq!(deaths.iter().map(told).collect::<Vec<_>>(), [(text("q"), Some(3)), (text("other"), Some(7))]);
        assert_eq!(headers.get("x-first-death-queue"), text("other").as_ref());
        assert_eq!(headers.get("x-first-death-reason"), None);
        assert_eq!(headers.get("x-last-death-queue"), text("q").as_ref());
    }

    #[test]
    fn a_letter_sent_on_by_a_key_of_the_queues_has_no_other_keys() {
        let own = || Table(vec![("CC".into(), Value::List(vec![Value::Text("b".into())]))]);
        let mut letter = rejected("q");
        assert!(shown_headers(own(), Some(&letter), 0).get("CC").is_some());
        letter.rekeyed = true;
        assert!(shown_headers(own(), Some(&letter), 0).get("CC").is_none());
    }

    #[test]
    fn what_came_back_tells_how_often() {
        let own = Table(vec![("x-delivery-count".into(), Value::I32(99)), ("mine".into(), Value::I32(1))]);
        let headers = shown_headers(own, None, 3);
        assert_eq!(headers, Table(vec![("mine".into(), Value::I32(1)), ("x-delivery-count".into(), Value::I64(3))]));
    }
}
