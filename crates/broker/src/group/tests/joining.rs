//! Members that come and go.

use model::limits;

use super::*;

#[test]
fn pitfall_10_a_new_member_is_told_its_id_first() {
    let mut world = World::new();
    let mut new = client(1);
    let Err(Failure::MemberIdRequired { member_id }) = world.join_with(&new, |join| join.require_member_id = true) else {
        panic!("let in without an id");
    };
    assert!(member_id.starts_with("c-") && member_id.len() == 2 + 36, "{member_id}");
    assert!(world.describe("g").members.is_empty());
    new.id = member_id.to_string();
    assert_eq!(world.join_with(&new, |join| join.require_member_id = true), Ok(Reply::Pending));
    assert_eq!(*world.joined(&mut new).member_id, *member_id);
    // Those with a name of their own need none, and an id that nobody has given out is unknown.
    assert_eq!(world.join_with(&fixed(2, "i"), |join| join.require_member_id = true), Ok(Reply::Pending));
    let made_up = Client { id: "c-1".into(), ..client(3) };
    assert_eq!(world.join_with(&made_up, |_| {}), failed(LogFailure::UnknownMember));
}

#[test]
fn pitfall_10_an_id_that_nobody_comes_back_with_does_not_hold_the_others_up() {
    let mut world = World::new();
    let mut members = world.stable(1);
    assert!(world.join_with(&client(2), |join| join.require_member_id = true).is_err());
    assert_eq!(world.heartbeat(&members[0]), Ok(Reply::Ok), "nobody has joined yet");
    world.join(&members[0]);
    world.pass(TIMEOUT_MS as u64 - 1);
    assert_eq!(world.heard(1), None, "the new one may still come");
    world.pass(1);
    world.all_sync(&mut members);
    assert_eq!(members[0].generation, 2);
}

#[test]
fn pitfall_10_a_group_is_made_of_all_that_come_at_first() {
    let mut world = World::with(Options::default());
    let (mut first, mut second, mut third) = (client(1), client(2), client(3));
    world.join(&first);
    world.pass(2_900);
    world.join(&second);
    world.pass(2_900);
    assert_eq!(world.heard(1), None, "somebody came: it waits on");
    world.join(&third);
    world.pass(200);
    assert_eq!(world.heard(1), None);
    world.pass(3_000);
    let joined = [world.joined(&mut first), world.joined(&mut second), world.joined(&mut third)];
    assert!(joined.iter().all(|joined| joined.generation == 1));
    assert_eq!(joined.iter().map(|joined| joined.members.len()).sum::<usize>(), 3, "the leader alone hears of all three");
}

#[test]
fn pitfall_10_the_first_wait_ends_with_the_rebalance_timeout() {
    let mut world = World::with(Options::default());
    for session in 1..10 {
        assert_eq!(world.join_with(&client(session), |join| join.rebalance_timeout_ms = 10_000), Ok(Reply::Pending));
        assert_eq!(world.heard(1), None);
        world.pass(1_100);
    }
    // 3 s, and then no more than the 7 s that are left of the 10.
    world.pass(200);
    assert_eq!(world.joined(&mut client(1)).generation, 1);
}

#[test]
fn pitfall_10_the_leader_alone_decides_and_the_others_wait_for_it() {
    let mut world = World::new();
    let members = world.stable(3);
    let info = world.describe("g");
    assert_eq!((info.state, &*info.protocol_type, &*info.protocol), (GroupState::Stable, "consumer", "range"));
    for member in &members {
        let seen = info.members.iter().find(|seen| *seen.member_id == *member.id).unwrap();
        assert_eq!(seen.assignment, [member.session as u8][..]);
        assert_eq!(seen.metadata, SUBSCRIBED_TO_T);
        assert_eq!((&*seen.client_id, &*seen.client_host), ("c", "/127.0.0.1"));
        // Who asks again hears the same.
        world.sync(member);
        assert_eq!(world.synced(member), [member.session as u8][..]);
    }
}

#[test]
fn pitfall_10_a_member_that_the_leader_left_out_gets_nothing() {
    let mut world = World::new();
    let mut members = [client(1), client(2)];
    members.iter().for_each(|member| world.join(member));
    let leads = world.joined(&mut members[0]).members.len() == 2;
    world.joined(&mut members[1]);
    let (leader, other) = if leads { (&members[0], &members[1]) } else { (&members[1], &members[0]) };
    world.sync(other);
    let assignments = vec![(leader.id.as_str(), &b"all"[..]), ("somebody else", &b"x"[..])];
    assert_eq!(world.sync_with(leader, assignments), Ok(Reply::Pending));
    assert_eq!((world.synced(leader), world.synced(other)), (Bytes::from_static(b"all"), Bytes::new()));
}

