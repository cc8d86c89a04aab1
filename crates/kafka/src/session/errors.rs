//! Failures as the numbers and words of Kafka: the one place where they meet.
//!
//! Source: Apache Kafka protocol guide, "Protocol Error Codes".

use model::{Failure, LogFailure};

use crate::codec::error_code::*;

/// A failure as it stands in a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: i16,
    /// For versions that have room for it.
    pub text: Option<Box<str>>,
}

impl Refusal {
    pub fn new(code: i16, text: &str) -> Refusal {
        Refusal { code, text: Some(text.into()) }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let code = code(&failure);
        let text = match failure {
            Failure::LogBecause { text, .. } => text,
            other => other.to_string().into(),
        };
        Refusal { code, text: Some(text) }
    }
}

/// The broker gave an answer that does not belong to the question.
pub(super) const MISMATCH: i16 = UNKNOWN_SERVER_ERROR;

pub(super) fn code(failure: &Failure) -> i16 {
    match failure {
        Failure::Log(failure) | Failure::LogBecause { failure, .. } | Failure::BadRecords { failure, .. } => log_code(*failure),
        Failure::LoginRefused { .. } | Failure::NoSuchHost { .. } => SASL_AUTHENTICATION_FAILED,
        Failure::LimitReached(_) => POLICY_VIOLATION,
        Failure::NotImplemented(_) => UNSUPPORTED_VERSION,
        Failure::Damaged(_) => KAFKA_STORAGE_ERROR,
        // Queues and exchanges are not asked for.
        _ => UNKNOWN_SERVER_ERROR,
    }
}

/// What concerns members of groups: one that is not known there, nor is its group.
pub(super) fn member_code(failure: &Failure) -> i16 {
    match failure {
        Failure::Log(LogFailure::UnknownGroup) => UNKNOWN_MEMBER_ID,
        other => code(other),
    }
}

/// What the coordinator of transactions says. `fenced_known`: the version knows PRODUCER_FENCED, for which the older ones
/// have INVALID_PRODUCER_EPOCH (KIP-588).
pub(super) fn transaction_code(failure: &Failure, fenced_known: bool) -> i16 {
    match failure {
        Failure::Log(LogFailure::ProducerFenced) | Failure::LogBecause { failure: LogFailure::ProducerFenced, .. }
            if !fenced_known =>
        {
            INVALID_PRODUCER_EPOCH
        }
        other => code(other),
    }
}

pub(super) fn log_code(failure: LogFailure) -> i16 {
    match failure {
        LogFailure::UnknownTopic => UNKNOWN_TOPIC_OR_PARTITION,
        LogFailure::UnknownTopicId => UNKNOWN_TOPIC_ID,
        LogFailure::TopicExists => TOPIC_ALREADY_EXISTS,
        LogFailure::InvalidTopicName => INVALID_TOPIC,
        LogFailure::InvalidPartitions => INVALID_PARTITIONS,
        LogFailure::InvalidConfig => INVALID_CONFIG,
        LogFailure::InvalidRequest => INVALID_REQUEST,
        LogFailure::OffsetOutOfRange => OFFSET_OUT_OF_RANGE,
        LogFailure::CompactedOnly => POLICY_VIOLATION,
        LogFailure::CorruptBatch => CORRUPT_MESSAGE,
        LogFailure::BatchTooLarge => MESSAGE_TOO_LARGE,
        LogFailure::InvalidRecord => INVALID_RECORD,
        LogFailure::InvalidTimestamp => INVALID_TIMESTAMP,
        LogFailure::UnsupportedCompression => UNSUPPORTED_COMPRESSION_TYPE,
        LogFailure::UnsupportedFormat => UNSUPPORTED_FOR_MESSAGE_FORMAT,
        LogFailure::OutOfOrderSequence => OUT_OF_ORDER_SEQUENCE_NUMBER,
        LogFailure::InvalidProducerEpoch => INVALID_PRODUCER_EPOCH,
        LogFailure::ProducerFenced => PRODUCER_FENCED,
        LogFailure::InvalidProducerIdMapping => INVALID_PRODUCER_ID_MAPPING,
        LogFailure::InvalidTransactionState => INVALID_TXN_STATE,
        LogFailure::InvalidTransactionTimeout => INVALID_TRANSACTION_TIMEOUT,
        LogFailure::UnknownTransactionalId => TRANSACTIONAL_ID_NOT_FOUND,
        LogFailure::UnknownLeaderEpoch => UNKNOWN_LEADER_EPOCH,
        LogFailure::InvalidGroupId => INVALID_GROUP_ID,
        LogFailure::UnknownGroup => GROUP_ID_NOT_FOUND,
        LogFailure::GroupNotEmpty => NON_EMPTY_GROUP,
        LogFailure::GroupSubscribed => GROUP_SUBSCRIBED_TO_TOPIC,
        LogFailure::UnknownMember => UNKNOWN_MEMBER_ID,
        LogFailure::IllegalGeneration => ILLEGAL_GENERATION,
        LogFailure::RebalanceInProgress => REBALANCE_IN_PROGRESS,
        LogFailure::InconsistentProtocol => INCONSISTENT_GROUP_PROTOCOL,
        LogFailure::InvalidSessionTimeout => INVALID_SESSION_TIMEOUT,
        LogFailure::FencedInstance => FENCED_INSTANCE_ID,
        LogFailure::GroupFull => GROUP_MAX_SIZE_REACHED,
        LogFailure::MetadataTooLarge => OFFSET_METADATA_TOO_LARGE,
        // Clients ask again, and later there may be room.
        LogFailure::DiskFull | LogFailure::Damaged => KAFKA_STORAGE_ERROR,
    }
}
