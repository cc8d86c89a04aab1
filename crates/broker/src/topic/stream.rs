//! Partitions as queues that are read and not taken from: AMQP's stream queues (docs/protocols/mapping.md).
//!
//! The partition of a topic that has only one goes by the topic's name; those of the others are called `topic-0`,
//! `topic-1` and so on, as RabbitMQ calls the parts of a super stream. A queue of that name comes before.
//!
//! A stream is no [`Queue`](crate::queue::Queue), so that nothing which settles messages can ever touch one.

use model::record::RESERVED;
use model::request::DeclareQueue;
use model::{Failure, Header, Headers, LogFailure, Lsn, Now, RecordParts, Reply, Subject};
use storage::{LogId, Tag};

use super::arguments::{self, COMPARED, STREAM};
use super::{Topics, config::Config};
use crate::broker::Broker;
use crate::declare::{Declared, QUEUE_ARGUMENTS};
use crate::router::{ExchangeId, Target};
use crate::topology::dedup;

/// The virtual host that topics belong to.
const HOST: usize = 0;

impl Topics {
    /// The partition that goes by this name.
    pub fn stream_named(&self, name: &str) -> Option<LogId> {
        if let Some(topic) = self.names.get(name)
            && let [only] = topic.partitions[..]
        {
            return Some(only);
        }
        let (topic, index) = name.rsplit_once('-')?;
        let is_plain = index == "0" || index.bytes().next().is_some_and(|first| (b'1'..=b'9').contains(&first));
        let partitions = &self.names.get(topic)?.partitions;
        let at = index.parse::<usize>().ok().filter(|_| is_plain && partitions.len() > 1)?;
        partitions.get(at).copied()
    }

    fn stream_name(&self, log: LogId) -> Option<String> {
        let partition = self.partitions.get(&log)?;
        let alone = self.names.get(&partition.topic)?.partitions.len() == 1;
        Some(if alone { partition.topic.to_string() } else { format!("{}-{}", partition.topic, partition.index) })
    }

    pub fn is_stream(&self, log: LogId) -> bool {
        self.partitions.contains_key(&log)
    }

    /// Whether a route leads to any stream.
    pub fn are_on(&self, route: &[LogId]) -> bool {
        !self.partitions.is_empty() && route.iter().any(|log| self.is_stream(*log))
    }
}

impl Broker {
    /// The log of the queue or stream of that name.
    pub(crate) fn queue_id(&self, host: usize, name: &str) -> Result<LogId, Failure> {
        let queue = self.topology.queue_id(host, name);
        queue.or_else(|failure| if host == HOST { self.topics.stream_named(name).ok_or(failure) } else { Err(failure) })
    }

    pub(crate) fn target(&self, log: LogId) -> Target {
        if self.topics.is_stream(log) { Target::Stream(log) } else { Target::Queue(log) }
    }

    /// The queues and streams that a message reaches, each once, into `out`.
    pub(crate) fn route(&self, host: usize, start: ExchangeId, keys: &[&str], headers: &dyn Headers, out: &mut Vec<LogId>) {
        if self.topology.exchanges.get(&start).is_some_and(|exchange| exchange.name.is_empty()) {
            // The default exchange: the key is a queue's name.
            out.clear();
            out.extend(keys.iter().filter_map(|key| self.queue_id(host, key).ok()));
            dedup(out);
        } else {
            self.topology.route(host, start, keys, headers, out);
        }
    }

    /// Append a record to logs some of which are streams: their readers may speak other protocols, and are told in plain
    /// headers what the reserved ones say.
    pub(crate) fn append_plainly(
        &mut self,
        route: &[LogId],
        record: &RecordParts<'_>,
        tag: Tag,
        group: bool,
        now: Now,
    ) -> Option<Lsn> {
        let all = record.own.iter().chain(record.headers).copied();
        let mut headers: Vec<Header<'_>> = all.filter(|header| header.name.starts_with(RESERVED)).collect();
        let plain = (self.options.dialect.plain_headers)(&headers);
        headers.extend(plain.iter().map(|(name, value)| Header { name, value }));
        self.store.append(route, &RecordParts { own: None, headers: &headers, ..*record }, tag, group, now)
    }

    fn host_text(&self) -> String {
        self.topology.host_name(HOST).to_owned()
    }

    /// A stream cannot do what is asked.
    pub(crate) fn not_for_streams(&self, log: LogId, what: &'static str) -> Failure {
        Failure::NotForStreams { what, name: self.topics.stream_name(log).unwrap_or_default(), host: self.host_text() }
    }

