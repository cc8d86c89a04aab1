//! `cargo xtask torture`: the real binary is killed with SIGKILL at random moments while clients publish with
//! confirms and consume with acks, and started again on what it left behind. A checker hears everything.
//!
//! A killed process leaves the system's page cache behind, so this finds what was confirmed before it was written, not
//! what was confirmed before it was synced. That is the simulator's business, whose disk forgets.
//!
//! # Layout
//! - [`run`] (here): the cycles, the last drain, the report
//! - [`checker`]: the promises; a pure machine, tested on planted histories
//! - [`message`]: what is published
//! - [`publisher`], [`consumer`]: the clients, one thread each
//! - [`link`]: a blocking connection; [`broker`]: the process; [`random`]: chance from a seed

mod broker;
mod checker;
mod consumer;
mod link;
mod message;
mod publisher;
mod random;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amqp::client::ClientEvent;
use amqp::codec::{Method, RawTable, exchange, queue};
use anyhow::{Context as _, bail};
use model::planted::Bug;

use broker::Broker;
use checker::{Checker, Figures};
use link::{Link, LinkError};
use message::{FANOUT, FANOUT_QUEUES, QUEUES, queue_name};
use random::Random;

const PUBLISHERS: u16 = 6;
const CONSUMERS: u16 = 6;
/// How long the last drain may go without getting on.
const DRAIN_STALL: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Arguments {
    /// How often the broker is killed.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// End after this many seconds, also where cycles are left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Decides bodies, windows, acks and moments; printed, and random where it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's data directory; emptied at the start.
    #[arg(long, default_value = "target/torture")]
    directory: PathBuf,
    /// The binary to torture; built where it is not given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Plant this bug in the broker, to see that the checker finds it: ends well only where a promise is broken.
    #[arg(long, value_parser = bug)]
    plant: Option<Bug>,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::parse(name).ok_or_else(|| format!("there are: {}", Bug::ALL.map(Bug::name).join(", ")))
}

/// What the threads of one run of the broker share.
pub struct Shared {
    address: SocketAddr,
    checker: Arc<Mutex<Checker>>,
    stop_publishing: AtomicBool,
    stop_consuming: AtomicBool,
    /// By consumer: deliveries and markers under way.
    held: Vec<AtomicUsize>,
}

impl Shared {
    fn new(address: SocketAddr, checker: &Arc<Mutex<Checker>>) -> Arc<Shared> {
        Arc::new(Shared {
            address,
            checker: Arc::clone(checker),
            stop_publishing: AtomicBool::new(false),
            stop_consuming: AtomicBool::new(false),
            held: (0..CONSUMERS).map(|_| AtomicUsize::new(0)).collect(),
        })
    }

    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place {
    binary: PathBuf,
    planted: Option<Bug>,
    data: PathBuf,
    log: PathBuf,
}

impl Place {
    /// Start it, with little memory or much, so that backlogs are read from memory, journal and segments.
    fn start(&self, random: &mut Random) -> anyhow::Result<Broker> {
        let cache = ["1MiB", "8MiB", "64MiB"][usize::try_from(random.below(3))?];
        Broker::start(&self.binary, self.planted, &self.data, &self.log, cache)
    }

    /// `yam check`: what a killed broker leaves behind is sound.
    fn check(&self, checker: &Arc<Mutex<Checker>>) -> anyhow::Result<()> {
        let out = std::process::Command::new(&self.binary).args(["check", "--data-dir"]).arg(&self.data).output()?;
        if !out.status.success() {
            let words = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join(" ");
            checker.lock().unwrap_or_else(PoisonError::into_inner).violation(format!("damage found by `yam check`: {words}"));
        }
        Ok(())
    }
}

/// Torture it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = match (&arguments.binary, arguments.plant) {
        (Some(binary), _) => binary.clone(),
        (None, Some(_)) => {
            crate::processes::cargo(&["build", "--profile", "planted", "--quiet", "-p", "server", "--features", "planted"])?;
            crate::processes::built("planted", "yam")
        }
        (None, None) => {
            crate::processes::cargo(&["build", "--release", "--quiet", "-p", "server"])?;
            crate::processes::built("release", "yam")
        }
    };
    let base = crate::root().join(&arguments.directory);
    let _ = std::fs::remove_dir_all(&base);
    std::fs::create_dir_all(&base).with_context(|| format!("cannot create {}", base.display()))?;
    let place = Place { binary, planted: arguments.plant, data: base.join("data"), log: base.join("broker.log") };
    let seed = arguments.seed.unwrap_or_else(entropy);
    println!("torture: seed {seed}, {} cycles, data in {}", arguments.cycles, place.data.display());
    let figures = cycles(arguments, &place, seed)?;
    match arguments.plant.map(Bug::name) {
        None if figures.violations == 0 => {
            println!("torture: no confirmed message lost, order kept, nothing invented, nothing settled came back");
        }
        None => bail!("{} broken promises; seed {seed}, data and log in {}", figures.violations, place.data.display()),
        Some(bug) if figures.violations == 0 => bail!("the planted bug {bug} was not found; seed {seed}"),
        Some(bug) => println!("torture: the planted bug {bug} was found"),
    }
    Ok(())
}

