//! The options. Each stands here once: add a field to [`Config`] and an entry to [`SETTINGS`], and the flag,
//! the environment variable, the file's key, the help text and the reference follow.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use tracing_subscriber::filter::LevelFilter;

/// One option.
pub struct Setting {
    /// The flag without its dashes: `amqp-listen`. Key and variable are made of it.
    pub name: &'static str,
    /// What stands for the value in help texts; names the unit.
    pub value: &'static str,
    /// As it would be written. Invariant: `apply` accepts it.
    pub default: &'static str,
    /// May be given more than once.
    pub repeatable: bool,
    /// One or more whole sentences; the first is the short help.
    pub doc: &'static str,
    /// Checks the values and stores them. The error says what to write instead.
    pub apply: fn(&mut Config, &[String]) -> Result<(), String>,
}

impl Setting {
    /// `--amqp-listen`
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `amqp_listen`
    #[must_use]
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// `YAM_AMQP_LISTEN`
    #[must_use]
    pub fn variable(&self) -> String {
        format!("YAM_{}", self.key().to_uppercase())
    }
}

/// When a confirm may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the journal's write has reached the disk.
    Fsync,
    /// After the write was handed to the operating system.
    Relaxed,
}

impl Durability {
    /// As it is written in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Relaxed => "relaxed",
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A host and a port, as they are told to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub host: String,
    pub port: u16,
}

