//! Topics: named sets of partitions, which are streams of the store.
//!
//! # Layout
//! - this file: which topics there are; creating, changing and deleting them
//! - [`compaction`]: of every key only the latest record
//! - [`config`]: their settings
//! - [`examine`]: what is inside a batch, before it is kept
//! - [`partition`]: producers, open transactions, what readers may see
//! - [`produce`]: appending batches
//! - [`fetch`]: reading, now or when there is more; finding offsets
//! - [`records`]: what is inside a batch
//! - [`retention`]: dropping what is old
//! - [`stream`]: partitions under the names of queues
//! - [`arguments`]: AMQP's words for what can be set
//! - [`reader`]: consumers of streams

mod arguments;
mod compaction;
mod config;
mod examine;
mod fetch;
pub(crate) mod partition;
mod produce;
mod reader;
mod records;
mod retention;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::planted::{self, Bug};
use model::record::BatchHead;
use model::topic::{ConfigChange, ConfigOf, CreateTopic, FetchFrom, TopicId, TopicInfo, TopicRef};
use model::{Failure, LogFailure, Lsn, Now, Reply, SessionId, limits};
use storage::LogId;

use crate::broker::Broker;
use crate::catalog::Entry;
use crate::definitions::CASCADE_AT_ONCE;
use config::{Config, Defaults, Settings};
use fetch::Waiting;
use partition::Partition;
use reader::Readers;

/// How topics are made and bounded, where they do not say so themselves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A topic that is used without having been made is made.
    pub auto_create: bool,
    /// Partitions of a topic that does not say how many.
    pub partitions: u32,
    /// The largest batch of a topic that does not say so itself, in bytes, at most [`limits::BATCH_BYTES_MAX`].
    pub batch_bytes_max: usize,
    /// Compressed batches are kept as their heads have them, unread, where nothing else asks for a look inside.
    pub believe_compressed: bool,
    /// The longest a transaction may be open.
    pub transaction_timeout_ms_max: i32,
    /// How often old records are looked for.
    pub retention_check_ms: u64,
    /// How often partitions to be compacted are looked for (Kafka's `log.cleaner.backoff.ms`), in milliseconds.
    pub compaction_check_ms: u64,
    /// Bytes of records that compaction looks at in one turn, but for a last batch that is larger.
    pub compaction_turn_bytes: usize,
    /// Keys that it has in memory at a time, in bytes: what does not fit is compacted the next time.
    pub compaction_key_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            auto_create: true,
            partitions: 1,
            batch_bytes_max: 1_048_588,
            believe_compressed: false,
            transaction_timeout_ms_max: 900_000,
            retention_check_ms: 300_000,
            compaction_check_ms: 15_000,
            compaction_turn_bytes: 4 * 1024 * 1024,
            compaction_key_bytes: 64 * 1024 * 1024,
        }
    }
}

pub(crate) struct Topic {
    pub id: TopicId,
    pub partitions: Vec<LogId>,
    config: Config,
    pub settings: Settings,
}

impl Topic {
    fn log(&self, partition: u32) -> Result<LogId, LogFailure> {
        self.partitions.get(partition as usize).copied().ok_or(LogFailure::UnknownTopic)
    }
}

/// All topics. They belong to the virtual host `/`.
pub(crate) struct Topics {
    /// Of the broker's configuration.
    defaults: Defaults,
    /// The cluster's, as Kafka's clients hear it; empty until one asks.
    cluster_id: String,
    pub names: HashMap<Arc<str>, Topic, RandomState>,
    /// Names with a dot or an underscore in them, each behind what Kafka's metrics make of it (see [`metric_name`]).
    metric_names: BTreeSet<(Box<str>, Arc<str>)>,
    ids: HashMap<TopicId, Arc<str>, RandomState>,
    pub partitions: HashMap<LogId, Partition, foldhash::fast::FixedState>,
    /// Aborted transactions that all of them remember.
    pub aborted: usize,
    /// Fetches that wait, at most one for each session.
    waiting: HashMap<SessionId, Waiting, foldhash::fast::FixedState>,
    /// When fetches are answered at the latest: (mono ms, session).
    due: BTreeSet<(u64, SessionId)>,
    /// Sessions whose fetch must be looked at again.
    woken: BTreeSet<SessionId>,
    pub readers: Readers,
    pub examinations: examine::Examinations,
    next_retention_ms: u64,
    /// Partitions in which old records are still to be looked for, this time.
    to_retain: Vec<LogId>,
    cleaning: compaction::Cleaning,
    next_compaction_ms: u64,
}

