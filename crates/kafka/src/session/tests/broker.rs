//! A broker that holds nothing and answers by the names it is asked about.

use std::collections::VecDeque;

use model::topic::{FetchFrom, ListedOffset, OffsetAt, Produced, TopicId, TopicInfo, TopicKey, TopicRef};
use model::{Event, Failure, LogFailure, Lsn, Reply, Request};

#[derive(Default)]
pub(super) struct FakeBroker {
    /// The requests it heard, as lines.
    log: Vec<String>,
    /// Given out with everything that must become durable, ten apart.
    lsn: u64,
    offset: i64,
    /// Answers that come before the rules.
    pub next: VecDeque<Result<Reply, Failure>>,
}

pub(super) fn topic(name: &str) -> TopicInfo {
    TopicInfo { name: name.into(), id: TopicId(7), internal: false, partitions: 2 }
}

impl FakeBroker {
    /// Rules: the password is `guest`; what is called `missing` or has the id 404 is not there, and `new` only once it was
    /// made; other topics have the id 7 and 2 partitions; what is durable takes its time; fetches wait.
    pub fn answer(&mut self, request: &Request<'_>) -> Event<'static> {
        self.log.push(describe(request));
        let answer = self.next.pop_front().unwrap_or_else(|| self.decide(request));
        answer.map_or_else(Event::Failed, Event::Reply)
    }

    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn durable(&mut self) -> Lsn {
        self.lsn += 10;
        Lsn(self.lsn)
    }

    fn decide(&mut self, request: &Request<'_>) -> Result<Reply, Failure> {
        Ok(match request {
            Request::Authenticate { user, password } if *password != b"guest" => {
                return Err(Failure::LoginRefused { user: (*user).to_owned() });
            }
            Request::DescribeTopics { topic: None } => Reply::Topics(vec![topic("a"), topic("b")]),
            Request::DescribeTopics { topic: Some(TopicRef::Name("missing" | "new")) } => {
                return Err(LogFailure::UnknownTopic.into());
            }
            Request::DescribeTopics { topic: Some(TopicRef::Id(TopicId(404))) } => {
                return Err(LogFailure::UnknownTopicId.into());
            }
            Request::DescribeTopics { topic: Some(TopicRef::Name(name)) } => Reply::Topics(vec![topic(name)]),
            Request::DescribeTopics { topic: Some(TopicRef::Id(_)) } => Reply::Topics(vec![topic("by-id")]),
            Request::CreateTopic(create) if create.name == "missing" => return Err(LogFailure::UnknownTopic.into()),
            Request::CreateTopic(create) => {
                Reply::TopicCreated { topic: topic(create.name), config: vec![], durable_at: Some(self.durable()) }
            }
            Request::Produce(produce) if matches!(produce.topic, TopicRef::Name("missing")) => {
                return Err(LogFailure::UnknownTopic.into());
            }
            Request::Produce(_) => {
                self.offset += 1;
                let durable_at = self.durable();
                Reply::Produced(Produced { base_offset: self.offset, append_time_ms: -1, log_start: 0, durable_at })
            }
            Request::Fetch(_) => Reply::Pending,
            Request::ListOffset { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::ListOffset { at: OffsetAt::Timestamp(_), .. } => Reply::Pending,
            Request::ListOffset { .. } => Reply::Offset(ListedOffset { offset: 5, timestamp_ms: -1, leader_epoch: 0 }),
            Request::EpochEnd { epoch: 0, .. } => Reply::EpochEnd { epoch: 0, end: 9 },
            Request::EpochEnd { .. } => Reply::EpochEnd { epoch: -1, end: -1 },
            Request::DeleteRecords { before, .. } => Reply::LogStart { offset: before.unwrap_or(9), durable_at: self.durable() },
            _ => Reply::Ok,
        })
    }
}

fn describe_topic(topic: TopicRef<'_>) -> String {
    match topic {
        TopicRef::Name(name) => name.to_owned(),
        TopicRef::Id(id) => format!("#{}", id.0),
    }
}

pub(super) fn describe_from(from: &FetchFrom) -> String {
    let topic = match &from.topic {
        TopicKey::Name(name) => name.to_string(),
        TopicKey::Id(id) => format!("#{}", id.0),
    };
    format!("{topic}-{}@{}", from.partition, from.offset)
}

fn describe(request: &Request<'_>) -> String {
    match request {
        Request::Authenticate { user, password } => {
            format!("authenticate '{user}' '{}'", String::from_utf8_lossy(password))
        }
        Request::OpenHost { host } => format!("open host '{host}'"),
        Request::DescribeTopics { topic: None } => "describe all topics".to_owned(),
        Request::DescribeTopics { topic: Some(topic) } => format!("describe topic {}", describe_topic(*topic)),
        Request::CreateTopic(create) => {
            let partitions = create.partitions.map_or("some".to_owned(), |count| count.to_string());
            let flags = [(create.automatic, " automatically"), (create.validate_only, " only asking")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
            format!("create topic {} of {partitions} partitions{flags} {:?}", create.name, create.config)
        }
        Request::Produce(produce) => format!(
            "produce {} bytes to {}-{}{}{}",
            produce.records.len(),
            describe_topic(produce.topic),
            produce.partition,
            produce.transactional_id.map_or(String::new(), |id| format!(" for {id}")),
            if produce.implicit { " implicitly" } else { "" }
        ),
        Request::Fetch(fetch) => {
            let from: Vec<_> = fetch.partitions.iter().map(describe_from).collect();
            format!(
                "fetch {} for {} ms, {} to {} bytes{}",
                from.join(" "),
                fetch.max_wait_ms,
                fetch.min_bytes,
                fetch.max_bytes,
                if fetch.committed_only { ", committed" } else { "" }
            )
        }
        Request::ListOffset { topic, partition, at, committed_only, current_epoch } => {
            format!("offset of {topic}-{partition} {at:?} committed={committed_only} epoch={current_epoch:?}")
        }
        Request::EpochEnd { topic, partition, epoch, .. } => format!("end of epoch {epoch} of {topic}-{partition}"),
        Request::DeleteRecords { topic, partition, before } => format!("delete from {topic}-{partition} before {before:?}"),
        _ => "something else".to_owned(),
    }
}
