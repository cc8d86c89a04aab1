//! What the cluster is: keys 18 ApiVersions, 57 UpdateFeatures, 60 DescribeCluster, 55 DescribeQuorum, 10 FindCoordinator,
//! 48 DescribeClientQuotas. There is one broker, which does all, and nobody has a quota.

use super::job::Here;
use crate::codec::error_code::{
    INVALID_REQUEST, INVALID_UPDATE_VERSION, MISMATCHED_ENDPOINT_TYPE, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_ENDPOINT_TYPE,
    UNSUPPORTED_VERSION,
};
use crate::codec::{
    ApiKey, Message as _, api_versions, describe_client_quotas, describe_cluster, describe_quorum, find_coordinator,
    update_features,
};

/// Bits of the operations that a client may ask about, which are all allowed.
/// Source: Apache Kafka, `AclOperation`: read 3, write 4, create 5, delete 6, alter 7, describe 8, cluster action 9,
/// describe configs 10, alter configs 11, idempotent write 12.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Operations that were not asked about.
pub(super) const NOT_ASKED: i32 = i32::MIN;

/// The feature by which clients know that transactions may be of the second kind (KIP-890).
const TRANSACTIONS: &str = "transaction.version";
const TRANSACTIONS_LEVEL: i16 = 2;
/// Features never change while a broker runs.
const FEATURES_EPOCH: i64 = 0;
/// The first version that may say that a feature begins at level 0 (KAFKA-17011).
const FEATURE_FROM_0: i16 = 4;

fn api_version(key: ApiKey) -> api_versions::ApiVersion {
    let versions = key.advertised();
    api_versions::ApiVersion { api_key: key.number(), min_version: *versions.start(), max_version: *versions.end() }
}

/// Key 18. Anybody may ask, before login too.
pub(super) fn api_versions(request: &api_versions::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    if here.version >= 3 && !(is_software(request.client_software_name) && is_software(request.client_software_version)) {
        let response = api_versions::Response { error_code: INVALID_REQUEST, ..Default::default() };
        return response.encode(out, here.version);
    }
    let min_version = if here.version >= FEATURE_FROM_0 { 0 } else { 1 };
    let response = api_versions::Response {
        api_keys: ApiKey::ALL.iter().copied().map(api_version).collect(),
        supported_features: vec![api_versions::SupportedFeature {
            name: TRANSACTIONS,
            min_version,
            max_version: TRANSACTIONS_LEVEL,
        }],
        finalized_features_epoch: FEATURES_EPOCH,
        finalized_features: vec![api_versions::FinalizedFeature {
            name: TRANSACTIONS,
            max_version_level: TRANSACTIONS_LEVEL,
            min_version_level: TRANSACTIONS_LEVEL,
        }],
        ..Default::default()
    };
    response.encode(out, here.version);
}

/// The answer to a version that is not known: in version 0, with what is known of ApiVersions itself (KIP-511).
pub(super) fn api_versions_unknown(out: &mut Vec<u8>) {
    let api_keys = vec![api_version(ApiKey::ApiVersions)];
    api_versions::Response { error_code: UNSUPPORTED_VERSION, api_keys, ..Default::default() }.encode(out, 0);
}

/// `^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`
fn is_software(name: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    ends(name.as_bytes().first()) && ends(name.as_bytes().last()) && name.bytes().all(inner)
}

/// Key 57. What the cluster has stays as it is: to ask for that is no error, to ask for anything else is one.
pub(super) fn update_features(request: &update_features::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let refusal = request.feature_updates.iter().find_map(refused_update);
    let error_code = if refusal.is_some() { INVALID_UPDATE_VERSION } else { 0 };
    let error_message = refusal.as_deref();
    let told = request.feature_updates.iter().filter(|_| here.version < UPDATES_WITHOUT_RESULTS);
    // One that is refused refuses all.
    let results =
        told.map(|update| update_features::Outcome { feature: update.feature, error_code, error_message: None }).collect();
    update_features::Response { error_code, error_message, results, ..Default::default() }.encode(out, here.version);
}

const UPDATES_WITHOUT_RESULTS: i16 = 2;

/// What is wrong with an update of a feature, if anything.
fn refused_update(update: &update_features::Update<'_>) -> Option<String> {
    let (level, name) = (update.max_version_level, quoted(update.feature));
    let why = match name {
        TRANSACTIONS if level == TRANSACTIONS_LEVEL => return None,
        TRANSACTIONS if (0..TRANSACTIONS_LEVEL).contains(&level) => {
            format!("This broker stays at level {TRANSACTIONS_LEVEL}.")
        }
        TRANSACTIONS => format!("Local controller only supports versions 0-{TRANSACTIONS_LEVEL}."),
        _ => "Local controller does not support this feature.".to_owned(),
    };
    Some(format!("Invalid update version {level} for feature {name}. {why}"))
}

/// A name as an error text repeats it: not longer than any real one.
fn quoted(name: &str) -> &str {
    const QUOTED_BYTES_MAX: usize = 100;
    name.get(..name.floor_char_boundary(QUOTED_BYTES_MAX)).unwrap_or_default()
}

