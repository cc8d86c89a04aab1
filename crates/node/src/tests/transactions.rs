//! Transactions, where they meet the bounds of queues.

use super::*;

/// What it published itself was not counted: a transaction of any size went into a full queue.
#[test]
fn a_transaction_does_not_overfill_a_queue_that_refuses() {
    for bound in [("x-max-length", Value::I32(2)), ("x-max-length-bytes", Value::I32(8))] {
        let mut world = World::new();
        let refuses = ("x-overflow", text("reject-publish"));
        world.declare("full", &[bound.clone(), refuses.clone()]);
        world.declare("open", &[]);
        world.client.tx_select(&mut world.said, 1);
        for body in ["one", "two", "three", "four"] {
            world.publish("full", body);
            world.publish("open", body);
        }
        world.commit_in_part();
        assert_eq!(world.drain("full"), ["one", "two"], "{bound:?}");
        assert_eq!(world.drain("open"), ["one", "two", "three", "four"]);
    }
}

/// It ran from the publish on: a transaction that took its time published nothing.
#[test]
fn the_time_to_live_of_a_message_begins_with_the_commit() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.client.tx_select(&mut world.said, 1);
    world.publish_for("q", "100", 0, "short");
    world.wait(1_000);
    world.client.send(&mut world.said, 1, &tx::Commit {});
    world.wait(99);
    assert_eq!(world.drain("q"), ["short"]);
}

/// An acknowledgement in a transaction freed its place in the channel's prefetch before the commit.
#[test]
fn an_acknowledgement_frees_credit_with_the_commit() {
    let mut world = World::new();
    world.declare("q", &[]);
    for body in ["one", "two"] {
        world.publish("q", body);
    }
    world.client.tx_select(&mut world.said, 1);
    world.client.send(&mut world.said, 1, &basic::Qos { prefetch_size: 0, prefetch_count: 1, global: true });
    world.client.consume(&mut world.said, 1, "q", "c", false);
    assert_eq!(world.talk().last().map(String::as_str), Some("one"));
    world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: 1, multiple: false });
    assert_eq!(world.talk(), [""; 0]);
    world.client.send(&mut world.said, 1, &tx::Rollback {});
    assert_eq!(world.talk(), ["Method"]);
    world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: 1, multiple: false });
    world.client.send(&mut world.said, 1, &tx::Commit {});
    assert_eq!(world.talk(), ["Method", "two"]);
}
