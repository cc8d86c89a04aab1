//! Key 22, InitProducerId: an id and epoch for an idempotent or transactional producer.
//!
//! Versions 0 to 5.
//!
//! - 2: flexible
//! - 3: a producer that goes on says which id and epoch it had
//! - 4: PRODUCER_FENCED may come back
//! - 5: TRANSACTION_ABORTABLE may come back

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 2) {
        transactional_id: Option<&'a str>,
        transaction_timeout_ms: i32,
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }

    Response (0..=5, flexible 2) {
        throttle_time_ms: i32,
        error_code: i16,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
}
