//! Which job carries out which request.

use super::job::{Here, Job};
use super::{committed, configs, groups, membership, metadata, offsets, placement, topics, transactions};
use crate::codec::{Request, RequestHeader};

/// The job for a request. Those without one are answered, or carried out, by the session itself.
pub(super) fn job(request: &Request<'_>, header: &RequestHeader<'_>, here: &Here<'_>) -> Option<Box<dyn Job>> {
    let (version, node_id) = (here.version, here.options.node_id);
    Some(match request {
        Request::Metadata(request) => Box::new(metadata::metadata(request, version)),
        Request::DescribeTopicPartitions(request) => Box::new(metadata::page(request)),
        Request::ListOffsets(request) => Box::new(offsets::list_offsets(request, version)),
        Request::OffsetForLeaderEpoch(request) => Box::new(offsets::epoch_ends(request)),
        Request::DeleteRecords(request) => Box::new(offsets::delete_records(request)),
        Request::JoinGroup(request) => Box::new(membership::join(request, header.client_id, &here.ends.client_host, version)),
        Request::SyncGroup(request) => Box::new(membership::sync(request)),
        Request::Heartbeat(request) => Box::new(membership::heartbeat(request)),
        Request::LeaveGroup(request) => Box::new(membership::leave(request, version)),
        Request::DescribeGroups(request) => Box::new(groups::describe(request)),
        Request::ListGroups(request) => Box::new(groups::list(request)),
        Request::DeleteGroups(request) => Box::new(groups::delete(request)),
        Request::OffsetCommit(request) => Box::new(committed::commit(request)),
        Request::TxnOffsetCommit(request) => Box::new(committed::commit_in_transaction(request, version)),
        Request::OffsetFetch(request) => Box::new(committed::fetch(request, version)),
        Request::OffsetDelete(request) => Box::new(committed::delete(request)),
        Request::InitProducerId(request) => Box::new(transactions::init_producer(request, version)),
        Request::AddPartitionsToTxn(request) => Box::new(transactions::add_partitions(request, version)),
        Request::AddOffsetsToTxn(request) => Box::new(transactions::add_group(request, version)),
        Request::EndTxn(request) => Box::new(transactions::end(request, version)),
        Request::DescribeProducers(request) => Box::new(transactions::describe_producers(request)),
        Request::DescribeTransactions(request) => Box::new(transactions::describe(request)),
        Request::ListTransactions(request) => Box::new(transactions::list(request)),
        Request::CreateTopics(request) => Box::new(topics::create(request, node_id)),
        Request::DeleteTopics(request) => Box::new(topics::delete(request, version)),
        Request::CreatePartitions(request) => Box::new(topics::grow(request, node_id)),
        Request::DescribeConfigs(request) => Box::new(configs::describe(request, here)),
        Request::AlterConfigs(request) => Box::new(configs::replace(request, node_id)),
        Request::IncrementalAlterConfigs(request) => Box::new(configs::change(request, node_id)),
        Request::ListConfigResources(request) => Box::new(configs::Resources::new(request, version, node_id)),
        Request::AlterReplicaLogDirs(request) => Box::new(placement::move_between_directories(request)),
        Request::DescribeLogDirs(request) => Box::new(placement::LogDirs::new(request)),
        Request::ElectLeaders(request) => Box::new(placement::elect(request)),
        Request::AlterPartitionReassignments(request) => Box::new(placement::reassign(request, node_id)),
        Request::Produce(_)
        | Request::Fetch(_)
        | Request::ApiVersions(_)
        | Request::SaslHandshake(_)
        | Request::SaslAuthenticate(_)
        | Request::DescribeCluster(_)
        | Request::DescribeQuorum(_)
        | Request::UpdateFeatures(_)
        | Request::DescribeClientQuotas(_)
        | Request::FindCoordinator(_)
        | Request::ListPartitionReassignments(_) => return None,
    })
}
