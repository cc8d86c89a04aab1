//! What the cluster is: keys 18 ApiVersions, 60 DescribeCluster, 10 FindCoordinator. There is one broker, which does all.

use super::job::Here;
use crate::codec::error_code::{INVALID_REQUEST, MISMATCHED_ENDPOINT_TYPE, UNSUPPORTED_ENDPOINT_TYPE, UNSUPPORTED_VERSION};
use crate::codec::{ApiKey, Message as _, api_versions, describe_cluster, find_coordinator};

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
