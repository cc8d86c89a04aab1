//! Where partitions lie: keys 34 AlterReplicaLogDirs, 35 DescribeLogDirs, 43 ElectLeaders, 45 AlterPartitionReassignments,
//! 46 ListPartitionReassignments. Each has its one replica here, which leads it: nothing is to be elected or moved.

use model::topic::{TopicInfo, TopicRef};
use model::{Reply, Request};

use super::answers::Frame;
use super::errors::{MISMATCH, code};
use super::job::{Answer, Each, Here, Item, Job, partition};
use crate::codec::error_code::{
    ELECTION_NOT_NEEDED, INVALID_REPLICA_ASSIGNMENT, LOG_DIR_NOT_FOUND, NO_REASSIGNMENT_IN_PROGRESS, UNKNOWN_TOPIC_OR_PARTITION,
};
use crate::codec::{
    Message as _, alter_partition_reassignments, alter_replica_log_dirs, describe_log_dirs, elect_leaders,
    list_partition_reassignments,
};

/// A partition that may not exist; what is said about one that does is known before.
pub(super) struct Placed {
    index: i32,
    if_there: i16,
    told: Option<i16>,
}

impl Item for Placed {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DescribeTopics { topic: Some(TopicRef::Name(topic)) }
    }

    fn answered(&mut self, answer: Answer) {
        let there = |topic: &TopicInfo| partition(self.index) < topic.partitions;
        self.told = Some(match answer {
            Ok(Reply::Topics(topics)) if topics.iter().any(there) => self.if_there,
            Ok(Reply::Topics(_)) => UNKNOWN_TOPIC_OR_PARTITION,
            Ok(_) => MISMATCH,
            Err(failure) => code(&failure),
        });
    }
}

/// Key 43. Of all partitions none needs an election.
pub(super) fn elect(request: &elect_leaders::Request<'_>) -> Each<Placed> {
    let placed = |index: &i32| Placed { index: *index, if_there: ELECTION_NOT_NEEDED, told: None };
    let topics = request.topics.iter().flatten().map(|topic| (topic.topic, topic.partitions.iter().map(placed)));
    Each::by_topic(topics, |placed, here, out| {
        let partition = |item: &Placed| elect_leaders::Partition {
            partition_id: item.index,
            error_code: item.told.unwrap_or(MISMATCH),
            error_message: None,
        };
        let topic = |(topic, items)| {
            let items: &[Placed] = items;
            elect_leaders::Topic { topic, partitions: items.iter().map(partition).collect() }
        };
        let topics = placed.topics().map(topic).collect();
        elect_leaders::Response { topics, ..Default::default() }.encode(out, here.version);
    })
}

/// Key 45. To move a partition to where it is does nothing.
pub(super) fn reassign(request: &alter_partition_reassignments::Request<'_>, node_id: i32) -> Each<Placed> {
    let placed = move |asked: &alter_partition_reassignments::RequestPartition| {
        let if_there = match asked.replicas.as_deref() {
            None => NO_REASSIGNMENT_IN_PROGRESS,
            Some(replicas) if replicas == [node_id] => 0,
            Some(_) => INVALID_REPLICA_ASSIGNMENT,
        };
        Placed { index: asked.partition_index, if_there, told: None }
    };
    let topics = request.topics.iter().map(|topic| (topic.name, topic.partitions.iter().map(placed)));
    Each::by_topic(topics, |placed, here, out| {
        let partition = |item: &Placed| alter_partition_reassignments::Partition {
            partition_index: item.index,
            error_code: item.told.unwrap_or(MISMATCH),
            error_message: None,
        };
        let topic = |(name, items)| {
            let items: &[Placed] = items;
            alter_partition_reassignments::Topic { name, partitions: items.iter().map(partition).collect() }
        };
        let topics = placed.topics().map(topic).collect();
        alter_partition_reassignments::Response { topics, ..Default::default() }.encode(out, here.version);
    })
}