#[test]
fn pitfall_10_followers_of_a_vanished_leader_are_joined_again() {
    let mut world = World::new();
    let mut members = [client(1), client(2), client(3)];
    members.iter().for_each(|member| world.join(member));
    let joined: Vec<Joined> = members.iter_mut().map(|member| world.joined(member)).collect();
    let leader = joined.iter().position(|joined| !joined.members.is_empty()).unwrap();
    let mut others: Vec<Client> = members.iter().filter(|member| member.session != members[leader].session).cloned().collect();
    others.iter().for_each(|member| world.sync(member));
    world.pass(TIMEOUT_MS as u64);
    for member in &others {
        assert_eq!(world.heard(member.session), Some(failed(LogFailure::RebalanceInProgress)));
        world.join(member);
    }
    let new_leader = world.all_sync(&mut others);
    assert_ne!(others[new_leader].id, members[leader].id);
    assert_eq!(world.heartbeat(&members[leader]), failed(LogFailure::UnknownMember));
}

#[test]
fn pitfall_10_what_sync_and_heartbeat_refuse() {
    let mut world = World::new();
    let members = world.stable(2);
    let old = Client { generation: 0, ..members[0].clone() };
    let unknown = Client { id: "c-0".into(), ..members[0].clone() };
    assert_eq!(world.sync_with(&old, Vec::new()), failed(LogFailure::IllegalGeneration));
    assert_eq!(world.heartbeat(&old), failed(LogFailure::IllegalGeneration));
    assert_eq!(world.sync_with(&unknown, Vec::new()), failed(LogFailure::UnknownMember));
    assert_eq!(world.heartbeat(&unknown), failed(LogFailure::UnknownMember));
    let sync = |protocol_type, protocol| {
        Request::SyncGroup(SyncGroup { member: of(&members[0]), protocol_type, protocol, assignments: Vec::new() })
    };
    assert_eq!(world.ask(1, sync(Some("connect"), Some("range"))), failed(LogFailure::InconsistentProtocol));
    assert_eq!(world.ask(1, sync(Some("consumer"), Some("sticky"))), failed(LogFailure::InconsistentProtocol));
    world.join(&client(3));
    assert_eq!(world.sync_with(&members[0], Vec::new()), failed(LogFailure::RebalanceInProgress));
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    let elsewhere = Membership { group: "other", ..of(&members[0]) };
    assert_eq!(world.ask(1, Request::HeartbeatGroup(elsewhere)), failed(LogFailure::UnknownMember));
    let unnamed = Membership { group: "", ..of(&members[0]) };
    assert_eq!(world.ask(1, Request::HeartbeatGroup(unnamed)), failed(LogFailure::InvalidGroupId));
}

#[test]
fn pitfall_10_a_rebalance_waits_for_the_slowest_and_then_drops_who_is_missing() {
    let mut world = World::new();
    let mut members = world.stable(3);
    let mut fourth = client(4);
    assert_eq!(world.join_with(&fourth, |join| join.rebalance_timeout_ms = 90_000), Ok(Reply::Pending));
    world.join(&members[1]);
    // The first heartbeats and does not join; the third says nothing more.
    for _ in 0..11 {
        world.pass(8_000);
        assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    }
    assert_eq!(world.heard(4), None, "the largest of the time-outs counts");
    world.pass(2_000);
    let joined = [world.joined(&mut members[1]), world.joined(&mut fourth)];
    assert_eq!(joined[0].members.len() + joined[1].members.len(), 2);
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::UnknownMember));
}

#[test]
fn pitfall_10_a_new_member_waits_five_minutes_at_most() {
    let mut world = World::new();
    let members = world.stable(1);
    let long = |join: &mut JoinGroup<'_>| join.rebalance_timeout_ms = 3_600_000;
    assert_eq!(world.join_with(&client(2), long), Ok(Reply::Pending));
    // The old one stays, and stays away.
    for _ in 0..33 {
        world.pass(9_000);
        assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    }
    assert_eq!(world.heard(2), None);
    world.pass(3_000);
    assert_eq!(world.heard(2), Some(failed(LogFailure::UnknownMember)));
}

