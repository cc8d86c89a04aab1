//! Producers and their transactions.

use super::*;
use crate::codec::error_code::*;
use crate::codec::{
    add_offsets_to_txn, add_partitions_to_txn, describe_producers, describe_transactions, end_txn, init_producer_id,
    list_transactions,
};

#[test]
fn producers_get_their_ids() {
    for version in 0..=5 {
        let mut harness = Harness::running();
        let init = init_producer_id::Request {
            transactional_id: Some("tx"),
            transaction_timeout_ms: 60_000,
            producer_id: 8,
            producer_epoch: 1,
        };
        harness.send(version, &Request::InitProducerId(init.clone()));
        let known = if version >= 3 { "Some((8, 1))" } else { "None" };
        assert_eq!(harness.broker.take_log(), [format!("init Some(\"tx\") 60000 {known}")]);
        assert_eq!(harness.heard(), None, "not before it is durable");
        harness.durable(10);
        let Some(Response::InitProducerId(told)) = harness.heard() else { panic!() };
        assert_eq!((told.error_code, told.producer_id, told.producer_epoch), (0, 8, 2));
        let fenced = init_producer_id::Request { transactional_id: Some("fenced"), ..init };
        let Response::InitProducerId(told) = harness.ask(version, &Request::InitProducerId(fenced)) else { panic!() };
        let code = if version >= 4 { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
        assert_eq!((told.error_code, told.producer_id, told.producer_epoch), (code, -1, -1));
    }
    let mut harness = Harness::running();
    let half = init_producer_id::Request { producer_id: 8, producer_epoch: -1, ..Default::default() };
    let Response::InitProducerId(told) = harness.ask(3, &Request::InitProducerId(half)) else { panic!() };
    assert_eq!(told.error_code, INVALID_REQUEST);
    harness.send(0, &Request::InitProducerId(init_producer_id::Request::default()));
    assert_eq!(harness.broker.take_log(), ["init None 0 None"]);
}

#[test]
fn partitions_and_groups_are_added() {
    for version in 0..=3 {
        let mut harness = Harness::running();
        let add = |transactional_id, names: &[&'static str]| {
            let topics = names.iter().map(|name| add_partitions_to_txn::RequestTopic { name, partitions: vec![0, 1] }).collect();
            Request::AddPartitionsToTxn(add_partitions_to_txn::Request {
                transactional_id,
                producer_id: 8,
                producer_epoch: 2,
                topics,
                ..Default::default()
            })
        };
        let mut codes = |request: Request<'_>| {
            let Response::AddPartitionsToTxn(told) = harness.ask(version, &request) else { panic!() };
            told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|told| told.error_code)).collect::<Vec<_>>()
        };
        assert_eq!(codes(add("tx", &["t", "u"])), [0; 4]);
        // All or none.
        let refused = [OPERATION_NOT_ATTEMPTED, OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION];
        assert_eq!(codes(add("tx", &["t", "missing"])), refused);
        let code = if version >= 2 { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
        assert_eq!(codes(add("fenced", &["t"])), [code; 2]);
        assert_eq!(harness.broker.take_log()[..2], ["add t-0 to tx 8 2", "add t-1 to tx 8 2"]);
    }
    for (version, code) in [(1, INVALID_PRODUCER_EPOCH), (2, PRODUCER_FENCED), (4, PRODUCER_FENCED)] {
        let mut harness = Harness::running();
        let mut add = |transactional_id| {
            let request = add_offsets_to_txn::Request { transactional_id, producer_id: 8, producer_epoch: 2, group_id: "g" };
            let Response::AddOffsetsToTxn(told) = harness.ask(version, &Request::AddOffsetsToTxn(request)) else { panic!() };
            told.error_code
        };
        assert_eq!((add("tx"), add("fenced")), (0, code));
        assert_eq!(harness.broker.take_log()[0], "add group g to tx 8 2");
    }
}

#[test]
fn transactions_end() {
    for version in 0..=5 {
        let mut harness = Harness::running();
        let end = |transactional_id, committed| {
            Request::EndTxn(end_txn::Request { transactional_id, producer_id: 8, producer_epoch: 2, committed })
        };
        harness.send(version, &end("tx", true));
        harness.send(version, &end("tx", false));
        harness.durable(20);
        let bump = if version >= 5 { " and go on" } else { "" };
        assert_eq!(harness.broker.take_log(), [format!("commit tx 8 2{bump}"), format!("abort tx 8 2{bump}")]);
        let producer = if version >= 5 { (8, 3) } else { (-1, -1) };
        for _ in 0..2 {
            let Some(Response::EndTxn(told)) = harness.heard() else { panic!() };
            assert_eq!((told.error_code, (told.producer_id, told.producer_epoch)), (0, producer));
        }
        let Response::EndTxn(told) = harness.ask(version, &end("fenced", true)) else { panic!() };
        assert_eq!(told.error_code, if version >= 2 { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH });
    }
}

#[test]
fn producers_and_transactions_are_described() {
    let mut harness = Harness::running();
    let topic = |name| describe_producers::RequestTopic { name, partition_indexes: vec![1] };
    let request = describe_producers::Request { topics: vec![topic("t"), topic("missing")] };
    let Response::DescribeProducers(told) = harness.ask(0, &Request::DescribeProducers(request)) else { panic!() };
    let producer = &told.topics[0].partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (8, 2, 5));
    assert_eq!(producer.current_txn_start_offset, 4);
    assert_eq!(told.topics[1].partitions[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);

    let request = describe_transactions::Request { transactional_ids: vec!["tx", "missing"] };
    let Response::DescribeTransactions(told) = harness.ask(0, &Request::DescribeTransactions(request)) else { panic!() };
    let [tx, missing] = &told.transactions[..] else { panic!() };
    assert_eq!((tx.error_code, tx.transaction_state, tx.producer_id, tx.producer_epoch), (0, "Ongoing", 8, 2));
    let topics: Vec<_> = tx.topics.iter().map(|topic| (topic.topic, &topic.partitions[..])).collect();
    assert_eq!(topics, [("a", &[0][..]), ("b", &[0, 1][..])]);
    assert_eq!((missing.error_code, missing.transactional_id), (TRANSACTIONAL_ID_NOT_FOUND, "missing"));
}

#[test]
fn transactions_are_listed() {
    let mut harness = Harness::running();
    let mut listed = |version, state_filters, producer_id_filters, duration_filter| {
        let request = list_transactions::Request { state_filters, producer_id_filters, duration_filter, ..Default::default() };
        let Response::ListTransactions(told) = harness.ask(version, &Request::ListTransactions(request)) else { panic!() };
        let ids: Vec<_> = told.transactions.iter().map(|found| found.transactional_id).collect();
        (ids.join(" "), told.unknown_state_filters)
    };
    assert_eq!(listed(0, vec![], vec![], -1), ("tx old".to_owned(), vec![]));
    assert_eq!(listed(0, vec!["CompleteAbort", "Asleep"], vec![], -1), ("old".to_owned(), vec!["Asleep"]));
    assert_eq!(listed(1, vec![], vec![8], -1), ("tx".to_owned(), vec![]));
    assert_eq!(listed(1, vec![], vec![], 1_000), ("tx".to_owned(), vec![]));
    assert_eq!(listed(1, vec![], vec![], 3_000), (String::new(), vec![]));
}