const METADATA: &str = "__cluster_metadata";

/// Key 55. The one voter for the metadata is this broker. It keeps them in its journal, not in a topic: the log that Kafka's
/// tools ask about is empty.
pub(super) fn describe_quorum(request: &describe_quorum::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let node_id = here.options.node_id;
    let partition = |topic_name: &str, index| {
        if topic_name != METADATA || index != 0 {
            let error_code = UNKNOWN_TOPIC_OR_PARTITION;
            return describe_quorum::Partition { partition_index: index, error_code, ..Default::default() };
        }
        let voter = describe_quorum::Replica {
            replica_id: node_id,
            last_fetch_timestamp: here.now.wall_ms.cast_signed(),
            last_caught_up_timestamp: here.now.wall_ms.cast_signed(),
            ..Default::default()
        };
        describe_quorum::Partition {
            partition_index: index,
            leader_id: node_id,
            current_voters: vec![voter],
            ..Default::default()
        }
    };
    let topics = request.topics.iter().map(|topic| describe_quorum::Topic {
        topic_name: topic.topic_name,
        partitions: topic.partitions.iter().map(|asked| partition(topic.topic_name, asked.partition_index)).collect(),
    });
    let listener = describe_quorum::Listener { name: LISTENER, host: &here.ends.host, port: here.ends.port };
    let nodes = vec![describe_quorum::Node { node_id, listeners: vec![listener] }];
    describe_quorum::Response { topics: topics.collect(), nodes, ..Default::default() }.encode(out, here.version);
}

/// What Kafka calls a listener that speaks without TLS.
pub(super) const LISTENER: &str = "PLAINTEXT";

const ANY_NAME: i8 = 2;

/// Key 48. There are no quotas, whatever is asked for, but the question must be one.
pub(super) fn describe_client_quotas(request: &describe_client_quotas::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let mut response = describe_client_quotas::Response { entries: Some(Vec::new()), ..Default::default() };
    let wrong = |component: &describe_client_quotas::Component<'_>| {
        component.entity_type.is_empty() || !(0..=ANY_NAME).contains(&component.match_type)
    };
    let twice = !super::job::repeated(request.components.iter().map(|component| component.entity_type)).is_empty();
    let known = |component: &describe_client_quotas::Component<'_>| matches!(component.entity_type, "user" | "client-id" | "ip");
    if request.components.iter().any(wrong) {
        response.error_code = INVALID_REQUEST;
        response.error_message = Some("A filter needs a type of entity, and a match that is exact, default or any.");
    } else if twice {
        response.error_code = INVALID_REQUEST;
        response.error_message = Some("A type of entity cannot appear more than once in the filter.");
    } else if !request.components.iter().all(known) {
        response.error_code = UNSUPPORTED_VERSION;
        response.error_message = Some("Custom entity types are not supported.");
    }
    if response.error_code != 0 {
        response.entries = None;
    }
    response.encode(out, here.version);
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Key 60. Controllers are asked for at their own door, which this is not.
pub(super) fn describe_cluster(request: &describe_cluster::Request, here: &Here<'_>, out: &mut Vec<u8>) {
    let node_id = here.options.node_id;
    let mut response = describe_cluster::Response {
        endpoint_type: BROKERS,
        cluster_id: &here.options.cluster_id,
        controller_id: node_id,
        ..Default::default()
    };
    match request.endpoint_type {
        BROKERS => {
            let port = here.ends.port.into();
            response.brokers =
                vec![describe_cluster::Broker { broker_id: node_id, host: &here.ends.host, port, ..Default::default() }];
            if request.include_cluster_authorized_operations {
                response.cluster_authorized_operations = CLUSTER_OPERATIONS;
            }
        }
        other => {
            response.error_code = if other == CONTROLLERS { MISMATCHED_ENDPOINT_TYPE } else { UNSUPPORTED_ENDPOINT_TYPE };
            response.error_message = Some("The request was sent to an endpoint of type BROKER.");
        }
    }
    response.encode(out, here.version);
}

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// The first version with several keys.
const SEVERAL_KEYS: i16 = 4;

/// Key 10. Share groups, the third kind of key, are not served.
pub(super) fn find_coordinator(request: &find_coordinator::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let known = matches!(request.key_type, GROUP | TRANSACTION);
    let (node_id, host, port) =
        if known { (here.options.node_id, here.ends.host.as_str(), here.ends.port.into()) } else { (-1, "", -1) };
    let error_code = if known { 0 } else { INVALID_REQUEST };
    let coordinator = |key| find_coordinator::Coordinator { key, node_id, host, port, error_code, error_message: None };
    let response = if here.version < SEVERAL_KEYS {
        find_coordinator::Response { error_code, node_id, host, port, ..Default::default() }
    } else {
        let coordinators = request.coordinator_keys.iter().copied().map(coordinator).collect();
        find_coordinator::Response { coordinators, ..Default::default() }
    };
    response.encode(out, here.version);
}