impl Topics {
    /// No topics yet. `synced`: what is confirmed was synced before.
    pub fn new(options: &Options, synced: bool) -> Topics {
        Topics {
            defaults: Defaults { synced, batch_bytes_max: options.batch_bytes_max },
            cluster_id: String::new(),
            names: HashMap::default(),
            metric_names: BTreeSet::new(),
            ids: HashMap::default(),
            partitions: HashMap::default(),
            aborted: 0,
            waiting: HashMap::default(),
            due: BTreeSet::new(),
            woken: BTreeSet::new(),
            readers: Readers::default(),
            examinations: examine::Examinations::default(),
            next_retention_ms: 0,
            to_retain: Vec::new(),
            cleaning: compaction::Cleaning::default(),
            next_compaction_ms: 0,
        }
    }

    /// A topic whose name differs from this one by dots for underscores only.
    fn colliding(&self, name: &str) -> Option<&Arc<str>> {
        let metric = metric_name(name)?;
        let (other, found) = self.metric_names.range((metric.clone(), Arc::from(""))..).next()?;
        (*other == metric).then_some(found)
    }

    /// The name of the topic that is meant.
    pub fn find(&self, topic: TopicRef<'_>) -> Result<&Arc<str>, LogFailure> {
        match topic {
            TopicRef::Name(name) => self.names.get_key_value(name).map(|(name, _)| name).ok_or(LogFailure::UnknownTopic),
            TopicRef::Id(id) => self.ids.get(&id).ok_or(LogFailure::UnknownTopicId),
        }
    }

    pub fn partition_log(&self, topic: TopicRef<'_>, partition: u32) -> Result<LogId, LogFailure> {
        self.topic(topic)?.log(partition)
    }

    /// The log of each partition.
    pub fn partition_logs(&self, partitions: &[FetchFrom]) -> Vec<Result<LogId, LogFailure>> {
        let mut logs = Vec::with_capacity(partitions.len());
        for of in partitions.chunk_by(|a, b| a.topic == b.topic) {
            let Some(topic) = of.first().map(|first| self.topic(first.topic.as_ref())) else { continue };
            logs.extend(of.iter().map(|from| topic?.log(from.partition)));
        }
        logs
    }

    fn topic(&self, topic: TopicRef<'_>) -> Result<&Topic, LogFailure> {
        match topic {
            TopicRef::Name(name) => self.names.get(name).ok_or(LogFailure::UnknownTopic),
            TopicRef::Id(id) => self.ids.get(&id).and_then(|name| self.names.get(name)).ok_or(LogFailure::UnknownTopicId),
        }
    }

    pub fn settings_of(&self, log: LogId) -> Option<&Settings> {
        let partition = self.partitions.get(&log)?;
        self.names.get(&partition.topic).map(|topic| &topic.settings)
    }

    fn info(&self, name: &Arc<str>) -> Option<TopicInfo> {
        let topic = self.names.get(name)?;
        let partitions = topic.partitions.len() as u32;
        Some(TopicInfo { name: name.clone(), id: topic.id, internal: false, partitions })
    }

    pub fn add(&mut self, name: &str, id: TopicId, partitions: &[u32], config: Config) {
        let name: Arc<str> = name.into();
        let settings = Settings::new(&config, &self.defaults);
        self.ids.insert(id, name.clone());
        if let Some(metric) = metric_name(&name) {
            self.metric_names.insert((metric, name.clone()));
        }
        self.names.insert(name.clone(), Topic { id, partitions: Vec::new(), config, settings });
        self.add_partitions(&name, partitions);
    }

