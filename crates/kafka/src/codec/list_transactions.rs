//! Key 66, ListTransactions. Empty filters let everything pass.
//!
//! Versions 0 to 2.
//!
//! - 0: flexible
//! - 1: `duration_filter`, in milliseconds
//! - 2: `transactional_id_pattern`, a regular expression

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 0) {
        state_filters: Vec<&'a str>,
        producer_id_filters: Vec<i64>,
        duration_filter: i64 [1..] = -1,
        transactional_id_pattern: Option<&'a str> [2..],
    }

    Response<'a> (0..=2, flexible 0) {
        throttle_time_ms: i32,
        error_code: i16,
        unknown_state_filters: Vec<&'a str>,
        transactions: Vec<Transaction<'a>>,
    }

    Transaction<'a> {
        transactional_id: &'a str,
        producer_id: i64,
        transaction_state: &'a str,
    }
}
