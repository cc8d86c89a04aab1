//! Consumer groups: members that share out partitions among themselves, and the offsets they have committed.

use std::sync::Arc;

use bytes::Bytes;

use crate::{LogFailure, Lsn};

/// Become a member, or take part in the next generation. Answered when all have.
#[derive(Clone, Debug)]
pub struct JoinGroup<'a> {
    pub group: &'a str,
    /// Empty: a new member.
    pub member_id: &'a str,
    /// A static member's name.
    pub instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: &'a str,
    /// (name, the member's metadata), the preferred first.
    pub protocols: Vec<(&'a str, &'a [u8])>,
    /// A new member is first told its id and must ask again with it.
    pub require_member_id: bool,
    /// The leader may be told not to assign again.
    pub may_skip_assignment: bool,
}

/// A generation that a member now belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub leader: Arc<str>,
    pub member_id: Arc<str>,
    /// The leader keeps the assignment that there is.
    pub skip_assignment: bool,
    /// Only for the leader.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// Who speaks, of which generation.
#[derive(Clone, Copy, Debug)]
pub struct Membership<'a> {
    pub group: &'a str,
    /// Below 0 with an empty `member_id`: nobody's member.
    pub generation: i32,
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
}

/// The leader hands in what each member gets; the others ask for theirs. Answered when the leader has.
#[derive(Clone, Debug)]
pub struct SyncGroup<'a> {
    pub member: Membership<'a>,
    pub protocol_type: Option<&'a str>,
    pub protocol: Option<&'a str>,
    /// (member id, assignment); empty unless the leader speaks.
    pub assignments: Vec<(&'a str, &'a [u8])>,
}

/// What a member was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub assignment: Bytes,
}

/// A position to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: i64,
    /// -1: not known.
    pub leader_epoch: i32,
    pub metadata: &'a str,
}

/// Remember positions. With a transaction they count once it is committed.
#[derive(Clone, Debug)]
pub struct CommitOffsets<'a> {
    pub member: Membership<'a>,
    pub transaction: Option<TransactionRef<'a>>,
    /// As in [`crate::topic::Produce::implicit`].
    pub implicit: bool,
    pub offsets: Vec<OffsetCommit<'a>>,
}

/// What became of a commit: one result for each offset, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsCommitted {
    pub results: Vec<Result<(), LogFailure>>,
    pub durable_at: Option<Lsn>,
}

/// A position that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub topic: Arc<str>,
    pub partition: u32,
    /// -1: none.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    /// A transaction that is not decided would change it, and the reader asked for what is stable.
    pub unstable: bool,
}

/// A group as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    pub group: Arc<str>,
    pub state: GroupState,
    pub protocol_type: Arc<str>,
    /// Empty unless stable.
    pub protocol: Arc<str>,
    pub members: Vec<MemberInfo>,
}

impl GroupInfo {
    /// What it takes in memory or on a wire, about.
    pub(crate) fn bytes(&self) -> usize {
        let member = |member: &MemberInfo| {
            let names = 2 * member.member_id.len() + member.client_id.len() + member.client_host.len();
            128 + names + member.metadata.len() + member.assignment.len()
        };
        96 + self.group.len() + self.members.iter().map(member).sum::<usize>()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl GroupState {
    /// The name that Kafka's tools know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A producer's transaction, as the producer names it.
#[derive(Clone, Copy, Debug)]
pub struct TransactionRef<'a> {
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub epoch: i16,
}

/// A transaction as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    pub transactional_id: Arc<str>,
    pub producer_id: i64,
    pub epoch: i16,
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// -1: none is open.
    pub started_ms: i64,
    pub partitions: Vec<(Arc<str>, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Empty,
    Ongoing,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    /// The name that Kafka's tools know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
        }
    }
}
