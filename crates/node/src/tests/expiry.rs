//! Messages whose time is up: nobody gets them, wherever they lay when it was.

use super::*;

/// A queue whose letters go to `dead`.
fn declare(world: &mut World, name: &str, arguments: &[(&str, Value)]) {
    let mut all = vec![("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    all.extend_from_slice(arguments);
    world.declare(name, &all);
}

fn world() -> World {
    let mut world = World::new();
    world.declare("dead", &[]);
    world
}

/// Only the first message of each batch was looked at.
#[test]
fn what_expired_behind_a_message_that_lives_reaches_nobody() {
    for by_get in [false, true] {
        let mut world = world();
        declare(&mut world, "q", &[]);
        for (ttl, body) in [("", "stays 1"), ("50", "gone 1"), ("50", "gone 2"), ("60000", "stays 2"), ("50", "gone 3")] {
            if ttl.is_empty() {
                world.publish("q", body);
            } else {
                world.publish_for("q", ttl, 0, body);
            }
        }
        world.wait(50);
        if by_get {
            assert_eq!(world.drain("q"), ["stays 1", "stays 2"]);
        } else {
            world.client.consume(&mut world.said, 1, "q", "c", true);
            assert_eq!(world.talk()[1..], ["stays 1", "stays 2"]);
        }
        assert_eq!(world.drain("dead"), ["gone 1", "gone 2", "gone 3"]);
    }
}

#[test]
fn an_old_message_behind_a_young_urgent_one_expires() {
    let mut world = world();
    declare(&mut world, "q", &[("x-max-priority", Value::I32(3)), ("x-message-ttl", Value::I32(400))]);
    let publish = |world: &mut World, priority, body: &str| world.publish_durably("q", priority, body);
    publish(&mut world, 0, "old");
    world.wait(250);
    publish(&mut world, 3, "young");
    world.wait(250);
    assert_eq!(world.drain("q"), ["young"]);
}

/// The new head was not watched: it lay there until somebody touched the queue.
#[test]
fn whatever_makes_a_message_the_next_one_it_expires_in_its_time() {
    type Way = (&'static str, fn(&mut World), &'static [(&'static str, Value)], &'static [&'static str]);
    let ways: [Way; 6] = [
        ("a get", |world| world.client.get(&mut world.said, 1, "q", false), &[], &["short"]),
        ("a get that settles", |world| world.client.get(&mut world.said, 1, "q", true), &[], &["short"]),
        (
            "a rejection",
            |world| {
                let tag = world.get("q").unwrap().tag;
                world.reject(tag, false);
            },
            &[],
            &["keeps", "short"],
        ),
        (
            "a busy consumer",
            |world| {
                world.client.prefetch(&mut world.said, 1, 1);
                world.client.consume(&mut world.said, 1, "q", "c", false);
            },
            &[],
            &["short"],
        ),
        ("a limit", |world| world.publish("q", "third"), &[("x-max-length", Value::I32(2))], &["keeps", "short"]),
        (
            "a limit behind a busy consumer",
            |world| {
                world.client.prefetch(&mut world.said, 1, 1);
                world.client.consume(&mut world.said, 1, "q", "c", false);
                world.talk();
                world.publish("q", "third");
                world.publish("q", "fourth");
                world.talk();
                world.cancel(1, "c");
            },
            &[("x-max-length", Value::I32(2))],
            &["short"],
        ),
    ];
    for (way, act, arguments, expected) in ways {
        let mut world = world();
        declare(&mut world, "q", arguments);
        world.publish("q", "keeps");
        world.publish_for("q", "400", 0, "short");
        world.talk();
        act(&mut world);
        world.wait(399);
        let before = world.drain("dead");
        world.wait(1);
        let after = world.drain("dead");
        assert_eq!([before, after].concat(), expected, "{way}");
    }
}

#[test]
fn an_urgent_message_that_comes_later_expires_in_its_own_time() {
    for low_lives in ["20000", ""] {
        let mut world = world();
        declare(&mut world, "q", &[("x-max-priority", Value::I32(5))]);
        if low_lives.is_empty() {
            world.publish_durably("q", 1, "low");
        } else {
            world.publish_for("q", low_lives, 1, "low");
        }
        world.talk();
        world.publish_for("q", "300", 4, "high");
        world.wait(300);
        assert_eq!(world.drain("dead"), ["high"]);
    }
}

/// It was handed out again and again within one millisecond.
#[test]
fn without_time_to_live_a_message_is_handed_out_once() {
    let mut world = world();
    declare(&mut world, "q", &[("x-message-ttl", Value::I32(0))]);
    world.client.consume(&mut world.said, 1, "q", "c", false);
    world.talk();
    world.publish("q", "now");
    assert_eq!(world.talk(), ["now"]);
    world.reject(1, true);
    assert_eq!(world.drain("dead"), ["now"]);
}

/// Between the publish and the turn in which it is handed out a millisecond may pass.
#[test]
fn without_time_to_live_a_message_reaches_a_consumer_that_waits() {
    let mut world = world();
    declare(&mut world, "q", &[("x-message-ttl", Value::I32(0))]);
    world.client.consume(&mut world.said, 1, "q", "c", true);
    world.talk();
    world.publish("q", "now");
    world.offer();
    world.now.wall_ms += 3;
    assert_eq!(world.talk(), ["now"]);
    // One who comes later, in the same turn, does not wait.
    world.cancel(1, "c");
    world.talk();
    world.publish("q", "nobody waits");
    world.client.consume(&mut world.said, 1, "q", "c", true);
    assert_eq!(world.talk(), ["Method"]);
    assert_eq!(world.drain("dead"), ["nobody waits"]);
}
