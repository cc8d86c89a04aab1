//! Producers and their transactions: keys 22 InitProducerId, 24 AddPartitionsToTxn, 25 AddOffsetsToTxn, 26 EndTxn,
//! 61 DescribeProducers, 65 DescribeTransactions, 66 ListTransactions.
//!
//! A transaction is decided in all its partitions and groups at once, so that none is ever half decided: the states in
//! between (`PrepareCommit` and so on) are never seen, and CONCURRENT_TRANSACTIONS is never answered.

use std::sync::Arc;

use model::group::{TransactionInfo, TransactionRef};
use model::topic::ProducerState;
use model::{Reply, Request};

use super::errors::{self, MISMATCH, Refusal};
use super::job::{Answer, Each, Here, Item, partition};
use crate::codec::error_code::{INVALID_PRODUCER_EPOCH, INVALID_REQUEST, NONE, OPERATION_NOT_ATTEMPTED, PRODUCER_FENCED};
use crate::codec::{
    Message as _, add_offsets_to_txn, add_partitions_to_txn, describe_producers, describe_transactions, end_txn,
    init_producer_id, list_transactions,
};

/// PRODUCER_FENCED is understood from some version on; before, the older number stands for it.
fn for_version(code: i16, version: i16, fenced_from: i16) -> i16 {
    if code == PRODUCER_FENCED && version < fenced_from { INVALID_PRODUCER_EPOCH } else { code }
}

/// A transaction as its producer names it.
#[derive(Clone)]
struct Named {
    transactional_id: Arc<str>,
    producer_id: i64,
    epoch: i16,
}

impl Named {
    fn as_ref(&self) -> TransactionRef<'_> {
        let Named { transactional_id, producer_id, epoch } = self;
        TransactionRef { transactional_id, producer_id: *producer_id, epoch: *epoch }
    }
}

fn told(answer: Answer) -> Result<(), i16> {
    match answer {
        Ok(_) => Ok(()),
        Err(failure) => Err(errors::code(&failure)),
    }
}

fn producer(answer: Answer) -> Result<(i64, i16), i16> {
    match answer {
        Ok(Reply::Producer { id, epoch, .. }) => Ok((id, epoch)),
        Ok(_) => Err(MISMATCH),
        Err(failure) => Err(errors::code(&failure)),
    }
}

/// A producer that wants an id.
pub(super) struct Init {
    transactional_id: Option<Box<str>>,
    timeout_ms: i32,
    known: Option<(i64, i16)>,
    told: Option<Result<(i64, i16), i16>>,
}

/// Key 22.
pub(super) fn init(request: &init_producer_id::Request<'_>) -> Each<Init> {
    let known = (request.producer_id, request.producer_epoch);
    let item = Init {
        transactional_id: request.transactional_id.map(Into::into),
        timeout_ms: request.transaction_timeout_ms,
        known: (known.0 >= 0).then_some(known),
        // One without the other means nothing.
        told: ((known.0 >= 0) != (known.1 >= 0)).then_some(Err(INVALID_REQUEST)),
    };
    Each::of([item], |each, here, out| {
        let (error_code, (producer_id, producer_epoch)) = match each.items().first().and_then(|item| item.told) {
            Some(Ok(found)) => (NONE, found),
            Some(Err(code)) => (for_version(code, here.version, 4), (-1, -1)),
            None => (MISMATCH, (-1, -1)),
        };
        let response = init_producer_id::Response { error_code, producer_id, producer_epoch, ..Default::default() };
        response.encode(out, here.version);
    })
}

impl Item for Init {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let Init { transactional_id, timeout_ms, known, .. } = self;
        Request::InitProducer { transactional_id: transactional_id.as_deref(), timeout_ms: *timeout_ms, known: *known }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(producer(answer));
    }
}

/// A partition that becomes part of a transaction.
pub(super) struct Added {
    named: Named,
    index: i32,
    told: Option<Result<(), i16>>,
}

