//! What entries of the catalog say of groups (docs/formats/storage.md).

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::member::Member;

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
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedMember {
    id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance_id: Option<Arc<str>>,
    client_id: Arc<str>,
    client_host: Arc<str>,
    session_timeout_ms: u64,
    rebalance_timeout_ms: u64,
    protocols: Vec<(Arc<str>, Hex)>,
    assignment: Hex,
}

impl RecordedMember {
    pub fn of(member: &Member) -> RecordedMember {
        RecordedMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: member.protocols.iter().map(|(name, metadata)| (name.clone(), Hex(metadata.clone()))).collect(),
            assignment: Hex(member.assignment.clone()),
        }
    }

    /// The member as it was; it has its whole session time-out to be heard of again.
    pub fn restore(&self) -> Member {
        Member {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols: self.protocols.iter().map(|(name, metadata)| (name.clone(), metadata.0.clone())).collect(),
            assignment: self.assignment.0.clone(),
            joining: None,
            syncing: None,
            new: false,
            told: true,
            to_sync: false,
            expires_at: u64::MAX,
        }
    }
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
struct Hex(Bytes);

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
