//! `cargo xtask torture`: the real binary is killed with SIGKILL at random moments while clients of every protocol write and
//! read, and started again on what it left behind. A checker per protocol hears everything.
//!
//! A killed process leaves the system's page cache behind, so this finds what was confirmed before it was written, not
//! what was confirmed before it was synced. That is the simulator's business, whose disk forgets.
//!
//! # Layout
//! - [`run`] (here): the cycles, the last drain, the report
//! - [`amqp`], [`kafka`]: a protocol's clients, and the checker that hears what they did and saw
//! - [`broker`]: the process; [`fault`]: broken promises; [`random`]: chance from a seed

mod amqp;
mod broker;
mod fault;
mod kafka;
mod random;

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use model::planted::Bug;

use broker::{Broker, Listeners};
use fault::{Broken, LinkError};
use random::Random;

/// How long the last drain may go without getting on.
const DRAIN_STALL: Duration = Duration::from_secs(30);

/// The clients of one protocol, and what they were promised.
trait Load {
    fn name(&self) -> &'static str;

    /// Declare everything, or see that all of it came back.
    fn declare(&mut self, at: &Listeners, again: bool) -> Result<(), LinkError>;

    /// Clients that go on until the broker is killed.
    fn start(&mut self, at: &Listeners, random: &mut Random) -> Vec<Client>;

    /// The broker was killed; everything that its clients had still received has been told.
    fn restarted(&mut self);

    /// Write a little more, read everything, stop, and see that nothing is missing.
    fn drain(&mut self, at: &Listeners, broker: &mut Broker, random: &mut Random) -> anyhow::Result<()>;

    /// See that a clean stop has changed nothing.
    fn look_again(&mut self, at: &Listeners) -> anyhow::Result<()>;

    fn violation(&mut self, words: String);

    fn with_broken(&self, look: &mut dyn FnMut(&Broken));

    /// What has happened since it was last asked, in one line.
    fn news(&mut self) -> String;

    /// All that has happened, in one line.
    fn outline(&self) -> String;
}

/// A client's name, and its thread.
struct Client(String, JoinHandle<Result<(), LinkError>>);

fn spawn(name: String, run: impl FnOnce() -> Result<(), LinkError> + Send + 'static) -> Client {
    Client(name, std::thread::spawn(run))
}

