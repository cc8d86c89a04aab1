//! What groups commit, and how they are looked after.

use std::collections::BTreeSet;

use model::group::TransactionRef;
use model::topic::TopicRef;

use super::*;

const DAY_MS: u64 = 86_400_000;

#[test]
fn pitfall_12_a_group_that_does_not_exist_has_no_offsets_and_no_error() {
    let mut world = World::new();
    let offsets = world.fetch("g", Some(&[("t", 0), ("nowhere", 7)]), true);
    assert_eq!(offsets.iter().map(|offset| (offset.offset, offset.leader_epoch)).collect::<Vec<_>>(), [(-1, -1); 2]);
    assert_eq!((&*offsets[1].topic, offsets[1].partition), ("nowhere", 7));
    assert_eq!(world.fetch("g", None, false), []);
    assert_eq!(world.describe("g").state, GroupState::Dead, "asking does not make a group");
}

#[test]
fn pitfall_12_whoever_is_no_member_makes_a_simple_group() {
    let mut world = World::new();
    assert_eq!(world.commit_as(nobody("g"), &[("t", 0, 5, "")]).unwrap().results, [Ok(())]);
    assert_eq!(world.committed("g"), 5);
    let info = world.describe("g");
    assert_eq!((info.state, &*info.protocol_type), (GroupState::Empty, ""));
    let stranger = Membership { group: "new", generation: 1, member_id: "x", instance_id: None };
    assert_eq!(world.commit_as(stranger, &[("t", 0, 5, "")]), Err(LogFailure::IllegalGeneration.into()));
    assert_eq!(world.describe("new").state, GroupState::Dead);
    // Where there are members, they alone commit.
    let members = world.stable(2);
    assert_eq!(world.commit_as(nobody("g"), &[("t", 0, 6, "")]), Err(LogFailure::UnknownMember.into()));
    assert_eq!(world.commit_as(of(&members[0]), &[("t", 0, 7, "")]).unwrap().results, [Ok(())]);
    let old = Membership { generation: 0, ..of(&members[0]) };
    assert_eq!(world.commit_as(old, &[("t", 0, 8, "")]), Err(LogFailure::IllegalGeneration.into()));
    assert_eq!(world.committed("g"), 7);
}

#[test]
fn pitfall_12_a_commit_counts_as_a_heartbeat_and_is_taken_until_the_next_generation() {
    let mut world = World::new();
    let mut members = world.stable(1);
    for offset in 0..5 {
        world.pass(8_000);
        world.commit_as(of(&members[0]), &[("t", 0, offset, "")]).unwrap();
    }
    let mut new = client(2);
    world.join(&new);
    assert!(world.commit_as(of(&members[0]), &[("t", 0, 9, "")]).is_ok(), "what it has done before it joins again");
    world.join(&members[0]);
    world.joined(&mut members[0]);
    world.joined(&mut new);
    assert_eq!(world.commit_as(of(&members[0]), &[("t", 0, 10, "")]), Err(LogFailure::RebalanceInProgress.into()));
    assert_eq!(world.committed("g"), 9);
}

#[test]
fn pitfall_13_metadata_comes_back_as_it_was_and_partitions_must_exist() {
    let mut world = World::new();
    let (largest, too_large) = ("\u{e9}".repeat(2048), "x".repeat(4097));
    let odd = "\"\\ \u{0} \u{1f600}";
    let offsets = [("t", 0, 1, odd), ("t", 4, 2, ""), ("t", 1, 3, &*too_large), ("t", 2, 4, &*largest), ("u", 0, 5, "")];
    let results = world.commit_as(nobody("g"), &offsets).unwrap().results;
    let expected =
        [Ok(()), Err(LogFailure::UnknownTopic), Err(LogFailure::MetadataTooLarge), Ok(()), Err(LogFailure::UnknownTopic)];
    assert_eq!(results, expected);
    world.settle();
    world.crash();
    let all = world.fetch("g", None, false);
    let all: Vec<_> = all.iter().map(|offset| (&*offset.topic, offset.partition, offset.offset, &*offset.metadata)).collect();
    assert_eq!(all, [("t", 0, 1, odd), ("t", 2, 4, &*largest)]);
}

