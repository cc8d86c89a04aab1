//! One group: who is a member, of which generation, and who waits for what.
//!
//! ```text
//!            join             all joined, or time is up        the leader hands in the assignment
//!   Empty ─────────> Preparing ─────────────────> Completing ──────────────────> Stable
//!     ^                │  ^  ^                        │                            │
//!     └────────────────┘  │  └────────────────────────┘                            │
//!      nobody is left     └────────────────────────────────────────────────────────┘
//!                            somebody joins, leaves or is not heard of any more
//! ```
//! It behaves as Kafka's coordinator of classic groups (KIP-62, 134, 345, 394, 814).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use model::group::{GroupInfo, GroupState, JoinGroup, Joined, Membership, SyncGroup, Synced};
use model::{Failure, LogFailure, Lsn, Now, Reply, SessionId, limits};

use super::Options;
use super::member::{self, Member};
use super::offsets::Offsets;
use crate::catalog::group::Generation;

/// A member that is new and waits for its first generation must ask again after so long: its client may have gone away.
const NEW_MEMBER_MS: u64 = 5 * 60 * 1000;
/// How often it is seen, at least, whether one of those who have not joined has: those who are absent by their static names.
const STATIC_WAIT_MS: u64 = 1000;
/// The protocol type of those who consume topics: their metadata says which.
const CONSUMER: &str = "consumer";

/// What a call leads to.
#[derive(Default)]
pub(crate) struct Effects {
    /// The group, as it is now, must survive a restart.
    pub record: bool,
    pub answers: Vec<Answer>,
}

/// The answer to a request that has waited, or not.
pub(crate) struct Answer {
    pub session: SessionId,
    pub result: Result<Reply, Failure>,
    /// Not before the group as it is now is durable.
    pub durable: bool,
}

impl Effects {
    fn fail(&mut self, session: Option<SessionId>, failure: LogFailure) {
        if let Some(session) = session {
            self.answers.push(Answer { session, result: Err(failure.into()), durable: false });
        }
    }

    fn reply(&mut self, session: SessionId, reply: Reply, durable: bool) {
        self.answers.push(Answer { session, result: Ok(reply), durable });
    }
}

/// The first wait of a group that was empty: more members are likely to come.
#[derive(Default)]
struct FirstWait {
    /// Somebody came meanwhile: wait on.
    grew: bool,
    /// It may be prolonged by so much.
    left_ms: u64,
}

pub(crate) struct Group {
    pub state: GroupState,
    generation: i32,
    pub protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    /// In an order that is the same in every run of a simulation.
    pub members: BTreeMap<Arc<str>, Member>,
    /// Static members' names.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and not joined with yet, and until when they may be, in mono ms.
    promised: BTreeMap<Arc<str>, u64>,
    /// When waiting ends for members to join, or to ask for their assignments; in mono ms.
    deadline: Option<u64>,
    /// Only in `PreparingRebalance`, after `Empty`.
    first_wait: Option<FirstWait>,
    /// In wall ms.
    pub empty_since_ms: u64,
    /// The last entry of the catalog about the members.
    pub recorded: Option<Box<Generation>>,
    /// Behind that entry.
    pub recorded_at: Lsn,
    /// Behind the last entry about offsets.
    pub committed_at: Lsn,
    pub offsets: Offsets,
    /// When the group wants to be looked at, as it stands in [`super::Groups`].
    pub scheduled: Option<u64>,
    /// Bytes counted for the group in [`super::Groups`], and those of them that are its members'.
    pub counted: usize,
    pub counted_members: usize,
}

impl Group {
    pub fn new(now_wall_ms: u64) -> Group {
        Group {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeMap::new(),
            deadline: None,
            first_wait: None,
            empty_since_ms: now_wall_ms,
            recorded: None,
            recorded_at: Lsn(0),
            committed_at: Lsn(0),
            offsets: Offsets::default(),
            scheduled: None,
            counted: 0,
            counted_members: 0,
        }
    }

    /// Whether nothing is lost with it.
    pub fn is_vacant(&self) -> bool {
        self.state == GroupState::Empty && self.promised.is_empty() && self.offsets.is_empty()
    }

    /// What its members take, in bytes, at most (see [`Member::bytes`]).
    pub fn member_bytes(&self) -> usize {
        let promised: usize = self.promised.keys().map(|id| id.len()).sum();
        promised + self.members.values().map(Member::bytes).sum::<usize>()
    }

