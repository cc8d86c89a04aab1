//! What entries say of consumer groups.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A group after a rebalance: who is in it, and who got what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generation {
    pub group: Arc<str>,
    /// When, in wall ms.
    pub at_ms: u64,
    pub generation: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_type: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Arc<str>>,
    pub members: Vec<RecordedMember>,
    /// Somebody has left since: the others must share out anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebalancing: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedMember {
    pub id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    pub protocols: Vec<(Arc<str>, Hex)>,
    pub assignment: Hex,
}

/// Offsets that were committed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Committed {
    pub group: Arc<str>,
    /// When, in wall ms.
    pub at_ms: u64,
    /// The producer whose transaction must be committed before they count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer_id: Option<i64>,
    pub offsets: Vec<RecordedOffset>,
}

/// Topic, partition, offset, leader epoch, metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedOffset(pub Arc<str>, pub u32, pub i64, pub i32, pub Arc<str>);

/// Bytes in hexadecimal digits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hex(pub Bytes);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(|bytes| Hex(bytes.into())).ok_or_else(|| serde::de::Error::custom("not an even number of hexadecimal digits"))
    }
}
