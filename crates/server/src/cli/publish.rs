//! `yam publish`

use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use amqp::client::{ClientEvent, Message, PublishTemplate};
use amqp::codec::{Properties, RawTable, basic, field, queue};
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use model::{Table, Value};

use super::link::Link;
use super::secret::Secret;
use super::url::{self, Url};

const EXAMPLES: &str = "\
Examples:
  yam publish --routing-key tasks 'do this'
      One message to the queue `tasks`.
  yam publish --declare --persistent --confirm --routing-key tasks --count 1000 'do this'
      Declare the durable queue first; 1,000 messages that survive a crash, and wait until they do.
  tail -f app.log | yam publish --exchange logs --lines
      Every line as a message of its own, to an exchange.

Whether a message has reached a queue, and is safe there, is known with --confirm only.";

/// Publishes sent and not confirmed, at most.
const WINDOW: u64 = 1_000;
/// Frames gathered before they are written.
const WRITE_BYTES: usize = 64 * 1024;
/// How long a confirm may take.
const CONFIRM: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The message; read from standard input where it is not given.
    body: Option<String>,
    /// Where the broker is.
    #[arg(long, default_value = url::DEFAULT, env = "YAM_URL", hide_env_values = true, value_parser = Secret::<Url>::new())]
    url: Url,
    /// The exchange; the default one routes to the queue named by the routing key.
    #[arg(long, default_value = "")]
    exchange: String,
    /// The routing key: of the default exchange the name of the queue.
    #[arg(long, default_value = "")]
    routing_key: String,
    /// Publish the message so many times.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Every line of standard input is a message of its own.
    #[arg(long, conflicts_with = "body")]
    lines: bool,
    /// The message survives a restart where its queue is durable.
    #[arg(long)]
    persistent: bool,
    /// Wait until the broker has taken responsibility for every message; fail where one reaches no queue.
    #[arg(long)]
    confirm: bool,
    /// Fail where a message reaches no queue, without waiting for confirms.
    #[arg(long)]
    mandatory: bool,
    /// Declare the durable queue named by the routing key first.
    #[arg(long)]
    declare: bool,
    /// A header; whole numbers and true or false are sent as such. May be given more than once.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, Value)>,
    /// What the body is, such as application/json.
    #[arg(long, value_name = "MIME")]
    content_type: Option<String>,
    /// What an answer repeats so that its asker knows it.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// The queue that an answer goes to.
    #[arg(long, value_name = "QUEUE")]
    reply_to: Option<String>,
    /// A name for the message.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Milliseconds after which an unconsumed message is dropped.
    #[arg(long, value_name = "MS", allow_hyphen_values = true, value_parser = milliseconds)]
    expiration: Option<u64>,
    /// Higher ones come first out of a queue declared with x-max-priority.
    #[arg(long, value_name = "0-255")]
    priority: Option<u8>,
}

fn milliseconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number of milliseconds, 60000 for a minute".to_owned())
}

