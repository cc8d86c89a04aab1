//! `yam consume`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use amqp::client::{ClientEvent, Message};
use amqp::codec::{Method, RawTable, basic, field, queue};
use anyhow::{anyhow, bail};
use model::{Table, Value};
use serde_json::{Map, json};

use super::link::{Link, Refused};
use super::moment;
use super::secret::Secret;
use super::url::{self, Url};
use crate::logging;

const EXAMPLES: &str = "\
Examples:
  yam consume --queue tasks
      Look at the messages of a queue as they come; they stay in it.
  yam consume --queue tasks --ack --count 10 --format json
      Take ten messages off the queue, with headers and properties.
  yam consume --exchange logs --routing-key '#'
      Follow an exchange through a queue of one's own.
  yam consume --queue orders --from first
      Read a stream, which may be a topic of Kafka, from its beginning on.
  yam consume --queue orders-0 --from 2026-01-31T12:00:00Z
      The first partition of a topic that has several, from a moment on.";

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The body and a line end.
    Text,
    /// One JSON object per line: body, properties, headers, where it came from.
    Json,
}

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where the broker is.
    #[arg(long, default_value = url::DEFAULT, env = "YAM_URL", hide_env_values = true, value_parser = Secret::<Url>::new())]
    url: Url,
    /// The queue.
    #[arg(long, required_unless_present = "exchange")]
    queue: Option<String>,
    /// Bind the queue to this exchange first; without --queue, a queue that ends with this command.
    #[arg(long)]
    exchange: Option<String>,
    /// The key to bind with.
    #[arg(long, default_value = "", requires = "exchange")]
    routing_key: String,
    /// Declare the queue (durable; with --from, a stream) where it is missing.
    #[arg(long)]
    declare: bool,
    /// Take the messages off the queue; without this they go back to it when the command ends.
    #[arg(long)]
    ack: bool,
    /// Read a stream from here on: first, last, next (the default), an offset, how long ago (7D, 1h), or a time stamp (2026-01-31T12:00:00Z); it keeps what it has.
    #[arg(long, value_name = "WHERE", requires = "queue", conflicts_with = "ack", allow_hyphen_values = true, value_parser = begin)]
    from: Option<Value>,
    /// End after so many messages.
    #[arg(long)]
    count: Option<u64>,
    /// End when nothing has come for so long.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Unsettled messages that the broker may send ahead.
    #[arg(long, default_value_t = 200)]
    prefetch: u16,
    /// How a message is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut link = Link::open(&arguments.url)?;
    let queue = prepare(arguments, &mut link).map_err(|error| with_hint(arguments, error))?;
    // What is looked at without --ack stays unsettled, so that a bound would stop it. A stream refuses that: what it hands
    // out is only counted. Which of them this queue is, nobody knows before.
    let mut ack = arguments.ack;
    match subscribe(arguments, &mut link, &queue, ack) {
        Err(error) if !ack && is_stream(&error) => {
            ack = true;
            link = Link::open(&arguments.url)?;
            subscribe(arguments, &mut link, &queue, ack)?;
        }
        Ok(()) if arguments.from.is_some() => {
            super::say(&format!("yam: queue '{queue}' is no stream: it has no place to begin at, and --from changes nothing"));
        }
        other => other?,
    }
    let timeout = arguments.timeout.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.001, 1e9)));
    let terminal = std::io::stdout().is_terminal();
    let (mut seen, mut unread) = (0, false);
    while arguments.count.is_none_or(|count| seen < count) {
        let mut cancelled = false;
        let came = link.next(timeout, &mut |event| match event {
            ClientEvent::Delivered { tag, redelivered, message, .. } => {
                match print(arguments.format, &message, redelivered, terminal) {
                    Err(error) if error.is::<super::ReaderGone>() => unread = true,
                    other => other?,
                }
                Ok(Some(tag))
            }
            ClientEvent::Cancelled { .. } => {
                cancelled = true;
                Ok(Some(0))
            }
            _ => Ok(None),
        })?;
        if cancelled {
            bail!("the queue '{queue}' is gone");
        }
        let Some(tag) = came else { break };
        if unread {
            break;
        }
        seen += 1;
        if ack {
            link.client.ack(&mut link.out, 1, tag, false);
        }
    }
    link.close()?;
    Ok(ExitCode::SUCCESS)
}

/// What `x-stream-offset` takes: an offset is a number, a time stamp one in seconds, everything else a word.
fn begin(from: &str) -> Result<Value, String> {
    if let Ok(offset) = from.parse::<u64>() {
        return i64::try_from(offset).map(Value::I64).map_err(|_| "no offset is that large".to_owned());
    }
    if let Some(ms) = moment::time_stamp_ms(from) {
        return Ok(Value::Timestamp(ms / 1000));
    }
    if matches!(from, "first" | "last" | "next") || model::age::ms(from).is_some() {
        return Ok(Value::Text(from.to_owned()));
    }
    Err(format!("write first, last, next, an offset, {}", moment::EXAMPLES))
}

