//! A dead-lettered record as RabbitMQ shows it: the headers `x-death`, `x-first-death-*` and
//! `x-last-death-*`, no `expiration`, and the exchange it was sent on through.
//!
//! Source: RabbitMQ documentation, "Dead Letter Exchanges", section "Effects on messages".

use model::death::{DeadLetter, Death};
use model::{Table, Value};

use crate::codec::field::{self, RawTable};
use crate::codec::wire::put_short;
use crate::codec::{Properties, properties};
use crate::translate::Stored;

/// What takes the place of exchange and properties of a dead-lettered message.
pub(crate) struct Rendered {
    exchange: Vec<u8>,
    properties: Vec<u8>,
}

impl Rendered {
    pub fn new(stored: &Stored<'_>, letter: &DeadLetter) -> Rendered {
        let mut exchange = Vec::with_capacity(1 + letter.exchange.len());
        put_short(&mut exchange, &letter.exchange);
        let published = String::from_utf8_lossy(stored.exchange.get(1..).unwrap_or_default()).into_owned();
        let own = Properties::decode(stored.properties).unwrap_or_default();
        let before = own.headers.and_then(|table| table.decode().ok()).unwrap_or_default();
        let headers = field::encode_entries(&headers(before, letter, &published, own.expiration));
        let mut out = Vec::with_capacity(stored.properties.len() + headers.len());
        Properties { expiration: None, headers: Some(RawTable(&headers)), ..own }.encode(&mut out);
        debug_assert!(out.len() >= properties::NONE.len());
        Rendered { exchange, properties: out }
    }

    pub fn of<'a>(&'a self, stored: &Stored<'a>) -> Stored<'a> {
        Stored { exchange: &self.exchange, properties: &self.properties, ..*stored }
    }
}

fn headers(before: Table, letter: &DeadLetter, published: &str, expiration: Option<&str>) -> Table {
    let text = |text: &str| Value::Text(text.to_owned());
    let exchange = |name: &Option<String>| text(name.as_deref().unwrap_or(published));
    let mut entries: Vec<(String, Value)> = before.0.into_iter().filter(|(name, _)| !is_ours(name)).collect();
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

fn is_ours(name: &str) -> bool {
    name == "x-death" || name.starts_with("x-first-death-") || name.starts_with("x-last-death-")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let stored = Stored { exchange: b"\x04orig", routing_key: b"k", properties: &raw, body: b"body" };
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
}