    pub fn add_partitions(&mut self, name: &str, logs: &[u32]) {
        let Some((name, _)) = self.names.get_key_value(name) else { return };
        let name = name.clone();
        let Some(topic) = self.names.get_mut(&name) else { return };
        for &log in logs {
            let index = topic.partitions.len() as u32;
            topic.partitions.push(LogId(log));
            self.partitions.insert(LogId(log), Partition::new(name.clone(), index));
        }
    }

    pub fn configure(&mut self, name: &str, config: Config) {
        if let Some(topic) = self.names.get_mut(name) {
            topic.settings = Settings::new(&config, &self.defaults);
            topic.config = config;
        }
    }

    pub fn remove(&mut self, name: &str) -> Vec<LogId> {
        let Some(topic) = self.names.remove(name) else { return Vec::new() };
        self.ids.remove(&topic.id);
        if let Some(metric) = metric_name(name) {
            self.metric_names.remove(&(metric, name.into()));
        }
        for log in &topic.partitions {
            if let Some(partition) = self.partitions.remove(log) {
                self.aborted -= partition.aborted_count();
                self.woken.extend(partition.waiting);
            }
        }
        topic.partitions
    }

    /// Take in an entry of the catalog; one that is not about topics is handed back.
    pub fn apply(&mut self, entry: Entry) -> Option<Entry> {
        match entry {
            Entry::CreateTopic { name, id, partitions, config } => self.add(&name, parse_id(&id), &partitions, config),
            Entry::DeleteTopic { name } => {
                self.remove(&name);
            }
            Entry::Cluster { id } => self.cluster_id = id,
            Entry::AddPartitions { name, partitions } => self.add_partitions(&name, &partitions),
            Entry::ConfigureTopic { name, config } => self.configure(&name, config),
            Entry::LogStart { log, offset } => {
                if let Some(partition) = self.partitions.get_mut(&LogId(log)) {
                    partition.start = partition.start.max(offset);
                }
            }
            Entry::Partition { log, state } => {
                self.change_partition(LogId(log), |partition| partition.restore(*state));
            }
            other => return Some(other),
        }
        None
    }

    /// Take in a producer's batch that was read back at recovery.
    pub fn note(&mut self, log: LogId, base: u64, head: &BatchHead, marker: Option<bool>) {
        self.change_partition(log, |partition| partition.note(base, head, marker, Lsn(0), partition::BEFORE_THE_START));
    }

    /// Change a partition in a way that may change which transactions it remembers.
    fn change_partition(&mut self, log: LogId, change: impl FnOnce(&mut Partition)) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let before = partition.aborted_count();
        change(partition);
        self.aborted = self.aborted + partition.aborted_count() - before;
    }

    /// All topics are as recovery has found them, and the clock is known.
    pub fn start(&mut self, now: Now) {
        for partition in self.partitions.values_mut() {
            partition.start(now.wall_ms as i64);
        }
    }

    /// When the next fetch is to be answered, or old records looked for, in [`Now::mono_ms`].
    pub fn poll_timeout(&self) -> Option<u64> {
        let retention =
            (!self.partitions.is_empty()).then_some(if self.to_retain.is_empty() { self.next_retention_ms } else { 0 });
        self.due.first().map(|(at, _)| *at).into_iter().chain(retention).min()
    }

    /// Whether fetches or consumers are to be looked at again at once.
    pub fn busy(&self) -> bool {
        !self.woken.is_empty() || self.readers.busy()
    }

    /// The entries that would make all topics afresh.
    pub fn snapshot(&self, entries: &mut Vec<Entry>) {
        if !self.cluster_id.is_empty() {
            entries.push(Entry::Cluster { id: self.cluster_id.clone() });
        }
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        for (name, topic) in names {
            entries.push(Entry::CreateTopic {
                name: name.to_string(),
                id: hex(topic.id),
                partitions: topic.partitions.iter().map(|log| log.0).collect(),
                config: topic.config.clone(),
            });
            for log in &topic.partitions {
                let Some(partition) = self.partitions.get(log) else { continue };
                let state = partition.snapshot();
                if state != crate::catalog::partition::Snapshot::default() {
                    entries.push(Entry::Partition { log: log.0, state: Box::new(state) });
                }
            }
        }
    }
}