/// Kill it until the cycles or the time are over, or a promise is broken; then see that nothing is missing.
fn cycles(arguments: &Arguments, place: &Place, seed: u64) -> anyhow::Result<Figures> {
    let checker = Arc::new(Mutex::new(Checker::default()));
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let mut declared = false;
    let mut kills = 0;
    for cycle in 1..=arguments.cycles {
        if arguments.seconds.is_some_and(|seconds| begin.elapsed().as_secs() >= seconds) {
            break;
        }
        let before = figures(&checker);
        let words = match kill_once(place, &checker, &mut random, &mut declared) {
            Ok(words) => words,
            // It has worked before: whatever stops it now is what it did to itself.
            Err(error) if declared => {
                checker.lock().unwrap_or_else(PoisonError::into_inner).violation(format!("{error:#}"));
                break;
            }
            Err(error) => return Err(error),
        };
        kills += 1;
        if random.one_in(4) {
            place.check(&checker)?;
        }
        let now = figures(&checker);
        println!(
            "cycle {cycle}/{}: {words}; confirmed {}, delivered {} ({} again), settled {}; backlog {}, broken promises {}",
            arguments.cycles,
            now.confirmed - before.confirmed,
            now.delivered - before.delivered,
            now.redelivered - before.redelivered,
            now.settled - before.settled,
            backlog(&checker),
            now.violations,
        );
        if now.violations > 0 {
            break;
        }
    }
    let drained = if figures(&checker).violations == 0 { drain(place, &checker, &mut random) } else { Ok(()) };
    let mut checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = drained {
        checker.violation(format!("{error:#}"));
    }
    println!("torture: {kills} kills in {:.0} s: {}", begin.elapsed().as_secs_f64(), outline(&checker.figures()));
    // Of a planted bug one example is enough.
    let shown = if place.planted.is_some() { 1 } else { usize::MAX };
    checker.words().iter().take(shown).for_each(|words| println!("  BROKEN: {words}"));
    Ok(checker.figures())
}

/// One run of the broker that ends with SIGKILL. Says when.
fn kill_once(place: &Place, checker: &Arc<Mutex<Checker>>, random: &mut Random, declared: &mut bool) -> anyhow::Result<String> {
    let mut broker = place.start(random)?;
    let started = Instant::now();
    if *declared && random.one_in(5) {
        // In the middle of recovery, as far as it is long enough to have a middle.
        let moment = Duration::from_millis(random.below(100));
        std::thread::sleep(moment);
        broker.kill()?;
        return Ok(format!("killed {} ms after its start", moment.as_millis()));
    }
    let address = broker.ready()?;
    let ready_ms = started.elapsed().as_millis();
    declare(address, *declared).map_err(|error| anyhow::anyhow!("declaring queues: {error}"))?;
    *declared = true;

    let shared = Shared::new(address, checker);
    let clients = start_clients(&shared, random, true);
    let moment = Duration::from_millis(200 + random.below(1_800));
    std::thread::sleep(moment);
    broker.assert_running()?;
    broker.kill()?;
    for (name, client) in clients {
        match client.join() {
            Ok(Err(LinkError::Gone(_))) => {}
            Ok(Err(LinkError::Fault(fault))) => shared.checker().violation(format!("{name}: {fault}")),
            Ok(Ok(())) => shared.checker().violation(format!("{name} ended before the broker did")),
            Err(_) => bail!("{name} panicked"),
        }
    }
    shared.checker().restarted();
    Ok(format!("ready in {ready_ms} ms, killed after {} ms", moment.as_millis()))
}

type Client = (String, JoinHandle<Result<(), LinkError>>);

fn start_clients(shared: &Arc<Shared>, random: &mut Random, publish: bool) -> Vec<Client> {
    let mut clients = Vec::new();
    for publisher in 0..if publish { PUBLISHERS } else { 0 } {
        let (shared, seed) = (Arc::clone(shared), random.next());
        let thread = std::thread::spawn(move || publisher::run(&shared, publisher, seed));
        clients.push((format!("publisher {publisher}"), thread));
    }
    for consumer in 0..CONSUMERS {
        let (shared, seed) = (Arc::clone(shared), random.next());
        let queues: Vec<u16> = (0..QUEUES).filter(|queue| queue % CONSUMERS == consumer).collect();
        let thread = std::thread::spawn(move || consumer::run(&shared, consumer, &queues, seed));
        clients.push((format!("consumer {consumer}"), thread));
    }
    clients
}

