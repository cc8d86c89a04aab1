//! Key 25, AddOffsetsToTxn: a group's offsets take part in a transaction.
//!
//! Versions 0 to 4.
//!
//! - 2: PRODUCER_FENCED may come back
//! - 3: flexible
//! - 4: TRANSACTION_ABORTABLE may come back

use super::message::messages;

messages! {
    Request<'a> (0..=4, flexible 3) {
        transactional_id: &'a str,
        producer_id: i64,
        producer_epoch: i16,
        group_id: &'a str,
    }

    Response (0..=4, flexible 3) {
        throttle_time_ms: i32,
        error_code: i16,
    }
}
