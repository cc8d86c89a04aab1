//! The result of a run: one structure, printed for people or as JSON.

use std::fmt;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Verdict;
use super::load::Load;
use super::process::Usage;

/// A million bytes.
pub const MEGABYTE: f64 = 1e6;

/// What came of a run. Rates and latencies are of the measured window alone.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub broker: String,
    pub url: String,
    /// What happens to a message before it is confirmed.
    pub fsync_state: String,
    pub load: String,
    pub payload_bytes: usize,
    pub window_seconds: f64,
    pub published: u64,
    pub confirmed: u64,
    pub delivered: u64,
    pub published_per_second: f64,
    pub confirmed_per_second: f64,
    pub delivered_per_second: f64,
    /// Payload, in millions of bytes.
    pub published_mb_per_second: f64,
    pub delivered_mb_per_second: f64,
    /// From the write of a publish to its confirm.
    pub confirm_latency: Option<Latency>,
    /// From the write of a publish to the read of its delivery.
    pub end_to_end_latency: Option<Latency>,
    /// Of the given processes, within the window; the memory is of its end.
    pub broker_usage: Option<Usage>,
    /// Broker CPU per delivery, or per publish where nothing is consumed.
    pub broker_cpu_us_per_message: Option<f64>,
    /// The same for a million bytes of payload.
    pub broker_cpu_ms_per_mb: Option<f64>,
    pub generator_cpu_us_per_message: f64,
    pub nacked: u64,
    pub returned: u64,
    pub blocked: u64,
    pub check: Check,
}

/// The account over the whole run, warm-up included.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Check {
    pub published: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub disordered: u64,
    pub foreign: u64,
    pub clean: bool,
}

impl Check {
    pub fn new(published: u64, delivered: u64, verdict: Verdict) -> Check {
        let Verdict { lost, duplicated, disordered, foreign } = verdict;
        Check { published, delivered, lost, duplicated, disordered, foreign, clean: verdict.is_clean() }
    }
}

/// A distribution in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    pub mean_us: f64,
}

impl Latency {
    /// Of a histogram in nanoseconds; none when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Latency {
            p50_us: us(histogram.value_at_quantile(0.5)),
            p99_us: us(histogram.value_at_quantile(0.99)),
            max_us: us(histogram.max()),
            mean_us: histogram.mean() / 1000.0,
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: f64| us / 1000.0;
        write!(out, "p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", ms(self.p50_us), ms(self.p99_us), ms(self.max_us))
    }
}

/// What Yam does, and what is not known of others.
pub fn fsync_state(load: &Load, is_yam: bool) -> String {
    match &load.fsync_state {
        Some(text) => text.clone(),
        None if is_yam => "fdatasync before each confirm, unless the broker's durability is relaxed".to_owned(),
        None => "unknown; say it with --fsync-state".to_owned(),
    }
}

/// What there is to say of a load besides its size, whatever the protocol.
pub fn describe(load: &Load) -> Vec<String> {
    let drain = load.drain.then(|| "draining a backlog".to_owned());
    let rate = (load.rate > 0.0).then(|| format!("{} messages/s wanted", load.rate));
    drain.into_iter().chain(rate).collect()
}

impl Summary {
    /// For people, or as JSON.
    ///
    /// # Errors
    /// Where the account does not balance.
    pub fn print(&self, load: &Load) -> Result<()> {
        if load.json {
            super::super::print(format!("{}\n", serde_json::to_string_pretty(self)?).as_bytes())?;
        } else {
            super::super::print(format!("{self}\n").as_bytes())?;
        }
        if !self.check.clean {
            bail!("the account does not balance: {:?}; the summary above has the numbers", self.check);
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |rate: f64| rate * self.payload_bytes as f64 / MEGABYTE;
        writeln!(out, "broker       {} at {}", self.broker, self.url)?;
        writeln!(out, "load         {}", self.load)?;
        writeln!(out, "fsync        {}", self.fsync_state)?;
        writeln!(out, "measured     {:.2} s", self.window_seconds)?;
        for (name, rate, total) in [
            ("published", self.published_per_second, self.published),
            ("confirmed", self.confirmed_per_second, self.confirmed),
            ("delivered", self.delivered_per_second, self.delivered),
        ] {
            if total > 0 {
                writeln!(out, "{name:<12} {rate:.0}/s, {:.1} MB/s ({total} messages)", megabytes(rate))?;
            }
        }
        if let Some(latency) = self.confirm_latency {
            writeln!(out, "confirm      {latency}")?;
        }
        if let Some(latency) = self.end_to_end_latency {
            writeln!(out, "end to end   {latency}")?;
        }
        if let (Some(usage), Some(cpu), Some(of_mb)) =
            (self.broker_usage, self.broker_cpu_us_per_message, self.broker_cpu_ms_per_mb)
        {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                out,
                "broker CPU   {cpu:.2} us per message, {of_mb:.3} ms per MB; RSS {:.0} MiB, peak {:.0} MiB",
                mib(usage.rss_bytes),
                mib(usage.rss_peak_bytes)
            )?;
        }
        writeln!(out, "own CPU      {:.2} us per message", self.generator_cpu_us_per_message)?;
        if self.nacked + self.returned + self.blocked > 0 {
            writeln!(out, "refused      {} nacked, {} returned, {} times blocked", self.nacked, self.returned, self.blocked)?;
        }
        let check = &self.check;
        let verdict = if check.clean { "nothing lost, doubled or out of order" } else { "FAILED" };
        write!(out, "check        {verdict} ({} published, {} delivered", check.published, check.delivered)?;
        if !check.clean {
            write!(
                out,
                ": {} lost, {} doubled, {} out of order, {} foreign",
                check.lost, check.duplicated, check.disordered, check.foreign
            )?;
        }
        write!(out, ")")
    }
}
