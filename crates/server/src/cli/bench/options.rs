//! The flags of `yam bench amqp`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::url::{self, Url};

/// The first bytes of each body: sequence number with the producer's index, and the time of publishing.
pub const BODY_HEAD_BYTES: usize = 16;

/// What to load the broker with, how long, and what to report.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Broker, as amqp://USER:PASSWORD@HOST:PORT/VHOST
    #[arg(long, env = "YAM_URL", default_value = url::DEFAULT)]
    pub url: Url,

    /// Publishing connections
    #[arg(long, short, default_value_t = 1)]
    pub producers: usize,

    /// Consuming connections (0 = publish only)
    #[arg(long, short, default_value_t = 1)]
    pub consumers: usize,

    /// Queues; producer and consumer number N use queue N modulo this
    #[arg(long, short, default_value_t = 1)]
    pub queues: usize,

    /// Publish to a fanout exchange with this many queues (instead of --queues)
    #[arg(long, value_name = "QUEUES", default_value_t = 0)]
    pub fan_out: usize,

    /// Payload of a message in bytes
    #[arg(long, short, default_value_t = 1024)]
    pub size: usize,

    /// Messages to publish in all, instead of --duration (without producers: to consume; default all that is there)
    #[arg(long, short = 'n')]
    pub count: Option<u64>,

    /// Seconds to measure
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10.0)]
    pub duration: f64,

    /// Seconds under load before the measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,

    /// Publishes awaiting their confirm, per producer (0 = no confirms)
    #[arg(long, short = 'w', value_name = "MESSAGES", default_value_t = 1000)]
    pub confirm_window: usize,

    /// Write only when this many messages may be sent at once
    #[arg(long, value_name = "MESSAGES", default_value_t = 1)]
    pub burst: usize,

    /// Transient messages and queues (default: persistent messages, durable queues)
    #[arg(long)]
    pub transient: bool,

    /// Acknowledge every so many deliveries with one ack (0 = automatic acknowledgement)
    #[arg(long, short = 'a', value_name = "MESSAGES", default_value_t = 100)]
    pub ack_every: u32,

    /// Unacknowledged deliveries allowed per consumer (0 = no limit)
    #[arg(long, value_name = "MESSAGES", default_value_t = 1000)]
    pub prefetch: u16,

    /// Messages per second of all producers together (0 = as fast as they go)
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,

    /// Pause publishing while this many messages are published and not yet delivered (0 = never)
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    pub max_backlog: u64,

    /// Publish --count messages first, then measure how fast the consumers empty the queues
    #[arg(long, requires = "count")]
    pub drain: bool,

    /// One message in flight: the next is published when the last was confirmed and delivered
    #[arg(long)]
    pub latency: bool,

    /// Begin with the messages that an earlier run with --keep left (implies --reuse of its queues)
    #[arg(long)]
    pub reuse: bool,

    /// Leave the queues and what is in them
    #[arg(long)]
    pub keep: bool,

    /// Prefix of the names of queues and exchange
    #[arg(long, default_value = "yam-bench")]
    pub prefix: String,

    /// Declare this many queues, report the memory that each costs the broker (needs --broker-pid), delete them
    #[arg(long, value_name = "QUEUES", default_value_t = 0, conflicts_with_all = ["idle_connections", "drain", "latency"])]
    pub idle_queues: usize,

    /// Open this many connections with a channel each and report the memory that each costs the broker
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 0, conflicts_with_all = ["drain", "latency"])]
    pub idle_connections: usize,

    /// Process id of a broker on this machine: its CPU time and memory are reported (repeatable)
    #[arg(long, value_name = "PID")]
    pub broker_pid: Vec<u32>,

    /// Keep trying to connect for this long, for a broker that is still starting
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub connect_timeout: f64,

    /// Give up when nothing at all has moved for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub stall_timeout: f64,

    /// What the broker does before it confirms, for the summary (known for Yam)
    #[arg(long, value_name = "TEXT")]
    pub fsync_state: Option<String>,

    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Refuses what cannot be run, with what to do instead.
    pub fn validate(&self) -> Result<()> {
        if self.size < BODY_HEAD_BYTES {
            bail!("--size {} is too small: the first {BODY_HEAD_BYTES} bytes of a message are its number and time", self.size);
        }
        if self.queues == 0 {
            bail!("--queues must be at least 1");
        }
        if self.producers == 0 && self.consumers == 0 {
            bail!("nothing to do: give at least one of --producers and --consumers");
        }
        if self.producers > u16::MAX as usize || self.consumers > u16::MAX as usize {
            bail!("at most {} producers and consumers", u16::MAX);
        }
        if self.producers == 0 && !self.reuse {
            bail!("without producers there is nothing to consume: add --reuse to take what an earlier run with --keep left");
        }
        if self.drain && (self.producers == 0 || self.consumers == 0) {
            bail!("--drain fills the queues and then empties them: it needs producers and consumers");
        }
        if self.consumers > 0
            && self.producers > 0
            && self.consumers < self.queue_count()
            && self.subscriptions_per_consumer() > 2000
        {
            bail!("too many queues for {} consumers: give more --consumers", self.consumers);
        }
        if self.latency && self.producers != 1 {
            bail!("--latency has one message in flight: it needs exactly one producer");
        }
        if self.prefetch > 0 && self.ack_every > u32::from(self.prefetch) {
            bail!("--ack-every {} would wait for ever under --prefetch {}: raise the prefetch", self.ack_every, self.prefetch);
        }
        for (name, seconds) in [
            ("duration", self.duration),
            ("warm-up", self.warm_up),
            ("connect-timeout", self.connect_timeout),
            ("stall-timeout", self.stall_timeout),
            ("rate", self.rate),
        ] {
            if !seconds.is_finite() || !(0.0..1e9).contains(&seconds) {
                bail!("--{name} {seconds} is not a usable number");
            }
        }
        Ok(())
    }

    /// Queues in all, for either kind of topology.
    pub fn queue_count(&self) -> usize {
        if self.fan_out > 0 { self.fan_out } else { self.queues }
    }

    /// Copies of a message: one per queue that it reaches.
    pub fn copies(&self) -> u64 {
        self.fan_out.max(1) as u64
    }

    pub fn queue_name(&self, index: usize) -> String {
        format!("{}-{index}", self.prefix)
    }

    pub fn exchange_name(&self) -> String {
        format!("{}-fanout", self.prefix)
    }

    /// Where producer `index` publishes to: exchange and routing key.
    pub fn target_of(&self, index: usize) -> (String, String) {
        if self.fan_out > 0 {
            (self.exchange_name(), String::new())
        } else {
            (String::new(), self.queue_name(index % self.queues))
        }
    }

    /// The queues that consumer `index` subscribes to: all queues are covered, by more than one consumer if there are more.
    pub fn queues_of(&self, index: usize) -> Vec<usize> {
        let queues = self.queue_count();
        if self.consumers >= queues { vec![index % queues] } else { (index..queues).step_by(self.consumers).collect() }
    }

    fn subscriptions_per_consumer(&self) -> usize {
        self.queue_count().div_ceil(self.consumers.max(1))
    }

    /// Publishes in flight; 0 when the run goes without confirms.
    pub fn window(&self) -> usize {
        if self.latency { 1 } else { self.confirm_window }
    }

    /// Messages that may be published and not yet delivered.
    pub fn backlog_max(&self) -> u64 {
        match (self.latency && self.consumers > 0, self.max_backlog) {
            (true, _) => 1,
            (false, 0) => u64::MAX,
            (false, backlog) => backlog,
        }
    }

    pub fn ack_every(&self) -> u32 {
        if self.latency { self.ack_every.min(1) } else { self.ack_every }
    }

    pub fn stall_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.stall_timeout)
    }
}