    /// Become a member, or take part in the next generation. `id`: the member's, or one made for it. The answer is among
    /// the effects, now or later.
    ///
    /// # Errors
    /// Those of [`LogFailure`]; [`Failure::MemberIdRequired`].
    pub fn join(
        &mut self,
        session: SessionId,
        join: &JoinGroup<'_>,
        id: &Arc<str>,
        options: &Options,
        now: Now,
        out: &mut Effects,
    ) -> Result<(), Failure> {
        if !self.has_room(join, options) {
            self.promised.remove(id);
            self.remove(id, options, now, out);
            return Err(LogFailure::GroupFull.into());
        }
        if !self.fits(join) {
            return Err(LogFailure::InconsistentProtocol.into());
        }
        if join.member_id.is_empty() {
            let standing = join.instance_id.and_then(|instance| self.instances.get(instance)).cloned();
            if let Some(old) = standing {
                self.replace(session, join, &old, id, options, now, out);
            } else if join.require_member_id && join.instance_id.is_none() {
                self.promised.insert(id.clone(), now.mono_ms + join.session_timeout_ms.max(0) as u64);
                return Err(Failure::MemberIdRequired { member_id: id.clone() });
            } else {
                self.add(session, join, id, options, now, out);
            }
        } else if join.instance_id.is_none() && self.promised.remove(id).is_some() {
            self.add(session, join, id, options, now, out);
        } else {
            self.check_member(id, join.instance_id)?;
            self.rejoin(session, join, id, options, now, out);
        }
        self.complete_if_all_joined(now, out);
        Ok(())
    }

