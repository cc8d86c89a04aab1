//! Runs `yam bench amqp` and reads its summary.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::machine::Usage;

/// The load generator: one program for all brokers.
#[derive(Debug)]
pub struct Generator {
    pub program: PathBuf,
}

/// A distribution in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// The part of a load's summary that is compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    pub broker: String,
    pub load: String,
    pub payload_bytes: usize,
    pub window_seconds: f64,
    pub published_per_second: f64,
    pub delivered_per_second: f64,
    pub delivered: u64,
    pub confirm_latency: Option<Latency>,
    pub end_to_end_latency: Option<Latency>,
    pub broker_usage: Option<Usage>,
    pub broker_cpu_us_per_message: Option<f64>,
    pub generator_cpu_us_per_message: f64,
    pub nacked: u64,
    pub blocked: u64,
}

/// The summary of idle queues or connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Idle {
    pub count: u64,
    pub bytes_each: f64,
    pub seconds_to_create: f64,
}

impl Generator {
    /// Loads a broker and returns what came of it.
    ///
    /// # Errors
    /// With the generator's own words when it failed; a broker that lost or doubled a message makes it fail.
    pub fn run<T: for<'a> Deserialize<'a>>(&self, broker: &Broker, arguments: &[String]) -> Result<T> {
        let mut command = Command::new(&self.program);
        command.args(["bench", "amqp", "--json", "--url", &broker.url(), "--fsync-state", broker.kind.fsync_state()]);
        for pid in broker.pids() {
            command.args(["--broker-pid", &pid.to_string()]);
        }
        command.args(arguments).env("RUST_BACKTRACE", "0");
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot start the load generator {}", self.program.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("load against {} failed: {words}", broker.kind);
        }
        serde_json::from_slice(&output.stdout)
            .context("the load generator's summary is not as expected; is it of another version?")
    }
}