#[test]
fn pitfall_10_a_new_member_is_not_given_up_in_the_moment_in_which_the_wait_for_another_ends() {
    let mut world = World::new();
    let members = world.stable(1);
    let mut new = client(2);
    let answer = world.join_with(&new, |join| (join.rebalance_timeout_ms, join.client_id) = (3_600_000, "z"));
    assert_eq!(answer, Ok(Reply::Pending));
    for _ in 0..29 {
        world.pass(10_000 - 1);
        assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    }
    // The old one is missed, and the new one's five minutes are over.
    world.pass(29);
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    world.pass(10_000);
    assert_eq!(world.joined(&mut new).members.len(), 1);
    assert_eq!(world.heartbeat(&new), Ok(Reply::Ok));
}

#[test]
fn pitfall_10_session_timeouts_have_bounds() {
    let mut world = World::new();
    for timeout in [i32::MIN, 0, 5_999, 1_800_001, i32::MAX] {
        let answer = world.join_with(&client(1), |join| join.session_timeout_ms = timeout);
        assert_eq!(answer, failed(LogFailure::InvalidSessionTimeout));
    }
    for (session, timeout) in [(1, 6_000), (2, 1_800_000)] {
        assert_eq!(world.join_with(&client(session), |join| join.session_timeout_ms = timeout), Ok(Reply::Pending));
    }
}

#[test]
fn pitfall_10_a_member_is_lost_when_its_session_ends_and_not_while_it_waits() {
    let mut world = World::new();
    let mut members = world.stable(2);
    for _ in 0..5 {
        world.pass(6_000);
        assert_eq!(world.heartbeat(&members[0]), Ok(Reply::Ok));
        assert_eq!(world.heartbeat(&members[1]), Ok(Reply::Ok));
    }
    world.pass(9_999);
    assert_eq!(world.describe("g").members.len(), 2);
    assert_eq!(world.heartbeat(&members[0]), Ok(Reply::Ok));
    world.pass(1);
    assert_eq!(world.heartbeat(&members[0]), failed(LogFailure::RebalanceInProgress));
    world.join(&members[0]);
    world.all_sync(&mut members[..1]);
    // A new member keeps the first waiting for much longer than its session.
    let mut new = client(13);
    let answer = world.join_with(&new, |join| {
        join.require_member_id = true;
        join.session_timeout_ms = 50_000;
    });
    let Err(Failure::MemberIdRequired { member_id }) = answer else { panic!("{answer:?}") };
    world.join(&members[0]);
    world.pass(49_999);
    assert_eq!(world.heard(members[0].session), None);
    new.id = member_id.to_string();
    world.join(&new);
    assert_eq!(world.joined(&mut members[0]).generation, 3);
}

#[test]
fn pitfall_10_the_generation_survives_a_restart() {
    let mut world = World::new();
    let mut members = world.stable(3);
    for round in 2..5 {
        members.iter().for_each(|member| world.join(member));
        let leader = world.all_sync(&mut members);
        members.swap(0, leader);
        assert_eq!(members[0].generation, round);
    }
    let before = world.describe("g");
    world.crash();
    assert_eq!(world.describe("g"), before);
    // Nobody needs to join again, and whoever does not come back is missed.
    world.pass(9_000);
    for member in &members {
        assert_eq!(world.heartbeat(member), Ok(Reply::Ok));
        world.sync(member);
        assert_eq!(world.synced(member), [member.session as u8][..]);
    }
    world.pass(20_000);
    assert_eq!(world.describe("g").state, GroupState::Empty);
    world.crash();
    let mut new = client(5);
    world.join(&new);
    assert_eq!(world.joined(&mut new).generation, 6, "the empty group was the fifth generation");
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    Joins,
    Syncs,
    Works,
}

