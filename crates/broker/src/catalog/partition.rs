//! What a snapshot says of a partition: what would follow from the batches before it.

use std::collections::VecDeque;

use model::Lsn;
use serde::{Deserialize, Serialize, Serializer};

/// A batch that its producer may send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub first: i32,
    pub last: i32,
    pub base: u64,
    pub timestamp_ms: i64,
    /// Safe from here on; 0 for those from before the start.
    #[serde(skip)]
    pub end: Lsn,
}

/// A producer as the partition knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub epoch: i16,
    pub sent: VecDeque<Sent>,
    /// Where its open transaction begins.
    pub open: Option<u64>,
    /// When it last wrote, by the broker's clock: wall ms.
    pub last_ms: i64,
}

/// A transaction that has ended. There may be very many: they are written as lists, without the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Ended {
    pub producer_id: i64,
    pub first: u64,
    /// The offset of its marker.
    pub marker: u64,
    pub committed: bool,
}

const _: () = assert!(size_of::<Ended>() <= 32);

impl Ended {
    /// Offsets from its beginning to its marker.
    pub fn span(&self) -> u64 {
        self.marker.saturating_sub(self.first)
    }
}

impl Serialize for Ended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.producer_id, self.first, self.marker, self.committed).serialize(serializer)
    }
}

/// A partition's state without its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub start: u64,
    pub producers: Vec<(i64, Producer)>,
    pub ended: Vec<Ended>,
    /// Below which offset it had been compacted, and when, in wall ms. What was written before there were any has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleanings: Vec<(u64, u64)>,
}
