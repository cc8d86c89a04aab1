//! What consumers of protocol type "consumer" put into the opaque bytes of JoinGroup (their subscription) and SyncGroup
//! (their assignment). The broker only passes them on; clients, tests and the command line read them.
//!
//! ```text
//! 0  version  i16
//! 2  body     never flexible
//! ```
//! Versions 0 to 3. A newer version only adds fields at the end, so it is read as the newest known.
//!
//! - 1: what a member owns already, for cooperative rebalances (KIP-429)
//! - 2: the generation that it owns it from (KIP-792)
//! - 3: its rack (KIP-881)

use super::message::{Message, messages};
use super::wire::{DecodeError, Reader, Wire};

messages! {
    Subscription<'a> (0..=3) {
        topics: Vec<&'a str>,
        user_data: Option<&'a [u8]>,
        owned_partitions: Vec<TopicPartitions<'a>> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<&'a str> [3..],
    }

    Assignment<'a> (0..=3) {
        assigned_partitions: Vec<TopicPartitions<'a>>,
        user_data: Option<&'a [u8]>,
    }

    TopicPartitions<'a> {
        topic: &'a str,
        partitions: Vec<i32>,
    }
}

/// Read a subscription or an assignment with the version in front of it.
///
/// # Errors
/// [`DecodeError`] where the version is negative or the bytes are malformed.
pub fn decode<'a, T: Message<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = i16::read(&mut reader, T::version(0))?;
    T::decode(&mut reader, version.min(*T::VERSIONS.end()))
}

/// A subscription or an assignment with its version in front.
pub fn encode<'a, T: Message<'a>>(message: &T, version: i16) -> Vec<u8> {
    let mut out = version.to_be_bytes().to_vec();
    message.encode(&mut out, version);
    out
}
