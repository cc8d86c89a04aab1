//! What becomes of a message that was rejected, expired or did not fit, and what it is told by.

use super::*;

fn letters_to(key: &str) -> [(&'static str, Value); 2] {
    [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(key))]
}

#[test]
fn one_that_comes_back_too_often_becomes_a_dead_letter() {
    let mut world = World::new();
    world.declare("letters", &[]);
    let [exchange, key] = letters_to("letters");
    world.declare("work", &[("x-delivery-limit", Value::I32(2)), exchange, key]);
    world.publish_with("work", &[("mine", Value::I32(1))], "poison");
    for returns in 0..=2 {
        let taken = world.get("work").expect("it is still there");
        // Told from the first redelivery on.
        assert_eq!(taken.headers.get("x-delivery-count").and_then(Value::as_integer), (returns > 0).then_some(returns));
        assert_eq!(taken.headers.get("mine"), Some(&Value::I32(1)));
        world.reject(taken.tag, true);
    }
    assert_eq!(world.get("work"), None);
    let letter = world.get("letters").expect("a dead letter");
    assert_eq!((letter.body.as_str(), letter.deaths()), ("poison", vec![("work".into(), "delivery_limit".into(), 1)]));
    assert_eq!(letter.headers.get("x-delivery-count"), None);
}

#[test]
fn a_channel_that_ends_counts_as_giving_back() {
    let mut world = World::new();
    world.declare("work", &[("x-delivery-limit", Value::I32(0))]);
    world.publish("work", "poison");
    world.get("work").unwrap();
    world.client.close_channel(&mut world.said, 1);
    world.talk();
    world.client.open_channel(&mut world.said, 1);
    world.talk();
    assert_eq!(world.get("work"), None);
}

#[test]
fn a_quorum_queue_without_a_limit_counts_and_a_classic_one_does_not() {
    let mut world = World::new();
    let quorum = queue::Declare { queue: "quorum", durable: true, ..Default::default() };
    world.declare_as(quorum, &[("x-queue-type", text("quorum")), ("x-delivery-limit", Value::I32(-1))]);
    world.declare("classic", &[]);
    for (queue, counted) in [("quorum", Some(30)), ("classic", None)] {
        world.publish(queue, "again and again");
        for _ in 0..30 {
            let taken = world.get(queue).unwrap();
            world.reject(taken.tag, true);
        }
        let count = world.get(queue).unwrap().headers.get("x-delivery-count").and_then(Value::as_integer);
        assert_eq!(count, counted, "{queue}");
    }
}

/// It was routed as if it had no headers.
#[test]
fn a_headers_exchange_routes_a_dead_letter_by_its_headers() {
    let mut world = World::new();
    for (queue, arguments) in [
        ("red", vec![("colour", text("red"))]),
        ("blue", vec![("colour", text("blue"))]),
        ("first died in work", vec![("x-match", text("any-with-x")), ("x-first-death-queue", text("work"))]),
    ] {
        world.declare(queue, &[]);
        world.bind(queue, "amq.headers", &arguments);
    }
    world.declare("work", &[("x-dead-letter-exchange", text("amq.headers"))]);
    world.publish_with("work", &[("colour", text("red"))], "red");
    let taken = world.get("work").unwrap();
    world.reject(taken.tag, false);
    assert_eq!(world.drain("red"), ["red"]);
    assert_eq!(world.drain("blue"), [""; 0]);
    assert_eq!(world.drain("first died in work"), ["red"]);
}

#[test]
fn further_keys_go_with_a_dead_letter_until_a_queue_gives_it_one_of_its_own() {
    let mut world = World::new();
    for queue in ["work", "a", "b", "own"] {
        let arguments: &[(&str, Value)] = match queue {
            "a" => &letters_to("own"),
            "work" => &[("x-dead-letter-exchange", text("amq.direct"))],
            _ => &[],
        };
        world.declare(queue, arguments);
    }
    for (queue, key) in [("a", "work"), ("b", "other")] {
        let bind = queue::Bind { queue, exchange: "amq.direct", routing_key: key, ..Default::default() };
        world.client.send(&mut world.said, 1, &bind);
    }
    world.publish_with("work", &[("CC", Value::List(vec![text("other")]))], "both ways");
    world.talk();
    let taken = world.get("work").unwrap();
    world.reject(taken.tag, false);
    assert_eq!(world.drain("b"), ["both ways"]);
    let letter = world.get("a").unwrap();
    let keys = |letter: &Taken| match letter.headers.get("x-death") {
        Some(Value::List(deaths)) => match &deaths[0] {
            Value::Table(death) => death.get("routing-keys").cloned(),
            other => panic!("not a table: {other:?}"),
        },
        other => panic!("no deaths: {other:?}"),
    };
    assert_eq!(keys(&letter), Some(Value::List(vec![text("work"), text("other")])));
    assert!(letter.headers.get("CC").is_some());
    world.reject(letter.tag, false);
    let letter = world.get("own").unwrap();
    assert_eq!((letter.key.as_str(), letter.headers.get("CC")), ("own", None));
}

