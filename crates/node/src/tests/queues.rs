//! Queues: their bounds, purging, damage, and what they are declared as.

use super::*;

#[test]
fn the_exchange_of_the_tracer_is_there_and_nobody_publishes_to_it() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.bind("q", "amq.rabbitmq.trace", &[]);
    world.client.publish(&mut world.said, 1, "amq.rabbitmq.trace", "k", &Properties::default(), b"");
    let said = world.talk();
    assert!(said[0].contains("403 ACCESS_REFUSED - cannot publish to internal exchange"), "{said:?}");
}

/// A declaration dropped what was too much before the consumers had their turn.
#[test]
fn a_declaration_takes_nothing_from_a_consumer() {
    let mut world = World::new();
    world.declare("short", &[("x-max-length", Value::I32(1))]);
    world.client.consume(&mut world.said, 1, "short", "c", true);
    world.talk();
    for body in ["1", "2", "3"] {
        world.publish("short", body);
    }
    let look = queue::Declare { queue: "short", passive: true, ..Default::default() };
    world.client.send(&mut world.said, 1, &look);
    assert_eq!(world.talk(), ["1 ready", "1", "2", "3"]);
}

#[test]
fn a_purge_takes_what_is_ready_and_nothing_else() {
    for arguments in [&[][..], &[("x-max-priority", Value::I32(5))], &[("x-max-length-bytes", Value::I32(1_000_000))]] {
        let mut world = World::new();
        let durable = queue::Declare { queue: "q", durable: true, ..Default::default() };
        world.declare_as(durable, arguments);
        // More than one run of the log, persistent and not.
        for number in 0..10_000 {
            let properties = if number % 3 == 0 { Properties::default() } else { Properties::persistent() };
            world.client.publish(&mut world.said, 1, "", "q", &properties, number.to_string().as_bytes());
        }
        world.talk();
        let held: Vec<Taken> = (0..4).map(|_| world.get("q").unwrap()).collect();
        world.reject(held[1].tag, true);
        world.reject(held[3].tag, true);
        world.client.send(&mut world.said, 1, &queue::Purge { queue: "q", ..Default::default() });
        assert_eq!(world.talk(), ["9998 purged"], "{arguments:?}");
        world.publish("q", "new");
        world.reject(held[2].tag, true);
        assert_eq!(world.drain("q"), ["2", "new"]);
        world.reject(held[0].tag, true);
        assert_eq!(world.drain("q"), ["0"]);
    }
}

/// Everybody was told that the queue was empty, or nothing at all.
#[test]
fn whoever_uses_a_damaged_queue_is_told() {
    let mut world = World::new();
    let durable = queue::Declare { queue: "q", durable: true, ..Default::default() };
    world.declare_as(durable, &[]);
    for number in 0..100 {
        world.client.publish(&mut world.said, 1, "", "q", &Properties::persistent(), &[number; 1000]);
    }
    world.talk();
    // Only what is read from disk is verified: start again with a small cache.
    world.disk.kill();
    let disk = world.disk.clone();
    let options = Options { cache_bytes: 0, ..Options::default() };
    let mut world = World::over(disk, options);
    let (path, _) = world.disk.files().into_iter().find(|(path, bytes)| path.starts_with("journal") && *bytes > 100_000).unwrap();
    let contents = world.disk.contents(&path).unwrap();
    let at = contents.windows(1000).position(|window| window == [50; 1000]).unwrap();
    assert!(world.disk.flip_bit(&path, at as u64 * 8));

    for channel in 2..=4 {
        world.client.open_channel(&mut world.said, channel);
    }
    world.client.confirm_select(&mut world.said, 4);
    world.client.consume(&mut world.said, 2, "q", "c", true);
    let said = world.talk();
    assert_eq!((world.taken.len(), said.last().map(String::as_str)), (50, Some("Cancelled")));
    world.client.get(&mut world.said, 3, "q", true);
    let said = world.talk();
    assert!(said[0].starts_with("404 NOT_FOUND - queue 'q' holds a record that cannot be read"), "{said:?}");
    world.client.publish(&mut world.said, 4, "", "q", &Properties::default(), b"refused");
    assert_eq!(world.talk(), ["Nacked"]);
    world.client.send(&mut world.said, 1, &queue::Purge { queue: "q", ..Default::default() });
    assert_eq!(world.talk(), ["50 purged"]);
    world.client.publish(&mut world.said, 4, "", "q", &Properties::default(), b"sound again");
    assert_eq!(world.talk(), ["Acked"]);
    assert_eq!(world.drain("q"), ["sound again"]);
}

/// As RabbitMQ 3.10.8 answers; anything was taken for 0.
#[test]
fn a_consumers_priority_is_an_integer() {
    for (value, kind) in [(text("5"), "longstr"), (Value::F64(5.0), "double"), (Value::Bool(true), "bool"), (Value::Void, "void")]
    {
        let mut world = World::new();
        world.declare("q", &[]);
        let arguments = field::encode_entries(&table(&[("x-priority", value)]));
        let consume = basic::Consume { queue: "q", consumer_tag: "c", arguments: RawTable(&arguments), ..Default::default() };
        world.client.send(&mut world.said, 1, &consume);
        let text = format!("invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got {kind}\"");
        assert_eq!(world.talk(), [format!("406 PRECONDITION_FAILED - {text}")]);
    }
}

/// The default exchange was found by a passive declaration, which RabbitMQ refuses; a queue has no empty name.
#[test]
fn nothing_without_a_name_is_declared_passively() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.client.send(&mut world.said, 1, &queue::Declare { queue: "", passive: true, ..Default::default() });
    assert_eq!(world.talk(), ["404 NOT_FOUND - no queue '' in vhost '/'"]);
    let mut world = World::new();
    let exchange = amqp::codec::exchange::Declare { exchange: "", kind: "direct", passive: true, ..Default::default() };
    world.client.send(&mut world.said, 1, &exchange);
    assert_eq!(world.talk(), ["403 ACCESS_REFUSED - operation not permitted on the default exchange"]);
}
