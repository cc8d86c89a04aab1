//! What one seed's world looks like: names, sizes, how often things go wrong.

use rand::Rng;
use rand::rngs::StdRng;

/// A queue, by its place in [`Plan::queues`].
pub type QueueIx = usize;
/// An exchange, by its place in [`Plan::exchanges`].
pub type ExchangeIx = usize;

/// Routing keys of messages that go through exchanges.
pub const KEYS: &[&str] = &["a", "b", "a.b", "a.c.d", "b.c"];
/// Patterns that topic exchanges are bound with.
pub const PATTERNS: &[&str] = &["a", "a.*", "#", "*.b", "a.#", "b.*", "#.d", "*.c.*"];
/// Headers exchanges are bound with: `x-match`, and the wanted values of `h` and `g`.
pub const HEADER_MATCHES: &[(&str, Option<i32>, Option<i32>)] =
    &[("all", Some(0), None), ("all", Some(1), Some(1)), ("any", Some(0), Some(1)), ("all", None, None), ("any", Some(1), None)];

/// A queue that clients may declare, always the same way.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    pub name: String,
    pub durable: bool,
    /// Only this client declares and uses it, exclusively.
    pub owner: Option<usize>,
    pub auto_delete: bool,
    /// Only one channel at a time takes from it, so that the order of all its deliveries is known.
    pub single: bool,
    /// Some take from it without acknowledging.
    pub no_ack: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Default,
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Default | Kind::Direct => "direct",
            Kind::Fanout => "fanout",
            Kind::Topic => "topic",
            Kind::Headers => "headers",
        }
    }
}

/// An exchange that clients may declare, always the same way.
#[derive(Clone, Debug)]
pub struct ExchangePlan {
    pub name: String,
    pub kind: Kind,
    pub durable: bool,
    /// It is there from the start and cannot be deleted.
    pub predeclared: bool,
}

/// Everything about a world that does not change while it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub queues: Vec<QueuePlan>,
    pub exchanges: Vec<ExchangePlan>,
    pub clients: usize,
    pub steps: u32,
    pub node: node::Options,
    /// One in so many steps is a fault; 0: never.
    pub fault_odds: u32,
    /// One in so many client actions deletes, purges or does something that fails.
    pub rare_odds: u32,
    /// Bodies are at most about so many bytes.
    pub body_bytes_max: usize,
    /// So many publishes in a hundred go through an exchange with a name.
    pub exchange_percent: u32,
    /// Clients consume so much more than they publish.
    pub thirst: u32,
    /// So many channels in a hundred use transactions.
    pub transaction_percent: u32,
    /// One in so many messages expires.
    pub expiring_odds: u32,
    /// Clients that speak AMQP do something.
    pub amqp: bool,
    /// There are topics, and clients that speak Kafka.
    pub kafka: bool,
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

impl Plan {
    pub fn new(seed: u64, rng: &mut StdRng) -> Plan {
        let clients = rng.random_range(2..=5);
        let mut queues = Vec::new();
        for index in 0..rng.random_range(2..=5) {
            queues.push(QueuePlan {
                name: format!("d{index}"),
                durable: true,
                owner: None,
                auto_delete: false,
                single: rng.random_ratio(1, 2),
                no_ack: false,
            });
        }
        let plain =
            QueuePlan { name: String::new(), durable: true, owner: None, auto_delete: false, single: false, no_ack: false };
        if rng.random_ratio(1, 2) {
            queues.push(QueuePlan { name: "n0".into(), no_ack: true, single: rng.random_ratio(1, 2), ..plain.clone() });
        }
        if rng.random_ratio(1, 2) {
            queues.push(QueuePlan { name: "t0".into(), durable: false, single: rng.random_ratio(1, 2), ..plain.clone() });
        }
        if rng.random_ratio(1, 3) {
            queues.push(QueuePlan { name: "a0".into(), durable: rng.random_ratio(1, 2), auto_delete: true, ..plain.clone() });
        }
        if rng.random_ratio(1, 3) {
            let owner = Some(rng.random_range(0..clients));
            queues.push(QueuePlan { name: "e0".into(), durable: rng.random_ratio(1, 2), owner, single: true, ..plain });
        }
        let predeclared = |name: &str, kind| ExchangePlan { name: name.into(), kind, durable: true, predeclared: true };
        let mut exchanges = vec![predeclared("", Kind::Default)];
        if rng.random_ratio(1, 2) {
            exchanges.push(predeclared("amq.topic", Kind::Topic));
        }
        for index in 0..rng.random_range(1..=3) {
            let kind = pick(rng, &[Kind::Direct, Kind::Fanout, Kind::Topic, Kind::Headers]);
            let durable = rng.random_ratio(4, 5);
            exchanges.push(ExchangePlan { name: format!("x{index}"), kind, durable, predeclared: false });
        }
        // One in four worlds has no topics, and another nothing else.
        let (amqp, kafka) = pick(rng, &[(true, false), (true, true), (true, true), (false, true)]);
        Plan {
            seed,
            queues,
            exchanges,
            clients,
            steps: rng.random_range(300..=5000),
            node: options(rng),
            fault_odds: pick(rng, &[0, 60, 200, 400, 800, 1_500]),
            rare_odds: pick(rng, &[0, 30, 100, 300]),
            body_bytes_max: pick(rng, &[100, 2_000, 9_000, 30_000]),
            exchange_percent: pick(rng, &[10, 40, 90]),
            thirst: pick(rng, &[0, 3, 12]),
            transaction_percent: pick(rng, &[0, 15, 60]),
            expiring_odds: pick(rng, &[0, 0, 0, 8]),
            amqp,
            kafka,
        }
    }
}

/// Sizes so small that every run pages out, carries forward, writes checkpoints, reads back and cuts.
fn options(rng: &mut StdRng) -> node::Options {
    let mut options = node::Options {
        cache_bytes: pick(rng, &[0, 20_000, 100_000]),
        transient_bytes: pick(rng, &[100_000, 200_000, 600_000]),
        disk_free_limit_bytes: pick(rng, &[0, 0, 30_000]),
        ..node::Options::default()
    };
    options.storage.journal.segment_bytes = pick(rng, &[64, 64, 128, 256]) * 1024;
    options.storage.journal_bytes = options.storage.journal.segment_bytes * pick(rng, &[1, 2, 4, 8]);
    options.storage.sizes = storage::Sizes {
        segment_bytes: pick(rng, &[8_000, 40_000, 200_000]),
        page_out_bytes: pick(rng, &[1_000, 8_000, 40_000, 1_000_000]),
        carry_bytes: pick(rng, &[16_000, 60_000]),
        read_bytes: pick(rng, &[1_000, 10_000, 100_000]),
        chunk_bytes: pick(rng, &[4_000, 30_000]),
        checkpoint_entries: pick(rng, &[1, 20, 200, 10_000]),
    };
    options
}
