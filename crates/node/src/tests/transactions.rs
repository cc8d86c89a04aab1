//! Transactions, where they meet the bounds of queues.

use super::*;

/// What it published itself was not counted: a transaction of any size went into a full queue.
#[test]
fn a_transaction_does_not_overfill_a_queue_that_refuses() {
    for bound in [("x-max-length", Value::I32(2)), ("x-max-length-bytes", Value::I32(5))] {
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
