//! What is asked of groups: one method per request.

use std::sync::Arc;

use model::group::{CommitOffsets, GroupInfo, GroupState, JoinGroup, Membership, OffsetsCommitted, SyncGroup};
use model::planted::{self, Bug};
use model::topic::TopicRef;
use model::{Failure, LogFailure, Lsn, Now, Reply, SessionId, limits};

use super::rebalance::{Effects, Group};
use crate::broker::Broker;
use crate::catalog::Entry;
use crate::catalog::group::{Committed, RecordedOffset};

/// Commits are cut into entries of the catalog of about so many bytes.
const ENTRY_BYTES: usize = 1024 * 1024;
/// Deletions of offsets, into entries of so many.
const ENTRY_DELETIONS: usize = 4096;

fn check_name(group: &str) -> Result<(), LogFailure> {
    if group.is_empty() { Err(LogFailure::InvalidGroupId) } else { check_length(group) }
}

/// Those who only commit offsets may do so for the group without a name.
pub(crate) fn check_length(group: &str) -> Result<(), LogFailure> {
    if group.len() > limits::CLIENT_NAME_BYTES_MAX { Err(LogFailure::InvalidGroupId) } else { Ok(()) }
}

fn invalid(text: impl Into<Box<str>>) -> Failure {
    Failure::LogBecause { failure: LogFailure::InvalidRequest, text: text.into() }
}

fn check_size(join: &JoinGroup<'_>) -> Result<(), Failure> {
    if join.protocols.len() > limits::GROUP_PROTOCOLS_MAX {
        return Err(invalid(format!("a member may know {} protocols", limits::GROUP_PROTOCOLS_MAX)));
    }
    let max = limits::CLIENT_NAME_BYTES_MAX;
    let own = [join.client_id, join.client_host, join.instance_id.unwrap_or_default(), join.protocol_type];
    let protocols = join.protocols.iter().map(|(name, _)| *name);
    if own.into_iter().chain(protocols).any(|name| name.len() > max) {
        return Err(invalid(format!("a name may take {max} bytes")));
    }
    let names = join.client_id.len() + join.client_host.len() + join.instance_id.map_or(0, str::len);
    let protocols: usize = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
    if names + protocols > limits::MEMBER_BYTES_MAX {
        return Err(invalid(format!("what a member says of itself may take {} bytes", limits::MEMBER_BYTES_MAX)));
    }
    Ok(())
}

impl Broker {
    pub(crate) fn join_group(&mut self, session: SessionId, join: &JoinGroup<'_>, now: Now) -> Result<Reply, Failure> {
        check_name(join.group)?;
        check_size(join)?;
        let options = &self.options.groups;
        if !(options.session_timeout_min_ms..=options.session_timeout_max_ms).contains(&join.session_timeout_ms) {
            return Err(LogFailure::InvalidSessionTimeout.into());
        }
        let new = join.member_id.is_empty();
        if !new && !self.groups.groups.contains_key(join.group) {
            return Err(LogFailure::UnknownMember.into());
        }
        let id: Arc<str> = if new { self.make_member_id(join) } else { join.member_id.into() };
        let name: Arc<str> = join.group.into();
        let group = self.groups.get_or_make(&name, now)?;
        let mut out = Effects::default();
        let result = group.join(session, join, &id, &self.options.groups, now, &mut out);
        if result.is_ok() {
            self.session_mut(session).group = Some(name.clone());
        }
        self.finish_group(&name, out, now);
        result.map(|()| Reply::Pending)
    }

    /// An id for a new member: who it is, and a random UUID.
    fn make_member_id(&mut self, join: &JoinGroup<'_>) -> Arc<str> {
        let (high, low) = (self.random(), self.random());
        let (version, variant) = (high & !0xf000 | 0x4000, low & !(3 << 62) | 2 << 62);
        format!(
            "{}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            join.instance_id.unwrap_or(join.client_id),
            version >> 32,
            version >> 16 & 0xffff,
            version & 0xffff,
            variant >> 48,
            variant & 0xffff_ffff_ffff,
        )
        .into()
    }

    pub(crate) fn sync_group(&mut self, session: SessionId, sync: &SyncGroup<'_>, now: Now) -> Result<Reply, Failure> {
        check_name(sync.member.group)?;
        let (name, group) = self.member_group(sync.member.group)?;
        let mut out = Effects::default();
        let result = group.sync(session, sync, now, &mut out);
        if result.is_ok() {
            self.session_mut(session).group = Some(name.clone());
        }
        self.finish_group(&name, out, now);
        result.map(|()| Reply::Pending)
    }