/// Everything that can be set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub amqp_listen: Vec<SocketAddr>,
    /// For each value given, what it stands for.
    pub kafka_listen: Vec<Vec<SocketAddr>>,
    /// In the order of `kafka_listen`; `None`, or none: the address that the client came by.
    pub kafka_advertised: Vec<Option<Advertised>>,
    pub kafka_login_required: bool,
    pub topic_auto_create: bool,
    pub topic_partitions: u32,
    pub batch_bytes_max: usize,
    pub kafka_believe_compressed: bool,
    pub group_initial_rebalance_delay_ms: u64,
    pub group_session_timeout_min_ms: i32,
    pub group_session_timeout_max_ms: i32,
    pub durability: Durability,
    pub disk_free_limit_bytes: u64,
    pub cache_bytes: usize,
    /// `None`: as many as the limit on open files allows.
    pub connections_max: Option<usize>,
    /// A filter that `tracing_subscriber::EnvFilter` accepts.
    pub log_level: String,
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config {
            data_dir: PathBuf::new(),
            amqp_listen: Vec::new(),
            kafka_listen: Vec::new(),
            kafka_advertised: Vec::new(),
            kafka_login_required: false,
            topic_auto_create: false,
            topic_partitions: 0,
            batch_bytes_max: 0,
            kafka_believe_compressed: false,
            group_initial_rebalance_delay_ms: 0,
            group_session_timeout_min_ms: 0,
            group_session_timeout_max_ms: 0,
            durability: Durability::Fsync,
            disk_free_limit_bytes: 0,
            cache_bytes: 0,
            connections_max: None,
            log_level: String::new(),
            log_format: LogFormat::Text,
        };
        for setting in SETTINGS {
            let applied = (setting.apply)(&mut config, &[setting.default.to_owned()]);
            assert!(applied.is_ok(), "default of {} is refused: {applied:?}", setting.name);
        }
        config
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// All options, in the order of help and reference.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "data-dir",
        value: "DIR",
        default: "./yam-data",
        repeatable: false,
        doc: "Where everything durable lies. Created where it is missing. One process at a time may use it; a second one \
              refuses to start.",
        apply: |config, values| {
            let path = one(values)?;
            if path.is_empty() {
                return Err("the path is empty: write a directory, e.g. ./yam-data".into());
            }
            config.data_dir = path.into();
            Ok(())
        },
    },
    Setting {
        name: "amqp-listen",
        value: "HOST:PORT",
        default: "127.0.0.1:5672",
        repeatable: true,
        doc: "Address to accept AMQP 0-9-1 connections on. May be given more than once (a list in the file, separated by commas \
              in the environment). Port 0 takes a free one; the line printed at the start names it. The user guest is let in \
              from this machine only, whatever the address.",
        apply: |config, values| {
            config.amqp_listen = addresses(values)?;
            Ok(())
        },
    },
    Setting {
        name: "kafka-listen",
        value: "HOST:PORT|none",
        default: "127.0.0.1:9092",
        repeatable: true,
        doc: "Address to accept Kafka connections on, or none. May be given more than once (a list in the file, separated by \
              commas in the environment). Port 0 takes a free one; the line printed at the start names it. Clients that do not \
              log in are the user guest, who is let in from this machine only, whatever the address.",
        apply: |config, values| {
            config.kafka_listen = match values {
                [none] if none == "none" => Vec::new(),
                _ => values.iter().map(|value| addresses(std::slice::from_ref(value))).collect::<Result<_, _>>()?,
            };
            Ok(())
        },
    },
    Setting {
        name: "kafka-advertised",
        value: "HOST:PORT|auto",
        default: "auto",
        repeatable: true,
        doc: "Where Kafka clients are told to find this broker: they come by any address first, ask, and then use this one. \
              `auto`: by the same address again. Must be set where that does not lead here, as behind a forwarded port. May be \
              given more than once, one for each --kafka-listen in the same order.",
        apply: |config, values| {
            config.kafka_advertised = values.iter().map(|value| advertised(value)).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        name: "kafka-login",
        value: "optional|required",
        default: "optional",
        repeatable: false,
        doc: "Whether Kafka clients must log in (SASL PLAIN). `optional`: those that do not are the user guest.",
        apply: |config, values| {
            config.kafka_login_required = match one(values)? {
                "optional" => false,
                "required" => true,
                other => return Err(format!("'{other}' is neither: write optional or required")),
            };
            Ok(())
        },
    },
    Setting {
        name: "kafka-verify",
        value: "all|uncompressed",
        default: "all",
        repeatable: false,
        doc: "Which record batches of Kafka producers are looked into before they are kept. `all`: compressed ones are unpacked, and \
              refused where they cannot be read, or are not what their headers say; it costs CPU, as figures in bench/RESULTS.md \
              show. `uncompressed`: compressed ones are believed unless their topic is compacted or compresses itself: one that \
              is broken stops every consumer that comes to it.",
        apply: |config, values| {
            config.kafka_believe_compressed = match one(values)? {
                "all" => false,
                "uncompressed" => true,
                other => return Err(format!("'{other}' is neither: write all or uncompressed")),
            };
            Ok(())
        },
    },
    Setting {
        name: "topic-auto-create",
        value: "on|off",
        default: "on",
        repeatable: false,
        doc: "Whether a topic that a Kafka client uses without having made it is made, where the client allows it (Kafka's \
              auto.create.topics.enable). `off`: such a client is told that the topic does not exist.",
        apply: |config, values| {
            config.topic_auto_create = match one(values)? {
                "on" => true,
                "off" => false,
                other => return Err(format!("'{other}' is neither: write on or off")),
            };
            Ok(())
        },
    },
    Setting {
        name: "topic-partitions",
        value: "COUNT",
        default: "1",
        repeatable: false,
        doc: "How many partitions a topic has that is made without saying how many (Kafka's num.partitions). Topics that are \
              there already stay as they are.",
        apply: |config, values| {
            let text = one(values)?;
            config.topic_partitions = match text.parse() {
                Ok(count) if (1..=model::limits::PARTITIONS_MAX as u32).contains(&count) => count,
                _ => {
                    return Err(format!(
                        "'{text}' is no count: write a whole number from 1 to {}",
                        model::limits::PARTITIONS_MAX
                    ));
                }
            };
            Ok(())
        },
    },
    Setting {
        name: "batch-size-max",
        value: "SIZE",
        default: "1048588",
        repeatable: false,
        doc: "The largest batch of records, as it is sent, that a topic takes which has no max.message.bytes of its own (Kafka's \
              message.max.bytes). A number of bytes, or one with KiB, MiB; at most 16MiB.",
        apply: |config, values| {
            let bytes = size(one(values)?)?;
            let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= model::limits::BATCH_BYTES_MAX);
            config.batch_bytes_max = fits.ok_or("too large: write at most 16MiB")?;
            Ok(())
        },
    },
    Setting {
        name: "group-initial-rebalance-delay-ms",
        value: "MS",
        default: "3000",
        repeatable: false,
        doc: "How long a Kafka consumer group that was empty waits for more members before its partitions are shared out, in \
              milliseconds. A program whose members start together begins with one assignment instead of several; 0 lets the \
              first member begin at once.",
        apply: |config, values| {
            let text = one(values)?;
            config.group_initial_rebalance_delay_ms =
                text.parse().map_err(|_| format!("'{text}' is no time: write a whole number of milliseconds"))?;
            Ok(())
        },
    },
    Setting {
        name: "group-session-timeout-min-ms",
        value: "MS",
        default: "6000",
        repeatable: false,
        doc: "The shortest session time-out that a member of a Kafka consumer group may ask for, in milliseconds (Kafka's \
              group.min.session.timeout.ms).",
        apply: |config, values| {
            config.group_session_timeout_min_ms = session_timeout(one(values)?)?;
            Ok(())
        },
    },
    Setting {
        name: "group-session-timeout-max-ms",
        value: "MS",
        default: "1800000",
        repeatable: false,
        doc: "The longest session time-out that a member of a Kafka consumer group may ask for, in milliseconds (Kafka's \
              group.max.session.timeout.ms).",
        apply: |config, values| {
            config.group_session_timeout_max_ms = session_timeout(one(values)?)?;
            Ok(())
        },
    },
    Setting {
        name: "durability",
        value: "fsync|relaxed",
        default: "fsync",
        repeatable: false,
        doc: "When a confirm is sent, and a Kafka producer or a commit answered. `fsync`: when it is on the disk (fdatasync); nothing \
              confirmed is lost by a crash of the process, of the machine, or by a power cut. `relaxed`: when it was handed to the operating system; a \
              crash of the process loses nothing, a crash of the machine or a power cut can lose confirmed messages.",
        apply: |config, values| {
            config.durability = match one(values)? {
                "fsync" => Durability::Fsync,
                "relaxed" => Durability::Relaxed,
                other => return Err(format!("'{other}' is no durability: write fsync or relaxed")),
            };
            Ok(())
        },
    },
    Setting {
        name: "disk-free-limit",
        value: "SIZE",
        default: "64MiB",
        repeatable: false,
        doc: "Publishers are blocked while the file system of the data directory has less than this free. Consumers go on, and \
              publishers are let on by themselves when there is room again. A number of bytes, or one with KiB, MiB, GiB.",
        apply: |config, values| {
            config.disk_free_limit_bytes = size(one(values)?)?;
            Ok(())
        },
    },
    Setting {
        name: "cache-size",
        value: "SIZE",
        default: "32MiB",
        repeatable: false,
        doc: "Memory that keeps the newest part of the journal, from which messages are delivered without reading the disk. A \
              backlog beyond it is read back from the files: its beginning from the disk, and what came after somebody began to \
              lag for the most part out of the system's page cache. What was read back takes half of this memory at most. A number \
              of bytes, or one with KiB, MiB, GiB; at least 1MiB.",
        apply: |config, values| {
            let bytes = size(one(values)?)?;
            if bytes < MIB {
                return Err("too small: write at least 1MiB".into());
            }
            config.cache_bytes = usize::try_from(bytes).map_err(|_| "larger than this machine can address")?;
            Ok(())
        },
    },
    Setting {
        name: "connections-max",
        value: "COUNT|auto",
        default: "auto",
        repeatable: false,
        doc: "Connections that may be open at once. Further ones are closed as soon as they are accepted. Each takes an open file, \
              and the limit on these is raised to what the system allows at the start. `auto`: as many as that leaves room for, \
              50,000 at most.",
        apply: |config, values| {
            let text = one(values)?;
            config.connections_max = match text.parse() {
                Ok(count) if count > 0 => Some(count),
                _ if text == "auto" => None,
                _ => return Err(format!("'{text}' is no count: write a whole number from 1 on, or auto")),
            };
            Ok(())
        },
    },
    Setting {
        name: "log-level",
        value: "FILTER",
        default: "info",
        repeatable: false,
        doc: "What is logged, to standard error: error, warn, info, debug or trace; or a filter by crate, such as \
              `info,amqp=debug`.",
        apply: |config, values| {
            let text = one(values)?;
            log_filter(text)?;
            config.log_level = text.to_owned();
            Ok(())
        },
    },
    Setting {
        name: "log-format",
        value: "text|json",
        default: "text",
        repeatable: false,
        doc: "How log lines are written: `text` for people, `json` (one object per line) for machines.",
        apply: |config, values| {
            config.log_format = match one(values)? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(format!("'{other}' is no log format: write text or json")),
            };
            Ok(())
        },
    },
];

fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err(format!("takes one value, was given {}", values.len())),
    }
}

fn session_timeout(text: &str) -> Result<i32, String> {
    let time = text.parse().ok().filter(|time| *time > 0);
    time.ok_or_else(|| format!("'{text}' is no time: write a whole number of milliseconds from 1 on"))
}

/// What the targets of log lines begin with: the crates that may write any.
pub(super) const LOG_TARGETS: [&str; 10] =
    ["yam", "amqp", "broker", "journal", "kafka", "mio", "model", "node", "storage", "vfs"];

/// Whether this filter lets through what it seems to. To `EnvFilter` every word may be a crate's name, and a level that is
/// mistyped would silence all logs.
fn log_filter(text: &str) -> Result<(), String> {
    let wrong = |part: &str, why: String| {
        format!(
            "'{part}' is no log level{why}: write error, warn, info, debug or trace, or a filter by crate, such as info,amqp=debug"
        )
    };
    // Filters by span and field are for those who know what they do.
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty() && !text.contains('[')) {
        let (target, level) = part.split_once('=').unwrap_or((part, "info"));
        let known = LOG_TARGETS.contains(&target.split("::").next().unwrap_or_default());
        if level.parse::<LevelFilter>().is_err() || (part.parse::<LevelFilter>().is_err() && !known) {
            return Err(wrong(part, String::new()));
        }
    }
    tracing_subscriber::EnvFilter::try_new(text).map(|_| ()).map_err(|error| wrong(text, format!(" ({error})")))
}

