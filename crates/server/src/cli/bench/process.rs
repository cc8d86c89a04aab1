//! CPU time and memory of processes on this machine, from /proc; elsewhere there is nothing to report.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Linux reports CPU times to programs in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a set of processes has used since their start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// User + system.
    pub cpu_seconds: f64,
    /// Resident now.
    pub rss_bytes: u64,
    /// The most that was ever resident.
    pub rss_peak_bytes: u64,
}

/// The sum over `pids`.
///
/// # Errors
/// When one of them is not a running process of this machine.
pub fn usage(pids: &[u32]) -> Result<Usage> {
    let mut sum = Usage::default();
    for &pid in pids {
        let one = usage_of(&pid.to_string()).with_context(|| format!("no process {pid} on this machine"))?;
        sum.cpu_seconds += one.cpu_seconds;
        sum.rss_bytes += one.rss_bytes;
        sum.rss_peak_bytes += one.rss_peak_bytes;
    }
    Ok(sum)
}

/// CPU seconds of this very process.
pub fn own_cpu_seconds() -> f64 {
    usage_of("self").map_or(0.0, |usage| usage.cpu_seconds)
}

fn usage_of(pid: &str) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    // The second field is the program's name in brackets, and may hold anything: count from behind it. Then utime and stime
    // are the fields 14 and 15 of proc(5).
    let Some((_, fields)) = stat.rsplit_once(')') else { bail!("/proc/{pid}/stat is not as proc(5) has it") };
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Usage {
        cpu_seconds: TICK.as_secs_f64() * ticks as f64,
        rss_bytes: kilobytes(&status, "VmRSS:") * 1024,
        rss_peak_bytes: kilobytes(&status, "VmHWM:") * 1024,
    })
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
