//! Members of groups: keys 11 JoinGroup, 14 SyncGroup, 12 Heartbeat, 13 LeaveGroup.

use model::group::{JoinGroup, Joined, Membership, SyncGroup, Synced};
use model::{Failure, Reply, Request};

use super::errors::{MISMATCH, member_code};
use super::job::{Answer, Each, Here, Item};
use crate::codec::error_code::{INVALID_GROUP_ID, MEMBER_ID_REQUIRED};
use crate::codec::{Message as _, heartbeat, join_group, leave_group, sync_group};

/// Who speaks.
struct Member {
    group: Box<str>,
    generation: i32,
    id: Box<str>,
    instance_id: Option<Box<str>>,
}

impl Member {
    fn new(group: &str, generation: i32, id: &str, instance_id: Option<&str>) -> Member {
        Member { group: group.into(), generation, id: id.into(), instance_id: instance_id.map(Box::from) }
    }

    fn membership(&self) -> Membership<'_> {
        Membership {
            group: &self.group,
            generation: self.generation,
            member_id: &self.id,
            instance_id: self.instance_id.as_deref(),
        }
    }
}

/// The first version in which a new member is told its id before it joins (KIP-394).
const ID_FIRST: i16 = 4;
/// The first version in which the leader may be told to assign nothing (KIP-814).
const MAY_SKIP: i16 = 9;

/// A member that joins.
pub(super) struct Joining {
    member: Member,
    client_id: Box<str>,
    client_host: Box<str>,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    protocol_type: Box<str>,
    protocols: Vec<(Box<str>, Box<[u8]>)>,
    version: i16,
    told: Option<Result<Box<Joined>, i16>>,
}

/// Key 11.
pub(super) fn join(request: &join_group::Request<'_>, client_id: Option<&str>, client_host: &str, version: i16) -> Each<Joining> {
    let rebalance_timeout_ms = if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    let joining = Joining {
        member: Member::new(request.group_id, -1, request.member_id, request.group_instance_id),
        client_id: client_id.unwrap_or_default().into(),
        // As Kafka's tools show it.
        client_host: format!("/{client_host}").into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.into(),
        protocols: request.protocols.iter().map(|protocol| (protocol.name.into(), protocol.metadata.into())).collect(),
        version,
        told: None,
    };
    Each::of([joining], tell_joined)
}

impl Item for Joining {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::JoinGroup(JoinGroup {
            group: &self.member.group,
            member_id: &self.member.id,
            instance_id: self.member.instance_id.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocol_type: &self.protocol_type,
            protocols: self.protocols.iter().map(|(name, metadata)| (&**name, &**metadata)).collect(),
            require_member_id: self.version >= ID_FIRST,
            may_skip_assignment: self.version >= MAY_SKIP,
        })
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Joined(joined)) => Ok(joined),
            Ok(_) => Err(MISMATCH),
            Err(Failure::MemberIdRequired { member_id }) => {
                self.member.id = (*member_id).into();
                Err(MEMBER_ID_REQUIRED)
            }
            Err(failure) => Err(member_code(&failure)),
        });
    }
}

fn tell_joined(joining: &Each<Joining>, here: &Here<'_>, out: &mut Vec<u8>) {
    for item in joining.items() {
        let response = match &item.told {
            Some(Ok(joined)) => join_group::Response {
                generation_id: joined.generation,
                protocol_type: Some(&joined.protocol_type),
                protocol_name: Some(&joined.protocol),
                leader: &joined.leader,
                skip_assignment: joined.skip_assignment,
                member_id: &joined.member_id,
                members: joined
                    .members
                    .iter()
                    .map(|member| join_group::Member {
                        member_id: &member.member_id,
                        group_instance_id: member.instance_id.as_deref(),
                        metadata: &member.metadata,
                    })
                    .collect(),
                ..Default::default()
            },
            refused => {
                let error_code = refused.as_ref().and_then(|told| told.as_ref().err()).copied().unwrap_or(MISMATCH);
                join_group::Response { error_code, member_id: &item.member.id, ..Default::default() }
            }
        };
        response.encode(out, here.version);
    }
}