fn addresses(values: &[String]) -> Result<Vec<SocketAddr>, String> {
    let mut all = Vec::new();
    for value in values {
        let found = value.to_socket_addrs().map_err(|_| {
            let what = if port_is_too_large(value) { "names no port: the largest is 65535" } else { "is no address" };
            format!("'{value}' {what}: write HOST:PORT, e.g. 127.0.0.1:5672, or 0.0.0.0:5672 for every interface")
        })?;
        for address in found {
            // Port 0 twice means two listeners; any other address twice would be refused by the system.
            if address.port() == 0 || !all.contains(&address) {
                all.push(address);
            }
        }
    }
    if all.is_empty() {
        return Err("names no address: write HOST:PORT, e.g. 127.0.0.1:5672".into());
    }
    Ok(all)
}

/// `127.0.0.1:70000`
fn port_is_too_large(address: &str) -> bool {
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    address.rsplit_once(':').is_some_and(|(_, port)| digits(port) && port.parse::<u16>().is_err())
}

/// `broker.example.com:9092`, `[::1]:9092`, `auto`.
fn advertised(text: &str) -> Result<Option<Advertised>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| {
        let what = if port_is_too_large(text) { "names no port: the largest is 65535" } else { "is no address" };
        format!("'{text}' {what}: write HOST:PORT, e.g. broker.example.com:9092")
    })?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || port == 0 || host.contains(['/', '[', ']']) || host == "0.0.0.0" || host == "::" {
        return Err(format!("'{text}' does not lead anywhere: write a HOST:PORT that clients can reach"));
    }
    Ok(Some(Advertised { host: host.to_owned(), port }))
}

/// `1048576`, `1024KiB`, `1MiB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => 1024 * MIB,
        "TiB" => 1024 * 1024 * MIB,
        _ => return Err(format!("'{text}' is no size: write bytes, or a whole number with KiB, MiB or GiB, e.g. 64MiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("'{text}' is no size: write bytes, or a whole number with KiB, MiB or GiB, e.g. 64MiB"))
}
