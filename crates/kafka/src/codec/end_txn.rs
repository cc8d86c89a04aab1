//! Key 26, EndTxn: commit or abort a transaction.
//!
//! Versions 0 to 5.
//!
//! - 2: PRODUCER_FENCED may come back
//! - 3: flexible
//! - 4: TRANSACTION_ABORTABLE may come back
//! - 5: the epoch grows with each transaction (KIP-890), so id and epoch come back

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 3) {
        transactional_id: &'a str,
        producer_id: i64,
        producer_epoch: i16,
        committed: bool,
    }

    Response (0..=5, flexible 3) {
        throttle_time_ms: i32,
        error_code: i16,
        producer_id: i64 [5..] = -1,
        producer_epoch: i16 [5..] = -1,
    }
}
