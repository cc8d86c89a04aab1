//! Static members (KIP-345): those that have a name of their own.

use super::*;

#[test]
fn pitfall_11_a_static_member_that_is_back_keeps_its_assignment() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one"), fixed(2, "two")];
    members.iter().for_each(|member| world.join(member));
    let leader = world.all_sync(&mut members);
    members.swap(0, leader);
    for at in [1, 0] {
        let old = members[at].clone();
        let mut back = Client { id: String::new(), session: old.session + 10, ..old.clone() };
        world.join(&back);
        let joined = world.joined(&mut back);
        assert_eq!(joined.generation, old.generation, "no rebalance");
        assert_ne!(back.id, old.id);
        assert_ne!(*joined.leader, *back.id, "it must not assign again");
        assert!(joined.members.is_empty());
        world.sync(&back);
        assert_eq!(world.synced(&back), [old.session as u8][..]);
        assert_eq!(world.heartbeat(&old), failed(LogFailure::FencedInstance));
        assert_eq!(world.heartbeat(&back), Ok(Reply::Ok));
        let sync = world.sync_with(&old, Vec::new());
        assert_eq!(sync, failed(LogFailure::FencedInstance));
        let commit = world.commit_as(of(&old), &[("t", 0, 1, "")]);
        assert_eq!(commit, Err(LogFailure::FencedInstance.into()));
        assert_eq!(world.join_with(&old, |_| {}), failed(LogFailure::FencedInstance));
        members[at] = back;
    }
    assert_eq!(world.heartbeat(&members[1]), Ok(Reply::Ok), "the other one has noticed nothing");
    world.crash();
    for member in &members {
        assert_eq!(world.heartbeat(member), Ok(Reply::Ok), "the new ids survive a restart");
    }
}

#[test]
fn pitfall_11_a_static_leader_that_is_back_may_be_told_to_leave_it_as_it_is() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one")];
    world.join(&members[0]);
    world.all_sync(&mut members);
    let mut back = fixed(2, "one");
    assert_eq!(world.join_with(&back, |join| join.may_skip_assignment = true), Ok(Reply::Pending));
    let joined = world.joined(&mut back);
    assert!(joined.skip_assignment);
    assert_eq!((&*joined.leader, joined.members.len()), (back.id.as_str(), 1));
    world.sync(&back);
    assert_eq!(world.synced(&back), [1][..]);
}

#[test]
fn pitfall_11_a_static_member_that_is_back_with_another_protocol_begins_a_rebalance() {
    let mut world = World::new();
    let both: Vec<(&str, &[u8])> = vec![("range", b""), ("sticky", b"")];
    let mut members = vec![fixed(1, "one"), fixed(2, "two")];
    for member in &members {
        assert_eq!(world.join_with(member, |join| join.protocols = both.clone()), Ok(Reply::Pending));
    }
    world.all_sync(&mut members);
    let back = fixed(11, "one");
    assert_eq!(world.join_with(&back, |join| join.protocols = vec![("sticky", b"")]), Ok(Reply::Pending));
    assert_eq!(world.heartbeat(&members[1]), failed(LogFailure::RebalanceInProgress));
    assert_eq!(world.join_with(&members[1], |join| join.protocols = both.clone()), Ok(Reply::Pending));
    assert_eq!(&*world.joined(&mut members[1]).protocol, "sticky");
}

#[test]
fn pitfall_11_whoever_waits_under_the_old_id_is_fenced() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one"), fixed(2, "two")];
    members.iter().for_each(|member| world.join(member));
    let leads = !world.joined(&mut members[0]).members.is_empty();
    world.joined(&mut members[1]);
    let follower = members.swap_remove(usize::from(leads));
    world.sync(&follower);
    // While the leader is at it, somebody comes with the follower's name: the leader does not know its new id.
    let back = Client { id: String::new(), session: 9, ..follower.clone() };
    world.join(&back);
    assert_eq!(world.heard(follower.session), Some(failed(LogFailure::FencedInstance)));
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    // And again while that one waits to join.
    let third = Client { session: 10, ..back };
    world.join(&third);
    assert_eq!(world.heard(9), Some(failed(LogFailure::FencedInstance)));
    world.join(&members[0]);
    world.all_sync(&mut [members.remove(0), third]);
}

#[test]
fn pitfall_11_a_static_member_is_missed_only_when_its_session_ends() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one"), client(2)];
    let short = |join: &mut JoinGroup<'_>| join.rebalance_timeout_ms = 1_000;
    members.iter().for_each(|member| assert_eq!(world.join_with(member, short), Ok(Reply::Pending)));
    world.all_sync(&mut members);
    // The other one wants something else, and the static one does not join: it belongs to the next generation all the same.
    let changed = |join: &mut JoinGroup<'_>| {
        join.protocols = vec![("range", b"another")];
        join.rebalance_timeout_ms = 1_000;
    };
    assert_eq!(world.join_with(&members[1], changed), Ok(Reply::Pending));
    world.pass(1_000);
    assert_eq!(world.joined(&mut members[1]).members.len(), 2);
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::IllegalGeneration));
    assert_eq!(world.describe("g").members.len(), 2);
    world.pass(TIMEOUT_MS as u64);
    assert!(world.describe("g").members.iter().all(|member| member.instance_id.is_none()));
}

#[test]
fn pitfall_11_a_group_of_absent_static_members_waits_for_them() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one"), fixed(2, "two")];
    members.iter().for_each(|member| world.join(member));
    world.all_sync(&mut members);
    // They come back with no time for others, and go away for long.
    let hasty = |join: &mut JoinGroup<'_>| (join.rebalance_timeout_ms, join.session_timeout_ms) = (0, 60_000);
    for member in &mut members {
        member.id.clear();
        assert_eq!(world.join_with(member, hasty), Ok(Reply::Pending));
        world.joined(member);
    }
    // A third comes and goes, and nobody joins again for a while.
    let mut third = client(3);
    let answer = world.join_with(&third, |join| join.require_member_id = true);
    let Err(Failure::MemberIdRequired { member_id }) = answer else { panic!("{answer:?}") };
    third.id = member_id.to_string();
    assert_eq!(world.join_with(&third, |join| join.rebalance_timeout_ms = 1), Ok(Reply::Pending));
    world.leave(&third).unwrap();
    assert_eq!(world.heard(3), Some(failed(LogFailure::UnknownMember)));
    world.pass(20_000);
    assert_eq!(world.describe("g").members.len(), 2);
    members.iter().for_each(|member| world.join(member));
    world.all_sync(&mut members);
    assert_eq!(members[0].generation, 2);
}

#[test]
fn pitfall_11_a_static_member_leaves_by_its_name() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one")];
    world.join(&members[0]);
    world.all_sync(&mut members);
    let by_name = |instance| Request::LeaveGroup(Membership { instance_id: Some(instance), ..nobody("g") });
    assert_eq!(world.ask(0, by_name("two")), failed(LogFailure::UnknownMember));
    assert!(matches!(world.ask(0, by_name("one")), Ok(Reply::DurableAt(_))));
    assert_eq!(world.describe("g").state, GroupState::Empty);
    assert_eq!(world.ask(0, by_name("one")), failed(LogFailure::UnknownMember));
}
