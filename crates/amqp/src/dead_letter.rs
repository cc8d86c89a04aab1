//! A dead-lettered record as RabbitMQ shows it: the headers `x-death`, `x-first-death-*` and
//! `x-last-death-*`, no `expiration`, and the exchange it was sent on through.
//!
//! Source: RabbitMQ documentation, "Dead Letter Exchanges", section "Effects on messages".

use model::death::{DeadLetter, Death};
use model::{Table, Value};

use crate::codec::field::{self, RawTable};
use crate::codec::properties::{self, Changes, Outline};
use crate::codec::wire::put_short;
use crate::translate::Stored;

/// What takes the place of exchange and properties of a dead-lettered message.
pub(crate) struct Rendered {
    exchange: Vec<u8>,
    properties: Vec<u8>,
}

impl Rendered {
    /// What is to be shown instead, if the message was dead-lettered.
    pub fn of_dead(stored: &Stored<'_>) -> Option<Rendered> {
        stored.death.and_then(DeadLetter::from_bytes).map(|letter| Rendered::new(stored, &letter))
    }

    fn new(stored: &Stored<'_>, letter: &DeadLetter) -> Rendered {
        let mut exchange = Vec::with_capacity(1 + letter.exchange.len());
        put_short(&mut exchange, &letter.exchange);
        let published = String::from_utf8_lossy(stored.exchange.get(1..).unwrap_or_default());
        // What a publisher wrote is kept byte for byte: neither names nor texts need be UTF-8.
        let own = Outline::read(stored.properties).unwrap_or_default();
        let mut entries = Vec::with_capacity(512 + own.headers.map_or(0, |table| table.0.len()));
        for (name, value) in own.headers.unwrap_or_default().entries().map_while(Result::ok) {
            if !is_ours(name) {
                field::put_raw_entry(&mut entries, name, value);
            }
        }
        let expiration = own.expiration.map(String::from_utf8_lossy);
        field::put_entries(&mut entries, &headers(letter, &published, expiration.as_deref()));
        let changes = Changes { headers: Some(RawTable(&entries)), without_expiration: true, ..Changes::default() };
        let properties =
            properties::rewrite(stored.properties, &changes).or_else(|_| properties::rewrite(&properties::NONE, &changes));
        Rendered { exchange, properties: properties.unwrap_or_else(|_| properties::NONE.to_vec()) }
    }

    pub fn of<'a>(&'a self, stored: &Stored<'a>) -> Stored<'a> {
        Stored { exchange: &self.exchange, properties: &self.properties, ..*stored }
    }
}

fn headers(letter: &DeadLetter, published: &str, expiration: Option<&str>) -> Table {
    let text = |text: &str| Value::Text(text.to_owned());
    let exchange = |name: &Option<String>| text(name.as_deref().unwrap_or(published));
    let mut entries = Vec::new();
    let (queue, reason, first) = &letter.first;
    let death = |death: &Death| {
        let mut fields = vec![
            ("count".to_owned(), Value::I64(i64::try_from(death.count).unwrap_or(i64::MAX))),
            ("reason".to_owned(), text(&death.reason)),
            ("queue".to_owned(), text(&death.queue)),
            ("time".to_owned(), Value::Timestamp(death.time_ms / 1000)),
            ("exchange".to_owned(), exchange(&death.exchange)),
            ("routing-keys".to_owned(), Value::List(death.routing_keys.iter().map(|key| text(key)).collect())),
        ];
        // It had its expiration until it died for the first time.
        if let Some(expiration) = expiration
            && death.exchange.is_none()
        {
            fields.push(("original-expiration".to_owned(), text(expiration)));
        }
        Value::Table(Table(fields))
    };
    entries.push(("x-death".to_owned(), Value::List(letter.deaths.iter().map(death).collect())));
    let mut mark = |which: &str, queue: &str, reason: &str, exchange: Value| {
        entries.push((format!("x-{which}-death-queue"), text(queue)));
        entries.push((format!("x-{which}-death-reason"), text(reason)));
        entries.push((format!("x-{which}-death-exchange"), exchange));
    };
    mark("first", queue, reason, exchange(first));
    if let Some(last) = letter.deaths.first() {
        mark("last", &last.queue, &last.reason, exchange(&last.exchange));
    }
    Table(entries)
}

fn is_ours(name: &[u8]) -> bool {
    name == b"x-death" || name.starts_with(b"x-first-death-") || name.starts_with(b"x-last-death-")
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
        let rendered = Rendered::new(&stored, &letter);
        let shown = rendered.of(&stored);
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
        let rendered = Rendered::new(&stored, &letter);
        let shown = Outline::read(rendered.of(&stored).properties).unwrap();
        assert_eq!(shown.expiration, None);
        assert_eq!(shown.headers.unwrap().entries().count(), 8);
        assert!(rendered.properties.ends_with(b"\x01\xfe"));
        assert!(rendered.properties.windows(3).any(|part| part == b"\x01\xffV"));
    }
}