/// Declare everything, or check that all of it came back.
fn declare(address: SocketAddr, passive: bool) -> Result<(), LinkError> {
    let mut link = Link::open(address, "torture control")?;
    let fanout = exchange::Declare { exchange: FANOUT, kind: "fanout", durable: true, passive, ..Default::default() };
    link.client.send(&mut link.out, 1, &fanout);
    link.answer()?;
    let names = (0..QUEUES).map(queue_name).chain((0..CONSUMERS).map(consumer::marker_queue));
    for name in names {
        let declare = queue::Declare { queue: &name, durable: true, passive, ..Default::default() };
        link.client.send(&mut link.out, 1, &declare);
        link.answer()?;
    }
    if !passive {
        for queue in FANOUT_QUEUES {
            let bind =
                queue::Bind { queue: &queue_name(queue), exchange: FANOUT, arguments: RawTable::default(), ..Default::default() };
            link.client.send(&mut link.out, 1, &bind);
            link.answer()?;
        }
    }
    link.close()
}

/// Ready messages of all queues.
fn ready_messages(link: &mut Link) -> Result<u64, LinkError> {
    let mut all = 0;
    for queue in 0..QUEUES {
        let name = queue_name(queue);
        link.client.send(&mut link.out, 1, &queue::Declare { queue: &name, passive: true, ..Default::default() });
        all += link.wait_for(|event| match event {
            ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } => Some(u64::from(ok.message_count)),
            _ => None,
        })?;
    }
    Ok(all)
}

/// A last run without a kill: publish a little more, consume everything, stop with SIGTERM, and look whether
/// the queues are empty after yet another start.
fn drain(place: &Place, checker: &Arc<Mutex<Checker>>, random: &mut Random) -> anyhow::Result<()> {
    let mut broker = place.start(random)?;
    let address = broker.ready()?;
    let fault = |error: LinkError| anyhow::anyhow!("during the last drain: {error}");
    declare(address, true).map_err(fault)?;
    let shared = Shared::new(address, checker);
    let clients = start_clients(&shared, random, true);
    std::thread::sleep(Duration::from_millis(500));
    shared.stop_publishing.store(true, Ordering::SeqCst);
    let mut control = Link::open(address, "torture control").map_err(fault)?;
    let mut last = (Figures::default(), Instant::now());
    let mut calm = 0;
    while calm < 5 {
        std::thread::sleep(Duration::from_millis(50));
        broker.assert_running()?;
        let ready = ready_messages(&mut control).map_err(fault)?;
        let held: usize = shared.held.iter().map(|held| held.load(Ordering::SeqCst)).sum();
        let now = figures(checker);
        let moved = now.settled != last.0.settled || now.confirmed != last.0.confirmed || now.delivered != last.0.delivered;
        if moved {
            last = (now, Instant::now());
        }
        calm = if ready == 0 && held == 0 && !moved { calm + 1 } else { 0 };
        if last.1.elapsed() > DRAIN_STALL {
            bail!("the last drain does not get on: {ready} ready, {held} under way, {}", outline(&now));
        }
    }
    shared.stop_consuming.store(true, Ordering::SeqCst);
    for (name, client) in clients {
        match client.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bail!("{name} during the last drain: {error}"),
            Err(_) => bail!("{name} panicked"),
        }
    }
    shared.checker().finish();
    control.close().map_err(fault)?;
    let status = broker.terminate()?;
    if !status.success() {
        bail!("the broker ended with {status} after SIGTERM");
    }

    let mut broker = place.start(random)?;
    let mut control = Link::open(broker.ready()?, "torture control").map_err(fault)?;
    let ready = ready_messages(&mut control).map_err(fault)?;
    if ready != 0 {
        shared.checker().violation(format!("settled came back: {ready} messages are ready after a clean stop with none"));
    }
    control.close().map_err(fault)?;
    broker.terminate()?;
    place.check(checker)
}

fn figures(checker: &Arc<Mutex<Checker>>) -> Figures {
    checker.lock().unwrap_or_else(PoisonError::into_inner).figures()
}

fn backlog(checker: &Arc<Mutex<Checker>>) -> usize {
    checker.lock().unwrap_or_else(PoisonError::into_inner).backlog()
}

fn outline(figures: &Figures) -> String {
    format!(
        "published {}, confirmed {}, delivered {} ({} again), acked {}, settled {}, never confirmed and rightly forgotten {}, \
         delivered again unflagged {}",
        figures.published,
        figures.confirmed,
        figures.delivered,
        figures.redelivered,
        figures.acked,
        figures.settled,
        figures.forgotten,
        figures.unflagged
    )
}

/// A seed for those who gave none.
fn entropy() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    random::mix(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0)) % 1_000_000_000
}
