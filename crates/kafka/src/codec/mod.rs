//! The wire: frames, headers, and every request and response in every version served. Decoders borrow from the input,
//! never panic, never index unchecked and never allocate by a length that the input does not cover.
//!
//! Each message is described once, field by field, with the versions that have it; both directions follow from that.
//! Sources: Apache Kafka's protocol guide, and the KIPs that the files name.
//!
//! # Layout
//! - [`wire`]: the cursor and the types that everything below is built from
//! - [`message`]: how a message is described
//! - [`frame`]: cutting the byte stream into frames; headers of requests and responses
//! - [`api`]: the table of what is served, and any request or response by its key
//! - [`error_code`]: the numbers of errors
//! - `sample`: any message, made of bytes, for tests and fuzzing
//! - [`consumer_protocol`]: what consumers put into the opaque bytes of JoinGroup and SyncGroup
//! - one file per API key:
//!   - records: [`produce`], [`fetch`], [`list_offsets`], [`offset_for_leader_epoch`], [`delete_records`]
//!   - the cluster: [`api_versions`], [`metadata`], [`describe_cluster`], [`describe_topic_partitions`], [`describe_quorum`],
//!     [`update_features`], [`describe_log_dirs`], [`alter_replica_log_dirs`]
//!   - login: [`sasl_handshake`], [`sasl_authenticate`]
//!   - groups: [`find_coordinator`], [`join_group`], [`sync_group`], [`heartbeat`], [`leave_group`], [`offset_commit`],
//!     [`offset_fetch`], [`offset_delete`], [`list_groups`], [`describe_groups`], [`delete_groups`]
//!   - transactions: [`init_producer_id`], [`add_partitions_to_txn`], [`add_offsets_to_txn`], [`txn_offset_commit`],
//!     [`end_txn`], [`describe_producers`], [`describe_transactions`], [`list_transactions`]
//!   - topics: [`create_topics`], [`delete_topics`], [`create_partitions`], [`elect_leaders`],
//!     [`alter_partition_reassignments`], [`list_partition_reassignments`]
//!   - settings: [`describe_configs`], [`alter_configs`], [`incremental_alter_configs`], [`list_config_resources`],
//!     [`describe_client_quotas`]

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api;
pub mod api_versions;
pub mod consumer_protocol;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod elect_leaders;
pub mod end_txn;
pub mod error_code;
pub mod fetch;
pub mod find_coordinator;
pub mod frame;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod message;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
#[cfg(any(test, feature = "sample"))]
#[allow(clippy::indexing_slicing)]
pub mod sample;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod update_features;
pub mod wire;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests;

pub use api::{ApiKey, Request, Response};
pub use frame::{FrameError, RequestHeader, Split};
pub use message::Message;
pub use wire::{DecodeError, Reader, Uuid, Version};
