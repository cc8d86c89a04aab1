//! How an AMQP message lies in a record, and how a record becomes an AMQP message.
//!
//! ```text
//! record key    the routing key
//! record value  the body
//! header "yam.amqp-0-9-1":
//!     exchange        short string
//!     property flags  u16     as they came
//!     property list           as they came, without the header BCC
//! ```
//! A record without that header was written by another protocol: it is delivered with its key as the
//! routing key (as far as it is text), from the default exchange, without properties. What the header
//! holds was checked when it was written and is not checked again where it comes from a queue; records of streams, to
//! which clients of other protocols write as they please, are checked again (see `stream`).

use model::death::{self, DeadLetter};
use model::limits::NAME_BYTES_MAX;
use model::record::{RecordError, StoredRecord};
use model::{Dialect, Header, Headers, RecordView, Value};

use crate::codec::field::{self, RawTable};
use crate::codec::properties::{self, Changes, Outline};
use crate::codec::wire::{Reader, WireError, put_short};
use crate::dead_letter;

/// The name of the header that carries what AMQP has beyond a record.
pub const HEADER_NAME: &str = "yam.amqp-0-9-1";
/// The queue that stands for answers straight to the asking channel (direct reply-to). In Yam there is
/// a queue of that connection alone behind it; in what is published, this name with that queue's
/// behind takes its place, and leads back by [`route_of`].
pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// The longest time a message may be given, in milliseconds: ten years, as in RabbitMQ.
const EXPIRATION_MS_MAX: u64 = 315_360_000_000;

/// Why a publish cannot become a record. The texts are RabbitMQ's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("cannot decode properties: {0}")]
    Malformed(#[from] WireError),
    #[error("invalid expiration '{text}': {reason}")]
    Expiration { text: String, reason: String },
    #[error("fast reply consumer does not exist")]
    NoReplyConsumer,
    #[error("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}")]
    KeysHeader { name: &'static str, kind: &'static str },
}

/// What the broker must know of a message beside key and body, and the header to be stored. One per
/// session, filled anew for each publish so that nothing is allocated.
#[derive(Default)]
pub struct Envelope {
    /// The value of [`HEADER_NAME`].
    bytes: Vec<u8>,
    /// Where in `bytes` the property flags begin.
    properties_at: usize,
    /// Where in `bytes` the entries of the header table lie.
    headers: std::ops::Range<usize>,
    user_id: String,
    has_user_id: bool,
    /// CC and BCC.
    pub more_keys: Vec<String>,
    pub persistent: bool,
    pub priority: u8,
    pub expiration_ms: Option<u64>,
}

impl Envelope {
    /// Take over exchange and properties of a publish. `reply_to`: what takes the place of [`REPLY_TO`]
    /// in its channel.
    ///
    /// # Errors
    /// [`PublishError`] where the properties are malformed or say impossible things.
    pub fn fill(&mut self, exchange: &str, raw: &[u8], reply_to: Option<&str>) -> Result<(), PublishError> {
        let outline = Outline::read(raw)?;
        if outline.reply_to == Some(REPLY_TO.as_bytes()) {
            let reply_to = reply_to.ok_or(PublishError::NoReplyConsumer)?;
            let raw = properties::rewrite(raw, &Changes { reply_to: Some(reply_to), ..Changes::default() })?;
            return self.fill(exchange, &raw, None);
        }
        self.bytes.clear();
        put_short(&mut self.bytes, exchange);
        self.properties_at = self.bytes.len();
        self.headers = 0..0;
        self.more_keys.clear();
        self.persistent = outline.delivery_mode == Some(properties::PERSISTENT);
        self.priority = outline.priority.unwrap_or(0);
        self.expiration_ms = outline.expiration.map(parse_expiration).transpose()?;
        self.has_user_id = outline.user_id.is_some();
        self.user_id.clear();
        if let Some(user_id) = outline.user_id {
            self.user_id.push_str(&String::from_utf8_lossy(user_id));
        }
        match outline.headers {
            Some(table) => self.fill_headers(table, outline.headers_at, raw),
            None => {
                self.bytes.extend_from_slice(raw);
                Ok(())
            }
        }
    }