/// Key 46. Nothing moves.
pub(super) fn reassignments(here: &Here<'_>, out: &mut Vec<u8>) {
    list_partition_reassignments::Response::default().encode(out, here.version);
}

/// What the data directory is called in answers; where it is on this machine is nobody's business.
pub(super) const DIRECTORY: &str = "/yam";

/// Key 34. There is one directory, in which every partition lies already.
pub(super) fn move_between_directories(request: &alter_replica_log_dirs::Request<'_>) -> Each<Placed> {
    let topics = request.dirs.iter().flat_map(|directory| {
        let told = (directory.path != DIRECTORY).then_some(LOG_DIR_NOT_FOUND);
        let placed = move |index: &i32| Placed { index: *index, if_there: 0, told };
        directory.topics.iter().map(move |topic| (topic.name, topic.partitions.iter().map(placed)))
    });
    Each::by_topic(topics, |placed, here, out| {
        let partition = |item: &Placed| alter_replica_log_dirs::Partition {
            partition_index: item.index,
            error_code: item.told.unwrap_or(MISMATCH),
        };
        let topic = |(topic_name, items)| {
            let items: &[Placed] = items;
            alter_replica_log_dirs::Topic { topic_name, partitions: items.iter().map(partition).collect() }
        };
        let results = placed.topics().map(topic).collect();
        alter_replica_log_dirs::Response { results, ..Default::default() }.encode(out, here.version);
    })
}

/// A partition whose size is asked for.
struct Sized {
    index: i32,
    told: Option<Result<u64, i16>>,
}

impl Item for Sized {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DescribeSize { topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Size { bytes }) => Ok(bytes),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(code(&failure)),
        });
    }
}

/// Key 35: sizes of the partitions that are named, or of all. Those that do not exist are left out, as they lie in no
/// directory.
pub(super) struct LogDirs {
    /// `None`: which topics there are is not known yet.
    sizes: Option<Each<Sized>>,
}

impl LogDirs {
    pub fn new(request: &describe_log_dirs::Request<'_>) -> LogDirs {
        let sized = |index: &i32| Sized { index: *index, told: None };
        let sizes = request.topics.as_ref().map(|topics| {
            Each::by_topic(topics.iter().map(|topic| (topic.topic, topic.partitions.iter().map(sized))), |_, _, _| {})
        });
        LogDirs { sizes }
    }
}

impl Job for LogDirs {
    fn is_done(&self) -> bool {
        self.sizes.as_ref().is_some_and(Each::is_done)
    }

    fn ask(&self) -> Request<'_> {
        self.sizes.as_ref().map_or(Request::DescribeTopics { topic: None }, Each::ask)
    }

    fn answered(&mut self, answer: Answer) {
        if let Some(sizes) = &mut self.sizes {
            return sizes.answered(answer);
        }
        let topics = match answer {
            Ok(Reply::Topics(topics)) => topics,
            _ => Vec::new(),
        };
        let sized = |index: u32| Sized { index: index as i32, told: None };
        let all = topics.iter().map(|topic| (&*topic.name, (0..topic.partitions).map(sized)));
        self.sizes = Some(Each::by_topic(all, |_, _, _| {}));
    }

    fn respond(&mut self, here: &Here<'_>, frame: &mut Frame) {
        let partition = |item: &Sized| {
            let bytes = item.told?.ok()?;
            Some(describe_log_dirs::Partition {
                partition_index: item.index,
                partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                ..Default::default()
            })
        };
        let topic = |(name, items)| {
            let items: &[Sized] = items;
            let partitions: Vec<_> = items.iter().filter_map(partition).collect();
            (!partitions.is_empty()).then_some(describe_log_dirs::Topic { name, partitions })
        };
        let topics = self.sizes.iter().flat_map(Each::topics).filter_map(topic).collect();
        let log_dirs = vec![describe_log_dirs::LogDir { log_dir: DIRECTORY, topics, ..Default::default() }];
        describe_log_dirs::Response { log_dirs, ..Default::default() }.encode(&mut frame.bytes, here.version);
    }
}
