//! Key 36, SaslAuthenticate: one token of the mechanism, either way.
//!
//! Versions 0 to 2.
//!
//! - 1: how long the session may live
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 2) {
        auth_bytes: &'a [u8],
    }

    Response<'a> (0..=2, flexible 2) {
        error_code: i16,
        error_message: Option<&'a str>,
        auth_bytes: &'a [u8],
        session_lifetime_ms: i64 [1..],
    }
}
