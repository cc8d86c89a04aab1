//! A broker as a process: started on ports and a folder of its own, listening on loopback only.
//!
//! # Layout
//! - [`rabbitmq`], [`kafka`]: how the peers are started

pub mod kafka;
mod rabbitmq;

use std::fmt;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::pause;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Yam,
    Rabbitmq,
    /// As it comes: it leaves syncing to the operating system.
    Kafka,
    /// With log.flush.interval.messages=1.
    KafkaSynced,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Yam => "Yam",
            Kind::Rabbitmq => "RabbitMQ",
            Kind::Kafka => "Kafka",
            Kind::KafkaSynced => "Kafka synced",
        })
    }
}

impl Kind {
    /// What it does before it confirms a persistent message, as its documentation has it.
    pub fn fsync_state(self) -> &'static str {
        match self {
            Kind::Yam => "fdatasync before each confirm",
            Kind::Rabbitmq => "classic queue: written, fsync in batches at idle moments; a confirm may precede it",
            Kind::Kafka => "written to the page cache; an answer waits for no fsync",
            Kind::KafkaSynced => "fsync of each partition after each batch (log.flush.interval.messages=1)",
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub yam: PathBuf,
    pub rabbitmq_server: PathBuf,
    /// A folder with Apache Kafka's jars and those that they need.
    pub kafka_jars: PathBuf,
}

/// A started broker. It is stopped when this is dropped.
pub struct Broker {
    pub kind: Kind,
    programs: Programs,
    folder: tempfile::TempDir,
    ports: [u16; 3],
    server: Child,
    /// Erlang's port mapper, which RabbitMQ needs: our own, so that it ends with the run.
    mapper: Option<Child>,
}

/// What runs, and its folder: for an end by a signal, when nothing is dropped.
static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

/// Ends what this program has started and removes its data.
pub fn end_all() {
    let running = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    // The last started first: a RabbitMQ that misses its port mapper starts another.
    running.iter().rev().for_each(|(pid, _)| send(server_pid(*pid), Signal::KILL));
    pause(Duration::from_millis(300));
    for (_, folder) in running {
        // What cannot be removed is only disk space.
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn remember(pid: u32, folder: &Path) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push((pid, folder.to_owned()));
}

fn forget(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|(running, _)| *running != pid);
}

/// How long a broker may take to start, over a large backlog too.
const START_PATIENCE: Duration = Duration::from_secs(180);

impl Broker {
    /// Starts it over an empty folder in `dir` and waits until it serves.
    pub fn start(kind: Kind, programs: &Programs, dir: &Path) -> Result<Broker> {
        let folder = tempfile::Builder::new().prefix(&format!("{kind}-").to_lowercase().replace(' ', "-")).tempdir_in(dir)?;
        let ports = free_ports()?;
        let folder_path = folder.path().canonicalize()?;
        let mapper = match kind {
            Kind::Rabbitmq => Some(rabbitmq::start_mapper(ports[2], &folder_path)?),
            Kind::Kafka | Kind::KafkaSynced => {
                kafka::prepare(programs, &folder_path, ports, kind == Kind::KafkaSynced)?;
                None
            }
            Kind::Yam => None,
        };
        let server = spawn(kind, programs, &folder_path, ports)?;
        let mut broker = Broker { kind, programs: programs.clone(), folder, ports, server, mapper };
        broker.wait_until_ready()?;
        Ok(broker)
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/", self.ports[0])
    }

    /// Where Kafka's clients find it.
    pub fn kafka_place(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// The processes whose CPU and memory are the broker's.
    pub fn pids(&self) -> Vec<u32> {
        let children = self.mapper.iter().map(Child::id);
        std::iter::once(server_pid(self.server.id())).chain(children).collect()
    }

    /// Ends the process with SIGTERM and waits; returns how long it took.
    pub fn stop(&mut self) -> Result<Duration> {
        self.end(Signal::TERM)
    }

    /// Ends the process with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL).map(drop)
    }

    /// Starts it again over the same folder and does not wait; returns when that was.
    pub fn start_again(&mut self) -> Result<Instant> {
        let started = Instant::now();
        self.server = spawn(self.kind, &self.programs, &self.folder.path().canonicalize()?, self.ports)?;
        Ok(started)
    }

    fn end(&mut self, signal: Signal) -> Result<Duration> {
        let started = Instant::now();
        send(server_pid(self.server.id()), signal);
        while self.server.try_wait()?.is_none() {
            if started.elapsed() > Duration::from_secs(60) {
                send(self.server.id(), Signal::KILL);
            }
            pause(Duration::from_millis(5));
        }
        forget(self.server.id());
        Ok(started.elapsed())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out.log")).unwrap_or_default()
    }

    pub fn wait_until_ready(&mut self) -> Result<()> {
        let signs: &[&str] = match self.kind {
            Kind::Yam => &["amqp listening on", "kafka listening on"],
            Kind::Rabbitmq => &["completed with"],
            Kind::Kafka | Kind::KafkaSynced => &["Kafka Server started"],
        };
        let started = Instant::now();
        while !signs.iter().all(|sign| self.log().contains(sign)) {
            if let Some(status) = self.server.try_wait()? {
                bail!("{} ended with {status} instead of serving:\n{}", self.kind, tail(&self.log()));
            }
            if started.elapsed() > START_PATIENCE {
                bail!("{} does not serve after {START_PATIENCE:?}:\n{}", self.kind, tail(&self.log()));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its data goes with it, so there is nothing to save by a gentle end.
        let _ = self.end(Signal::KILL);
        if let Some(mapper) = &mut self.mapper {
            let _ = mapper.kill();
            let _ = mapper.wait();
            forget(mapper.id());
        }
    }
}

fn spawn(kind: Kind, programs: &Programs, folder: &Path, ports: [u16; 3]) -> Result<Child> {
    let mut command = match kind {
        Kind::Yam => yam(&programs.yam, folder, ports),
        Kind::Rabbitmq => rabbitmq::command(&programs.rabbitmq_server, folder, ports)?,
        Kind::Kafka | Kind::KafkaSynced => kafka::command(programs, folder),
    };
    let out = File::create(folder.join("out.log"))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let child = command.spawn().with_context(|| format!("cannot start {kind}: {}", command.get_program().display()))?;
    remember(child.id(), folder);
    Ok(child)
}

fn yam(program: &Path, folder: &Path, ports: [u16; 3]) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").arg("--data-dir").arg(folder.join("data"));
    command.arg("--amqp-listen").arg(format!("127.0.0.1:{}", ports[0]));
    command.arg("--kafka-listen").arg(format!("127.0.0.1:{}", ports[1]));
    command
}

/// The process that serves: a start script may have become it, or started it.
fn server_pid(started: u32) -> u32 {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let children = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut generation = vec![started];
    while let Some(pid) = generation.pop() {
        if matches!(name(pid).trim(), "beam.smp" | "yam" | "java") {
            return pid;
        }
        generation.extend(children(pid).split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    started
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended by itself; whoever waits for it will see.
        let _ = kill_process(pid, signal);
    }
}

fn free_ports() -> Result<[u16; 3]> {
    // Held all at once, so that they differ.
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let [a, b, c] = &listeners;
    Ok([a.local_addr()?.port(), b.local_addr()?.port(), c.local_addr()?.port()])
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