/// A member that wants its assignment, or the leader that hands in all.
pub(super) struct Syncing {
    member: Member,
    protocol_type: Option<Box<str>>,
    protocol: Option<Box<str>>,
    assignments: Vec<(Box<str>, Box<[u8]>)>,
    told: Option<Result<Synced, i16>>,
}

/// Key 14.
pub(super) fn sync(request: &sync_group::Request<'_>) -> Each<Syncing> {
    let assignments = request.assignments.iter();
    let syncing = Syncing {
        member: Member::new(request.group_id, request.generation_id, request.member_id, request.group_instance_id),
        protocol_type: request.protocol_type.map(Box::from),
        protocol: request.protocol_name.map(Box::from),
        assignments: assignments.map(|assignment| (assignment.member_id.into(), assignment.assignment.into())).collect(),
        told: None,
    };
    Each::of([syncing], tell_synced)
}

impl Item for Syncing {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::SyncGroup(SyncGroup {
            member: self.member.membership(),
            protocol_type: self.protocol_type.as_deref(),
            protocol: self.protocol.as_deref(),
            assignments: self.assignments.iter().map(|(member, assignment)| (&**member, &**assignment)).collect(),
        })
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Synced(synced)) => Ok(synced),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(member_code(&failure)),
        });
    }
}

fn tell_synced(syncing: &Each<Syncing>, here: &Here<'_>, out: &mut Vec<u8>) {
    for item in syncing.items() {
        let response = match &item.told {
            Some(Ok(synced)) => sync_group::Response {
                protocol_type: Some(&synced.protocol_type),
                protocol_name: Some(&synced.protocol),
                assignment: &synced.assignment,
                ..Default::default()
            },
            Some(Err(error_code)) => sync_group::Response { error_code: *error_code, ..Default::default() },
            None => sync_group::Response { error_code: MISMATCH, ..Default::default() },
        };
        response.encode(out, here.version);
    }
}

/// A member that is alive.
pub(super) struct Alive {
    member: Member,
    told: Option<i16>,
}

/// Key 12.
pub(super) fn heartbeat(request: &heartbeat::Request<'_>) -> Each<Alive> {
    let member = Member::new(request.group_id, request.generation_id, request.member_id, request.group_instance_id);
    Each::of([Alive { member, told: None }], |alive, here, out| {
        for item in alive.items() {
            let error_code = item.told.unwrap_or(MISMATCH);
            heartbeat::Response { error_code, ..Default::default() }.encode(out, here.version);
        }
    })
}

impl Item for Alive {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::HeartbeatGroup(self.member.membership())
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map_or_else(|failure| member_code(&failure), |_| 0));
    }
}

/// A member that leaves.
pub(super) struct Leaving {
    member: Member,
    told: Option<i16>,
}

/// The first version that names several members.
const SEVERAL_MEMBERS: i16 = 3;

/// Key 13.
pub(super) fn leave(request: &leave_group::Request<'_>, version: i16) -> Each<Leaving> {
    let leaving =
        |id: &str, instance_id: Option<&str>| Leaving { member: Member::new(request.group_id, -1, id, instance_id), told: None };
    let leaving: Vec<Leaving> = if version < SEVERAL_MEMBERS {
        vec![leaving(request.member_id, None)]
    } else {
        request.members.iter().map(|member| leaving(member.member_id, member.group_instance_id)).collect()
    };
    Each::of(leaving, tell_left)
}

impl Item for Leaving {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::LeaveGroup(self.member.membership())
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map_or_else(|failure| member_code(&failure), |_| 0));
    }
}

fn tell_left(leaving: &Each<Leaving>, here: &Here<'_>, out: &mut Vec<u8>) {
    let codes = || leaving.items().iter().map(|item| item.told.unwrap_or(MISMATCH));
    let of_all = |code: &i16| here.version < SEVERAL_MEMBERS || *code == INVALID_GROUP_ID;
    let error_code = codes().find(of_all).unwrap_or(0);
    let member = |(item, error_code): (_, i16)| {
        let Leaving { member, .. }: &Leaving = item;
        leave_group::Member { member_id: &member.id, group_instance_id: member.instance_id.as_deref(), error_code }
    };
    let members = if error_code == 0 { leaving.items().iter().zip(codes()).map(member).collect() } else { Vec::new() };
    leave_group::Response { error_code, members, ..Default::default() }.encode(out, here.version);
}