/// Key 24.
pub(super) fn add_partitions(request: &add_partitions_to_txn::Request<'_>) -> Each<Added> {
    let named = Named {
        transactional_id: request.transactional_id.into(),
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let topics = request.topics.iter().map(|topic| {
        let named = named.clone();
        (topic.name, topic.partitions.iter().map(move |index| Added { named: named.clone(), index: *index, told: None }))
    });
    Each::by_topic(topics, tell_added)
}

impl Item for Added {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::AddToTransaction { transaction: self.named.as_ref(), topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(told(answer));
    }
}

/// Where one of them is refused, none counts.
fn tell_added(added: &Each<Added>, here: &Here<'_>, out: &mut Vec<u8>) {
    let refused = added.items().iter().any(|item| item.told.is_some_and(|told| told.is_err()));
    let partition = |item: &Added| add_partitions_to_txn::Partition {
        partition_index: item.index,
        error_code: match item.told {
            Some(Ok(())) if refused => OPERATION_NOT_ATTEMPTED,
            Some(Ok(())) => NONE,
            Some(Err(code)) => for_version(code, here.version, 2),
            None => MISMATCH,
        },
    };
    let topic =
        |(name, items): (_, &[Added])| add_partitions_to_txn::Topic { name, partitions: items.iter().map(partition).collect() };
    let topics = added.topics().map(topic).collect();
    add_partitions_to_txn::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// A group whose offsets become part of a transaction.
pub(super) struct AddedGroup {
    named: Named,
    group: Box<str>,
    told: Option<Result<(), i16>>,
}

/// Key 25.
pub(super) fn add_offsets(request: &add_offsets_to_txn::Request<'_>) -> Each<AddedGroup> {
    let named = Named {
        transactional_id: request.transactional_id.into(),
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let item = AddedGroup { named, group: request.group_id.into(), told: None };
    Each::of([item], |each, here, out| {
        let error_code = match each.items().first().and_then(|item| item.told) {
            Some(Ok(())) => NONE,
            Some(Err(code)) => for_version(code, here.version, 2),
            None => MISMATCH,
        };
        add_offsets_to_txn::Response { error_code, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for AddedGroup {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::AddGroupToTransaction { transaction: self.named.as_ref(), group: &self.group }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(told(answer));
    }
}

/// A transaction that ends.
pub(super) struct End {
    named: Named,
    commit: bool,
    bump: bool,
    told: Option<Result<(i64, i16), i16>>,
}

/// Key 26. From version 5 on every transaction has an epoch of its own (KIP-890).
pub(super) fn end(request: &end_txn::Request<'_>, version: i16) -> Each<End> {
    let named = Named {
        transactional_id: request.transactional_id.into(),
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let item = End { named, commit: request.committed, bump: version >= 5, told: None };
    Each::of([item], |each, here, out| {
        let (error_code, (producer_id, producer_epoch)) = match each.items().first().and_then(|item| item.told) {
            Some(Ok(found)) => (NONE, found),
            Some(Err(code)) => (for_version(code, here.version, 2), (-1, -1)),
            None => (MISMATCH, (-1, -1)),
        };
        end_txn::Response { error_code, producer_id, producer_epoch, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for End {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::EndTransaction { transaction: self.named.as_ref(), commit: self.commit, bump: self.bump }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(producer(answer));
    }
}

/// A partition whose producers are asked for.
pub(super) struct Producers {
    index: i32,
    told: Option<Result<Vec<ProducerState>, Refusal>>,
}

/// Key 61.
pub(super) fn describe_producers(request: &describe_producers::Request<'_>) -> Each<Producers> {
    let item = |index: &i32| Producers { index: *index, told: None };
    let topics = request.topics.iter().map(|topic| (topic.name, topic.partition_indexes.iter().map(item)));
    Each::by_topic(topics, tell_producers)
}

impl Item for Producers {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DescribeProducers { topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Producers(producers)) => Ok(producers),
            Ok(_) => Err(Refusal { code: MISMATCH, text: None }),
            Err(failure) => Err(failure.into()),
        });
    }
}

fn tell_producers(producers: &Each<Producers>, here: &Here<'_>, out: &mut Vec<u8>) {
    fn producer(state: &ProducerState) -> describe_producers::Producer {
        describe_producers::Producer {
            producer_id: state.producer_id,
            producer_epoch: state.epoch.into(),
            last_sequence: state.last_sequence,
            last_timestamp: state.last_timestamp_ms,
            coordinator_epoch: 0,
            current_txn_start_offset: state.transaction_start,
        }
    }
    fn partition(item: &Producers) -> describe_producers::Partition<'_> {
        let (error_code, error_message, found) = match &item.told {
            Some(Ok(found)) => (NONE, None, &found[..]),
            Some(Err(refusal)) => (refusal.code, refusal.text.as_deref(), &[][..]),
            None => (MISMATCH, None, &[][..]),
        };
        let active_producers = found.iter().map(producer).collect();
        describe_producers::Partition { partition_index: item.index, error_code, error_message, active_producers }
    }
    let topics = producers.topics();
    let topics =
        topics.map(|(name, items)| describe_producers::Topic { name, partitions: items.iter().map(partition).collect() });
    describe_producers::Response { topics: topics.collect(), ..Default::default() }.encode(out, here.version);
}

/// Transactions that are asked for.
pub(super) struct Described {
    /// `None`: all.
    transactional_id: Option<Box<str>>,
    filter: Filter,
    told: Option<Result<Vec<TransactionInfo>, i16>>,
}

/// Which transactions are listed; what is empty lets everything pass.
#[derive(Clone, Default)]
struct Filter {
    states: Vec<Box<str>>,
    producer_ids: Vec<i64>,
    /// Open for at least so long, in ms; below 0: any.
    open_ms: i64,
}

impl Item for Described {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeTransactions { transactional_id: self.transactional_id.as_deref() }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Transactions(found)) => Ok(found),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

/// Key 65.
pub(super) fn describe(request: &describe_transactions::Request<'_>) -> Each<Described> {
    let item = |id: &&str| Described { transactional_id: Some((*id).into()), filter: Filter::default(), told: None };
    Each::of(request.transactional_ids.iter().map(item), |each, here, out| {
        let transactions = each.items().iter().map(described).collect();
        describe_transactions::Response { transactions, ..Default::default() }.encode(out, here.version);
    })
}

fn described(item: &Described) -> describe_transactions::Transaction<'_> {
    let transactional_id = item.transactional_id.as_deref().unwrap_or_default();
    let found = match &item.told {
        Some(Ok(found)) => found.first(),
        _ => None,
    };
    let Some(found) = found else {
        let error_code = item.told.as_ref().and_then(|told| told.as_ref().err().copied()).unwrap_or(MISMATCH);
        return describe_transactions::Transaction { error_code, transactional_id, ..Default::default() };
    };
    let mut topics: Vec<describe_transactions::Topic<'_>> = Vec::new();
    for (name, index) in &found.partitions {
        match topics.iter_mut().find(|topic| topic.topic == &**name) {
            Some(topic) => topic.partitions.push(*index as i32),
            None => topics.push(describe_transactions::Topic { topic: name, partitions: vec![*index as i32] }),
        }
    }
    describe_transactions::Transaction {
        error_code: NONE,
        transactional_id,
        transaction_state: found.state.name(),
        transaction_timeout_ms: found.timeout_ms,
        transaction_start_time_ms: found.started_ms,
        producer_id: found.producer_id,
        producer_epoch: found.epoch,
        topics,
    }
}

/// The states that Kafka's tools know. Those in between are never seen here.
const STATES: &[&str] =
    &["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"];

/// Key 66.
pub(super) fn list(request: &list_transactions::Request<'_>) -> Each<Described> {
    let filter = Filter {
        states: request.state_filters.iter().map(|state| (*state).into()).collect(),
        producer_ids: request.producer_id_filters.clone(),
        open_ms: request.duration_filter,
    };
    Each::of([Described { transactional_id: None, filter, told: None }], tell_list)
}

fn tell_list(each: &Each<Described>, here: &Here<'_>, out: &mut Vec<u8>) {
    let Some(Described { filter, told: Some(told), .. }) = each.items().first() else { return };
    let (error_code, found) = match told {
        Ok(found) => (NONE, &found[..]),
        Err(code) => (*code, &[][..]),
    };
    let passes = |info: &&TransactionInfo| {
        let state = filter.states.is_empty() || filter.states.iter().any(|state| **state == *info.state.name());
        let producer = filter.producer_ids.is_empty() || filter.producer_ids.contains(&info.producer_id);
        state && producer && info.open_ms >= filter.open_ms
    };
    fn transaction(info: &TransactionInfo) -> list_transactions::Transaction<'_> {
        let TransactionInfo { transactional_id, producer_id, state, .. } = info;
        list_transactions::Transaction { transactional_id, producer_id: *producer_id, transaction_state: state.name() }
    }
    let unknown = filter.states.iter().map(|state| &**state).filter(|state| !STATES.contains(state)).collect();
    let transactions = found.iter().filter(passes).map(transaction).collect();
    let response = list_transactions::Response { error_code, unknown_state_filters: unknown, transactions, ..Default::default() };
    response.encode(out, here.version);
}