    pub(crate) fn no_prefetch(&self, name: &str) -> Failure {
        Failure::NoPrefetch { name: name.into(), host: self.host_text() }
    }

    /// What a declaration tells of a stream.
    pub(crate) fn stream_declared(&self, log: LogId, durable_at: Option<Lsn>) -> Reply {
        Reply::QueueDeclared {
            name: self.topics.stream_name(log).unwrap_or_default(),
            messages: self.stream_len(log),
            subscriptions: self.topics.readers.count(log),
            durable_at,
        }
    }

    /// Offsets that readers may see.
    fn stream_len(&self, log: LogId) -> u64 {
        let start = self.topics.partitions.get(&log).map_or(0, |partition| partition.start);
        self.store.stream_end(log).saturating_sub(start)
    }

    /// Declare a stream that is there. Whatever made it, its settings are what the arguments must say.
    pub(crate) fn redeclare_stream(&self, log: LogId, declare: &DeclareQueue<'_>) -> Result<Reply, Failure> {
        let host = self.host_text();
        if declare.exclusive {
            return Err(Failure::Locked { name: declare.name.into(), host });
        }
        let declared = Declared { subject: Subject::Queue, name: declare.name, host: &host };
        declared.same_flag("durable", declare.durable, true)?;
        declared.same_flag("auto_delete", declare.auto_delete, false)?;
        let current = self.topics.config_of(log).map(arguments::of_config).unwrap_or_default();
        let received = arguments::respelled(&declare.arguments);
        declared.same_arguments(QUEUE_ARGUMENTS, &received, &current)?;
        declared.same_arguments(COMPARED, &received, &current)?;
        Ok(self.stream_declared(log, Some(self.catalog_end)))
    }

    /// Declare a stream that is not there: a topic of one partition.
    pub(crate) fn declare_stream(&mut self, declare: &DeclareQueue<'_>) -> Result<Reply, Failure> {
        let host = self.host_text();
        let declared = Declared { subject: Subject::Queue, name: declare.name, host: &host };
        if declare.name.is_empty() {
            return Err(declared.invalid("x-queue-type", "a stream needs a name"));
        }
        let config = arguments::to_config(&declared, &declare.arguments)?;
        let property = match (declare.durable, declare.exclusive, declare.auto_delete) {
            (false, ..) => "non-durable",
            (_, true, _) => "exclusive-owner",
            (.., true) => "auto-delete",
            _ => "",
        };
        if !property.is_empty() {
            return Err(Failure::InvalidProperty { property, name: declare.name.into(), host });
        }
        if self.topics.names.contains_key(declare.name) {
            // It has several partitions, which have names of their own.
            let text = format!("'{}' is a topic of several partitions", declare.name);
            return Err(Failure::LogBecause { failure: LogFailure::TopicExists, text: text.into() });
        }
        self.check_partitions(1)?;
        let (_, durable_at) = self.make_topic(declare.name, 1, config);
        let log = self.queue_id(HOST, declare.name)?;
        Ok(self.stream_declared(log, Some(durable_at)))
    }

    pub(crate) fn delete_stream(&mut self, log: LogId, name: &str, if_unused: bool, if_empty: bool) -> Result<Reply, Failure> {
        let Some(topic) = self.topics.partitions.get(&log).map(|partition| partition.topic.clone()) else { return Ok(Reply::Ok) };
        if self.topics.names.get(&topic).is_some_and(|topic| topic.partitions.len() > 1) {
            let text = format!("'{name}' is a part of topic '{topic}', which is deleted as a whole or not at all");
            return Err(Failure::LogBecause { failure: LogFailure::InvalidPartitions, text: text.into() });
        }
        if if_unused && self.topics.readers.count(log) > 0 {
            return Err(Failure::InUse { subject: Subject::Queue, name: name.into(), host: self.host_text() });
        }
        let messages = self.stream_len(log);
        if if_empty && messages > 0 {
            return Err(Failure::NotEmpty { name: name.into(), host: self.host_text() });
        }
        let durable_at = self.remove_topic(&topic);
        Ok(Reply::Removed { messages, durable_at: Some(durable_at) })
    }
}

/// Whether a declaration asks for a stream.
pub(crate) fn is_asked_for(declare: &DeclareQueue<'_>) -> bool {
    declare.arguments.get("x-queue-type").and_then(model::Value::as_text) == Some(STREAM)
}

impl Topics {
    fn config_of(&self, log: LogId) -> Option<&Config> {
        let partition = self.partitions.get(&log)?;
        self.names.get(&partition.topic).map(|topic| &topic.config)
    }
}
