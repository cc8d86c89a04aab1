//! Consumer groups: members that share out partitions among themselves, and the offsets they have committed.
//!
//! A group's members, its generation and its offsets outlive a restart: each change of them is an entry of the catalog,
//! and [`Groups::apply`] is the one fold, live and at recovery. What waits for an answer does not.
//!
//! # Layout
//! - this file: which groups there are, their time-outs, and the answers that wait
//! - [`requests`]: what is asked of them
//! - [`rebalance`]: one group: who is a member, of which generation
//! - [`member`]: one member
//! - [`offsets`]: what a group has committed

mod member;
mod offsets;
mod rebalance;
pub(crate) mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::planted::{self, Bug};
use model::{Event, Failure, Lsn, Now, Reply, SessionId, limits};

use crate::broker::{Broker, Sink};
use crate::catalog::Entry;
use crate::catalog::group::RecordedOffset;
use rebalance::{Answer, Effects, Group};

/// Groups whose offsets are looked at in one call, when those that expired are looked for.
const SWEEP_GROUPS: usize = 256;
/// Groups whose time-outs are looked at in one call. Few in tests, so that there are several.
const TIMED_GROUPS: usize = if cfg!(test) { 4 } else { 1024 };
/// What a group takes in memory beside its members and offsets, about, in bytes.
const GROUP_OVERHEAD_BYTES: usize = 1024;

/// How groups behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shortest session time-out that a member may ask for (`group.min.session.timeout.ms`).
    pub session_timeout_min_ms: i32,
    /// The longest (`group.max.session.timeout.ms`).
    pub session_timeout_max_ms: i32,
    /// How long a group that was empty waits for more members (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay_ms: u64,
    /// Members of a group (`group.max.size`), but no more than [`limits::GROUP_MEMBERS_MAX`].
    pub members_max: usize,
    /// How long the offsets of an empty group are kept (`offsets.retention.minutes`, in milliseconds).
    pub retention_ms: u64,
    /// How often those that expired are looked for (`offsets.retention.check.interval.ms`).
    pub retention_check_ms: u64,
    /// Largest text that is kept with an offset, in bytes (`offset.metadata.max.bytes`).
    pub metadata_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: limits::GROUP_MEMBERS_MAX,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_check_ms: 600_000,
            metadata_bytes_max: 4096,
        }
    }
}

/// All groups. They belong to the virtual host `/`.
#[derive(Default)]
pub(crate) struct Groups {
    groups: BTreeMap<Arc<str>, Group>,
    holders: Holders,
    /// When groups want to be looked at: (mono ms, group).
    timers: BTreeSet<(u64, Arc<str>)>,
    /// Answers to be handed out.
    answers: Vec<(SessionId, Result<Reply, Failure>)>,
    /// Answers that wait until what they say is durable; at most one for each session.
    held: BTreeMap<(Lsn, SessionId), Result<Reply, Failure>>,
    /// What all groups take in memory, about.
    bytes: usize,
    next_sweep_ms: u64,
    /// The last group that was looked at, where a sweep goes on.
    swept: Option<Arc<str>>,
}

/// The groups that have committed something of a topic, or will with a transaction. Invariant: those for which
/// [`offsets::Offsets::holds`] says so, and no others.
#[derive(Default)]
struct Holders(HashMap<Arc<str>, BTreeSet<Arc<str>>, RandomState>);

impl Holders {
    fn insert(&mut self, topic: &Arc<str>, group: &Arc<str>) {
        self.0.entry(topic.clone()).or_default().insert(group.clone());
    }

    fn remove(&mut self, topic: &str, group: &str) {
        let Some(groups) = self.0.get_mut(topic) else { return };
        groups.remove(group);
        if groups.is_empty() {
            self.0.remove(topic);
        }
    }
}

impl Groups {
    /// The group of that name; made where there is none.
    ///
    /// # Errors
    /// `LimitReached`.
    fn get_or_make(&mut self, name: &Arc<str>, now: Now) -> Result<&mut Group, Failure> {
        if self.bytes > limits::GROUPS_BYTES_MAX {
            return Err(Failure::LimitReached(format!("groups take {} bytes, the limit", limits::GROUPS_BYTES_MAX)));
        }
        if self.groups.len() >= limits::GROUPS_MAX && !self.groups.contains_key(name) {
            return Err(Failure::LimitReached(format!("this broker holds {} groups, its limit", limits::GROUPS_MAX)));
        }
        Ok(self.groups.entry(name.clone()).or_insert_with(|| Group::new(now.wall_ms)))
    }

