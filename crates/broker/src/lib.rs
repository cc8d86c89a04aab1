//! Routing and delivery: which queues a message goes to, who is handed it, and what became of it.
//!
//! A single-threaded state machine over [`storage::Store`], called with `now`. It answers
//! [`model::Request`]s, hands [`model::Event`]s to a [`Sink`], and never does I/O, never locks, and knows
//! no protocol.
//!
//! # Layout
//! - [`broker`]: the front: one method per request, sessions and scopes
//! - [`catalog`]: what exists (exchanges, queues, bindings, topics, groups, transactions), as entries of the log
//! - [`declare`]: what may be declared, and when two declarations are the same
//! - [`definitions`]: declaring, deleting, binding; the fold at recovery
//! - [`topology`]: what a virtual host holds
//! - [`router`]: from exchange and key to queues
//! - [`queue`]: ready, returned and unsettled messages, and who is served next
//! - [`delivery`]: handing messages out
//! - [`dead_letter`]: what was rejected, expired or did not fit
//! - [`scope`]: unsettled deliveries by tag
//! - [`topic`]: partitions that are read by offset
//! - [`transaction`]: producers and their transactions
//! - [`group`]: consumer groups and the offsets they have committed
//! - [`authorization`]: who may enter

mod authorization;
mod broker;
mod catalog;
mod chores;
mod dead_letter;
mod declare;
mod definitions;
mod delivery;
mod group;
mod queue;
mod router;
mod scope;
mod topic;
mod topology;
mod transaction;

pub use authorization::User;
pub use broker::{Broker, Options, Sink, Statistics};
pub use delivery::ROUND_BATCH;
pub use group::Options as GroupOptions;
pub use topic::Options as TopicOptions;
