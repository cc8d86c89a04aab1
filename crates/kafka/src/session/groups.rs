//! Groups as people see them: keys 15 DescribeGroups, 16 ListGroups, 42 DeleteGroups.

use std::collections::HashSet;

use model::group::{GroupInfo, GroupState};
use model::{Reply, Request};

use super::cluster::{GROUP_OPERATIONS, NOT_ASKED};
use super::errors::{self, MISMATCH};
use super::job::{Answer, Each, Here, Item, distinct};
use crate::codec::error_code::GROUP_ID_NOT_FOUND;
use crate::codec::{Message as _, delete_groups, describe_groups, list_groups};

/// All groups here follow the protocol in which members assign (KIP-848 calls it so).
const CLASSIC: &str = "classic";
/// The first version in which a group that is not there is an error.
const MISSING_IS_AN_ERROR: i16 = 6;

/// A group that is asked about.
pub(super) struct Described {
    name: Box<str>,
    operations: i32,
    told: Option<Result<Vec<GroupInfo>, i16>>,
}

/// Key 15.
pub(super) fn describe(request: &describe_groups::Request<'_>) -> Each<Described> {
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { NOT_ASKED };
    let described = |name: &&str| Described { name: (*name).into(), operations, told: None };
    Each::of(distinct(&request.groups).map(described), tell_described)
}

impl Item for Described {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeGroups { group: Some(&self.name) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Groups(groups)) => Ok(groups),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_described(described: &Each<Described>, here: &Here<'_>, out: &mut Vec<u8>) {
    let group = |item| {
        let Described { name, operations, told }: &Described = item;
        let (group_id, authorized_operations) = (&**name, *operations);
        let found = match told {
            Some(Ok(groups)) => groups.first(),
            Some(Err(error_code)) => {
                return describe_groups::Group { error_code: *error_code, group_id, ..Default::default() };
            }
            None => None,
        };
        match found {
            Some(group) if group.state != GroupState::Dead => describe_groups::Group {
                group_id,
                group_state: group.state.name(),
                protocol_type: &group.protocol_type,
                protocol_data: &group.protocol,
                members: members(group),
                authorized_operations,
                ..Default::default()
            },
            _ => {
                let missing = here.version >= MISSING_IS_AN_ERROR;
                describe_groups::Group {
                    error_code: if missing { GROUP_ID_NOT_FOUND } else { 0 },
                    error_message: missing.then_some("The group id does not exist."),
                    group_id,
                    group_state: GroupState::Dead.name(),
                    authorized_operations,
                    ..Default::default()
                }
            }
        }
    };
    let groups = described.items().iter().map(group).collect();
    describe_groups::Response { groups, ..Default::default() }.encode(out, here.version);
}

fn members(group: &GroupInfo) -> Vec<describe_groups::Member<'_>> {
    let members = group.members.iter().map(|member| describe_groups::Member {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: &member.metadata,
        member_assignment: &member.assignment,
    });
    members.collect()
}

/// The groups that fit.
pub(super) struct Listed {
    // Sets, in lower case: a client may name a million, and there may be many groups.
    states: HashSet<String>,
    types: HashSet<String>,
    told: Option<Result<Vec<GroupInfo>, i16>>,
}

/// Key 16. Filters do not care about case.
pub(super) fn list(request: &list_groups::Request<'_>) -> Each<Listed> {
    let owned = |filter: &[&str]| filter.iter().map(|text| text.to_ascii_lowercase()).collect();
    let listed = Listed { states: owned(&request.states_filter), types: owned(&request.types_filter), told: None };
    Each::of([listed], tell_listed)
}

impl Item for Listed {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeGroups { group: None }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Groups(groups)) => Ok(groups),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_listed(listed: &Each<Listed>, here: &Here<'_>, out: &mut Vec<u8>) {
    let passes = |filter: &HashSet<String>, name: &str| filter.is_empty() || filter.contains(&name.to_ascii_lowercase());
    let mut response = list_groups::Response::default();
    for item in listed.items() {
        match &item.told {
            Some(Ok(groups)) => {
                let fits = |group: &&GroupInfo| passes(&item.states, group.state.name()) && passes(&item.types, CLASSIC);
                response.groups.extend(groups.iter().filter(fits).map(|group| list_groups::Group {
                    group_id: &group.group,
                    protocol_type: &group.protocol_type,
                    group_state: group.state.name(),
                    group_type: CLASSIC,
                }));
            }
            Some(Err(error_code)) => response.error_code = *error_code,
            None => response.error_code = MISMATCH,
        }
    }
    response.encode(out, here.version);
}

/// A group that is to go.
pub(super) struct Doomed {
    name: Box<str>,
    told: Option<i16>,
}

/// Key 42.
pub(super) fn delete(request: &delete_groups::Request<'_>) -> Each<Doomed> {
    Each::of(request.groups.iter().map(|name| Doomed { name: (*name).into(), told: None }), |doomed, here, out| {
        let group = |item| {
            let Doomed { name, told }: &Doomed = item;
            delete_groups::Group { group_id: name, error_code: told.unwrap_or(MISMATCH) }
        };
        let groups = doomed.items().iter().map(group).collect();
        delete_groups::Response { groups, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for Doomed {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DeleteGroup { group: &self.name }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map_or_else(|failure| errors::code(&failure), |_| 0));
    }
}
