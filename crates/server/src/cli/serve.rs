//! `yam serve`
//!
//! The order of a start decides what a failed one leaves behind: options, then ports, then the directory's
//! lock, then recovery. Each refuses with one line, and nothing was touched before it. The ports listen last.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::config::settings::{Config, Durability};
use crate::config::{self, Flags};
use crate::logging;
use crate::serve::{Listeners, Loop, Server, Signals, Speaks, raise_open_files};

pub const EXAMPLES: &str = "\
Examples:
  yam serve
      Data in ./yam-data, AMQP on 127.0.0.1:5672, Kafka on 127.0.0.1:9092; nothing needs to be set.
  yam serve --config /etc/yam.toml --log-format json
      Options from a file. A flag beats the environment, the environment beats the file.
  YAM_AMQP_LISTEN=127.0.0.1:5672,[::1]:5672 yam serve
      Two addresses.
  yam serve --kafka-listen 127.0.0.1:9092 --kafka-advertised localhost:19092
      Kafka clients come by another port that leads here, and are told to stay with it.

When it is ready it prints a line for each listener on standard output; logs go to standard error.";

/// Open files that are not connections: the journal, segments being read, listeners.
const OWN_FILES: u64 = 100;
/// Connections where the user says nothing, and the system allows that many.
const CONNECTIONS_MAX: usize = 50_000;
/// Fewer than this are worth a warning, where nobody asked for so few.
const CONNECTIONS_FEW: usize = 500;

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let config = config::load(flags, &|name| std::env::var(name).ok())?;
    check_together(&config)?;
    logging::start(&config).context("cannot start the log's thread")?;
    #[cfg(feature = "planted")]
    plant()?;
    let open_files = raise_open_files();
    let connections_max = connections_max(config.connections_max, open_files);
    let event_loop = Loop::new().context("cannot watch sockets")?;
    let signals = Signals::catch(event_loop.waker()).context("cannot catch signals")?;
    let listeners = Listeners::bind(addresses(&config)?)?;
    let addresses: Vec<_> = listeners.addresses().collect();

    let clock = Clock::start();
    let disk = vfs::local::LocalDisk::open(&config.data_dir, &node::DIRECTORIES, event_loop.waker())?;
    let node = node::Node::open(options(&config), Box::new(disk), clock.now())?;
    tracing::info!(
        data_dir = %config.data_dir.display(),
        durability = config.durability.name(),
        connections_max,
        open_files,
        recovered_ms = clock.now().mono_ms,
        "ready"
    );
    let server = Server::new(event_loop, node, clock, signals, listeners, connections_max)?;
    announce(addresses.iter().map(|(speaks, address)| format!("{speaks} listening on {address}\n")).collect())?;
    server.run()?;
    Ok(())
}

/// Whether the options go together.
fn check_together(config: &Config) -> anyhow::Result<()> {
    let (min, max) = (config.group_session_timeout_min_ms, config.group_session_timeout_max_ms);
    if min > max {
        anyhow::bail!(
            "--group-session-timeout-min-ms ({min}) is larger than --group-session-timeout-max-ms ({max}): no member of a group \
             could join; set both so that there is room between them"
        );
    }
    Ok(())
}

/// Print where it listens. Neither a reader that stands still nor one that is gone keeps anybody from being served.
fn announce(lines: String) -> anyhow::Result<()> {
    let print = move || match super::print(lines.as_bytes()) {
        Err(error) if !error.is::<super::ReaderGone>() => tracing::warn!("cannot write to standard output: {error:#}"),
        _ => {}
    };
    std::thread::Builder::new().name("announce".into()).spawn(print).context("cannot start a thread")?;
    Ok(())
}

/// As many connections as were asked for, or as the limit on open files allows.
fn connections_max(asked: Option<usize>, open_files: u64) -> usize {
    let allowed = usize::try_from(open_files.saturating_sub(OWN_FILES)).unwrap_or(usize::MAX).max(1);
    let Some(connections_max) = asked else {
        if allowed < CONNECTIONS_FEW {
            tracing::warn!(
                connections_max = allowed,
                open_files,
                "the limit on open files allows few connections: raise it (ulimit -n, or LimitNOFILE of the service)"
            );
        }
        return allowed.min(CONNECTIONS_MAX);
    };
    if connections_max > allowed {
        tracing::warn!(
            connections_max,
            open_files,
            "the limit on open files allows fewer connections than --connections-max: raise it (ulimit -n), or lower the option"
        );
    }
    connections_max
}

/// From now on this process has the bug that `YAM_PLANTED` names.
#[cfg(feature = "planted")]
fn plant() -> anyhow::Result<()> {
    let Ok(name) = std::env::var("YAM_PLANTED") else { return Ok(()) };
    let bug = model::planted::Bug::parse(&name).with_context(|| format!("YAM_PLANTED: no bug is called {name:?}"))?;
    tracing::warn!(bug = name, "this broker has a bug on purpose");
    model::planted::plant(Some(bug));
    Ok(())
}

/// What to listen on, and what is spoken there.
fn addresses(config: &Config) -> anyhow::Result<Vec<(SocketAddr, Speaks)>> {
    let (listen, advertised) = (&config.kafka_listen, &config.kafka_advertised);
    if advertised.len() > listen.len() && advertised.iter().any(Option::is_some) {
        anyhow::bail!(
            "{} addresses advertised for {} given: write one --kafka-advertised for each --kafka-listen",
            advertised.len(),
            listen.len()
        );
    }
    let amqp = config.amqp_listen.iter().map(|address| (*address, Speaks::Amqp));
    let kafka = listen.iter().enumerate().flat_map(|(nth, listen)| {
        let advertised = advertised.get(nth).cloned().flatten();
        listen.iter().map(move |address| (*address, Speaks::Kafka { advertised: advertised.clone() }))
    });
    Ok(amqp.chain(kafka).collect())
}

fn options(config: &Config) -> node::Options {
    node::Options {
        sync: config.durability == Durability::Fsync,
        cache_bytes: config.cache_bytes,
        disk_free_limit_bytes: config.disk_free_limit_bytes,
        data_dir: config.data_dir.display().to_string(),
        kafka: node::KafkaOptions { sasl_required: config.kafka_login_required, ..node::KafkaOptions::default() },
        topics: node::TopicOptions {
            auto_create: config.topic_auto_create,
            partitions: config.topic_partitions,
            batch_bytes_max: config.batch_bytes_max,
            believe_compressed: config.kafka_believe_compressed,
            ..node::TopicOptions::default()
        },
        groups: node::GroupOptions {
            session_timeout_min_ms: config.group_session_timeout_min_ms,
            session_timeout_max_ms: config.group_session_timeout_max_ms,
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            ..node::GroupOptions::default()
        },
        ..node::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{check_together, connections_max};
    use crate::config::settings::Config;

    #[test]
    fn session_time_outs_that_leave_no_room_are_refused() {
        let config =
            |min, max| Config { group_session_timeout_min_ms: min, group_session_timeout_max_ms: max, ..Config::default() };
        assert!(check_together(&config(10, 10)).is_ok());
        assert!(check_together(&config(11, 10)).unwrap_err().to_string().contains("--group-session-timeout-max-ms (10)"));
    }

    #[test]
    fn the_limit_on_open_files_decides_where_nothing_is_said() {
        assert_eq!(connections_max(None, 20_000), 19_900);
        assert_eq!(connections_max(None, u64::MAX), 50_000);
        assert_eq!(connections_max(None, 50), 1);
        assert_eq!(connections_max(Some(70_000), 20_000), 70_000);
    }
}
