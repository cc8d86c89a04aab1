//! The machine: what it is, how fast its disk syncs, and how much of it others used meanwhile.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The machine and its disk.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub fdatasync: Fdatasync,
}

/// Appending 4 KiB to a file and fdatasync, one after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Fdatasync {
    pub p50_us: f64,
    pub p99_us: f64,
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gib, kernel, fdatasync } = self;
        write!(
            out,
            "{cores} cores ({cpu}), {memory_gib:.0} GiB, Linux {kernel}; fdatasync of a 4 KiB append: p50 {:.2} ms, p99 {:.2} ms",
            fdatasync.p50_us / 1000.0,
            fdatasync.p99_us / 1000.0
        )
    }
}

/// Looks at the machine and times the disk that `dir` is on.
pub fn describe(dir: &Path) -> Result<Machine> {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or(":unknown");
        line.trim_start_matches([':', '\t', ' ']).to_owned()
    };
    let kilobytes: f64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
    Ok(Machine {
        cpu: field("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: kilobytes / f64::from(1 << 20),
        kernel: field("/proc/sys/kernel/osrelease", ""),
        fdatasync: time_fdatasync(dir).with_context(|| format!("timing fdatasync in {}", dir.display()))?,
    })
}

/// Times at most 1,000 appends or two seconds of them.
pub fn time_fdatasync(dir: &Path) -> Result<Fdatasync> {
    let path = dir.join("fdatasync.probe");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 1000 && started.elapsed() < Duration::from_secs(2) {
        let before = Instant::now();
        file.write_all(&[0x5A; 4096])?;
        file.sync_data()?;
        times.push(before.elapsed().as_nanos() as f64 / 1000.0);
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(Fdatasync { p50_us: at(0.5), p99_us: at(0.99) })
}

/// Waits.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// CPU seconds used since the start: by the whole machine, and by the programs that this one waited for.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    machine: f64,
    ours: f64,
    at: Instant,
}

/// Linux tells programs CPU times in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

impl Busy {
    pub fn now(brokers: &[u32]) -> Busy {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        // cpu user nice system idle iowait irq softirq steal
        let fields: Vec<f64> =
            stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        let busy: f64 = fields.iter().take(8).sum::<f64>() - fields.iter().skip(3).take(2).sum::<f64>();
        let own = process_ticks("self", 4) + brokers.iter().map(|pid| process_ticks(&pid.to_string(), 2)).sum::<f64>();
        Busy { machine: busy / TICKS_PER_SECOND, ours: own / TICKS_PER_SECOND, at: Instant::now() }
    }

    /// The part of one core that all other programs used between `before` and this.
    pub fn others_since(&self, before: &Busy) -> f64 {
        let seconds = (self.at - before.at).as_secs_f64().max(0.001);
        ((self.machine - before.machine) - (self.ours - before.ours)).max(0.0) / seconds
    }
}

/// CPU of others, in cores, above which a round is not worth much.
pub const DISTURBED: f64 = 0.3;

/// Waits until others leave the machine alone for a second, or until `patience` ends.
pub fn wait_for_calm(brokers: &[u32], patience: Duration) {
    let started = Instant::now();
    while started.elapsed() < patience {
        let before = Busy::now(brokers);
        pause(Duration::from_secs(1));
        if Busy::now(brokers).others_since(&before) < DISTURBED {
            return;
        }
    }
}

/// What a set of processes has used since their start.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User + system.
    pub cpu_seconds: f64,
    /// Resident now.
    pub rss_bytes: u64,
    /// The most that was ever resident.
    pub rss_peak_bytes: u64,
}

impl Usage {
    /// The sum over `pids`.
    pub fn of(pids: &[u32]) -> Result<Usage> {
        let mut sum = Usage::default();
        for pid in pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
            let kilobytes = |field: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(field));
                line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            sum.cpu_seconds += process_ticks(&pid.to_string(), 2) / TICKS_PER_SECOND;
            sum.rss_bytes += kilobytes("VmRSS:") * 1024;
            sum.rss_peak_bytes += kilobytes("VmHWM:") * 1024;
        }
        Ok(sum)
    }
}

/// utime and stime; with 4 fields also those of the children that ended.
fn process_ticks(pid: &str, fields: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(fields).filter_map(|field| field.parse::<f64>().ok()).sum()
}
