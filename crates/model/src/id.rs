//! Newtypes for numbers that would do harm when swapped.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
                 serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: a byte position in the node's journal. It only grows, across restarts
    /// too, and a position names one byte for ever.
    Lsn(u64)
}
number! {
    /// Position of a record in its log, counted from 0, gap-free, never reused.
    Offset(u64)
}
number! {
    /// Number of a delivery within its [`Scope`], counted from 1.
    DeliveryTag(u64)
}
number! {
    /// A numbered lane inside a session with delivery tags of its own (an AMQP channel).
    Scope(u16)
}
number! {
    /// One connection, for as long as it lives. Never reused within a process.
    SessionId(u64)
}
number! {
    /// One subscription (consumer) of a session. Never reused within a process.
    SubscriptionId(u64)
}

impl Lsn {
    /// The position `bytes` further on.
    #[must_use]
    pub fn advance(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// The moment at which a state machine is called. Handed in by the roof; nobody below reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an arbitrary start, for time-outs, in milliseconds.
    pub mono_ms: u64,
    /// Wall clock since the Unix epoch, for time stamps, in milliseconds. It may jump.
    pub wall_ms: u64,
}