    /// The group that somebody claims to be a member of.
    fn member_group(&mut self, name: &str) -> Result<(Arc<str>, &mut Group), LogFailure> {
        let name = self.groups.groups.get_key_value(name).map(|(name, _)| name.clone()).ok_or(LogFailure::UnknownMember)?;
        let group = self.groups.groups.get_mut(&name).ok_or(LogFailure::UnknownMember)?;
        Ok((name, group))
    }

    pub(crate) fn heartbeat_group(&mut self, member: &Membership<'_>, now: Now) -> Result<Reply, Failure> {
        check_name(member.group)?;
        let (_, group) = self.member_group(member.group)?;
        group.heartbeat(member, now)?;
        Ok(Reply::Ok)
    }

    pub(crate) fn leave_group(&mut self, member: &Membership<'_>, now: Now) -> Result<Reply, Failure> {
        check_name(member.group)?;
        let options = self.options.groups.clone();
        let (name, group) = self.member_group(member.group)?;
        let mut out = Effects::default();
        let id = group.leave(member, &options, now, &mut out)?;
        if !out.record && group.is_recorded(&id) {
            let at = self.change_group(Entry::LeaveGroup { group: name.clone(), member: id });
            if let Some(group) = self.groups.groups.get_mut(&name) {
                group.recorded_at = at;
            }
        }
        self.finish_group(&name, out, now);
        Ok(Reply::DurableAt(self.groups.groups.get(&name).map_or(Lsn(0), |group| group.recorded_at)))
    }

    pub(crate) fn commit_offsets(&mut self, commit: &CommitOffsets<'_>, now: Now) -> Result<Reply, Failure> {
        if self.store.out_of_room() {
            return Err(LogFailure::DiskFull.into());
        }
        check_length(commit.member.group)?;
        let name: Arc<str> = commit.member.group.into();
        match self.groups.groups.get_mut(&name) {
            Some(group) => group.check_commit(&commit.member, commit.transaction.is_some(), now)?,
            None if commit.member.generation < 0 => {}
            None => return Err(LogFailure::IllegalGeneration.into()),
        }
        if let Some(transaction) = &commit.transaction {
            self.check_group_transaction(transaction, &name, commit.implicit, now)?;
        }
        self.groups.get_or_make(&name, now)?;
        let producer_id = commit.transaction.map(|transaction| transaction.producer_id);
        let start = || Committed { group: name.clone(), at_ms: now.wall_ms, producer_id, offsets: Vec::new() };
        let (mut entry, mut bytes, mut durable_at) = (start(), 0, None);
        let mut results = Vec::with_capacity(commit.offsets.len());
        for offset in &commit.offsets {
            if offset.metadata.len() > self.options.groups.metadata_bytes_max {
                results.push(Err(LogFailure::MetadataTooLarge));
                continue;
            }
            if !self.partition_exists(offset.topic, offset.partition) {
                results.push(Err(LogFailure::UnknownTopic));
                continue;
            }
            results.push(Ok(()));
            let topic = match entry.offsets.last() {
                Some(last) if &*last.0 == offset.topic => last.0.clone(),
                _ => offset.topic.into(),
            };
            entry.offsets.push(RecordedOffset(
                topic,
                offset.partition,
                offset.offset,
                offset.leader_epoch,
                offset.metadata.into(),
            ));
            bytes += offset.topic.len() + offset.metadata.len() + 64;
            if bytes > ENTRY_BYTES {
                bytes = 0;
                let full = std::mem::replace(&mut entry, start());
                durable_at = Some(self.change_group(Entry::CommitOffsets(Box::new(full))));
            }
        }
        if !entry.offsets.is_empty() {
            durable_at = Some(self.change_group(Entry::CommitOffsets(Box::new(entry))));
        }
        match durable_at {
            Some(at) => self.note_committed(&name, at),
            // It may have been made in vain.
            None => self.groups.schedule(&name),
        }
        let durable_at = durable_at.filter(|_| !planted::is(Bug::OffsetsBeforeSync));
        Ok(Reply::OffsetsCommitted(OffsetsCommitted { results, durable_at }))
    }