    fn fill_headers(&mut self, table: RawTable<'_>, at: usize, raw: &[u8]) -> Result<(), PublishError> {
        table.check()?;
        let mut blind = false;
        for (key, value) in table.entries().map_while(Result::ok) {
            let name = match key {
                b"CC" => "CC",
                b"BCC" => "BCC",
                _ => continue,
            };
            blind |= name == "BCC";
            let items = value.as_array().ok_or(PublishError::KeysHeader { name, kind: kind_name(value.kind) })?;
            let keys = items.map_while(Result::ok).filter(|item| item.kind == b'S');
            self.more_keys.extend(keys.map(|key| String::from_utf8_lossy(key.bytes).into_owned()));
        }
        let start = self.bytes.len() + at;
        if !blind {
            self.bytes.extend_from_slice(raw);
            self.headers = start..start + table.0.len();
            return Ok(());
        }
        let (before, rest) = raw.split_at(at);
        self.bytes.extend_from_slice(before);
        for (key, value) in table.entries().map_while(Result::ok).filter(|(key, _)| *key != b"BCC") {
            field::put_raw_entry(&mut self.bytes, key, value);
        }
        self.headers = start..self.bytes.len();
        let len = (self.headers.len() as u32).to_be_bytes();
        if let Some(slot) = self.bytes.get_mut(start - 4..start) {
            slot.copy_from_slice(&len);
        }
        self.bytes.extend_from_slice(rest.get(table.0.len()..).unwrap_or_default());
        Ok(())
    }

    /// The header to be stored with the message.
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        Header { name: HEADER_NAME, value: &self.bytes }
    }

    /// Property flags and list as they are stored.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        self.bytes.get(self.properties_at..).unwrap_or_default()
    }

    /// The user that the message claims to come from.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.has_user_id.then_some(&self.user_id)
    }

    /// Give back what an idle connection does not need.
    pub fn shrink(&mut self, bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes);
        self.headers = 0..0;
        self.more_keys = Vec::new();
    }
}

impl Headers for Envelope {
    fn get(&self, name: &str) -> Option<Value> {
        RawTable(self.bytes.get(self.headers.clone())?).get(name)
    }
}

/// The name under which others answer to the reply queue `queue`.
#[must_use]
pub fn reply_name(queue: &str) -> String {
    format!("{REPLY_TO}.{queue}")
}

/// The key to route by: the routing key, or the queue behind the name of a reply queue.
#[inline]
#[must_use]
pub fn route_of<'a>(exchange: &str, routing_key: &'a str) -> &'a str {
    if !exchange.is_empty() {
        return routing_key;
    }
    let queue = routing_key.strip_prefix(REPLY_TO).and_then(|rest| rest.strip_prefix('.'));
    queue.unwrap_or(routing_key)
}

/// RabbitMQ's words for what is wrong with an expiration: it reads an integer off the front and
/// complains about what is left.
fn parse_expiration(text: &[u8]) -> Result<u64, PublishError> {
    let text = &*String::from_utf8_lossy(text);
    let fail = |reason: String| Err(PublishError::Expiration { text: text.to_owned(), reason });
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = unsigned.split_at(digits);
    if digits == 0 {
        return fail("no_integer".to_owned());
    }
    if !rest.is_empty() {
        return fail(format!("{{leftover_string,\"{rest}\"}}"));
    }
    let number = number.trim_start_matches('0');
    if negative && !number.is_empty() {
        return fail(format!("{{value_negative,-{number}}}"));
    }
    match if number.is_empty() { Ok(0) } else { number.parse::<u64>() } {
        Ok(ms) if ms <= EXPIRATION_MS_MAX => Ok(ms),
        _ => fail(format!("{{value_too_large,{number}}}")),
    }
}

