//! The flags that every protocol's load has.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::ledger::BODY_HEAD_BYTES;

/// How much load, how long, and what to report.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Publishing connections
    #[arg(long, short, default_value_t = 1)]
    pub producers: usize,

    /// Consuming connections (0 = publish only)
    #[arg(long, short, default_value_t = 1)]
    pub consumers: usize,

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

    /// Messages per second of all producers together (0 = as fast as they go)
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,

    /// Pause publishing while this many messages are published and not yet delivered (0 = never)
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    pub max_backlog: u64,

    /// Publish --count messages first, then measure how fast they are consumed
    #[arg(long, requires = "count")]
    pub drain: bool,

    /// One message in flight: the next is published when the last was confirmed and delivered
    #[arg(long)]
    pub latency: bool,

    /// Begin with the messages that an earlier run with --keep left
    #[arg(long)]
    pub reuse: bool,

    /// Leave what was made for the run, and the messages in it
    #[arg(long)]
    pub keep: bool,

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

impl Load {
    /// Refuses what cannot be run, with what to do instead.
    pub fn validate(&self) -> Result<()> {
        if self.size < BODY_HEAD_BYTES {
            bail!("--size {} is too small: the first {BODY_HEAD_BYTES} bytes of a message are its number and time", self.size);
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
            bail!("--drain publishes first and then consumes: it needs producers and consumers");
        }
        if self.latency && self.producers != 1 {
            bail!("--latency has one message in flight: it needs exactly one producer");
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

    /// Messages that may be published and not yet delivered.
    pub fn backlog_max(&self) -> u64 {
        match (self.latency && self.consumers > 0, self.max_backlog) {
            (true, _) => 1,
            (false, 0) => u64::MAX,
            (false, backlog) => backlog,
        }
    }

    /// What producer `index` has to publish.
    pub fn quota(&self, index: usize) -> u64 {
        let Some(count) = self.count else { return u64::MAX };
        let producers = self.producers as u64;
        count / producers + u64::from((index as u64) < count % producers)
    }

    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout)
    }

    pub fn stall_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.stall_timeout)
    }
}