#[test]
fn pitfall_05_the_leader_epoch_comes_back_in_both_forms() {
    let mut world = World::new();
    world.commit_as(nobody("g"), &[("t", 0, 1, "")]).unwrap();
    assert_eq!(world.fetch("g", None, false)[0].leader_epoch, 3);
    assert_eq!(world.fetch("g", Some(&[("t", 0)]), false)[0].leader_epoch, 3);
}

#[test]
fn what_is_committed_is_told_once_it_is_durable_and_never_goes_back() {
    let mut world = World::new();
    world.commit_as(nobody("g"), &[("t", 0, 1, "")]).unwrap();
    world.settle();
    let durable_at = world.commit_as(nobody("g"), &[("t", 0, 2, "")]).unwrap().durable_at.unwrap();
    assert!(durable_at > world.broker.store().durable());
    let ask = Request::FetchOffsets { group: "g", partitions: Some(vec![("t", 0)]), stable: false };
    assert_eq!(world.ask(1, ask), Ok(Reply::Pending));
    world.turn();
    assert!(world.told.0.is_empty(), "a crash would undo what it was told");
    let Some(Ok(Reply::Offsets(offsets))) = world.heard(1) else { panic!("no answer") };
    assert_eq!(offsets[0].offset, 2);
    world.crash();
    assert_eq!(world.committed("g"), 2);
}