fn hex(id: TopicId) -> String {
    format!("{:032x}", id.0)
}

fn parse_id(text: &str) -> TopicId {
    TopicId(u128::from_str_radix(text, 16).unwrap_or(0))
}

/// What Kafka's metrics make of a topic's name, in which a dot becomes an underscore; `None`: itself, and no other name
/// becomes it.
fn metric_name(name: &str) -> Option<Box<str>> {
    name.contains(['.', '_']).then(|| name.replace('.', "_").into())
}

/// Whether a topic may have this name (Kafka's rule).
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

impl Broker {
    pub(crate) fn create_topic(&mut self, create: &CreateTopic<'_>) -> Result<Reply, Failure> {
        if !is_name(create.name) {
            return Err(LogFailure::InvalidTopicName.into());
        }
        if self.topics.names.contains_key(create.name) || self.topology.queue_id(0, create.name).is_ok() {
            return Err(LogFailure::TopicExists.into());
        }
        if create.automatic && !self.options.topics.auto_create {
            return Err(LogFailure::UnknownTopic.into());
        }
        if let Some(other) = self.topics.colliding(create.name) {
            let text = format!("Topic '{}' collides with existing topic: {other}", create.name);
            return Err(Failure::LogBecause { failure: LogFailure::InvalidTopicName, text: text.into() });
        }
        let partitions = create.partitions.unwrap_or(self.options.topics.partitions);
        if partitions == 0 {
            return Err(LogFailure::InvalidPartitions.into());
        }
        self.check_partitions(partitions as usize)?;
        let config = config::of_creation(create.config)?;
        let described = config::describe(&config, &self.topics.defaults);
        let info = TopicInfo { name: create.name.into(), id: TopicId::default(), internal: false, partitions };
        if create.validate_only {
            return Ok(Reply::TopicCreated { topic: info, config: described, durable_at: None });
        }
        let (id, durable_at) = self.make_topic(create.name, partitions, config);
        let info = TopicInfo { id, ..info };
        Ok(Reply::TopicCreated { topic: info, config: described, durable_at: Some(durable_at) })
    }

    /// Make a topic that there is not.
    fn make_topic(&mut self, name: &str, partitions: u32, config: Config) -> (TopicId, Lsn) {
        let id = self.make_topic_id();
        let logs: Vec<u32> = (0..partitions).map(|_| self.store.create_stream().0).collect();
        let entry = Entry::CreateTopic { name: name.into(), id: hex(id), partitions: logs.clone(), config: config.clone() };
        let durable_at = self.record(&entry);
        self.topics.add(name, id, &logs, config);
        self.topology.version += 1;
        (id, durable_at)
    }

    fn check_partitions(&self, more: usize) -> Result<(), Failure> {
        let all = self.topics.partitions.len() + more;
        if all > limits::PARTITIONS_MAX {
            let text = format!("this broker holds {} partitions, its limit", limits::PARTITIONS_MAX);
            return Err(Failure::LogBecause { failure: LogFailure::InvalidPartitions, text: text.into() });
        }
        Ok(())
    }

    /// The name that the cluster has among all clusters, for as long as its data is there.
    pub fn cluster_id(&mut self) -> &str {
        if self.topics.cluster_id.is_empty() {
            self.topics.cluster_id = self.names.name("");
            self.record(&Entry::Cluster { id: self.topics.cluster_id.clone() });
        }
        &self.topics.cluster_id
    }