    fn partition_exists(&self, topic: &str, partition: u32) -> bool {
        self.topics.partition_log(TopicRef::Name(topic), partition).is_ok()
    }

    /// Answered once what is told is durable.
    pub(crate) fn fetch_offsets(
        &mut self,
        session: SessionId,
        group: &str,
        partitions: Option<&[(&str, u32)]>,
        stable: bool,
    ) -> Result<Reply, Failure> {
        let nobody = Group::new(0);
        let found = self.groups.groups.get(group).unwrap_or(&nobody);
        let offsets = match partitions {
            Some(asked) => {
                // A name is kept once for all its partitions, which come one after another.
                let mut name: Arc<str> = "".into();
                let fetch = |(topic, partition): &(&str, u32)| {
                    if *name != **topic {
                        name = (*topic).into();
                    }
                    found.offsets.fetch(&name, *partition, stable)
                };
                asked.iter().map(fetch).collect()
            }
            None => found.offsets.fetch_all(stable),
        };
        let (reply, at, durable) = (Reply::Offsets(offsets), found.committed_at, self.store.durable());
        if at <= durable {
            return Ok(reply);
        }
        self.groups.answer(session, Ok(reply), at, durable);
        Ok(Reply::Pending)
    }

    pub(crate) fn delete_offsets(&mut self, group: &str, partitions: &[(&str, u32)]) -> Result<Reply, Failure> {
        let (name, found) = self.groups.groups.get_key_value(group).ok_or(LogFailure::UnknownGroup)?;
        if found.state != GroupState::Empty && !found.consumes() {
            return Err(LogFailure::GroupNotEmpty.into());
        }
        let name = name.clone();
        let subscribed = found.subscribed();
        let in_use =
            |topic: &str| found.state != GroupState::Empty && subscribed.as_ref().is_none_or(|topics| topics.contains(topic));
        let (mut results, mut doomed) = (Vec::with_capacity(partitions.len()), Vec::new());
        for (topic, partition) in partitions {
            if !self.partition_exists(topic, *partition) {
                results.push(Err(LogFailure::UnknownTopic));
            } else if in_use(topic) {
                results.push(Err(LogFailure::GroupSubscribed));
            } else {
                results.push(Ok(()));
                if found.offsets.contains(topic, *partition) {
                    doomed.push((Arc::from(*topic), *partition));
                }
            }
        }
        let changed = self.delete_recorded(&name, doomed);
        // Somebody else's deletion may not be durable yet.
        let before = self.groups.groups.get(&name).map(|group| group.committed_at);
        Ok(Reply::OffsetsCommitted(OffsetsCommitted { results, durable_at: changed.or(before) }))
    }

    /// Delete offsets, and note it. Returns from where on that is safe.
    pub(super) fn delete_recorded(&mut self, name: &Arc<str>, mut offsets: Vec<(Arc<str>, u32)>) -> Option<Lsn> {
        let mut durable_at = None;
        while !offsets.is_empty() {
            let rest = offsets.split_off(offsets.len().min(ENTRY_DELETIONS));
            let part = std::mem::replace(&mut offsets, rest);
            durable_at = Some(self.change_group(Entry::DeleteOffsets { group: name.clone(), offsets: part }));
        }
        if let Some(at) = durable_at {
            self.note_committed(name, at);
        }
        durable_at
    }

    /// One that does not exist is described as dead.
    pub(crate) fn describe_groups(&self, group: Option<&str>) -> Reply {
        let groups = &self.groups.groups;
        Reply::Groups(match group {
            None => groups.iter().map(|(name, group)| group.info(name, false)).collect(),
            Some(name) => vec![match groups.get_key_value(name) {
                Some((name, group)) => group.info(name, true),
                None => GroupInfo {
                    group: name.into(),
                    state: GroupState::Dead,
                    protocol_type: Arc::default(),
                    protocol: Arc::default(),
                    members: Vec::new(),
                },
            }],
        })
    }

    pub(crate) fn delete_group(&mut self, group: &str) -> Result<Reply, Failure> {
        let (name, found) = self.groups.groups.get_key_value(group).ok_or(LogFailure::UnknownGroup)?;
        if found.state != GroupState::Empty {
            return Err(LogFailure::GroupNotEmpty.into());
        }
        let name = name.clone();
        Ok(Reply::DurableAt(self.change_group(Entry::DeleteGroup { group: name })))
    }
}