/// A producer with a transactional id: (id, epoch).
fn producer(world: &mut World) -> (i64, i16) {
    match world.ask(0, Request::InitProducer { transactional_id: Some("tx"), timeout_ms: 60_000, known: None }) {
        Ok(Reply::Producer { id, epoch, .. }) => (id, epoch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transactions_offsets_count_when_it_is_committed() {
    let mut world = World::new();
    let (producer_id, epoch) = producer(&mut world);
    let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
    world.commit_as(nobody("g"), &[("t", 0, 1, ""), ("t", 1, 1, "")]).unwrap();
    // It must have said so.
    let early = world.commit(nobody("g"), Some(transaction), &[("t", 0, 2, "")]);
    assert_eq!(early, Err(LogFailure::InvalidTransactionState.into()));
    for (commit, expected) in [(false, 1), (true, 20)] {
        world.ask(0, Request::AddGroupToTransaction { transaction, group: "g" }).unwrap();
        world.commit(nobody("g"), Some(transaction), &[("t", 0, 20, "in")]).unwrap();
        for _ in 0..2 {
            assert_eq!(world.committed("g"), 1);
            let stable = world.fetch("g", Some(&[("t", 0), ("t", 1)]), true);
            assert_eq!(stable.iter().map(|found| (found.offset, found.unstable)).collect::<Vec<_>>(), [(-1, true), (1, false)]);
            assert!(world.fetch("g", None, true)[0].unstable);
            world.settle();
            world.crash();
        }
        world.ask(0, Request::EndTransaction { transaction, commit, bump: false }).unwrap();
        world.settle();
        world.crash();
        assert_eq!(world.committed("g"), expected);
        assert!(!world.fetch("g", None, true)[0].unstable);
    }
    let fenced = TransactionRef { epoch: epoch + 1, ..transaction };
    let late = world.commit(nobody("g"), Some(fenced), &[("t", 0, 2, "")]);
    assert_eq!(late, Err(LogFailure::InvalidProducerEpoch.into()));
}

#[test]
fn a_transaction_of_a_member_is_refused_when_it_is_none_any_more() {
    let mut world = World::new();
    let members = world.stable(1);
    let (producer_id, epoch) = producer(&mut world);
    let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
    world.ask(0, Request::AddGroupToTransaction { transaction, group: "g" }).unwrap();
    let offsets = [("t", 0, 1, "")];
    world.commit(of(&members[0]), Some(transaction), &offsets).unwrap();
    let old = Membership { generation: 0, ..of(&members[0]) };
    assert_eq!(world.commit(old, Some(transaction), &offsets), Err(LogFailure::IllegalGeneration.into()));
    let gone = Membership { member_id: "c-0", ..of(&members[0]) };
    assert_eq!(world.commit(gone, Some(transaction), &offsets), Err(LogFailure::UnknownMember.into()));
    // Older clients do not say which member they are.
    world.commit(nobody("g"), Some(transaction), &offsets).unwrap();
}

#[test]
fn of_two_commits_the_later_one_counts_whenever_the_transaction_ends() {
    let mut world = World::new();
    let (producer_id, epoch) = producer(&mut world);
    let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
    world.ask(0, Request::AddGroupToTransaction { transaction, group: "g" }).unwrap();
    world.commit(nobody("g"), Some(transaction), &[("t", 0, 10, ""), ("t", 1, 10, "")]).unwrap();
    world.commit_as(nobody("g"), &[("t", 0, 11, "")]).unwrap();
    world.settle();
    // Through a checkpoint too.
    world.broker.checkpoint();
    world.settle();
    world.crash();
    world.ask(0, Request::EndTransaction { transaction, commit: true, bump: false }).unwrap();
    let offsets = world.fetch("g", Some(&[("t", 0), ("t", 1)]), false);
    assert_eq!([offsets[0].offset, offsets[1].offset], [11, 10]);
}

#[test]
fn pitfall_20_every_item_that_is_asked_for_is_answered() {
    let mut world = World::new();
    world.commit_as(nobody("g"), &[("t", 0, 1, ""), ("t", 1, 1, "")]).unwrap();
    let ask = |partitions| Request::DeleteOffsets { group: "g", partitions };
    let Ok(Reply::OffsetsCommitted(deleted)) = world.ask(0, ask(vec![("t", 1), ("u", 0), ("t", 3), ("t", 9)])) else {
        panic!("refused");
    };
    assert_eq!(deleted.results, [Ok(()), Err(LogFailure::UnknownTopic), Ok(()), Err(LogFailure::UnknownTopic)]);
    assert!(deleted.durable_at.is_some());
    world.settle();
    world.crash();
    assert_eq!(world.fetch("g", None, false).len(), 1);
    let unknown = Request::DeleteOffsets { group: "x", partitions: vec![("t", 0)] };
    assert_eq!(world.ask(0, unknown), failed(LogFailure::UnknownGroup));
}

#[test]
fn offsets_of_topics_that_are_subscribed_to_are_not_deleted() {
    let mut world = World::new();
    world.create("u", 1);
    let members = world.stable(1);
    world.commit_as(of(&members[0]), &[("t", 0, 1, ""), ("u", 0, 1, "")]).unwrap();
    let ask =
        |world: &mut World| match world.ask(0, Request::DeleteOffsets { group: "g", partitions: vec![("t", 0), ("u", 0)] })? {
            Reply::OffsetsCommitted(deleted) => Ok(deleted.results),
            other => panic!("{other:?}"),
        };
    assert_eq!(ask(&mut world), Ok(vec![Err(LogFailure::GroupSubscribed), Ok(())]));
    world.leave(&members[0]).unwrap();
    assert_eq!(ask(&mut world), Ok(vec![Ok(()), Ok(())]));
    // Metadata that cannot be read may mean any topic; members of another kind do not say what they use.
    let refused = vec![Err(LogFailure::GroupSubscribed); 2];
    for (protocol_type, expected) in [("consumer", Ok(refused)), ("connect", Err(Failure::Log(LogFailure::GroupNotEmpty)))] {
        let mut odd = client(5);
        let answer = world.join_with(&odd, |join| {
            join.protocol_type = protocol_type;
            join.protocols = vec![("range", b"\x00\x01\x7f\xff\xff\xff\x00\x01t")];
        });
        assert_eq!(answer, Ok(Reply::Pending));
        world.joined(&mut odd);
        assert_eq!(ask(&mut world), expected);
        world.leave(&odd).unwrap();
    }
}

#[test]
fn a_deleted_topics_offsets_are_gone() {
    let mut world = World::new();
    world.create("u", 1);
    world.commit_as(nobody("g"), &[("t", 0, 1, ""), ("u", 0, 1, "")]).unwrap();
    world.ask(0, Request::DeleteTopic { topic: TopicRef::Name("t") }).unwrap();
    for _ in 0..2 {
        let all = world.fetch("g", None, false);
        assert_eq!(all.iter().map(|offset| &*offset.topic).collect::<Vec<_>>(), ["u"]);
        world.settle();
        world.crash();
    }
    world.create("t", 4);
    assert_eq!(world.committed("g"), -1, "the new topic is another one");
}

#[test]
fn groups_are_listed_and_deleted_when_they_are_empty() {
    let mut world = World::new();
    let members = world.stable(1);
    world.commit_as(nobody("a"), &[("t", 0, 1, "")]).unwrap();
    let list = |world: &mut World| match world.ask(0, Request::DescribeGroups { group: None }) {
        Ok(Reply::Groups(groups)) => groups.iter().map(|group| (group.group.to_string(), group.state)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(list(&mut world), [("a".into(), GroupState::Empty), ("g".into(), GroupState::Stable)]);
    assert_eq!(world.ask(0, Request::DeleteGroup { group: "g" }), failed(LogFailure::GroupNotEmpty));
    assert_eq!(world.ask(0, Request::DeleteGroup { group: "x" }), failed(LogFailure::UnknownGroup));
    world.leave(&members[0]).unwrap();
    for group in ["a", "g"] {
        assert!(matches!(world.ask(0, Request::DeleteGroup { group }), Ok(Reply::DurableAt(_))));
    }
    assert_eq!(list(&mut world), []);
    world.settle();
    world.crash();
    assert_eq!(list(&mut world), []);
    assert_eq!(world.committed("a"), -1);
}

/// A world in which expired offsets are looked for every second.
fn sweeping() -> World {
    let mut options = Options::default();
    options.groups.initial_rebalance_delay_ms = 0;
    options.groups.retention_check_ms = 1_000;
    World::with(options)
}

#[test]
fn offsets_expire_a_week_after_the_group_is_empty() {
    let mut world = sweeping();
    let members = world.stable(1);
    world.commit_as(of(&members[0]), &[("t", 0, 1, "")]).unwrap();
    world.commit_as(nobody("simple"), &[("t", 0, 1, "")]).unwrap();
    world.now.wall_ms += 7 * DAY_MS - 10_000;
    world.pass(5_000);
    world.heartbeat(&members[0]).unwrap();
    assert_eq!((world.committed("g"), world.committed("simple")), (1, 1));
    world.pass(8_000);
    assert_eq!((world.committed("g"), world.committed("simple")), (1, -1));
    assert_eq!(world.describe("simple").state, GroupState::Dead, "it has nothing left");
    world.leave(&members[0]).unwrap();
    world.now.wall_ms += 7 * DAY_MS - 10_000;
    world.pass(5_000);
    world.settle();
    world.crash();
    assert_eq!(world.committed("g"), 1);
    world.pass(8_000);
    assert_eq!(world.committed("g"), -1);
    assert_eq!(world.describe("g").state, GroupState::Dead);
    world.crash();
    assert_eq!(world.describe("g").state, GroupState::Dead);
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_any_more_expire_in_a_group_at_work() {
    let mut world = sweeping();
    world.create("u", 1);
    let members = world.stable(1);
    world.commit_as(of(&members[0]), &[("t", 0, 1, ""), ("u", 0, 1, "")]).unwrap();
    world.now.wall_ms += 7 * DAY_MS;
    world.pass(2_000);
    let all = world.fetch("g", None, false);
    assert_eq!(all.iter().map(|offset| &*offset.topic).collect::<Vec<_>>(), ["t"]);
}

#[test]
fn what_a_transaction_may_change_does_not_expire() {
    let mut world = sweeping();
    world.commit_as(nobody("g"), &[("t", 0, 1, "")]).unwrap();
    world.settle();
    world.now.wall_ms += 7 * DAY_MS;
    let (producer_id, epoch) = producer(&mut world);
    let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
    world.ask(0, Request::AddGroupToTransaction { transaction, group: "g" }).unwrap();
    world.commit(nobody("g"), Some(transaction), &[("t", 0, 2, "")]).unwrap();
    world.pass(2_000);
    assert_eq!(world.committed("g"), 1);
}

#[test]
fn everything_survives_a_checkpoint_and_what_is_replayed_behind_it() {
    let mut world = World::new();
    let mut members = vec![fixed(1, "one"), client(2)];
    members.iter().for_each(|member| world.join(member));
    world.all_sync(&mut members);
    world.commit_as(of(&members[0]), &[("t", 0, 1, "m"), ("t", 1, 1, "")]).unwrap();
    world.settle();
    let before = world.describe("g");
    // A checkpoint in the middle of a rebalance holds what was before it.
    world.join(&client(3));
    world.broker.checkpoint();
    world.settle();
    world.commit_as(of(&members[0]), &[("t", 0, 2, "n")]).unwrap();
    let offsets = world.fetch("g", None, false);
    world.settle();
    world.crash();
    assert_eq!(world.describe("g"), before);
    assert_eq!(world.fetch("g", None, false), offsets);
    assert!(world.broker.close(&mut world.disk).is_ok());
    world.restart();
    assert_eq!(world.describe("g"), before);
    assert_eq!(world.fetch("g", None, false), offsets);
}

#[test]
fn a_commit_of_very_many_offsets_is_one_answer() {
    let mut world = World::new();
    let text = "x".repeat(4000);
    let offsets: Vec<_> = (0..2_000).map(|at| ("t", at % 4, i64::from(at), &*text)).collect();
    let committed = world.commit_as(nobody("g"), &offsets).unwrap();
    assert_eq!(committed.results.len(), 2_000);
    world.settle();
    world.crash();
    assert_eq!(world.committed("g"), 1_996);
}

impl World {
    /// A topic that goes finds those groups that hold something of it, and no others.
    fn check_holders(&self) {
        let groups = &self.broker.groups;
        let mut expected = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, group) in &groups.groups {
            for topic in group.offsets.topics() {
                expected.entry(topic).or_default().insert(name.clone());
            }
        }
        let holders: BTreeMap<_, _> = groups.holders.0.iter().map(|(topic, names)| (topic, names.clone())).collect();
        assert_eq!(holders, expected);
    }
}

/// What is recovered is what there was, whatever was done and wherever a checkpoint fell: the entries that would make it
/// afresh are the same.
#[test]
fn groups_are_the_same_after_a_restart() {
    for seed in 1..30 {
        let mut world = World::new();
        let mut random: u64 = seed;
        let mut chance = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (producer_id, epoch) = producer(&mut world);
        let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
        world.create("u", 4);
        let mut members = world.stable(2);
        for round in 0..120 {
            let group = ["a", "b"][chance(2) as usize];
            let topic = ["t", "u"][chance(2) as usize];
            let offset = (topic, chance(5) as u32, round, ["", "text"][chance(2) as usize]);
            match chance(12) {
                0..4 => drop(world.commit_as(nobody(group), &[offset, ("t", 3, round, "")]).unwrap()),
                4 | 5 => {
                    world.ask(0, Request::AddGroupToTransaction { transaction, group }).unwrap();
                    world.commit(nobody(group), Some(transaction), &[offset]).unwrap();
                }
                // There may be none to be ended.
                6 => drop(world.ask(0, Request::EndTransaction { transaction, commit: chance(2) == 0, bump: false })),
                7 => drop(world.ask(0, Request::DeleteOffsets { group, partitions: vec![(topic, 3), (topic, offset.1)] })),
                8 if chance(4) == 0 => drop(world.ask(0, Request::DeleteGroup { group })),
                9 if chance(4) == 0 => {
                    world.ask(0, Request::DeleteTopic { topic: TopicRef::Name(topic) }).unwrap();
                    world.create(topic, 4);
                }
                10 if chance(2) == 0 => world.broker.checkpoint(),
                11 => {
                    members.iter().for_each(|member| world.join(member));
                    let leader = world.all_sync(&mut members);
                    members.swap(0, leader);
                }
                _ => {}
            }
            world.now.wall_ms += 1;
            world.check_holders();
        }
        world.settle();
        let entries = |world: &World| {
            let mut entries = Vec::new();
            world.broker.groups.snapshot(&mut entries);
            entries
        };
        let before = entries(&world);
        world.crash();
        assert_eq!(entries(&world), before, "seed {seed}");
        world.check_holders();
        members.iter().for_each(|member| assert!(matches!(world.leave(member), Ok(Reply::DurableAt(_)))));
        for group in ["a", "b", "g"] {
            drop(world.ask(0, Request::DeleteGroup { group }));
        }
        assert_eq!(entries(&world), [], "seed {seed}");
        assert!(world.broker.groups.holders.0.is_empty(), "seed {seed}");
        assert_eq!(world.broker.groups.bytes, 0, "seed {seed}: nothing is left, and nothing is counted");
    }
}

#[test]
fn a_sweep_reaches_every_group_a_part_of_them_at_a_time() {
    let mut world = sweeping();
    for number in 0..600 {
        world.commit_as(nobody(&format!("{number}")), &[("t", 0, 1, "")]).unwrap();
    }
    world.settle();
    world.now.wall_ms += 7 * DAY_MS;
    world.now.mono_ms += 1_000;
    let left = |world: &World| world.broker.groups.groups.len();
    world.turn();
    assert!((1..600).contains(&left(&world)), "{} are left", left(&world));
    world.settle();
    assert_eq!(left(&world), 0);
}
