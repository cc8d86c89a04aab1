//! What one seed's topics and Kafka clients are.

use rand::Rng;
use rand::rngs::StdRng;

/// A partition, by its place in [`Plan::partitions`].
pub type PartitionIx = usize;

/// What becomes of a topic's old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They stay.
    Keep,
    /// They go when they are older than this.
    Retain { retention_ms: u64 },
    /// Of each key the latest stays; tombstones and markers go when they are older than this.
    Compact { tombstone_ms: u64 },
}

#[derive(Clone, Debug)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: u32,
    pub policy: Policy,
    /// Clients delete records of it.
    pub trims: bool,
    pub config: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes, and knows of each record only whether it was answered.
    Producer,
    /// Writes, and sends what was not answered again.
    Idempotent,
    /// Writes in transactions. `implicit`: partitions take part by being written to (KIP-890).
    Transactional { implicit: bool },
    /// Reads what is there, or what is committed; in fetch sessions, or by naming everything each time.
    Reader { committed: bool, in_sessions: bool },
    /// Commits offsets of a group of its own.
    Committer,
    /// Joins the group that all members share, and commits for the partitions that it is handed.
    Member,
    /// Makes and deletes a topic of its own.
    Owner,
    /// Looks at everything, with nobody else there.
    Auditor,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub topics: Vec<TopicPlan>,
    /// (topic, number of the partition)
    pub partitions: Vec<(usize, u32)>,
    /// One per client; the last is the auditor.
    pub roles: Vec<Role>,
    /// Different keys in a topic.
    pub keys: u32,
    /// Values are at most about so many bytes.
    pub value_bytes_max: usize,
    /// One in so many records is a tombstone.
    pub tombstone_odds: u32,
    /// One in so many batches is compressed.
    pub compressed_odds: u32,
    /// One in so many actions is a rare one: a deletion of records, a zombie, a repetition.
    pub rare_odds: u32,
    pub transaction_timeout_ms: i32,
    /// How long a member may be silent.
    pub session_timeout_ms: i32,
    pub options: node::TopicOptions,
    pub groups: node::GroupOptions,
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn reader(rng: &mut StdRng) -> Role {
    Role::Reader { committed: rng.random_ratio(1, 2), in_sessions: rng.random_ratio(1, 2) }
}

const DAY_MS: u64 = 86_400_000;

impl Plan {
    /// Without topics and clients.
    pub fn nothing() -> Plan {
        Plan {
            topics: Vec::new(),
            partitions: Vec::new(),
            roles: Vec::new(),
            keys: 1,
            value_bytes_max: 1,
            tombstone_odds: 0,
            compressed_odds: 0,
            rare_odds: 0,
            transaction_timeout_ms: 1,
            session_timeout_ms: 1,
            options: node::TopicOptions::default(),
            groups: node::GroupOptions::default(),
        }
    }

    pub fn new(rng: &mut StdRng) -> Plan {
        let topics: Vec<TopicPlan> = (0..rng.random_range(1..=3)).map(|index| topic(index, rng)).collect();
        let of_topic = |(at, topic): (usize, &TopicPlan)| (0..topic.partitions).map(move |index| (at, index));
        let partitions = topics.iter().enumerate().flat_map(of_topic).collect();
        let mut roles = vec![reader(rng)];
        if rng.random_ratio(1, 2) {
            roles.push(Role::Transactional { implicit: rng.random_ratio(1, 2) });
        }
        for _ in 0..rng.random_range(1..=4) {
            roles.push(match rng.random_range(0..11) {
                0 => Role::Producer,
                1..=3 => Role::Idempotent,
                4..=5 => Role::Transactional { implicit: false },
                6..=7 => Role::Transactional { implicit: true },
                8 => Role::Committer,
                9 => Role::Member,
                _ => reader(rng),
            });
        }
        if rng.random_ratio(1, 4) {
            roles.extend([Role::Member; 3]);
        }
        if rng.random_ratio(1, 2) {
            roles.push(Role::Owner);
        }
        roles.push(Role::Auditor);
        let options = node::TopicOptions {
            auto_create: false,
            retention_check_ms: pick(rng, &[100, 1_000]),
            compaction_check_ms: pick(rng, &[20, 500]),
            compaction_turn_bytes: pick(rng, &[1, 5_000, 1_000_000]),
            compaction_key_bytes: pick(rng, &[100, 100_000]),
            ..node::TopicOptions::default()
        };
        let groups = node::GroupOptions {
            session_timeout_min_ms: 1,
            initial_rebalance_delay_ms: pick(rng, &[0, 50]),
            ..node::GroupOptions::default()
        };
        Plan {
            topics,
            partitions,
            roles,
            keys: pick(rng, &[1, 3, 10, 40]),
            value_bytes_max: pick(rng, &[10, 300, 4_000, 12_000]),
            tombstone_odds: pick(rng, &[0, 4, 10]),
            compressed_odds: pick(rng, &[0, 1, 3]),
            rare_odds: pick(rng, &[0, 5, 15]),
            transaction_timeout_ms: pick(rng, &[900_000, 900_000, 900_000, 1_000]),
            session_timeout_ms: pick(rng, &[500, 3_000]),
            options,
            groups,
        }
    }

    pub fn policy(&self, partition: PartitionIx) -> Policy {
        self.topic(partition).policy
    }

    pub fn topic(&self, partition: PartitionIx) -> &TopicPlan {
        &self.topics[self.partitions[partition].0]
    }

    /// A partition in words.
    pub fn name(&self, partition: PartitionIx) -> String {
        format!("{}-{}", self.topic(partition).name, self.partitions[partition].1)
    }

    /// The partition of that topic and number.
    pub fn find(&self, topic: &str, index: i32) -> Option<PartitionIx> {
        self.partitions.iter().position(|(at, number)| self.topics[*at].name == topic && i64::from(*number) == i64::from(index))
    }
}

fn topic(index: usize, rng: &mut StdRng) -> TopicPlan {
    let mut config = Vec::new();
    let policy = match rng.random_range(0..6) {
        0..=2 => Policy::Keep,
        3 => Policy::Retain { retention_ms: pick(rng, &[300, 2_000]) },
        _ => Policy::Compact { tombstone_ms: pick(rng, &[0, 500, DAY_MS]) },
    };
    match policy {
        Policy::Keep => {}
        Policy::Retain { retention_ms } => config.push(("retention.ms", retention_ms.to_string())),
        Policy::Compact { tombstone_ms } => {
            config.push(("delete.retention.ms", tombstone_ms.to_string()));
            config.push(("min.cleanable.dirty.ratio", pick(rng, &["0.01", "0.5"]).into()));
            config.push(("segment.bytes", pick(rng, &["14", "2000", "20000"]).into()));
            config.push(("segment.ms", pick(rng, &["1", "400"]).into()));
        }
    }
    if rng.random_ratio(1, 3) {
        config.push(("compression.type", pick(rng, &["uncompressed", "gzip", "lz4"]).into()));
    }
    let trims = rng.random_ratio(1, 3);
    if matches!(policy, Policy::Compact { .. }) {
        // Records of what is only compacted cannot be deleted.
        config.push(("cleanup.policy", if trims { "compact,delete" } else { "compact" }.into()));
        config.push(("retention.ms", "-1".into()));
    }
    TopicPlan { name: format!("k{index}"), partitions: rng.random_range(1..=3), policy, trims, config }
}
