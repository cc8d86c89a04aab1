//! Key 17, SaslHandshake: which mechanism to authenticate with.
//!
//! Versions 0 and 1; never flexible.
//!
//! - 0: the tokens follow bare, each behind its length only
//! - 1: the tokens follow in SaslAuthenticate

use super::message::messages;

messages! {
    Request<'a> (0..=1) {
        mechanism: &'a str,
    }

    Response<'a> (0..=1) {
        error_code: i16,
        mechanisms: Vec<&'a str>,
    }
}