fn header(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = match (value, value.parse::<i64>()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(number)) => Value::I64(number),
        _ => Value::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

/// What became of the messages.
#[derive(Default)]
struct Outcome {
    confirmed: u64,
    refused: u64,
    returned: u64,
}

impl Outcome {
    /// Messages that the broker is done with.
    fn settled(&self) -> u64 {
        self.confirmed + self.refused
    }

    /// Take down what the broker says. Returns whether it has settled messages.
    fn note(&mut self, event: &ClientEvent<'_>) -> bool {
        // Confirms of one channel come in order, so `multiple` stands for all that are open up to its number.
        let done = self.settled();
        let count = |tag: u64, multiple: bool| if multiple { tag.saturating_sub(done) } else { 1 };
        match event {
            ClientEvent::Acked { tag, multiple, .. } => self.confirmed += count(*tag, *multiple),
            ClientEvent::Nacked { tag, multiple, .. } => self.refused += count(*tag, *multiple),
            ClientEvent::Returned { code, text, message, .. } => {
                self.returned(*code, text, message);
                return false;
            }
            ClientEvent::Blocked { reason } => {
                super::say(&format!("yam: the broker makes publishers wait: {reason}"));
                return false;
            }
            _ => return false,
        }
        true
    }

    /// One came back. Many come back for the same reason, which is told once.
    fn returned(&mut self, code: u16, text: &str, message: &Message<'_>) {
        self.returned += 1;
        if self.returned == 1 {
            let Message { exchange, routing_key, .. } = message;
            super::say(&format!(
                "yam: no queue took the message: {code} {text} (exchange '{exchange}', routing key '{routing_key}')"
            ));
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut link = Link::open(&arguments.url)?;
    if arguments.declare {
        let declare = queue::Declare { queue: &arguments.routing_key, durable: true, ..Default::default() };
        link.client.declare_queue(&mut link.out, 1, declare, &Table::default());
        link.answer()?;
    }
    if arguments.confirm {
        link.client.confirm_select(&mut link.out, 1);
        link.answer()?;
    }
    let headers = field::encode_entries(&Table(arguments.headers.clone()));
    let expiration = arguments.expiration.map(|ms| ms.to_string());
    let properties = Properties {
        content_type: arguments.content_type.as_deref(),
        headers: (!arguments.headers.is_empty()).then_some(RawTable(&headers)),
        delivery_mode: Some(if arguments.persistent { 2 } else { 1 }),
        priority: arguments.priority,
        correlation_id: arguments.correlation_id.as_deref(),
        reply_to: arguments.reply_to.as_deref(),
        expiration: expiration.as_deref(),
        message_id: arguments.message_id.as_deref(),
        ..Properties::default()
    };
    let publish = basic::Publish {
        exchange: &arguments.exchange,
        routing_key: &arguments.routing_key,
        // A confirm alone says nothing of a message that went nowhere.
        mandatory: arguments.mandatory || arguments.confirm,
        ..basic::Publish::default()
    };
    let mut publisher = Publisher {
        link,
        template: PublishTemplate::new(1, publish, &properties),
        confirm: arguments.confirm,
        mandatory: arguments.mandatory,
        sent: 0,
        outcome: Outcome::default(),
        bar: bar(arguments),
    };
    if arguments.lines {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.context("cannot read standard input")?;
            publisher.send(line.strip_suffix(b"\r").unwrap_or(&line), true)?;
        }
    } else {
        let body = match &arguments.body {
            Some(body) => body.clone().into_bytes(),
            None => {
                let mut body = Vec::new();
                std::io::stdin().lock().read_to_end(&mut body).context("cannot read standard input")?;
                body
            }
        };
        for _ in 0..arguments.count {
            publisher.send(&body, false)?;
        }
    }
    publisher.finish()
}

fn bar(arguments: &Arguments) -> ProgressBar {
    if arguments.lines || arguments.count < 1_000 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} eta {eta}");
    ProgressBar::new(arguments.count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Publisher {
    link: Link,
    template: PublishTemplate,
    confirm: bool,
    mandatory: bool,
    sent: u64,
    outcome: Outcome,
    bar: ProgressBar,
}

impl Publisher {
    fn send(&mut self, body: &[u8], at_once: bool) -> anyhow::Result<()> {
        let frame_max = self.link.client.frame_max();
        self.template.put(&mut self.link.out, frame_max, body);
        self.sent += 1;
        if at_once || self.link.out.len() >= WRITE_BYTES {
            self.link.flush()?;
            // What has come back meanwhile does not gather here.
            let outcome = &mut self.outcome;
            self.link.take::<()>(&mut |event| {
                outcome.note(&event);
                Ok(None)
            })?;
            self.bar.set_position(self.sent);
        }
        if self.confirm {
            while self.sent - self.outcome.settled() >= WINDOW {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Wait for one confirm.
    fn settle(&mut self) -> anyhow::Result<()> {
        let outcome = &mut self.outcome;
        let came = self.link.next(Some(CONFIRM), &mut |event| Ok(outcome.note(&event).then_some(())))?;
        if came.is_none() {
            let open = self.sent - self.outcome.settled();
            bail!("no confirm for {} s; {open} messages are open", CONFIRM.as_secs());
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<ExitCode> {
        self.link.flush()?;
        while self.confirm && self.outcome.settled() < self.sent {
            self.settle()?;
        }
        // Without confirms, the answer to close tells that the broker has read everything, and what it had to say.
        let outcome = &mut self.outcome;
        self.link.client.close(&mut self.link.out);
        self.link.next(Some(CONFIRM), &mut |event| {
            outcome.note(&event);
            Ok(matches!(event, ClientEvent::CloseOk).then_some(()))
        })?;
        self.bar.finish_and_clear();
        let Outcome { confirmed, refused, returned } = self.outcome;
        if self.confirm {
            // What came back is confirmed too: the broker is done with it.
            let kept = confirmed.saturating_sub(returned);
            super::say(&format!("{} published, {kept} confirmed, {refused} refused, {returned} unroutable", self.sent));
        } else if self.mandatory {
            super::say(&format!("{} published, {returned} unroutable", self.sent));
        } else {
            super::say(&format!(
                "{} published; whether a queue took them is known with --confirm or --mandatory only",
                self.sent
            ));
        }
        Ok(if refused + returned > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