#[test]
fn a_refused_message_in_a_transaction_is_sent_on() {
    let mut world = World::new();
    world.declare("letters", &[]);
    let [exchange, key] = letters_to("letters");
    let overflow = ("x-overflow", text("reject-publish-dlx"));
    world.declare("full", &[("x-max-length", Value::I32(1)), overflow, exchange, key]);
    world.client.tx_select(&mut world.said, 1);
    for body in ["fits", "does not"] {
        world.publish("full", body);
    }
    world.commit_in_part();
    assert_eq!(world.drain("full"), ["fits"]);
    assert_eq!(world.drain("letters"), ["does not"]);
}

/// They were forgotten with their queue.
#[test]
fn letters_outlive_the_queue_that_goes_right_after() {
    type Going = fn(&mut World);
    let delete: Going = |world| world.client.send(&mut world.said, 1, &queue::Delete { queue: "work", ..Default::default() });
    let ways: [(&str, Going); 3] = [
        ("delete", delete),
        ("cancel", |world| world.cancel(1, "c")),
        ("channel.close", |world| world.client.close_channel(&mut world.said, 1)),
    ];
    for (way, go) in ways {
        for count in [3, 2_000] {
            let mut world = World::new();
            world.client.open_channel(&mut world.said, 2);
            world.talk();
            let [exchange, key] = letters_to("letters");
            world.declare("letters", &[]);
            let auto = queue::Declare { queue: "work", auto_delete: way != "delete", ..Default::default() };
            world.declare_as(auto, &[exchange, key]);
            for number in 0..count {
                world.publish("work", &number.to_string());
            }
            world.client.consume(&mut world.said, 1, "work", "c", false);
            world.talk();
            world.client.send(&mut world.said, 1, &basic::Nack { delivery_tag: 0, multiple: true, requeue: false });
            go(&mut world);
            world.talk();
            world.client.send(&mut world.said, 2, &queue::Declare { queue: "work", passive: true, ..Default::default() });
            assert!(world.talk()[0].starts_with("404 NOT_FOUND - no queue 'work'"), "{way}");
            world.client.open_channel(&mut world.said, 3);
            world.talk();
            world.client.send(&mut world.said, 3, &queue::Declare { queue: "letters", passive: true, ..Default::default() });
            assert_eq!(world.talk(), [format!("{count} ready")], "{way}");
        }
    }
}

/// What is too much is dropped after consumers had their turn, and the queue was gone by then.
#[test]
fn what_a_limit_drops_has_its_letter_though_the_queue_goes_at_once() {
    for purge in [false, true] {
        let mut world = World::new();
        world.declare("letters", &[]);
        let [exchange, key] = letters_to("letters");
        world.declare("short", &[("x-max-length", Value::I32(1)), exchange, key]);
        for body in ["1", "2", "3"] {
            world.publish("short", body);
        }
        if purge {
            world.client.send(&mut world.said, 1, &queue::Purge { queue: "short", ..Default::default() });
            assert_eq!(world.talk(), ["1 purged"]);
        } else {
            world.client.send(&mut world.said, 1, &queue::Delete { queue: "short", ..Default::default() });
            world.talk();
        }
        assert_eq!(world.drain("letters"), ["1", "2"]);
    }
}

/// A record that must be read from disk first keeps its queue until then.
#[test]
fn a_letter_that_lies_on_disk_outlives_its_queue() {
    let mut world = World::over(SimulatedDisk::new(1), small());
    let letters = queue::Declare { queue: "letters", durable: true, ..Default::default() };
    world.declare_as(letters, &[]);
    let [exchange, key] = letters_to("letters");
    world.declare_as(durable(), &[exchange, key]);
    let body = |number: usize| format!("{number:04}{}", "x".repeat(2_000));
    for number in 0..400 {
        world.publish_durably("q", 0, &body(number));
        world.talk();
    }
    let held: Vec<u64> = (0..50).map(|_| world.get("q").unwrap().tag).collect();
    for number in 400..800 {
        world.publish_durably("q", 0, &body(number));
        world.talk();
    }
    world.client.send(&mut world.said, 1, &basic::Nack { delivery_tag: held[49], multiple: true, requeue: false });
    world.client.send(&mut world.said, 1, &queue::Delete { queue: "q", ..Default::default() });
    assert_eq!(world.talk(), ["Method"]);
    assert_eq!(world.drain("letters").len(), 50);
}
