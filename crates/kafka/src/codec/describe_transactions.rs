//! Key 65, DescribeTransactions.
//!
//! Version 0, flexible.

use super::message::messages;

messages! {
    Request<'a> (0..=0, flexible 0) {
        transactional_ids: Vec<&'a str>,
    }

    Response<'a> (0..=0, flexible 0) {
        throttle_time_ms: i32,
        transactions: Vec<Transaction<'a>>,
    }

    Transaction<'a> {
        error_code: i16,
        transactional_id: &'a str,
        transaction_state: &'a str,
        transaction_timeout_ms: i32,
        transaction_start_time_ms: i64,
        producer_id: i64,
        producer_epoch: i16,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        topic: &'a str,
        partitions: Vec<i32>,
    }
}
