//! Makes one load by whichever program a case names, and reads what came of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::cases::{Case, Client, Figure};
use crate::broker::{Broker, Programs, kafka};
use crate::machine::Usage;

/// The programs that make load.
#[derive(Debug)]
pub struct Clients {
    pub generator: PathBuf,
    /// librdkafka's example program.
    pub rdkafka_performance: Option<PathBuf>,
}

/// A distribution in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// What came of a load.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub records_per_second: f64,
    pub mb_per_second: f64,
    /// Until a produce request is answered, or where the case is about it, until a record is read.
    pub latency: Option<Latency>,
    pub broker_cpu_ms_per_mb: f64,
    /// At the end of the load, and at its peak since the broker was started.
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
    /// Batch settings and the like, as the program says them.
    pub load: String,
}

/// What the generator prints.
#[derive(Debug, Deserialize)]
struct Summary {
    load: String,
    published_per_second: f64,
    delivered_per_second: f64,
    published_mb_per_second: f64,
    delivered_mb_per_second: f64,
    confirm_latency: Option<Microseconds>,
    end_to_end_latency: Option<Microseconds>,
    broker_usage: Option<Usage>,
    broker_cpu_ms_per_mb: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Microseconds {
    p50_us: f64,
    p99_us: f64,
}

const TOPIC: &str = "bench";
const MB: f64 = 1e6;

/// What a load of so many seconds writes or reads where it goes by count: less than the slowest, so that no case takes long.
const JAVA_RECORDS_PER_SECOND: f64 = 60_000.0;
const LIBRDKAFKA_RECORDS_PER_SECOND: f64 = 150_000.0;
const FILL_RECORDS_PER_SECOND: f64 = 250_000.0;
/// How often a topic is read before the first load that reads it.
const READ_BEFORE: usize = 4;
const IN_FLIGHT_RECORDS_PER_SECOND: f64 = 1_000.0;

impl Clients {
    /// What must be there before the loads of a case: for those that read, a topic that is filled and has been read some times,
    /// for one load of them is too short for a JVM to compile all that it needs.
    pub fn prepare(&self, case: &Case, broker: &Broker, seconds: f64) -> Result<()> {
        match case.figure {
            Figure::Consumed => {
                let fill = (FILL_RECORDS_PER_SECOND * seconds) as u64;
                self.own(case, broker, &format!("--replace --keep -c 0 -p 1 --batch 65536 --count {fill}"))?;
                for _ in 0..READ_BEFORE {
                    self.own(case, broker, "--reuse --keep -p 0")?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes the load of a case.
    ///
    /// # Errors
    /// With the program's own words when it failed; the generator fails where a broker lost or doubled a record.
    pub fn run(&self, case: &Case, broker: &Broker, programs: &Programs, seconds: f64) -> Result<Outcome> {
        match (case.client, case.figure) {
            (Client::Own(options), Figure::Produced) => {
                self.own(case, broker, &format!("--replace -c 0 --warm-up 2 --duration {seconds} {options}"))
            }
            (Client::Own(options), Figure::Consumed) => self.own(case, broker, &format!("--reuse --keep -p 0 {options}")),
            (Client::Own(options), Figure::Latency) => {
                self.own(case, broker, &format!("--replace --warm-up 2 --duration {seconds} {options}"))
            }
            (Client::Java, Figure::Produced) => {
                let records = (JAVA_RECORDS_PER_SECOND * seconds) as u64;
                self.empty_topic(case, broker)?;
                let arguments = format!(
                    "org.apache.kafka.tools.ProducerPerformance --bootstrap-server {} --topic {TOPIC} --num-records {records} \
                     --warmup-records {} --record-size {} --throughput -1 --command-property acks=all",
                    broker.kafka_place(),
                    records / 4,
                    case.record_bytes
                );
                self.watched(case, broker, records, "client's defaults, acks=all", java(programs, &arguments), produced_by_java)
            }
            (Client::Java, Figure::Consumed) => {
                let records = (FILL_RECORDS_PER_SECOND * seconds) as u64;
                let arguments = format!(
                    "org.apache.kafka.tools.ConsumerPerformance --bootstrap-server {} --topic {TOPIC} --num-records {records} \
                     --hide-header",
                    broker.kafka_place()
                );
                self.watched(
                    case,
                    broker,
                    records,
                    "client's defaults, a group of one",
                    java(programs, &arguments),
                    consumed_by_java,
                )
            }
            (Client::Java, Figure::Latency) => {
                let records = (IN_FLIGHT_RECORDS_PER_SECOND * seconds) as u64;
                self.empty_topic(case, broker)?;
                let arguments = format!(
                    "org.apache.kafka.tools.EndToEndLatency --bootstrap-server {} --topic {TOPIC} --num-records {records} \
                     --producer-acks all --record-size {}",
                    broker.kafka_place(),
                    case.record_bytes
                );
                self.watched(case, broker, records, "client's defaults, acks=all", java(programs, &arguments), latency_by_java)
            }
            (Client::Librdkafka, figure) => {
                let program = self.rdkafka_performance.as_deref().context("rdkafka_performance is not there")?;
                let mut command = Command::new(program);
                command.args(["-t", TOPIC, "-q", "-b", &broker.kafka_place()]);
                let records = if figure == Figure::Consumed {
                    let records = (FILL_RECORDS_PER_SECOND * seconds) as u64;
                    command.args(["-C", "-p", "0", "-o", "beginning", "-c", &records.to_string()]);
                    records
                } else {
                    self.empty_topic(case, broker)?;
                    let records = (LIBRDKAFKA_RECORDS_PER_SECOND * seconds) as u64;
                    command.args(["-P", "-a", "-1", "-s", &case.record_bytes.to_string(), "-c", &records.to_string()]);
                    records
                };
                self.watched(case, broker, records, "program's defaults, acks=all", command, told_by_librdkafka)
            }
        }
    }

    fn empty_topic(&self, case: &Case, broker: &Broker) -> Result<()> {
        self.generate(case, broker, "--replace --keep -c 0 --count 0").map(drop)
    }

    /// Runs the generator and takes its figures.
    fn own(&self, case: &Case, broker: &Broker, arguments: &str) -> Result<Outcome> {
        let summary = self.generate(case, broker, arguments)?;
        let usage = summary.broker_usage.context("the generator did not watch the broker")?;
        let read = case.figure != Figure::Produced;
        let latency = if read { summary.end_to_end_latency } else { summary.confirm_latency };
        Ok(Outcome {
            records_per_second: if read { summary.delivered_per_second } else { summary.published_per_second },
            mb_per_second: if read { summary.delivered_mb_per_second } else { summary.published_mb_per_second },
            latency: latency.map(|Microseconds { p50_us, p99_us }| Latency { p50_ms: p50_us / 1e3, p99_ms: p99_us / 1e3 }),
            broker_cpu_ms_per_mb: summary.broker_cpu_ms_per_mb.unwrap_or(f64::NAN),
            rss_bytes: usage.rss_bytes,
            rss_peak_bytes: usage.rss_peak_bytes,
            load: summary.load,
        })
    }

    fn generate(&self, case: &Case, broker: &Broker, arguments: &str) -> Result<Summary> {
        let mut command = Command::new(&self.generator);
        command.args(["bench", "kafka", "--json", "--topic", TOPIC, "--kafka", &broker.kafka_place()]);
        command.args(["--partitions", &case.partitions.to_string(), "--size", &case.record_bytes.to_string()]);
        for pid in broker.pids() {
            command.args(["--broker-pid", &pid.to_string()]);
        }
        command.args(arguments.split_whitespace()).env("RUST_BACKTRACE", "0");
        serde_json::from_str(&output_of(command)?)
            .context("the generator's summary is not as expected; is it of another version?")
    }

    /// Runs a program of others over so many records; the broker's CPU is that of the whole run.
    fn watched(
        &self,
        case: &Case,
        broker: &Broker,
        records: u64,
        load: &str,
        command: Command,
        read: fn(&str) -> Option<Told>,
    ) -> Result<Outcome> {
        let name = command.get_program().to_string_lossy().into_owned();
        let before = Usage::of(&broker.pids())?;
        let said = output_of(command)?;
        let after = Usage::of(&broker.pids())?;
        let told = read(&said).with_context(|| format!("cannot read what {name} says: {}", said.trim()))?;
        let megabytes = |records: f64| records * case.record_bytes as f64 / MB;
        Ok(Outcome {
            records_per_second: told.records_per_second,
            mb_per_second: megabytes(told.records_per_second),
            latency: told.latency,
            broker_cpu_ms_per_mb: (after.cpu_seconds - before.cpu_seconds) * 1e3 / megabytes(records as f64),
            rss_bytes: after.rss_bytes,
            rss_peak_bytes: after.rss_peak_bytes,
            load: load.to_owned(),
        })
    }
}

fn java(programs: &Programs, arguments: &str) -> Command {
    let mut command = kafka::java(programs);
    command.args(arguments.split_whitespace());
    command
}

fn output_of(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed with {}: {} {}", output.status, said.trim(), words.trim());
    }
    // librdkafka's program says its figures on stderr where it is quiet.
    Ok(if said.trim().is_empty() { String::from_utf8_lossy(&output.stderr).into_owned() } else { said })
}

/// The figures that a program prints.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub records_per_second: f64,
    pub latency: Option<Latency>,
}

impl PartialEq for Latency {
    fn eq(&self, other: &Latency) -> bool {
        (self.p50_ms, self.p99_ms) == (other.p50_ms, other.p99_ms)
    }
}

/// The number in front of `unit`, in the last line that has one.
fn before(said: &str, unit: &str) -> Option<f64> {
    let line = said.lines().rev().find(|line| line.contains(unit))?;
    line.split(unit).next()?.split_whitespace().next_back()?.trim_start_matches('(').parse().ok()
}

/// `250000 steady state records sent, 16917.0 records/sec (...), ..., 1590 ms 50th, 2374 ms 95th, 2521 ms 99th, ...`
pub fn produced_by_java(said: &str) -> Option<Told> {
    let latency = Latency { p50_ms: before(said, " ms 50th")?, p99_ms: before(said, " ms 99th")? };
    Some(Told { records_per_second: before(said, " records/sec")?, latency: Some(latency) })
}

/// Ten fields between commas, the last of which is the records fetched per second, joining the group not counted.
pub fn consumed_by_java(said: &str) -> Option<Told> {
    let line = said.lines().rev().find(|line| line.split(',').count() == 10)?;
    Some(Told { records_per_second: line.rsplit(',').next()?.trim().parse().ok()?, latency: None })
}

/// `Avg latency: 3.9152 ms` and `Percentiles: 50th = 1, 99th = 45, 99.9th = 101`
pub fn latency_by_java(said: &str) -> Option<Told> {
    let mean = before(said, " ms")?;
    let line = said.lines().find(|line| line.starts_with("Percentiles:"))?;
    let percentile = |name: &str| line.split([':', ',']).find_map(|part| part.trim().strip_prefix(name)?.trim().parse().ok());
    let latency = Latency { p50_ms: percentile("50th =")?, p99_ms: percentile("99th =")? };
    Some(Told { records_per_second: 1e3 / mean, latency: Some(latency) })
}

/// `... in 4663ms: 64323 msgs/s and 65.87 MB/s, ...`, or `(353.57 MB/s)` where it consumes.
pub fn told_by_librdkafka(said: &str) -> Option<Told> {
    Some(Told { records_per_second: before(said, " msgs/s")?, latency: None })
}
