//! What an idle queue or an idle connection costs the broker: its memory before, with, and after many of them.

use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use serde::Serialize;

use super::options::Options;
use super::wire::Connection;
use crate::cli::bench::process;
use crate::cli::dial::{allow_many_sockets, now};

/// The result, in bytes of the broker's resident memory.
#[derive(Debug, Serialize)]
struct Idle {
    broker: String,
    kind: &'static str,
    count: usize,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    bytes_each: f64,
    seconds_to_create: f64,
}

/// Creates them, holds them, reports, removes them.
pub fn run(options: &Options) -> Result<()> {
    if options.load.broker_pid.is_empty() {
        bail!("--idle-queues and --idle-connections look at the broker's memory: give its process id with --broker-pid");
    }
    allow_many_sockets();
    let mut admin = Connection::open(&options.url, options.load.connect_timeout())?;
    let rss = || process::usage(&options.load.broker_pid).map(|usage| usage.rss_bytes);
    let rss_before_bytes = rss()?;
    let started = now();
    let (kind, count) =
        if options.idle_queues > 0 { ("queue", options.idle_queues) } else { ("connection", options.idle_connections) };
    let progress = ProgressBar::new(count as u64);
    let mut held = Vec::new();
    for index in 0..count {
        if kind == "queue" {
            admin.declare_queue(&options.queue_name(index), !options.transient)?;
        } else {
            held.push(Connection::open(&options.url, Duration::ZERO)?);
        }
        progress.inc(1);
    }
    let seconds_to_create = started.elapsed().as_secs_f64();
    // A call that the broker answers after all the others: what it had put off for later is begun at least.
    admin.declare_queue(&options.queue_name(0), !options.transient)?;
    let rss_after_bytes = rss()?;
    let bytes_each = rss_after_bytes.saturating_sub(rss_before_bytes) as f64 / count as f64;
    let broker = format!("{} {}", admin.product, admin.version);
    let idle = Idle { broker, kind, count, rss_before_bytes, rss_after_bytes, bytes_each, seconds_to_create };
    drop(held);
    for index in 0..options.idle_queues.max(1) {
        admin.delete_queue(&options.queue_name(index))?;
    }
    progress.finish_and_clear();
    if options.load.json {
        crate::cli::print(format!("{}\n", serde_json::to_string_pretty(&idle)?).as_bytes())?;
    } else {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Idle { broker, kind, count, seconds_to_create, .. } = &idle;
        let text = format!(
            "broker       {broker}\n\
             idle         {count} {kind}s, made in {seconds_to_create:.1} s\n\
             RSS          {:.1} MiB before, {:.1} MiB with them\n\
             each         {:.1} KiB\n",
            mib(idle.rss_before_bytes),
            mib(idle.rss_after_bytes),
            idle.bytes_each / 1024.0
        );
        crate::cli::print(text.as_bytes())?;
    }
    Ok(())
}
