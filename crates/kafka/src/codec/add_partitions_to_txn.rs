//! Key 24, AddPartitionsToTxn: partitions take part in a transaction.
//!
//! Versions 0 to 5 are known, 0 to 3 are for clients. From 4 on brokers ask each other for several transactions at once, in
//! `transactions`, which replaces the other fields.
//!
//! - 2: PRODUCER_FENCED may come back
//! - 3: flexible
//! - 4: several transactions, and `verify_only`
//! - 5: TRANSACTION_ABORTABLE may come back

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 3) {
        transactions: Vec<RequestTransaction<'a>> [4..],
        transactional_id: &'a str [..=3],
        producer_id: i64 [..=3],
        producer_epoch: i16 [..=3],
        topics: Vec<RequestTopic<'a>> [..=3],
    }

    RequestTransaction<'a> {
        transactional_id: &'a str,
        producer_id: i64,
        producer_epoch: i16,
        verify_only: bool,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<i32>,
    }

    Response<'a> (0..=5, flexible 3) {
        throttle_time_ms: i32,
        error_code: i16 [4..],
        transactions: Vec<Transaction<'a>> [4..],
        topics: Vec<Topic<'a>> [..=3],
    }

    Transaction<'a> {
        transactional_id: &'a str,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        error_code: i16,
    }
}