/// What a client does next, when it is told this or that. `leaves`: it leaves the group if it can, to come back.
fn step(world: &mut World, (client, does): &mut (Client, Does), leaves: bool) {
    let again =
        |failure: &Failure| matches!(failure, Failure::Log(LogFailure::RebalanceInProgress | LogFailure::IllegalGeneration));
    match *does {
        Does::Nothing => {
            world.join(client);
            *does = Does::Joins;
        }
        Does::Joins => match world.heard(client.session) {
            None => {}
            Some(Ok(Reply::Joined(joined))) => {
                (client.id, client.generation) = (joined.member_id.to_string(), joined.generation);
                let shares: Vec<_> = joined.members.iter().map(|member| (&*member.member_id, &b"x"[..])).collect();
                *does = match world.sync_with(client, shares) {
                    Ok(Reply::Pending) => Does::Syncs,
                    Err(failure) if again(&failure) => Does::Nothing,
                    other => panic!("{other:?}"),
                };
            }
            other => panic!("{other:?}"),
        },
        Does::Syncs => match world.heard(client.session) {
            None => {}
            Some(Ok(Reply::Synced(synced))) => {
                assert_eq!(synced.assignment, b"x"[..]);
                *does = Does::Works;
            }
            Some(Err(failure)) if again(&failure) => *does = Does::Nothing,
            other => panic!("{other:?}"),
        },
        Does::Works if leaves => {
            world.leave(client).unwrap();
            (client.id, *does) = (String::new(), Does::Nothing);
        }
        Does::Works => match world.heartbeat(client) {
            Ok(_) => {}
            Err(failure) if again(&failure) => *does = Does::Nothing,
            other => panic!("{other:?}"),
        },
    }
}

/// Members come, go and ask at any moment, and do what they are told. Nobody who is alive is called unknown, nobody gets an
/// empty assignment, and all end up in one generation.
#[test]
fn pitfall_10_concurrent_rebalances_lose_nobody() {
    for seed in 1..20 {
        let mut world = World::new();
        let mut random: u64 = seed;
        let mut chance = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut clients: Vec<(Client, Does)> = (1..8).map(|session| (client(session), Does::Nothing)).collect();
        for _ in 0..400 {
            let (at, leaves) = (chance(7) as usize, chance(10) == 0);
            step(&mut world, &mut clients[at], leaves);
            // All of them are heard of well within their sessions.
            world.pass(chance(100));
        }
        for _ in 0..60 {
            clients.iter_mut().for_each(|client| step(&mut world, client, false));
        }
        assert!(clients.iter().all(|(_, does)| *does == Does::Works), "seed {seed}");
        assert!(clients.iter().all(|(client, _)| client.generation == clients[0].0.generation), "seed {seed}");
        assert_eq!(world.describe("g").members.len(), 7, "seed {seed}");
    }
}

