//! Offsets of partitions: keys 2 ListOffsets, 23 OffsetForLeaderEpoch, 21 DeleteRecords.

use model::topic::{ListedOffset, OffsetAt};
use model::{Reply, Request};

use super::errors::{self, MISMATCH};
use super::job::{Answer, Each, Here, Item, partition};
use crate::codec::error_code::{OFFSET_OUT_OF_RANGE, UNSUPPORTED_VERSION};
use crate::codec::{Message as _, delete_records, list_offsets, offset_for_leader_epoch};

fn epoch(number: i32) -> Option<i32> {
    (number >= 0).then_some(number)
}

/// A partition whose offset is asked for.
pub(super) struct Listed {
    index: i32,
    at: OffsetAt,
    committed_only: bool,
    current_epoch: Option<i32>,
    told: Option<Result<ListedOffset, i16>>,
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const NO_OFFSET: ListedOffset = ListedOffset { offset: -1, timestamp_ms: -1, leader_epoch: -1 };

/// Key 2. Nothing is tiered: the earliest local offset is the earliest, and there is no latest tiered one.
pub(super) fn list_offsets(request: &list_offsets::Request<'_>, version: i16) -> Each<Listed> {
    let committed_only = request.isolation_level == 1;
    let listed = |asked: &list_offsets::RequestPartition| {
        let (at, told) = match (asked.timestamp, version) {
            (LATEST, _) => (OffsetAt::Latest, None),
            (EARLIEST, _) | (EARLIEST_LOCAL, 8..) => (OffsetAt::Earliest, None),
            (MAX_TIMESTAMP, 7..) => (OffsetAt::MaxTimestamp, None),
            (LATEST_TIERED, 9..) => (OffsetAt::Latest, Some(Ok(NO_OFFSET))),
            (time, _) if time >= 0 => (OffsetAt::Timestamp(time), None),
            _ => (OffsetAt::Latest, Some(Err(UNSUPPORTED_VERSION))),
        };
        Listed { index: asked.partition_index, at, committed_only, current_epoch: epoch(asked.current_leader_epoch), told }
    };
    let topics = request.topics.iter().map(|topic| (topic.name, topic.partitions.iter().map(listed)));
    Each::by_topic(topics, tell_offsets)
}

impl Item for Listed {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        let Listed { at, committed_only, current_epoch, .. } = *self;
        Request::ListOffset { topic, partition: partition(self.index), at, committed_only, current_epoch }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Offset(listed)) => Ok(listed),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_offsets(listed: &Each<Listed>, here: &Here<'_>, out: &mut Vec<u8>) {
    let partition = |item: &Listed| {
        let (error_code, found) = match item.told {
            Some(Ok(found)) => (0, found),
            Some(Err(code)) => (code, NO_OFFSET),
            None => (MISMATCH, NO_OFFSET),
        };
        list_offsets::Partition {
            partition_index: item.index,
            error_code,
            timestamp: found.timestamp_ms,
            offset: found.offset,
            leader_epoch: found.leader_epoch,
        }
    };
    let topic = |(name, items): (_, &[Listed])| list_offsets::Topic { name, partitions: items.iter().map(partition).collect() };
    let topics = listed.topics().map(topic).collect();
    list_offsets::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// A partition whose epoch's end is asked for.
pub(super) struct EpochEnd {
    index: i32,
    epoch: i32,
    current_epoch: Option<i32>,
    told: Option<Result<(i32, i64), i16>>,
}

/// Key 23.
pub(super) fn epoch_ends(request: &offset_for_leader_epoch::Request<'_>) -> Each<EpochEnd> {
    let end = |asked: &offset_for_leader_epoch::RequestPartition| EpochEnd {
        index: asked.partition,
        epoch: asked.leader_epoch,
        current_epoch: epoch(asked.current_leader_epoch),
        told: None,
    };
    let topics = request.topics.iter().map(|topic| (topic.topic, topic.partitions.iter().map(end)));
    Each::by_topic(topics, tell_epoch_ends)
}

impl Item for EpochEnd {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        let EpochEnd { epoch, current_epoch, .. } = *self;
        Request::EpochEnd { topic, partition: partition(self.index), epoch, current_epoch }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::EpochEnd { epoch, end }) => Ok((epoch, end)),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_epoch_ends(ends: &Each<EpochEnd>, here: &Here<'_>, out: &mut Vec<u8>) {
    let partition = |item: &EpochEnd| {
        let (error_code, (leader_epoch, end_offset)) = match item.told {
            Some(Ok(end)) => (0, end),
            Some(Err(code)) => (code, (-1, -1)),
            None => (MISMATCH, (-1, -1)),
        };
        offset_for_leader_epoch::Partition { error_code, partition: item.index, leader_epoch, end_offset }
    };
    let topic = |(topic, items): (_, &[EpochEnd])| offset_for_leader_epoch::Topic {
        topic,
        partitions: items.iter().map(partition).collect(),
    };
    let topics = ends.topics().map(topic).collect();
    offset_for_leader_epoch::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// A partition that loses its first records.
pub(super) struct Cut {
    index: i32,
    before: Option<i64>,
    told: Option<Result<i64, i16>>,
}

/// Offset that stands for the high watermark.
const ALL: i64 = -1;

/// Key 21.
pub(super) fn delete_records(request: &delete_records::Request<'_>) -> Each<Cut> {
    let cut = |asked: &delete_records::RequestPartition| Cut {
        index: asked.partition_index,
        before: (asked.offset != ALL).then_some(asked.offset),
        told: (asked.offset < ALL).then_some(Err(OFFSET_OUT_OF_RANGE)),
    };
    let topics = request.topics.iter().map(|topic| (topic.name, topic.partitions.iter().map(cut)));
    Each::by_topic(topics, tell_cuts)
}

impl Item for Cut {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DeleteRecords { topic, partition: partition(self.index), before: self.before }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::LogStart { offset, .. }) => Ok(offset),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_cuts(cuts: &Each<Cut>, here: &Here<'_>, out: &mut Vec<u8>) {
    let partition = |item: &Cut| {
        let (error_code, low_watermark) = match item.told {
            Some(Ok(offset)) => (0, offset),
            Some(Err(code)) => (code, -1),
            None => (MISMATCH, -1),
        };
        delete_records::Partition { partition_index: item.index, low_watermark, error_code }
    };
    let topic = |(name, items): (_, &[Cut])| delete_records::Topic { name, partitions: items.iter().map(partition).collect() };
    let topics = cuts.topics().map(topic).collect();
    delete_records::Response { topics, ..Default::default() }.encode(out, here.version);
}