/// Clients that were told to stop have stopped.
fn join_orderly(clients: Vec<Client>) -> anyhow::Result<()> {
    for Client(name, thread) in clients {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bail!("{name} during the last drain: {error}"),
            Err(_) => bail!("{name} panicked"),
        }
    }
    Ok(())
}

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
    fn check(&self, loads: &mut Loads) -> anyhow::Result<()> {
        let out = std::process::Command::new(&self.binary).args(["check", "--data-dir"]).arg(&self.data).output()?;
        if !out.status.success() {
            let words = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join(" ");
            loads[0].violation(format!("damage found by `yam check`: {words}"));
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
    let broken = cycles(arguments, &place, seed)?;
    match arguments.plant.map(Bug::name) {
        None if broken == 0 => {
            println!("torture: nothing confirmed was lost, nothing invented, doubled, out of order or back from the dead");
        }
        None => bail!("{broken} broken promises; seed {seed}, data and log in {}", place.data.display()),
        Some(bug) if broken == 0 => bail!("the planted bug {bug} was not found; seed {seed}"),
        Some(bug) => println!("torture: the planted bug {bug} was found"),
    }
    Ok(())
}

type Loads = Vec<Box<dyn Load>>;

/// Broken promises, of all protocols.
fn broken(loads: &Loads) -> u64 {
    let mut count = 0;
    loads.iter().for_each(|load| load.with_broken(&mut |broken| count += broken.count));
    count
}

/// Kill it until the cycles or the time are over, or a promise is broken; then see that nothing is missing. Returns how many
/// were broken.
fn cycles(arguments: &Arguments, place: &Place, seed: u64) -> anyhow::Result<u64> {
    let mut loads: Loads = vec![Box::new(amqp::Load::default()), Box::new(kafka::Load::default())];
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let mut declared = false;
    let mut kills = 0;
    for cycle in 1..=arguments.cycles {
        if arguments.seconds.is_some_and(|seconds| begin.elapsed().as_secs() >= seconds) {
            break;
        }
        let words = match kill_once(place, &mut loads, &mut random, &mut declared) {
            Ok(words) => words,
            // It has worked before: whatever stops it now is what it did to itself.
            Err(error) if declared => {
                loads[0].violation(format!("{error:#}"));
                break;
            }
            Err(error) => return Err(error),
        };
        kills += 1;
        if random.one_in(4) {
            place.check(&mut loads)?;
        }
        println!("cycle {cycle}/{}: {words}, broken promises {}", arguments.cycles, broken(&loads));
        loads.iter_mut().for_each(|load| println!("  {:<6} {}", load.name(), load.news()));
        if broken(&loads) > 0 {
            break;
        }
    }
    if broken(&loads) == 0
        && let Err(error) = drain(place, &mut loads, &mut random)
    {
        loads[0].violation(format!("{error:#}"));
    }
    println!("torture: {kills} kills in {:.0} s", begin.elapsed().as_secs_f64());
    // Of a planted bug one example is enough.
    let mut shown = if place.planted.is_some() { 1 } else { usize::MAX };
    for load in &loads {
        println!("  {:<6} {}", load.name(), load.outline());
        load.with_broken(&mut |broken| {
            for words in broken.words.iter().take(shown) {
                println!("  BROKEN: {words}");
                shown -= 1;
            }
        });
    }
    Ok(broken(&loads))
}

/// One run of the broker that ends with SIGKILL. Says when.
fn kill_once(place: &Place, loads: &mut Loads, random: &mut Random, declared: &mut bool) -> anyhow::Result<String> {
    let mut broker = place.start(random)?;
    let started = Instant::now();
    if *declared && random.one_in(5) {
        // In the middle of recovery, as far as it is long enough to have a middle.
        let moment = Duration::from_millis(random.below(100));
        std::thread::sleep(moment);
        broker.kill()?;
        return Ok(format!("killed {} ms after its start", moment.as_millis()));
    }
    let at = broker.ready()?;
    let ready_ms = started.elapsed().as_millis();
    for load in loads.iter_mut() {
        load.declare(&at, *declared).with_context(|| format!("declaring for {}", load.name()))?;
    }
    *declared = true;

    let mut running: Vec<_> = loads.iter_mut().map(|load| load.start(&at, random)).collect();
    let moment = Duration::from_millis(200 + random.below(1_800));
    std::thread::sleep(moment);
    broker.assert_running()?;
    broker.kill()?;
    for (load, clients) in loads.iter_mut().zip(&mut running) {
        for Client(name, client) in clients.drain(..) {
            match client.join() {
                Ok(Err(LinkError::Gone(_))) => {}
                Ok(Err(LinkError::Fault(fault))) => load.violation(format!("{name}: {fault}")),
                Ok(Ok(())) => load.violation(format!("{name} ended before the broker did")),
                Err(_) => bail!("{name} panicked"),
            }
        }
        load.restarted();
    }
    Ok(format!("ready in {ready_ms} ms, killed after {} ms", moment.as_millis()))
}

/// A last run without a kill: a little more of everything, all of it read, a stop with SIGTERM; and a look at what yet another
/// start finds.
fn drain(place: &Place, loads: &mut Loads, random: &mut Random) -> anyhow::Result<()> {
    let mut broker = place.start(random)?;
    let at = broker.ready()?;
    for load in loads.iter_mut() {
        let name = load.name();
        let drained = load.declare(&at, true).map_err(anyhow::Error::from);
        drained
            .and_then(|()| load.drain(&at, &mut broker, random))
            .with_context(|| format!("during the last drain of {name}"))?;
    }
    let status = broker.terminate()?;
    if !status.success() {
        bail!("the broker ended with {status} after SIGTERM");
    }

    let mut broker = place.start(random)?;
    let at = broker.ready()?;
    for load in loads.iter_mut() {
        load.look_again(&at).with_context(|| format!("after a clean stop, {}", load.name()))?;
    }
    broker.terminate()?;
    place.check(loads)
}

/// A seed for those who gave none.
fn entropy() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    random::mix(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0)) % 1_000_000_000
}