#[test]
fn pitfall_10_the_protocol_is_voted_on_and_must_be_known_to_all() {
    let mut world = World::new();
    let offers: [&[(&str, &[u8])]; 3] =
        [&[("a", b""), ("b", b"")], &[("b", b"1"), ("a", b"")], &[("c", b""), ("b", b""), ("a", b"")]];
    let mut members = [client(1), client(2), client(3)];
    for (member, offer) in members.iter().zip(offers) {
        assert_eq!(world.join_with(member, |join| join.protocols = offer.to_vec()), Ok(Reply::Pending));
    }
    for member in &mut members {
        assert_eq!(&*world.joined(member).protocol, "b");
    }
    let mut other = |change: &dyn Fn(&mut JoinGroup<'_>)| world.join_with(&client(4), |join| change(join));
    assert_eq!(other(&|join| join.protocols = vec![("c", b"")]), failed(LogFailure::InconsistentProtocol));
    assert_eq!(other(&|join| join.protocol_type = "connect"), failed(LogFailure::InconsistentProtocol));
    assert_eq!(other(&|join| join.protocols = Vec::new()), failed(LogFailure::InconsistentProtocol));
    assert_eq!(other(&|join| join.protocols = vec![("a", b"")]), Ok(Reply::Pending));
}

#[test]
fn an_assignment_is_told_once_it_is_durable() {
    let mut world = World::new();
    let mut member = client(1);
    world.join(&member);
    world.joined(&mut member);
    let id = member.id.clone();
    assert_eq!(world.sync_with(&member, vec![(&id, b"x")]), Ok(Reply::Pending));
    world.turn();
    assert!(world.told.0.is_empty());
    assert_eq!(world.synced(&member), b"x"[..]);
    world.crash();
    assert_eq!(world.heartbeat(&member), Ok(Reply::Ok));
}

#[test]
fn a_client_that_asks_again_on_another_connection_is_answered_there() {
    let mut world = World::new();
    let mut members = world.stable(2);
    world.join(&members[0]);
    let mut again = Client { session: 11, ..members[0].clone() };
    world.join(&again);
    assert_eq!(world.heard(members[0].session), Some(failed(LogFailure::RebalanceInProgress)), "the first is let go");
    world.join(&members[1]);
    assert_eq!(world.joined(&mut again).members.len(), 2, "it still leads");
    world.joined(&mut members[1]);
    let follower = &members[1];
    world.sync(follower);
    let elsewhere = Client { session: 12, ..follower.clone() };
    world.sync(&elsewhere);
    assert_eq!(world.heard(follower.session), Some(failed(LogFailure::RebalanceInProgress)));
    assert_eq!(world.sync_with(&again, vec![(&follower.id, b"f")]), Ok(Reply::Pending));
    assert_eq!(world.synced(&elsewhere), b"f"[..]);
    assert_eq!(world.heard(follower.session), None);
}

#[test]
fn a_connection_that_closes_while_it_waits_is_forgotten() {
    let mut world = World::new();
    let mut members = world.stable(1);
    // A new member that does not know its id yet: nobody can ever speak for it.
    world.join(&client(2));
    assert_eq!(world.describe("g").members.len(), 2);
    world.broker.close_session(SessionId(2), world.now);
    assert_eq!(world.describe("g").members.len(), 1);
    // One that knows its id is expected back.
    let answer = world.join_with(&client(3), |join| join.require_member_id = true);
    let Err(Failure::MemberIdRequired { member_id }) = answer else { panic!("{answer:?}") };
    let mut third = Client { id: member_id.to_string(), ..client(3) };
    world.join(&third);
    world.broker.close_session(SessionId(3), world.now);
    third.session = 4;
    world.join(&third);
    world.join(&members[0]);
    assert_eq!(world.joined(&mut members[0]).generation, world.joined(&mut third).generation);
}

#[test]
fn members_leave_and_the_last_one_leaves_an_empty_group() {
    let mut world = World::new();
    let mut members = world.stable(2);
    world.commit_as(of(&members[0]), &[("t", 0, 3, "")]).unwrap();
    assert!(matches!(world.leave(&members[0]), Ok(Reply::DurableAt(_))));
    assert_eq!(world.leave(&members[0]), failed(LogFailure::UnknownMember));
    assert_eq!(world.heartbeat(&members[1]), failed(LogFailure::RebalanceInProgress));
    world.join(&members[1]);
    world.all_sync(&mut members[1..]);
    assert!(matches!(world.leave(&members[1]), Ok(Reply::DurableAt(_))));
    let info = world.describe("g");
    assert_eq!((info.state, info.members.len(), &*info.protocol_type), (GroupState::Empty, 0, "consumer"));
    assert_eq!(world.committed("g"), 3);
    // Whoever was promised an id may leave too.
    let answer = world.join_with(&client(5), |join| join.require_member_id = true);
    let Err(Failure::MemberIdRequired { member_id }) = answer else { panic!("{answer:?}") };
    let promised = Client { id: member_id.to_string(), ..client(5) };
    assert!(matches!(world.leave(&promised), Ok(Reply::DurableAt(_))));
    assert_eq!(world.join_with(&promised, |_| {}), failed(LogFailure::UnknownMember));
}

/// A crash brought members back that had been told that they were none, and nobody was given what they had until their
/// sessions ended.
#[test]
fn a_member_that_has_left_stays_away() {
    for after_a_checkpoint in [false, true] {
        let mut world = World::new();
        let mut clients = world.stable(3);
        world.settle();
        let gone = clients.pop().unwrap();
        let Ok(Reply::DurableAt(at)) = world.leave(&gone) else { panic!("an answer that does not wait for the disk") };
        assert!(at > world.broker.store().durable());
        while world.broker.store().durable() < at {
            world.turn();
            world.disk.step();
        }
        if after_a_checkpoint {
            world.broker.checkpoint();
            world.settle();
        }
        world.crash();
        assert_eq!(world.describe("g").members.len(), 2);
        assert_eq!(world.heartbeat(&gone), failed(LogFailure::UnknownMember));
        for client in &clients {
            assert_eq!(world.heartbeat(client), failed(LogFailure::RebalanceInProgress));
            world.join(client);
        }
        world.all_sync(&mut clients);
        // Then one stays away who does not join again, and the last one leaves an empty group.
        let Ok(_) = world.leave(&clients[0]) else { panic!() };
        world.settle();
        world.crash();
        world.pass(REBALANCE_MS as u64);
        world.settle();
        assert_eq!(world.describe("g").state, GroupState::Empty);
    }
}

/// An answer to a member waits for the disk with what else it says.
#[test]
fn the_last_member_hears_that_it_has_left_once_that_is_durable() {
    let mut world = World::new();
    let clients = world.stable(1);
    world.settle();
    let Ok(Reply::DurableAt(at)) = world.leave(&clients[0]) else { panic!() };
    assert!(at > world.broker.store().durable());
    world.settle();
    assert!(at <= world.broker.store().durable());
    world.crash();
    assert_eq!(world.describe("g").state, GroupState::Empty);
}

#[test]
fn who_joins_and_never_asks_for_its_assignment_is_dropped() {
    let mut world = World::new();
    let mut members = [client(1), client(2)];
    members.iter().for_each(|member| world.join(member));
    let leads = !world.joined(&mut members[0]).members.is_empty();
    world.joined(&mut members[1]);
    let (leader, other) = (&members[usize::from(!leads)], &members[usize::from(leads)]);
    assert_eq!(world.sync_with(leader, Vec::new()), Ok(Reply::Pending));
    world.synced(leader);
    for _ in 0..9 {
        world.pass(6_000);
        assert_eq!((world.heartbeat(leader), world.heartbeat(other)), (Ok(Reply::Ok), Ok(Reply::Ok)));
    }
    world.pass(6_000);
    assert_eq!(world.heartbeat(other), failed(LogFailure::UnknownMember));
    assert_eq!(world.heartbeat(leader), failed(LogFailure::RebalanceInProgress));
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut options = Options::default();
    options.groups.initial_rebalance_delay_ms = 0;
    options.groups.members_max = 2;
    let mut world = World::with(options);
    let mut members = world.stable(2);
    assert_eq!(world.join_with(&client(3), |_| {}), failed(LogFailure::GroupFull));
    members.iter().for_each(|member| world.join(member));
    world.all_sync(&mut members);
    world.leave(&members[0]).unwrap();
    assert_eq!(world.join_with(&client(3), |_| {}), Ok(Reply::Pending));
}

#[test]
fn what_members_say_is_bounded() {
    let mut world = World::new();
    let large = vec![0; limits::MEMBER_BYTES_MAX + 1];
    let invalid = |answer: Heard| matches!(answer, Err(Failure::LogBecause { failure: LogFailure::InvalidRequest, .. }));
    assert!(invalid(world.join_with(&client(1), |join| join.protocols = vec![("a", &large)])));
    assert!(invalid(world.join_with(&client(1), |join| join.protocols = vec![("a", b""); limits::GROUP_PROTOCOLS_MAX + 1])));
    let long = "x".repeat(limits::CLIENT_NAME_BYTES_MAX + 1);
    assert!(invalid(world.join_with(&client(1), |join| join.client_id = &long)));
    assert!(invalid(world.join_with(&client(1), |join| join.instance_id = Some(&long))));
    assert!(invalid(world.join_with(&client(1), |join| join.protocol_type = &long)));
    assert!(invalid(world.join_with(&client(1), |join| join.protocols = vec![(&long, b"")])));
    assert_eq!(world.join_with(&client(1), |join| join.group = &long), failed(LogFailure::InvalidGroupId));
    assert_eq!(world.commit_as(nobody(&long), &[("t", 0, 1, "")]), Err(LogFailure::InvalidGroupId.into()));
    assert_eq!(world.describe("g").state, GroupState::Dead, "nothing was kept");
    // Twelve of these do not fit into an entry of the catalog.
    let large = vec![0; limits::MEMBER_BYTES_MAX - 100];
    let mut refused = 0;
    for session in 1..=12 {
        match world.join_with(&client(session), |join| join.protocols = vec![("a", &large)]) {
            Ok(Reply::Pending) => {}
            Err(Failure::Log(LogFailure::GroupFull)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1);
}

#[test]
fn there_are_no_more_groups_than_there_may_be() {
    let mut world = World::new();
    let members = world.stable(1);
    for number in 1..limits::GROUPS_MAX {
        world.broker.groups.get_or_make(&format!("group {number}").into(), world.now).unwrap();
    }
    let refused = |answer: &Heard| matches!(answer, Err(Failure::LimitReached(_)));
    assert!(refused(&world.join_with(&client(2), |join| join.group = "one more")));
    assert!(world.commit_as(nobody("one more"), &[("t", 0, 1, "")]).is_err());
    assert!(world.commit_as(of(&members[0]), &[("t", 0, 1, "")]).is_ok(), "those that there are go on");
    // Nor do they take more memory than they may.
    world.broker.groups.bytes += limits::GROUPS_BYTES_MAX;
    assert!(refused(&world.join_with(&client(2), |_| {})));
    assert!(world.commit_as(of(&members[0]), &[("t", 0, 1, "")]).is_err());
    assert_eq!(world.heartbeat(&members[0]), Ok(Reply::Ok));
}