    fn has_room(&self, join: &JoinGroup<'_>, options: &Options) -> bool {
        let max = options.members_max.min(limits::GROUP_MEMBERS_MAX);
        let standing = self.members.get(join.member_id);
        let room = match self.state {
            GroupState::Empty | GroupState::Dead => true,
            // Those who have not joined again are dropped.
            GroupState::PreparingRebalance => {
                let joining = self.members.values().filter(|member| member.joining.is_some()).count();
                standing.is_some_and(|member| member.joining.is_some()) || joining < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => standing.is_some() || self.members.len() < max,
        };
        let others = self.member_bytes() - standing.map_or(0, Member::bytes);
        room && self.promised.len() < limits::GROUP_MEMBERS_MAX
            && others + member::recorded_bytes(join) <= limits::GROUP_BYTES_MAX
    }

    /// Whether there is a protocol that everybody can follow.
    fn fits(&self, join: &JoinGroup<'_>) -> bool {
        if self.state == GroupState::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let known_to_all = |protocol: &str| self.members.values().all(|member| member.supports(protocol));
        self.protocol_type.as_deref() == Some(join.protocol_type) && join.protocols.iter().any(|(name, _)| known_to_all(name))
    }

    /// Whether there is such a member, and it is not another one's turn to bear its name.
    ///
    /// # Errors
    /// `UnknownMember`, `FencedInstance`.
    fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), LogFailure> {
        if let Some(instance) = instance_id {
            let bearer = self.instances.get(instance).ok_or(LogFailure::UnknownMember)?;
            if &**bearer != id {
                return Err(LogFailure::FencedInstance);
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(LogFailure::UnknownMember) }
    }

    fn check_generation(&self, member: &Membership<'_>) -> Result<(), LogFailure> {
        self.check_member(member.member_id, member.instance_id)?;
        if member.generation == self.generation { Ok(()) } else { Err(LogFailure::IllegalGeneration) }
    }

    fn add(&mut self, session: SessionId, join: &JoinGroup<'_>, id: &Arc<str>, options: &Options, now: Now, out: &mut Effects) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.into());
        }
        if self.generation == 0
            && let Some(first_wait) = &mut self.first_wait
        {
            first_wait.grew = true;
        }
        let member = Member::new(id.clone(), join, session, now.mono_ms + NEW_MEMBER_MS);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id.clone(), member);
        self.rebalance(options, now, out);
    }

    /// A member joins again.
    fn rejoin(&mut self, session: SessionId, join: &JoinGroup<'_>, id: &str, options: &Options, now: Now, out: &mut Effects) {
        let leads = self.leader.as_deref() == Some(id);
        let Some(member) = self.members.get_mut(id) else { return };
        let changed = !member.says(&join.protocols);
        let again = match self.state {
            GroupState::CompletingRebalance => changed,
            // The leader may know of changes that are not in anybody's metadata.
            GroupState::Stable => changed || leads,
            _ => true,
        };
        if !again {
            // It may not have got the answer to its first request.
            let joined = self.joined(id, leads && self.state == GroupState::CompletingRebalance);
            out.reply(session, joined, false);
            return;
        }
        member.update(join);
        // A client that asks again on another connection has given the first one up.
        let before = member.joining.replace(session).filter(|before| *before != session);
        out.fail(before, LogFailure::RebalanceInProgress);
        self.rebalance(options, now, out);
    }

    /// A static member is back and has forgotten its id: it goes on where it was, under a new one.
    #[expect(clippy::too_many_arguments, reason = "as `join`, and the old id")]
    fn replace(
        &mut self,
        session: SessionId,
        join: &JoinGroup<'_>,
        old: &str,
        id: &Arc<str>,
        options: &Options,
        now: Now,
        out: &mut Effects,
    ) {
        let leader = self.leader.clone();
        let Some(mut member) = self.members.remove(old) else { return };
        out.fail(member.joining.take(), LogFailure::FencedInstance);
        out.fail(member.syncing.take(), LogFailure::FencedInstance);
        member.id = id.clone();
        member.update(join);
        member.heard_of(now.mono_ms);
        member.joining = Some(session);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), member);
        if leader.as_deref() == Some(old) {
            self.leader = Some(id.clone());
        }
        if self.state != GroupState::Stable || self.protocol != self.vote() {
            // Before the assignment is made, the leader knows it by its old id.
            self.rebalance(options, now, out);
            return;
        }
        // The assignment stands. A leader must not make another, which nobody would ask for: it is either told so, or
        // told that somebody else leads.
        let leads = self.leader.as_ref() == Some(id);
        let mut joined = self.joined(id, leads && join.may_skip_assignment);
        if let Reply::Joined(joined) = &mut joined {
            if join.may_skip_assignment {
                joined.skip_assignment = leads;
            } else {
                joined.leader = leader.unwrap_or_default();
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.joining = None;
        }
        out.record = true;
        out.reply(session, joined, true);
    }

    /// Begin a rebalance, unless there is one.
    fn rebalance(&mut self, options: &Options, now: Now, out: &mut Effects) {
        if matches!(self.state, GroupState::PreparingRebalance | GroupState::Dead) {
            return;
        }
        if self.state == GroupState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(session) = member.syncing.take() {
                    out.fail(Some(session), LogFailure::RebalanceInProgress);
                    member.heard_of(now.mono_ms);
                }
            }
        }
        let timeout = self.rebalance_timeout_ms();
        let wait = if self.state == GroupState::Empty {
            let delay = options.initial_rebalance_delay_ms;
            self.first_wait = Some(FirstWait { grew: false, left_ms: timeout.saturating_sub(delay) });
            delay
        } else {
            timeout
        };
        self.deadline = Some(now.mono_ms + wait);
        self.state = GroupState::PreparingRebalance;
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn complete_if_all_joined(&mut self, now: Now, out: &mut Effects) {
        if self.state == GroupState::PreparingRebalance
            && self.first_wait.is_none()
            && self.promised.is_empty()
            && self.members.values().all(|member| member.joining.is_some())
        {
            self.complete_join(now, out);
        }
    }

    /// Whoever wanted to join has, or has had the time.
    fn complete_join(&mut self, now: Now, out: &mut Effects) {
        let late = |member: &&Member| member.joining.is_none() && member.instance_id.is_none();
        let late: Vec<Arc<str>> = self.members.values().filter(late).map(|member| member.id.clone()).collect();
        for id in late {
            self.take(&id, out);
        }
        self.first_wait = None;
        if !self.elect() {
            // Only static members are left, none of which has joined: wait until they do, or their sessions end.
            self.deadline = Some(now.mono_ms + self.rebalance_timeout_ms().max(STATIC_WAIT_MS));
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.empty_since_ms = now.wall_ms;
            self.protocol = None;
            self.deadline = None;
            out.record = true;
            return;
        }
        self.protocol = self.vote();
        self.state = GroupState::CompletingRebalance;
        self.deadline = Some(now.mono_ms + self.rebalance_timeout_ms());
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let reply = self.joined(&id, self.leader.as_ref() == Some(&id));
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.heard_of(now.mono_ms);
            member.new = false;
            member.told = true;
            member.to_sync = true;
            if let Some(session) = member.joining.take() {
                out.reply(session, reply, false);
            }
        }
    }

    /// See that the leader is one that has joined. False: nobody has.
    fn elect(&mut self) -> bool {
        let joins = |member: &Member| member.joining.is_some();
        if self.members.is_empty() || self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(joins) {
            return true;
        }
        let Some(member) = self.members.values().find(|member| joins(member)) else { return false };
        self.leader = Some(member.id.clone());
        true
    }

    /// The protocol that all can follow and most prefer.
    fn vote(&self) -> Option<Arc<str>> {
        let known_to_all = |name: &&Arc<str>| self.members.values().all(|member| member.supports(name));
        let first = self.members.values().next()?;
        let mut candidates: Vec<(&Arc<str>, usize)> =
            first.protocols.iter().map(|(name, _)| name).filter(known_to_all).map(|name| (name, 0)).collect();
        for member in self.members.values() {
            let preferred =
                member.protocols.iter().find_map(|(name, _)| candidates.iter().position(|(candidate, _)| *candidate == name));
            if let Some(at) = preferred {
                candidates[at].1 += 1;
            }
        }
        // Of those with the same number of votes, the first.
        candidates.into_iter().rev().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.clone())
    }

    fn joined(&self, id: &str, with_members: bool) -> Reply {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if with_members { &self.members } else { &BTreeMap::new() };
        Reply::Joined(Box::new(Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.into(),
            skip_assignment: false,
            members: members.values().map(|member| member.joined(&protocol)).collect(),
            protocol,
        }))
    }

    /// Hand in the assignment, or ask for one's own. The answer is among the effects, now or later.
    ///
    /// # Errors
    /// Those of [`LogFailure`].
    pub fn sync(&mut self, session: SessionId, sync: &SyncGroup<'_>, now: Now, out: &mut Effects) -> Result<(), Failure> {
        self.check_generation(&sync.member)?;
        let differs = |said: Option<&str>, own: &Option<Arc<str>>| said.is_some() && said != own.as_deref();
        if differs(sync.protocol_type, &self.protocol_type) || differs(sync.protocol, &self.protocol) {
            return Err(LogFailure::InconsistentProtocol.into());
        }
        let id = sync.member.member_id;
        let leads = self.leader.as_deref() == Some(id);
        match self.state {
            GroupState::Empty | GroupState::Dead => return Err(LogFailure::UnknownMember.into()),
            GroupState::PreparingRebalance => return Err(LogFailure::RebalanceInProgress.into()),
            GroupState::CompletingRebalance => {
                let assigned: usize = sync.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
                if leads && self.member_bytes() + assigned * 2 > limits::GROUP_BYTES_MAX {
                    let text = format!("the assignments of a group may take {} bytes", limits::GROUP_BYTES_MAX);
                    return Err(Failure::LimitReached(text));
                }
                if let Some(member) = self.members.get_mut(id) {
                    member.to_sync = false;
                    let before = member.syncing.replace(session).filter(|before| *before != session);
                    out.fail(before, LogFailure::RebalanceInProgress);
                }
                if leads {
                    self.assign(&sync.assignments, now, out);
                }
            }
            GroupState::Stable => {
                let reply = self.synced(id);
                if let Some(member) = self.members.get_mut(id) {
                    member.to_sync = false;
                    member.heard_of(now.mono_ms);
                }
                out.reply(session, reply, true);
            }
        }
        if self.members.values().all(|member| !member.to_sync) {
            self.deadline = None;
        }
        Ok(())
    }

    fn assign(&mut self, assignments: &[(&str, &[u8])], now: Now, out: &mut Effects) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(*id) {
                member.assignment = Bytes::copy_from_slice(assignment);
            }
        }
        self.state = GroupState::Stable;
        out.record = true;
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let reply = self.synced(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Some(session) = member.syncing.take() {
                member.heard_of(now.mono_ms);
                out.reply(session, reply, true);
            }
        }
    }

    fn synced(&self, id: &str) -> Reply {
        Reply::Synced(Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        })
    }

    /// A member is alive.
    ///
    /// # Errors
    /// `RebalanceInProgress` tells it to join again; others that it is no member.
    pub fn heartbeat(&mut self, member: &Membership<'_>, now: Now) -> Result<(), LogFailure> {
        self.check_generation(member)?;
        self.heard_of(member.member_id, now);
        match self.state {
            GroupState::PreparingRebalance => Err(LogFailure::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn heard_of(&mut self, id: &str, now: Now) {
        if let Some(member) = self.members.get_mut(id) {
            member.heard_of(now.mono_ms);
        }
    }

    /// A member goes, or is sent away by its static name. Returns its id.
    ///
    /// # Errors
    /// `UnknownMember`, `FencedInstance`.
    pub fn leave(
        &mut self,
        member: &Membership<'_>,
        options: &Options,
        now: Now,
        out: &mut Effects,
    ) -> Result<Arc<str>, LogFailure> {
        let mut id = Arc::from(member.member_id);
        if member.member_id.is_empty() {
            let standing = member.instance_id.and_then(|instance| self.instances.get(instance));
            id = standing.ok_or(LogFailure::UnknownMember)?.clone();
            self.remove(&id, options, now, out);
        } else if self.promised.remove(member.member_id).is_some() {
            self.complete_if_all_joined(now, out);
        } else {
            self.check_member(member.member_id, member.instance_id)?;
            self.remove(member.member_id, options, now, out);
        }
        Ok(id)
    }

    /// Whether the last entry of the catalog knows this member.
    pub fn is_recorded(&self, id: &str) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.members.iter().any(|member| &*member.id == id))
    }

    /// A member has left of which the last entry of the catalog knows. This follows from an entry too, live and at recovery.
    pub fn forget_recorded(&mut self, id: &str) {
        let Some(mut recorded) = self.recorded.take() else { return };
        recorded.members.retain(|member| &*member.id != id);
        recorded.rebalancing = true;
        if self.members.contains_key(id) {
            // Live, it would have gone before.
            self.restore(*recorded);
        } else {
            self.recorded = Some(recorded);
        }
    }

    /// The connection is gone. A member that nobody can speak for any more is none: its client waited for the answer
    /// that would have told it its id.
    pub fn disconnected(&mut self, session: SessionId, options: &Options, now: Now, out: &mut Effects) {
        let orphan = self.members.values().find(|member| member.joining == Some(session) && !member.told);
        if let Some(id) = orphan.map(|member| member.id.clone()) {
            self.remove(&id, options, now, out);
        }
    }

    fn remove(&mut self, id: &str, options: &Options, now: Now, out: &mut Effects) {
        if !self.members.contains_key(id) {
            return;
        }
        self.take(id, out);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.rebalance(options, now, out),
            _ => {}
        }
        self.complete_if_all_joined(now, out);
    }

    /// Take a member out; what it waits for is answered.
    fn take(&mut self, id: &str, out: &mut Effects) {
        let Some(mut member) = self.members.remove(id) else { return };
        out.fail(member.joining.take(), LogFailure::UnknownMember);
        out.fail(member.syncing.take(), LogFailure::UnknownMember);
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// When [`Group::timeout`] wants to be called, in mono ms.
    pub fn poll_timeout(&self) -> Option<u64> {
        let members = self.members.values().filter(|member| !member.rests()).map(|member| member.expires_at);
        self.promised.values().copied().chain(members).chain(self.deadline).min()
    }

    /// Time has passed.
    pub fn timeout(&mut self, options: &Options, now: Now, out: &mut Effects) {
        let promised = self.promised.len();
        self.promised.retain(|_, until| *until > now.mono_ms);
        if self.promised.len() < promised {
            self.complete_if_all_joined(now, out);
        }
        let expired = |member: &Member| !member.rests() && member.expires_at <= now.mono_ms;
        let silent: Vec<Arc<str>> =
            self.members.values().filter(|member| expired(member)).map(|member| member.id.clone()).collect();
        for id in silent {
            // The end of another's session may have begun something new for this one.
            if self.members.get(&id).is_some_and(expired) {
                self.remove(&id, options, now, out);
            }
        }
        if self.deadline.is_none_or(|at| at > now.mono_ms) {
            return;
        }
        self.deadline = None;
        if self.state == GroupState::PreparingRebalance {
            if let Some(first_wait) = &mut self.first_wait
                && first_wait.grew
                && first_wait.left_ms > 0
            {
                let wait = options.initial_rebalance_delay_ms.min(first_wait.left_ms);
                *first_wait = FirstWait { grew: false, left_ms: first_wait.left_ms - wait };
                self.deadline = Some(now.mono_ms + wait);
            } else {
                self.complete_join(now, out);
            }
            return;
        }
        let absent: Vec<Arc<str>> =
            self.members.values().filter(|member| member.to_sync).map(|member| member.id.clone()).collect();
        for id in &absent {
            self.take(id, out);
        }
        if !absent.is_empty() {
            self.rebalance(options, now, out);
            self.complete_if_all_joined(now, out);
        }
    }

    /// The members have their whole time to be heard of, and to join again: the broker has just been started.
    pub fn start(&mut self, now: Now) {
        if self.state == GroupState::PreparingRebalance {
            self.deadline = Some(now.mono_ms + self.rebalance_timeout_ms());
        }
        for member in self.members.values_mut() {
            member.heard_of(now.mono_ms);
        }
    }

    /// Whether offsets may be committed in this name.
    ///
    /// # Errors
    /// Those of [`LogFailure`].
    pub fn check_commit(&mut self, member: &Membership<'_>, transactional: bool, now: Now) -> Result<(), LogFailure> {
        // Not everybody who commits is a member: tools, and consumers that choose their partitions themselves.
        if member.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if member.generation >= 0 || !member.member_id.is_empty() || member.instance_id.is_some() {
            self.check_generation(member)?;
        } else if !transactional {
            return Err(LogFailure::UnknownMember);
        }
        if transactional {
            return Ok(());
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(LogFailure::RebalanceInProgress);
        }
        self.heard_of(member.member_id, now);
        Ok(())
    }

    /// The topics that the members have subscribed to; `None`: not known, or it is no group of consumers.
    pub fn subscribed(&self) -> Option<BTreeSet<&str>> {
        if !self.consumes() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(member.metadata(protocol)?)?);
        }
        Some(topics)
    }

    /// Whether its members consume topics.
    pub fn consumes(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Offsets that nobody has needed for long: (topic, partition).
    pub fn expired(&self, retention_ms: u64, now_wall_ms: u64) -> Vec<(Arc<str>, u32)> {
        let before = now_wall_ms.saturating_sub(retention_ms);
        match (self.state, &self.protocol_type) {
            (GroupState::Empty, None) => self.offsets.committed_before(before, |_| true),
            (GroupState::Empty, Some(_)) if self.empty_since_ms <= before => self.offsets.committed_before(before, |_| true),
            (GroupState::Stable, _) => match self.subscribed() {
                Some(topics) => self.offsets.committed_before(before, |topic| !topics.contains(topic)),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// As people see it.
    pub fn info(&self, name: &Arc<str>, with_members: bool) -> GroupInfo {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| stable);
        let members = if with_members { &self.members } else { &BTreeMap::new() };
        GroupInfo {
            group: name.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().filter(|_| stable).unwrap_or_default(),
            members: members.values().map(|member| member.info(protocol)).collect(),
        }
    }

    /// The entry that makes the group's members as they are now afresh.
    pub fn generation(&self, name: &Arc<str>, now_wall_ms: u64) -> Generation {
        Generation {
            group: name.clone(),
            at_ms: now_wall_ms,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.values().map(Member::recorded).collect(),
            rebalancing: false,
        }
    }

    /// Become what was recorded.
    pub fn restore(&mut self, generation: Generation) {
        self.generation = generation.generation;
        self.protocol_type.clone_from(&generation.protocol_type);
        self.protocol.clone_from(&generation.protocol);
        self.leader.clone_from(&generation.leader);
        self.members = generation.members.iter().map(Member::restore).map(|member| (member.id.clone(), member)).collect();
        let instance = |member: &Member| Some((member.instance_id.clone()?, member.id.clone()));
        self.instances = self.members.values().filter_map(instance).collect();
        self.state = match generation.rebalancing {
            _ if self.members.is_empty() => GroupState::Empty,
            true => GroupState::PreparingRebalance,
            false => GroupState::Stable,
        };
        self.empty_since_ms = generation.at_ms;
        self.recorded = Some(Box::new(generation));
    }
}

/// The topics in a consumer's metadata (Kafka's ConsumerProtocolSubscription, all versions): `version i16 | count i32 |
/// count x (length i16 | name)`, and more that does not matter here. `None`: it is something else.
fn subscribed_topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    // Every turn takes two bytes at least, whatever the count says.
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (name, behind) = behind.split_at_checked(usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
        topics.push(std::str::from_utf8(name).ok()?);
        rest = behind;
    }
    Some(topics)
}