    /// Take in an entry of the catalog; one that is not about groups is handed back.
    pub fn apply(&mut self, entry: Entry) -> Option<Entry> {
        match entry {
            Entry::Group(generation) => {
                let group = self.groups.entry(generation.group.clone()).or_insert_with(|| Group::new(generation.at_ms));
                group.restore(*generation);
            }
            Entry::LeaveGroup { group, member } => {
                if let Some(group) = self.groups.get_mut(&*group) {
                    group.forget_recorded(&member);
                }
            }
            Entry::CommitOffsets(commit) => {
                let group = self.groups.entry(commit.group.clone()).or_insert_with(|| Group::new(commit.at_ms));
                for RecordedOffset(topic, ..) in &commit.offsets {
                    if !group.offsets.holds(topic) {
                        self.holders.insert(topic, &commit.group);
                    }
                }
                group.offsets.commit(&commit);
            }
            Entry::DeleteOffsets { group: name, offsets } => {
                if let Some(group) = self.groups.get_mut(&*name) {
                    for (topic, partition) in &offsets {
                        group.offsets.delete(topic, *partition);
                        if !group.offsets.holds(topic) {
                            self.holders.remove(topic, &name);
                        }
                    }
                }
            }
            Entry::DeleteGroup { group } => self.remove(&group),
            other => return Some(other),
        }
        None
    }

    /// A producer's transaction has ended: what it committed for the group counts from now on, or is dropped. That is safe
    /// from `at` on. This follows from the entry that ends the transaction, live and at recovery.
    pub fn end_transaction(&mut self, name: &str, producer_id: i64, commit: bool, at: Lsn) {
        if let Some(group) = self.groups.get_mut(name)
            && let Some(topics) = group.offsets.end_transaction(producer_id, commit)
        {
            for topic in topics.iter().filter(|topic| !group.offsets.holds(topic)) {
                self.holders.remove(topic, name);
            }
            group.committed_at = at;
            recount(&mut self.bytes, group);
        }
    }

    /// A topic is gone, and the offsets in it. This follows from the entry that deletes it, live and at recovery.
    pub fn topic_deleted(&mut self, topic: &str) {
        for name in self.holders.0.remove(topic).unwrap_or_default() {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            group.offsets.topic_deleted(topic);
            recount(&mut self.bytes, group);
        }
    }

    fn remove(&mut self, name: &str) {
        let Some(group) = self.groups.remove(name) else { return };
        self.bytes -= group.counted;
        group.offsets.topics().for_each(|topic| self.holders.remove(topic, name));
        if let Some(at) = group.scheduled {
            self.timers.remove(&(at, name.into()));
        }
    }

    /// The entries that would make what is durable of all groups afresh.
    pub fn snapshot(&self, entries: &mut Vec<Entry>) {
        for (name, group) in &self.groups {
            entries.extend(group.recorded.clone().map(Entry::Group));
            entries.extend(group.offsets.snapshot(name).into_iter().map(|commit| Entry::CommitOffsets(Box::new(commit))));
        }
    }

    /// All groups are as recovery has found them; count them, and from now on wait for their members.
    pub fn start(&mut self, now: Now) {
        let names: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for name in names {
            if let Some(group) = self.groups.get_mut(&name) {
                group.start(now);
            }
            self.schedule(&name);
        }
        self.next_sweep_ms = now.mono_ms;
    }

    /// A group's members have changed: note what it takes, and when it wants to be looked at. One that nothing is lost with goes.
    fn schedule(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.recorded.is_none() && group.is_vacant() {
            self.remove(name);
            return;
        }
        group.counted_members = group.member_bytes();
        recount(&mut self.bytes, group);
        let next = group.poll_timeout();
        if next != group.scheduled {
            if let Some(at) = group.scheduled {
                self.timers.remove(&(at, name.clone()));
            }
            group.scheduled = next;
            self.timers.extend(next.map(|at| (at, name.clone())));
        }
    }

    /// Answer once everything before `at` is durable.
    fn answer(&mut self, session: SessionId, result: Result<Reply, Failure>, at: Lsn, durable: Lsn) {
        if at <= durable {
            self.answers.push((session, result));
        } else {
            self.held.insert((at, session), result);
        }
    }

    /// When [`Broker::tick_groups`] wants to be called, in [`Now::mono_ms`].
    pub fn poll_timeout(&self) -> Option<u64> {
        let sweep = (!self.groups.is_empty()).then_some(self.next_sweep_ms);
        self.timers.first().map(|(at, _)| *at).into_iter().chain(sweep).min()
    }

    /// Whether there are answers to be handed out at once.
    pub fn busy(&self) -> bool {
        !self.answers.is_empty()
    }
}

