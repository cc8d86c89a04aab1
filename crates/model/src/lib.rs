//! The language of the house: the names, numbers, records and verbs that every other crate speaks.
//!
//! A protocol crate translates its wire into [`Request`]s and [`Event`]s and back; the broker
//! answers `Request`s and produces `Event`s. Neither knows the other: this crate is the waist.
//! It never does I/O, never reads a clock and knows no protocol.
//!
//! # Layout
//! - [`id`]: newtypes for the numbers that must not be swapped (`Lsn`, `Offset`, `DeliveryTag`, ...)
//! - [`limits`]: how far clients can make things grow
//! - [`value`]: typed values of declare arguments and message headers
//! - [`record`]: the record batch (Kafka's v2 layout), the unit on disk and in memory
//! - [`request`], [`event`]: what a client asks, what it is told
//! - [`death`]: why a message was dead-lettered
//! - [`error`]: why a request failed, in words every protocol can map to its own codes
//! - [`output`]: bytes on their way to a socket
//! - [`planted`]: bugs on purpose, in builds that ask for them
//! - [`topic`]: topics and partitions: logs that are read by offset
//! - [`group`]: consumer groups, committed offsets, transactions
//! - [`random`]: made-up names
//! - [`age`]: how long ago, as RabbitMQ writes it
//! - [`session`]: the trait one connection of any protocol implements

pub mod age;
pub mod death;
pub mod error;
pub mod event;
pub mod group;
pub mod id;
pub mod limits;
pub mod output;
pub mod planted;
pub mod random;
pub mod record;
pub mod request;
pub mod session;
pub mod topic;
pub mod value;

pub use error::{BadRecord, BadRecordCause, Failure, LogFailure, Subject};
pub use event::{Event, Reply};
pub use id::{DeliveryTag, Lsn, Now, Offset, Scope, SessionId, SubscriptionId};
pub use output::Output;
pub use random::Random;
pub use record::{Dialect, Header, RecordParts, RecordView};
pub use request::{Outcome, Publish, Request};
pub use session::{Complaint, Identity, Session, SessionState};
pub use value::{Headers, NoHeaders, Table, Value};