/// Begin to consume; `ack`: what comes will be acknowledged, and may be bounded until it is.
fn subscribe(arguments: &Arguments, link: &mut Link, queue: &str, ack: bool) -> anyhow::Result<()> {
    if ack {
        let wanted = arguments.count.map_or(u16::MAX, |count| u16::try_from(count.max(1)).unwrap_or(u16::MAX));
        link.client.prefetch(&mut link.out, 1, arguments.prefetch.min(wanted));
        link.answer()?;
    }
    let begin = arguments.from.iter().map(|from| ("x-stream-offset".to_owned(), from.clone()));
    let begin = field::encode_entries(&Table(begin.collect()));
    let consume = basic::Consume { queue, arguments: RawTable(&begin), ..Default::default() };
    link.client.send(&mut link.out, 1, &consume);
    link.answer()
}

/// Only a stream asks for a prefetch.
fn is_stream(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 406 && refused.text.contains("prefetch"))
}

/// A topic of several partitions is no queue, but each of them is: whoever names it is told so.
fn with_hint(arguments: &Arguments, error: anyhow::Error) -> anyhow::Error {
    let Some(name) = &arguments.queue else { return error };
    let first = format!("{name}-0");
    let partition_is_there = || {
        let mut link = Link::open(&arguments.url)?;
        link.client.send(&mut link.out, 1, &queue::Declare { queue: &first, passive: true, ..Default::default() });
        link.answer()
    };
    if error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 404) && partition_is_there().is_ok() {
        return anyhow!(
            "{error:#}: is '{name}' a topic of several partitions? Its partitions are queues of their own: name {first}, {name}-1, ..."
        );
    }
    error
}

/// Declare and bind what was asked for. Returns the queue's name.
fn prepare(arguments: &Arguments, link: &mut Link) -> anyhow::Result<String> {
    let mut name = arguments.queue.clone().unwrap_or_default();
    if name.is_empty() || arguments.declare {
        let own = name.is_empty();
        let declare = queue::Declare { queue: &name, durable: !own, exclusive: own, auto_delete: own, ..Default::default() };
        let kind = arguments.from.iter().map(|_| ("x-queue-type".to_owned(), Value::Text("stream".to_owned())));
        link.client.declare_queue(&mut link.out, 1, declare, &Table(kind.collect()));
        let declared = link.next(Some(Duration::from_secs(30)), &mut |event| match event {
            ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } => Ok(Some(ok.queue.to_owned())),
            _ => Ok(None),
        })?;
        match declared {
            Some(declared) => name = declared,
            None => bail!("the broker did not answer"),
        }
    }
    if let Some(exchange) = &arguments.exchange {
        let bind = queue::Bind { queue: &name, exchange, routing_key: &arguments.routing_key, ..Default::default() };
        link.client.send(&mut link.out, 1, &bind);
        link.answer()?;
    }
    // A queue that is not there is worth an error that says so, before anything waits on it.
    link.client.send(&mut link.out, 1, &queue::Declare { queue: &name, passive: true, ..Default::default() });
    link.answer()?;
    Ok(name)
}

/// On a terminal a body is text; into a file or a pipe it goes as it is.
fn print(format: Format, message: &Message<'_>, redelivered: bool, terminal: bool) -> anyhow::Result<()> {
    let mut line = match format {
        Format::Text if terminal => logging::printable_lines(&String::from_utf8_lossy(message.body)).into_bytes(),
        Format::Text => message.body.to_vec(),
        Format::Json => serde_json::to_vec(&object(message, redelivered)?)?,
    };
    line.push(b'\n');
    super::print(&line)
}

fn object(message: &Message<'_>, redelivered: bool) -> anyhow::Result<serde_json::Value> {
    let properties = message.properties()?;
    let mut all = Map::new();
    all.insert("exchange".into(), json!(message.exchange));
    all.insert("routing_key".into(), json!(message.routing_key));
    all.insert("redelivered".into(), json!(redelivered));
    let texts = [
        ("content_type", properties.content_type),
        ("content_encoding", properties.content_encoding),
        ("correlation_id", properties.correlation_id),
        ("reply_to", properties.reply_to),
        ("expiration", properties.expiration),
        ("message_id", properties.message_id),
        ("type", properties.kind),
        ("user_id", properties.user_id),
        ("app_id", properties.app_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            all.insert(name.into(), json!(text));
        }
    }
    if let Some(mode) = properties.delivery_mode {
        all.insert("persistent".into(), json!(mode == 2));
    }
    if let Some(priority) = properties.priority {
        all.insert("priority".into(), json!(priority));
    }
    if let Some(timestamp) = properties.timestamp {
        all.insert("timestamp".into(), json!(timestamp));
    }
    if let Some(headers) = properties.headers {
        all.insert("headers".into(), table(&headers.decode()?));
    }
    match std::str::from_utf8(message.body) {
        Ok(text) => all.insert("body".into(), json!(text)),
        Err(_) => all.insert("body_bytes".into(), json!(message.body)),
    };
    Ok(serde_json::Value::Object(all))
}

fn table(table: &Table) -> serde_json::Value {
    serde_json::Value::Object(table.0.iter().map(|(name, value)| (name.clone(), value_of(value))).collect())
}

fn value_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Void => serde_json::Value::Null,
        Value::Bool(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::Timestamp(value) => json!(value),
        Value::Decimal { scale, value } => json!(f64::from(*value) / 10f64.powi(i32::from(*scale))),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) | Value::RawText(bytes) => json!(bytes),
        Value::List(list) => list.iter().map(value_of).collect(),
        Value::Table(inner) => table(inner),
        integer => json!(integer.as_integer()),
    }
}
