//! The flags of `yam bench amqp`.

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::bench::load::Load;
use crate::cli::secret::Secret;
use crate::cli::url::{self, Url};

/// What to load the broker with, how long, and what to report.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Broker, as amqp://USER:PASSWORD@HOST:PORT/VHOST
    #[arg(long, env = "YAM_URL", default_value = url::DEFAULT, hide_env_values = true, value_parser = Secret::<Url>::new())]
    pub url: Url,

    #[command(flatten)]
    pub load: Load,

    /// Queues; producer and consumer number N use queue N modulo this
    #[arg(long, short, default_value_t = 1)]
    pub queues: usize,

    /// Publish to a fanout exchange with this many queues (instead of --queues)
    #[arg(long, value_name = "QUEUES", default_value_t = 0)]
    pub fan_out: usize,

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

    /// Prefix of the names of queues and exchange
    #[arg(long, default_value = "yam-bench")]
    pub prefix: String,

    /// Declare this many queues, report the memory that each costs the broker (needs --broker-pid), delete them
    #[arg(long, value_name = "QUEUES", default_value_t = 0, conflicts_with_all = ["idle_connections", "drain", "latency"])]
    pub idle_queues: usize,

    /// Open this many connections with a channel each and report the memory that each costs the broker
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 0, conflicts_with_all = ["drain", "latency"])]
    pub idle_connections: usize,
}

impl Options {
    /// Refuses what cannot be run, with what to do instead.
    pub fn validate(&self) -> Result<()> {
        let load = &self.load;
        load.validate()?;
        if self.queues == 0 {
            bail!("--queues must be at least 1");
        }
        if load.consumers > 0
            && load.producers > 0
            && load.consumers < self.queue_count()
            && self.subscriptions_per_consumer() > 2000
        {
            bail!("too many queues for {} consumers: give more --consumers", load.consumers);
        }
        if self.prefetch > 0 && self.ack_every > u32::from(self.prefetch) {
            bail!("--ack-every {} would wait for ever under --prefetch {}: raise the prefetch", self.ack_every, self.prefetch);
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
        if self.load.consumers >= queues { vec![index % queues] } else { (index..queues).step_by(self.load.consumers).collect() }
    }

    fn subscriptions_per_consumer(&self) -> usize {
        self.queue_count().div_ceil(self.load.consumers.max(1))
    }

    /// Publishes in flight; 0 when the run goes without confirms.
    pub fn window(&self) -> usize {
        if self.load.latency { 1 } else { self.confirm_window }
    }

    pub fn ack_every(&self) -> u32 {
        if self.load.latency { self.ack_every.min(1) } else { self.ack_every }
    }
}
