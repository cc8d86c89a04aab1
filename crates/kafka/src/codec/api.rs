//! The table of what is served, and any request or response by its key.

use std::ops::RangeInclusive;

use super::message::Message;
use super::wire::{DecodeError, Reader};
use super::*;

macro_rules! apis {
    ($($name:ident = $number:literal ($served:expr) $request:ty => $response:ty;)*) => {
        /// An API that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $number,)*
        }

        impl ApiKey {
            /// Every one, by number.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            /// The API with this number on the wire.
            #[must_use]
            pub fn of(number: i16) -> Option<ApiKey> {
                match number {
                    $($number => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// As Kafka writes it: `OffsetForLeaderEpoch`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions that are served.
            #[must_use]
            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $served,)*
                }
            }
        }

        /// A request, borrowed from its frame.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request<'a> {
            $($name($request),)*
        }

        impl<'a> Request<'a> {
            /// Read what follows a request's header.
            ///
            /// # Errors
            /// [`DecodeError`] where the version is not known or the bytes are malformed.
            pub fn decode(key: ApiKey, reader: &mut Reader<'a>, version: i16) -> Result<Request<'a>, DecodeError> {
                match key {
                    $(ApiKey::$name => <$request>::decode(reader, version).map(Request::$name),)*
                }
            }

            /// Append it.
            pub fn encode(&self, out: &mut Vec<u8>, version: i16) {
                match self {
                    $(Request::$name(request) => request.encode(out, version),)*
                }
            }

            #[must_use]
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Request::$name(_) => ApiKey::$name,)*
                }
            }

            fn flexible(key: ApiKey) -> i16 {
                match key {
                    $(ApiKey::$name => <$request>::FLEXIBLE,)*
                }
            }
        }

        /// A response, borrowed from its frame.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response<'a> {
            $($name($response),)*
        }

        impl<'a> Response<'a> {
            /// Read what follows a response's header.
            ///
            /// # Errors
            /// [`DecodeError`] where the version is not known or the bytes are malformed.
            pub fn decode(key: ApiKey, reader: &mut Reader<'a>, version: i16) -> Result<Response<'a>, DecodeError> {
                match key {
                    $(ApiKey::$name => <$response>::decode(reader, version).map(Response::$name),)*
                }
            }

            /// Append it.
            pub fn encode(&self, out: &mut Vec<u8>, version: i16) {
                match self {
                    $(Response::$name(response) => response.encode(out, version),)*
                }
            }

            #[must_use]
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Response::$name(_) => ApiKey::$name,)*
                }
            }
        }

        $(
            /// An answer of that kind; any other is handed back.
            impl<'a> TryFrom<Response<'a>> for $response {
                type Error = Response<'a>;

                fn try_from(response: Response<'a>) -> Result<Self, Response<'a>> {
                    match response {
                        Response::$name(response) => Ok(response),
                        other => Err(other),
                    }
                }
            }
        )*

        #[cfg(any(test, feature = "sample"))]
        impl<'a> sample::SampleApi<'a> for Request<'a> {
            fn sample(key: ApiKey, source: &mut sample::Source<'a>, version: i16) -> Request<'a> {
                match key {
                    $(ApiKey::$name => Request::$name(sample::Sample::sample(source, <$request>::version(version))),)*
                }
            }
            fn known(key: ApiKey) -> (RangeInclusive<i16>, i16) {
                match key {
                    $(ApiKey::$name => (<$request>::VERSIONS, <$request>::FLEXIBLE),)*
                }
            }
        }

        #[cfg(any(test, feature = "sample"))]
        impl<'a> sample::SampleApi<'a> for Response<'a> {
            fn sample(key: ApiKey, source: &mut sample::Source<'a>, version: i16) -> Response<'a> {
                match key {
                    $(ApiKey::$name => Response::$name(sample::Sample::sample(source, <$response>::version(version))),)*
                }
            }
            fn known(key: ApiKey) -> (RangeInclusive<i16>, i16) {
                match key {
                    $(ApiKey::$name => (<$response>::VERSIONS, <$response>::FLEXIBLE),)*
                }
            }
        }
    };
}