/// The group's offsets, or its members, have changed.
fn recount(bytes: &mut usize, group: &mut Group) {
    let now = GROUP_OVERHEAD_BYTES + group.counted_members + group.offsets.bytes();
    *bytes = *bytes + now - group.counted;
    group.counted = now;
}

impl Broker {
    /// Enter a change of a group into the catalog, and make it.
    fn change_group(&mut self, entry: Entry) -> Lsn {
        let forgotten = planted::is(Bug::OffsetsNotRecorded) && matches!(entry, Entry::CommitOffsets(_));
        let at = if forgotten { self.store.appended() } else { self.record(&entry) };
        self.groups.apply(entry);
        at
    }

    /// Do what a call of the group leads to.
    fn finish_group(&mut self, name: &Arc<str>, out: Effects, now: Now) {
        if out.record
            && let Some(group) = self.groups.groups.get_mut(name)
        {
            let generation = Box::new(group.generation(name, now.wall_ms));
            group.recorded = Some(generation.clone());
            let forgotten = planted::is(Bug::GenerationNotRecorded);
            let at = if forgotten { self.store.appended() } else { self.record(&Entry::Group(generation)) };
            if let Some(group) = self.groups.groups.get_mut(name) {
                group.recorded_at = at;
            }
        }
        let recorded_at = self.groups.groups.get(name).map_or(Lsn(0), |group| group.recorded_at);
        let durable = self.store.durable();
        for Answer { session, result, durable: held } in out.answers {
            self.groups.answer(session, result, if held { recorded_at } else { Lsn(0) }, durable);
        }
        self.groups.schedule(name);
    }

    /// Hand out the answers that are due.
    pub(crate) fn answer_groups(&mut self, sink: &mut impl Sink) {
        let durable = self.store.durable();
        while let Some(first) = self.groups.held.first_entry()
            && first.key().0 <= durable
        {
            let ((_, session), result) = first.remove_entry();
            self.groups.answers.push((session, result));
        }
        for (session, result) in self.groups.answers.drain(..) {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.group = None;
            }
            sink.send(session, result.map_or_else(Event::Failed, Event::Reply));
        }
    }

    /// Time has passed: members may be gone, waits over, offsets expired.
    pub(crate) fn tick_groups(&mut self, now: Now) {
        let mut due = Vec::new();
        while due.len() < TIMED_GROUPS
            && let Some((at, _)) = self.groups.timers.first()
            && *at <= now.mono_ms
        {
            due.extend(self.groups.timers.pop_first().map(|(_, name)| name));
        }
        for name in due {
            let Some(group) = self.groups.groups.get_mut(&name) else { continue };
            group.scheduled = None;
            let mut out = Effects::default();
            group.timeout(&self.options.groups, now, &mut out);
            self.finish_group(&name, out, now);
        }
        if now.mono_ms >= self.groups.next_sweep_ms {
            self.sweep_groups(now);
        }
    }

    /// Forget the offsets that expired, and empty groups that have none left.
    fn sweep_groups(&mut self, now: Now) {
        let from = self.groups.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<Arc<str>> =
            self.groups.groups.range((from, Bound::Unbounded)).map(|(name, _)| name.clone()).take(SWEEP_GROUPS).collect();
        for name in &next {
            let Some(group) = self.groups.groups.get(name) else { continue };
            let expired = group.expired(self.options.groups.retention_ms, now.wall_ms);
            if !expired.is_empty() {
                tracing::info!(
                    group = model::limits::for_the_log(name),
                    offsets = expired.len(),
                    "offsets expired: nobody has used them for long"
                );
                self.delete_recorded(name, expired);
            }
            if self.groups.groups.get(name).is_some_and(Group::is_vacant) {
                self.change_group(Entry::DeleteGroup { group: name.clone() });
            }
            self.groups.schedule(name);
        }
        let rest = next.len() == SWEEP_GROUPS;
        self.groups.swept = next.into_iter().last().filter(|_| rest);
        self.groups.next_sweep_ms = now.mono_ms + if rest { 0 } else { self.options.groups.retention_check_ms };
    }

    /// A connection that may have waited for a group's answer is gone.
    pub(crate) fn forget_waiting(&mut self, session: SessionId, name: &Arc<str>, now: Now) {
        let Some(group) = self.groups.groups.get_mut(name) else { return };
        let mut out = Effects::default();
        group.disconnected(session, &self.options.groups, now, &mut out);
        self.finish_group(name, out, now);
    }

    /// Readers of the group's offsets must not be told what a crash would undo.
    fn note_committed(&mut self, name: &Arc<str>, at: Lsn) {
        if let Some(group) = self.groups.groups.get_mut(name) {
            group.committed_at = at;
            recount(&mut self.groups.bytes, group);
        }
    }
}
