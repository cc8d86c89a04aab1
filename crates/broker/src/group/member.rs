//! One member of a group.

use std::sync::Arc;

use bytes::Bytes;
use model::SessionId;
use model::group::{JoinGroup, JoinedMember, MemberInfo};

use crate::catalog::group::{Hex, RecordedMember};

/// A name of the member's in an entry of the catalog takes so many bytes for each of its own, at worst (JSON's `\u0000`).
const NAME_FACTOR: usize = 6;
/// As `NAME_FACTOR`, for what is written in hexadecimal digits.
const BLOB_FACTOR: usize = 2;
/// What else an entry of the catalog says of a member, in bytes.
const MEMBER_OVERHEAD_BYTES: usize = 512;

/// The protocols a member can follow, each with what it has to say to the leader; the preferred first.
pub(crate) type Protocols = Vec<(Arc<str>, Bytes)>;

pub(crate) struct Member {
    pub id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    pub protocols: Protocols,
    pub assignment: Bytes,
    /// Takes part in the next generation; whose request is to be answered then.
    pub joining: Option<SessionId>,
    /// Whose request waits for the leader's assignment.
    pub syncing: Option<SessionId>,
    /// Has not been in a generation yet.
    pub new: bool,
    /// The client knows the id, or a name that leads to it.
    pub told: bool,
    /// Has not asked for its assignment in this generation.
    pub to_sync: bool,
    /// Given up when it has not been heard of by then, in mono ms.
    pub expires_at: u64,
}

impl Member {
    pub fn new(id: Arc<str>, join: &JoinGroup<'_>, session: SessionId, expires_at: u64) -> Member {
        let mut member = Member {
            id,
            instance_id: join.instance_id.map(Arc::from),
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            new: true,
            told: !join.member_id.is_empty() || join.instance_id.is_some(),
            to_sync: false,
            expires_at,
        };
        member.update(join);
        member.joining = Some(session);
        member
    }

    /// Take over what the member says of itself now.
    pub fn update(&mut self, join: &JoinGroup<'_>) {
        self.client_id = join.client_id.into();
        self.client_host = join.client_host.into();
        self.session_timeout_ms = join.session_timeout_ms.max(0) as u64;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms.max(0) as u64;
        self.protocols =
            join.protocols.iter().map(|(name, metadata)| (Arc::from(*name), Bytes::copy_from_slice(metadata))).collect();
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| &**name == protocol)
    }

    /// Whether the member says nothing new.
    pub fn says(&self, protocols: &[(&str, &[u8])]) -> bool {
        let said = self.protocols.iter().map(|(name, metadata)| (&**name, &**metadata));
        said.eq(protocols.iter().copied())
    }

    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| &**name == protocol).map(|(_, metadata)| metadata)
    }

    /// Whether nothing is expected of it: it waits for an answer. (One that is new may have gone away without
    /// anybody's noticing, so it must ask again after a while.)
    pub fn rests(&self) -> bool {
        !self.new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub fn heard_of(&mut self, now_ms: u64) {
        self.expires_at = now_ms + self.session_timeout_ms;
    }

    /// What the member takes in an entry of the catalog at most; about what it takes in memory.
    pub fn bytes(&self) -> usize {
        let instance = self.instance_id.as_ref().map_or(0, |name| name.len());
        let names = self.id.len() + instance + self.client_id.len() + self.client_host.len();
        let protocols = self.protocols.iter().map(|(name, _)| name.len()).sum::<usize>();
        let blobs = self.protocols.iter().map(|(_, metadata)| metadata.len()).sum::<usize>() + self.assignment.len();
        written_bytes(names + protocols, blobs)
    }

    /// As it stands in an entry of the catalog.
    pub fn recorded(&self) -> RecordedMember {
        RecordedMember {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols: self.protocols.iter().map(|(name, metadata)| (name.clone(), Hex(metadata.clone()))).collect(),
            assignment: Hex(self.assignment.clone()),
        }
    }

    /// The member as it was; it is not given up before somebody says when.
    pub fn restore(recorded: &RecordedMember) -> Member {
        Member {
            id: recorded.id.clone(),
            instance_id: recorded.instance_id.clone(),
            client_id: recorded.client_id.clone(),
            client_host: recorded.client_host.clone(),
            session_timeout_ms: recorded.session_timeout_ms,
            rebalance_timeout_ms: recorded.rebalance_timeout_ms,
            protocols: recorded.protocols.iter().map(|(name, metadata)| (name.clone(), metadata.0.clone())).collect(),
            assignment: recorded.assignment.0.clone(),
            joining: None,
            syncing: None,
            new: false,
            told: true,
            to_sync: false,
            expires_at: u64::MAX,
        }
    }

    /// As the leader sees it.
    pub fn joined(&self, protocol: &str) -> JoinedMember {
        JoinedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            metadata: self.metadata(protocol).cloned().unwrap_or_default(),
        }
    }

    /// As people see it; `protocol`: the one the group follows, where it has settled.
    pub fn info(&self, protocol: Option<&str>) -> MemberInfo {
        MemberInfo {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: protocol.and_then(|protocol| self.metadata(protocol)).cloned().unwrap_or_default(),
            assignment: if protocol.is_some() { self.assignment.clone() } else { Bytes::new() },
        }
    }
}

fn written_bytes(names: usize, blobs: usize) -> usize {
    names * NAME_FACTOR + blobs * BLOB_FACTOR + MEMBER_OVERHEAD_BYTES
}

/// What who joins will take; see [`Member::bytes`].
pub(crate) fn recorded_bytes(join: &JoinGroup<'_>) -> usize {
    // The id is made of one of these names.
    let names = join.client_id.len().max(join.instance_id.map_or(0, str::len)) * 2 + join.client_host.len();
    let protocols = join.protocols.iter().map(|(name, _)| name.len()).sum::<usize>();
    let blobs = join.protocols.iter().map(|(_, metadata)| metadata.len()).sum::<usize>();
    written_bytes(names + protocols, blobs)
}