/// RabbitMQ's names of the field types.
#[must_use]
pub fn kind_name(kind: u8) -> &'static str {
    match kind {
        b'S' => "longstr",
        b'x' => "binary",
        b'F' => "table",
        b'A' => "array",
        b't' => "bool",
        b'b' => "byte",
        b'B' => "unsignedbyte",
        b's' => "short",
        b'u' => "unsignedshort",
        b'I' => "signedint",
        b'i' => "unsignedint",
        b'f' => "float",
        b'd' => "double",
        b'D' => "decimal",
        b'T' => "timestamp",
        b'V' => "void",
        _ => "long",
    }
}

/// How the broker reads what was published over AMQP.
pub const DIALECT: Dialect = Dialect { header, more_keys, plain_headers: crate::stream::plain_headers };

/// A header as a consumer would see it.
fn header(headers: &[Header<'_>], name: &str) -> Option<Value> {
    let stored = Stored::of(b"", b"", headers.iter().copied());
    if let Some(letter) = stored.death.and_then(DeadLetter::from_bytes)
        && let Some(value) = dead_letter::headers(&stored, &letter).get(name)
    {
        return Some(value.clone());
    }
    Outline::read(stored.properties).ok()?.headers?.get(name)
}

/// CC; BCC is not stored.
fn more_keys(headers: &[Header<'_>]) -> Vec<String> {
    let stored = Stored::of(b"", b"", headers.iter().copied());
    let Some(table) = Outline::read(stored.properties).ok().and_then(|outline| outline.headers) else { return Vec::new() };
    match table.get("CC") {
        Some(Value::List(keys)) => keys.iter().filter_map(|key| key.as_text().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// A record as an AMQP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The exchange as a short string, its length octet included.
    pub exchange: &'a [u8],
    /// At most 255 bytes.
    pub routing_key: &'a [u8],
    /// Property flags and list.
    pub properties: &'a [u8],
    pub body: &'a [u8],
    /// The history of a message that was dead-lettered, as it lies in the record.
    pub death: Option<&'a [u8]>,
}

impl<'a> Stored<'a> {
    /// Read a record back.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are no record.
    pub fn read(record: &StoredRecord<'a>) -> Result<Stored<'a>, RecordError> {
        let view = RecordView::parse(record.batch)?;
        Ok(Stored::of(view.key, view.value, view.headers()))
    }

    /// As `read`, of a record that anybody may have written; `None`: it says nothing sound of AMQP.
    pub(crate) fn checked(view: &RecordView<'a>) -> Option<Stored<'a>> {
        let (exchange, properties) = split_own(view.header(HEADER_NAME)?)?;
        if let Some(table) = Outline::read(properties).ok()?.headers {
            table.check().ok()?;
        }
        let death = view.header(death::HEADER);
        Some(Stored { exchange, routing_key: text(short(view.key)), properties, body: view.value, death })
    }

    pub(crate) fn of(key: &'a [u8], body: &'a [u8], headers: impl Iterator<Item = Header<'a>>) -> Stored<'a> {
        let (mut own, mut death) = (None, None);
        for header in headers {
            match header.name {
                HEADER_NAME => own = split_own(header.value),
                death::HEADER => death = Some(header.value),
                _ => {}
            }
        }
        let (exchange, properties) = own.unwrap_or((&[0], &properties::NONE));
        // A key that our own publish wrote is a short string; another protocol's may be anything.
        let routing_key = if own.is_some() { short(key) } else { text(short(key)) };
        Stored { exchange, routing_key, properties, body, death }
    }
}

/// As much as a short string holds.
fn short(key: &[u8]) -> &[u8] {
    key.get(..NAME_BYTES_MAX).unwrap_or(key)
}

/// The part before the first byte that is no UTF-8: clients may choke on the rest.
fn text(key: &[u8]) -> &[u8] {
    match std::str::from_utf8(key) {
        Ok(_) => key,
        Err(error) => key.get(..error.valid_up_to()).unwrap_or_default(),
    }
}

fn split_own(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = Reader::new(value).u8().ok()?;
    let (exchange, properties) = value.split_at_checked(1 + usize::from(len))?;
    let exchange_is_text = std::str::from_utf8(exchange.get(1..)?).is_ok();
    (exchange_is_text && properties.len() >= properties::NONE.len()).then_some((exchange, properties))
}
