//! The flags of `yam bench kafka`.

use std::fmt;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::bench::load::Load;
use crate::cli::kafka::At;

/// The largest batch and the largest request that may be asked for.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What to load the broker with, how long, and what to report.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    pub at: At,

    #[command(flatten)]
    pub load: Load,

    /// Topic, made for the run and deleted after it; one that is there already is taken with --reuse or --replace alone
    #[arg(long, short, default_value = "yam-bench")]
    pub topic: String,

    /// Delete the topic first if there is one
    #[arg(long, conflicts_with = "reuse")]
    pub replace: bool,

    /// Partitions of the topic; each producer writes to all of them in turn, each consumer reads its share
    #[arg(long, value_name = "PARTITIONS", default_value_t = 1)]
    pub partitions: i32,

    /// Settings for the topic, as NAME=VALUE (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub topic_config: Vec<String>,

    /// Bytes of a full batch, as batch.size; less is sent only where --rate, --count or --max-backlog leave no more
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    pub batch: usize,

    /// Bytes of a request, as max.request.size: it holds at most one batch for each partition
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    pub request: usize,

    /// What an answer waits for: 0 (there is none), 1 (the leader) or all
    #[arg(long, default_value = "all")]
    pub acks: Acks,

    /// Requests awaiting their answer, per producer
    #[arg(long, value_name = "REQUESTS", default_value_t = 5)]
    pub in_flight: usize,

    /// Send without producer id and sequence numbers (idempotence needs --acks all, and --in-flight 5 at most)
    #[arg(long)]
    pub no_idempotence: bool,

    /// Bytes of an answer to a fetch, as fetch.max.bytes
    #[arg(long, value_name = "BYTES", default_value_t = 50 * 1024 * 1024)]
    pub fetch: i32,

    /// Bytes of one partition in it, as max.partition.fetch.bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    pub partition_fetch: i32,

    /// Bytes that a fetch waits for, as fetch.min.bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1)]
    pub fetch_min: i32,

    /// How long it waits for them, as fetch.max.wait.ms
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    pub fetch_wait: i32,
}

impl Options {
    /// Refuses what cannot be run, with what to do instead.
    pub fn validate(&self) -> Result<()> {
        self.load.validate()?;
        if !(1..=100_000).contains(&self.partitions) {
            bail!("--partitions must be between 1 and 100000");
        }
        if self.load.consumers > self.partitions as usize {
            bail!("--consumers {} would share partitions: give as many --partitions at least", self.load.consumers);
        }
        if self.in_flight == 0 || self.in_flight > 1000 {
            bail!("--in-flight must be between 1 and 1000");
        }
        if self.batch > BATCH_BYTES_MAX || self.request > BATCH_BYTES_MAX {
            bail!("--batch and --request are at most {BATCH_BYTES_MAX}");
        }
        if self.idempotent() && self.in_flight > 5 {
            bail!("a broker remembers five batches of a producer: give --in-flight 5 or less, or --no-idempotence");
        }
        if self.acks == Acks::None && self.load.latency {
            bail!("--latency waits for the answer to each message: it needs --acks 1 or all");
        }
        for setting in &self.topic_config {
            if !setting.contains('=') {
                bail!("--topic-config {setting}: write it as NAME=VALUE");
            }
        }
        Ok(())
    }

    /// Kafka's clients are idempotent unless told otherwise, where acks allow it.
    pub fn idempotent(&self) -> bool {
        self.acks == Acks::All && !self.no_idempotence
    }

    /// Requests awaiting their answer.
    pub fn window(&self) -> usize {
        if self.load.latency { 1 } else { self.in_flight }
    }

    /// The partitions that consumer `index` reads.
    pub fn partitions_of(&self, index: usize) -> impl Iterator<Item = i32> {
        (index as i32..self.partitions).step_by(self.load.consumers)
    }
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    All,
}

impl Acks {
    /// As it stands in a request.
    pub fn number(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        })
    }
}