    fn make_topic_id(&mut self) -> TopicId {
        loop {
            let id = TopicId(u128::from(self.random()) << 64 | u128::from(self.random()));
            // Zero means none, and one is the metadata log's (KIP-516).
            if id.0 > 1 && !self.topics.ids.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn delete_topic(&mut self, topic: TopicRef<'_>) -> Result<Reply, Failure> {
        let name = self.topics.find(topic)?.clone();
        Ok(Reply::DurableAt(self.remove_topic(&name)))
    }

    /// Take a topic away, with its bindings. Those who consume it are told.
    fn remove_topic(&mut self, name: &str) -> Lsn {
        for log in self.topics.remove(name) {
            self.end_readers(log);
            self.store.delete_log(log);
            self.topology.remove_stream(log);
        }
        if !planted::is(Bug::OffsetsOutliveTopic) {
            self.groups.topic_deleted(name);
        }
        let forgotten = planted::is(Bug::DeletionNotRecorded);
        let entry = Entry::DeleteTopic { name: name.into() };
        let durable_at = if forgotten { self.store.appended() } else { self.record(&entry) };
        self.remove_orphans(CASCADE_AT_ONCE).unwrap_or(durable_at)
    }

    pub(crate) fn add_partitions(&mut self, topic: &str, total: u32, validate_only: bool) -> Result<Reply, Failure> {
        let found = self.topics.names.get(topic).ok_or(LogFailure::UnknownTopic)?;
        let now = found.partitions.len() as u32;
        if total <= now {
            let text = format!("Topic currently has {now} partitions, which is higher than the requested {total}.");
            let failure = LogFailure::InvalidPartitions;
            let text = if total == now { format!("Topic already has {now} partition(s).") } else { text };
            return Err(Failure::LogBecause { failure, text: text.into() });
        }
        self.check_partitions((total - now) as usize)?;
        if validate_only {
            return Ok(Reply::Ok);
        }
        let logs: Vec<u32> = (now..total).map(|_| self.store.create_stream().0).collect();
        let durable_at = self.record(&Entry::AddPartitions { name: topic.into(), partitions: logs.clone() });
        self.topics.add_partitions(topic, &logs);
        self.topology.version += 1;
        Ok(Reply::DurableAt(durable_at))
    }

    pub(crate) fn describe_topics(&self, topic: Option<TopicRef<'_>>) -> Result<Reply, Failure> {
        let mut topics: Vec<TopicInfo> = match topic {
            Some(topic) => self.topics.info(self.topics.find(topic)?).into_iter().collect(),
            // Streams that AMQP has given other names are not for those who could not name them.
            None => self.topics.names.keys().filter(|name| is_name(name)).filter_map(|name| self.topics.info(name)).collect(),
        };
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Reply::Topics(topics))
    }

    pub(crate) fn describe_config(&self, of: ConfigOf<'_>) -> Result<Reply, Failure> {
        let config = match of {
            ConfigOf::Topic(name) => {
                let topic = self.topics.names.get(name).ok_or(LogFailure::UnknownTopic)?;
                config::describe(&topic.config, &self.topics.defaults)
            }
            ConfigOf::Broker => config::describe_broker(&self.options.topics, &self.options.groups, self.store.is_synced()),
        };
        Ok(Reply::Config(config))
    }

    pub(crate) fn alter_config(
        &mut self,
        topic: &str,
        changes: &[ConfigChange],
        replace: bool,
        validate_only: bool,
    ) -> Result<Reply, Failure> {
        let found = self.topics.names.get(topic).ok_or(LogFailure::UnknownTopic)?;
        let config = config::changed(&found.config, changes, replace)?;
        if validate_only || config == found.config {
            return Ok(Reply::DurableAt(self.catalog_end));
        }
        let durable_at = self.record(&Entry::ConfigureTopic { name: topic.into(), config: config.clone() });
        self.topics.configure(topic, config);
        Ok(Reply::DurableAt(durable_at))
    }

    pub(crate) fn describe_producers(&self, topic: &str, partition: u32) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        Ok(Reply::Producers(self.topics.partitions.get(&log).map(Partition::describe).unwrap_or_default()))
    }

    pub(crate) fn describe_size(&self, topic: &str, partition: u32) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        Ok(Reply::Size { bytes: self.store.stream_bytes(log) })
    }
}