// Name, key, versions served.
apis! {
    Produce = 0 (3..=12) produce::Request<'a> => produce::Response<'a>;
    Fetch = 1 (4..=18) fetch::Request<'a> => fetch::Response<'a>;
    ListOffsets = 2 (1..=10) list_offsets::Request<'a> => list_offsets::Response<'a>;
    Metadata = 3 (0..=13) metadata::Request<'a> => metadata::Response<'a>;
    OffsetCommit = 8 (2..=9) offset_commit::Request<'a> => offset_commit::Response<'a>;
    OffsetFetch = 9 (1..=9) offset_fetch::Request<'a> => offset_fetch::Response<'a>;
    FindCoordinator = 10 (0..=6) find_coordinator::Request<'a> => find_coordinator::Response<'a>;
    JoinGroup = 11 (0..=9) join_group::Request<'a> => join_group::Response<'a>;
    Heartbeat = 12 (0..=4) heartbeat::Request<'a> => heartbeat::Response;
    LeaveGroup = 13 (0..=5) leave_group::Request<'a> => leave_group::Response<'a>;
    SyncGroup = 14 (0..=5) sync_group::Request<'a> => sync_group::Response<'a>;
    DescribeGroups = 15 (0..=6) describe_groups::Request<'a> => describe_groups::Response<'a>;
    ListGroups = 16 (0..=5) list_groups::Request<'a> => list_groups::Response<'a>;
    SaslHandshake = 17 (0..=1) sasl_handshake::Request<'a> => sasl_handshake::Response<'a>;
    ApiVersions = 18 (0..=4) api_versions::Request<'a> => api_versions::Response<'a>;
    CreateTopics = 19 (2..=7) create_topics::Request<'a> => create_topics::Response<'a>;
    DeleteTopics = 20 (1..=6) delete_topics::Request<'a> => delete_topics::Response<'a>;
    DeleteRecords = 21 (0..=2) delete_records::Request<'a> => delete_records::Response<'a>;
    InitProducerId = 22 (0..=5) init_producer_id::Request<'a> => init_producer_id::Response;
    OffsetForLeaderEpoch = 23 (2..=4) offset_for_leader_epoch::Request<'a> => offset_for_leader_epoch::Response<'a>;
    AddPartitionsToTxn = 24 (0..=3) add_partitions_to_txn::Request<'a> => add_partitions_to_txn::Response<'a>;
    AddOffsetsToTxn = 25 (0..=4) add_offsets_to_txn::Request<'a> => add_offsets_to_txn::Response;
    EndTxn = 26 (0..=5) end_txn::Request<'a> => end_txn::Response;
    TxnOffsetCommit = 28 (0..=5) txn_offset_commit::Request<'a> => txn_offset_commit::Response<'a>;
    DescribeConfigs = 32 (1..=4) describe_configs::Request<'a> => describe_configs::Response<'a>;
    AlterConfigs = 33 (0..=2) alter_configs::Request<'a> => alter_configs::Response<'a>;
    AlterReplicaLogDirs = 34 (1..=2) alter_replica_log_dirs::Request<'a> => alter_replica_log_dirs::Response<'a>;
    DescribeLogDirs = 35 (1..=4) describe_log_dirs::Request<'a> => describe_log_dirs::Response<'a>;
    SaslAuthenticate = 36 (0..=2) sasl_authenticate::Request<'a> => sasl_authenticate::Response<'a>;
    CreatePartitions = 37 (0..=3) create_partitions::Request<'a> => create_partitions::Response<'a>;
    DeleteGroups = 42 (0..=2) delete_groups::Request<'a> => delete_groups::Response<'a>;
    ElectLeaders = 43 (0..=2) elect_leaders::Request<'a> => elect_leaders::Response<'a>;
    IncrementalAlterConfigs = 44 (0..=1) incremental_alter_configs::Request<'a> => incremental_alter_configs::Response<'a>;
    AlterPartitionReassignments = 45 (0..=1) alter_partition_reassignments::Request<'a> => alter_partition_reassignments::Response<'a>;
    ListPartitionReassignments = 46 (0..=0) list_partition_reassignments::Request<'a> => list_partition_reassignments::Response<'a>;
    OffsetDelete = 47 (0..=0) offset_delete::Request<'a> => offset_delete::Response<'a>;
    DescribeClientQuotas = 48 (0..=1) describe_client_quotas::Request<'a> => describe_client_quotas::Response<'a>;
    DescribeQuorum = 55 (0..=2) describe_quorum::Request<'a> => describe_quorum::Response<'a>;
    UpdateFeatures = 57 (0..=2) update_features::Request<'a> => update_features::Response<'a>;
    DescribeCluster = 60 (0..=2) describe_cluster::Request => describe_cluster::Response<'a>;
    DescribeProducers = 61 (0..=0) describe_producers::Request<'a> => describe_producers::Response<'a>;
    DescribeTransactions = 65 (0..=0) describe_transactions::Request<'a> => describe_transactions::Response<'a>;
    ListTransactions = 66 (0..=1) list_transactions::Request<'a> => list_transactions::Response<'a>;
    ListConfigResources = 74 (0..=1) list_config_resources::Request => list_config_resources::Response<'a>;
    DescribeTopicPartitions = 75 (0..=0) describe_topic_partitions::Request<'a> => describe_topic_partitions::Response<'a>;
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The versions to name in ApiVersions: those served, but Produce from 0 on. librdkafka takes a broker without
    /// Produce 0 for one that knows no compression (KAFKA-18659).
    #[must_use]
    pub fn advertised(self) -> RangeInclusive<i16> {
        let versions = self.versions();
        if self == ApiKey::Produce { 0..=*versions.end() } else { versions }
    }

    /// Whether this version has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// The first version with compact lengths and tagged fields; `i16::MAX` where there is none.
    #[must_use]
    pub fn first_flexible(self) -> i16 {
        Request::flexible(self)
    }
}
