//! Who has what when not everybody can have everything.

use super::*;

impl World {
    fn prefetch_of_the_channel(&mut self, channel: u16, count: u16) {
        self.client.send(&mut self.said, channel, &basic::Qos { prefetch_size: 0, prefetch_count: count, global: true });
    }

    /// Messages of each queue that a client gets that reads `reads` times what waits, and nothing in between.
    fn counts(&mut self, queues: &[&str], reads: usize) -> Vec<usize> {
        for _ in 0..reads {
            for _ in 0..50 {
                self.node.turn(self.now).unwrap();
            }
            self.read();
        }
        let heard = std::mem::take(&mut self.heard);
        let mut rest = &heard[..];
        let mut counts = vec![0; queues.len()];
        while let Some(event) = self.client.receive(&mut rest, &mut self.said).unwrap() {
            if let ClientEvent::Delivered { message, .. } = event {
                let at = queues.iter().position(|queue| *queue == message.routing_key).unwrap();
                counts[at] += 1;
            }
        }
        self.heard = rest.to_vec();
        counts
    }
}

/// The first queue filled the output of a client that reads slowly, each time: the others had nothing.
#[test]
fn a_slow_client_gets_something_of_all_its_queues() {
    let queues = ["a", "b", "c", "d"];
    let mut world = World::new();
    world.client.open_channel(&mut world.said, 2);
    world.talk();
    for queue in queues {
        world.declare(queue, &[]);
        for _ in 0..500 {
            world.publish(queue, &"x".repeat(10_000));
        }
        world.talk();
    }
    for (number, queue) in queues.into_iter().enumerate() {
        world.client.consume(&mut world.said, 1 + number as u16 / 2, queue, queue, true);
    }
    world.offer();
    let counts = world.counts(&queues, 8);
    assert!(counts.iter().all(|count| *count > 80), "{counts:?}");
}

#[test]
fn the_prefetch_of_a_channel_goes_round_its_queues() {
    let mut world = World::new();
    for queue in ["a", "b", "c"] {
        world.declare(queue, &[]);
        for _ in 0..20 {
            world.publish(queue, queue);
        }
    }
    world.prefetch_of_the_channel(1, 2);
    for queue in ["a", "b", "c"] {
        world.client.consume(&mut world.said, 1, queue, queue, false);
    }
    world.talk();
    for tag in 1..=28 {
        world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: tag, multiple: false });
        world.talk();
    }
    let of = |queue: &str| world.taken.iter().filter(|taken| taken.key == queue).count();
    let counts = ["a", "b", "c"].map(of);
    assert!(counts.iter().all(|count| *count >= 9), "{counts:?}");
}

/// A queue that others keep busy was looked at first each time, and took the credit that the others had waited for.
#[test]
fn a_queue_that_others_keep_busy_does_not_take_every_credit() {
    let mut world = World::new();
    world.client.open_channel(&mut world.said, 2);
    world.talk();
    for queue in ["busy", "b"] {
        world.declare(queue, &[]);
        for _ in 0..20_000 {
            world.publish(queue, queue);
        }
        world.talk();
    }
    world.prefetch_of_the_channel(1, 1);
    for queue in ["busy", "b"] {
        world.client.consume(&mut world.said, 1, queue, queue, false);
    }
    world.client.consume(&mut world.said, 2, "busy", "other", true);
    let mut of_b = 0;
    for _ in 0..4 {
        world.offer();
        world.node.turn(world.now).unwrap();
        assert!(world.node.busy(), "nobody keeps the queue busy");
        world.read();
        let heard = std::mem::take(&mut world.heard);
        let mut rest = &heard[..];
        let mut held = Vec::new();
        while let Some(event) = world.client.receive(&mut rest, &mut world.said).unwrap() {
            if let ClientEvent::Delivered { channel: 1, tag, message, .. } = event {
                of_b += usize::from(message.routing_key == "b");
                held.push(tag);
            }
        }
        for tag in held {
            world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: tag, multiple: false });
        }
    }
    assert!(of_b > 0);
}

#[test]
fn gets_do_not_count_against_the_prefetch_of_a_channel() {
    let mut world = World::new();
    world.declare("q", &[]);
    for body in ["got", "delivered", "held back"] {
        world.publish("q", body);
    }
    world.prefetch_of_the_channel(1, 1);
    world.talk();
    assert_eq!(world.get("q").unwrap().body, "got");
    world.client.consume(&mut world.said, 1, "q", "c", false);
    assert_eq!(world.talk(), ["Method", "delivered"]);
    // What was got is settled: that frees nothing.
    world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: 1, multiple: false });
    assert_eq!(world.talk(), [""; 0]);
    // Who settles nothing is held back as well.
    world.client.consume(&mut world.said, 1, "q", "automatic", true);
    assert_eq!(world.talk(), ["Method"]);
    world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: 2, multiple: false });
    assert_eq!(world.talk(), ["held back"]);
}

/// The credit was there again, and nobody looked.
#[test]
fn what_is_given_back_by_recover_makes_room_for_other_queues() {
    let mut world = World::new();
    for queue in ["a", "b"] {
        world.declare(queue, &[]);
        world.publish(queue, queue);
    }
    world.prefetch_of_the_channel(1, 1);
    for queue in ["a", "b"] {
        world.client.consume(&mut world.said, 1, queue, queue, false);
    }
    assert_eq!(world.talk().last().map(String::as_str), Some("a"));
    world.client.send(&mut world.said, 1, &basic::Recover { requeue: true });
    assert!(world.talk().contains(&"b".to_owned()));
}

/// A get in the same turn as the publish was served before the consumer that had waited for longer.
#[test]
fn a_get_takes_nothing_from_a_consumer_that_waits() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.client.consume(&mut world.said, 1, "q", "c", true);
    world.talk();
    world.publish("q", "for the consumer");
    world.client.get(&mut world.said, 1, "q", true);
    assert_eq!(world.talk(), ["for the consumer", "Empty"]);
}

/// What consumers wait for was taken for what lies in the queue: most of a burst was refused.
#[test]
fn a_queue_that_refuses_takes_what_consumers_wait_for() {
    for bound in [("x-max-length", Value::I32(1)), ("x-max-length-bytes", Value::I32(1))] {
        let mut world = World::new();
        world.declare("q", &[bound, ("x-overflow", text("reject-publish"))]);
        world.client.prefetch(&mut world.said, 1, 2);
        world.client.consume(&mut world.said, 1, "q", "c", false);
        world.talk();
        for body in ["1", "2", "3", "4"] {
            world.publish("q", body);
        }
        assert_eq!(world.talk(), ["1", "2"]);
        world.client.send(&mut world.said, 1, &basic::Ack { delivery_tag: 0, multiple: true });
        assert_eq!(world.talk(), ["3"]);
    }
}

/// One of higher priority took over while the first still worked.
#[test]
fn a_single_active_consumer_stays_while_it_holds_something() {
    for kind in ["classic", "quorum"] {
        let mut world = World::new();
        let q = queue::Declare { queue: "q", durable: true, ..Default::default() };
        world.declare_as(q, &[("x-single-active-consumer", Value::Bool(true)), ("x-queue-type", text(kind))]);
        for channel in 2..=3 {
            world.client.open_channel(&mut world.said, channel);
            world.client.prefetch(&mut world.said, channel, 2);
        }
        world.client.consume(&mut world.said, 2, "q", "first", false);
        world.talk();
        for body in ["1", "2", "3", "4", "5"] {
            world.publish("q", body);
        }
        assert_eq!(world.talk(), ["1", "2"]);
        let arguments = field::encode_entries(&table(&[("x-priority", Value::I32(10))]));
        let urgent = basic::Consume { queue: "q", consumer_tag: "second", arguments: RawTable(&arguments), ..Default::default() };
        world.client.send(&mut world.said, 3, &urgent);
        let ack = |world: &mut World, channel, tag| {
            world.client.send(&mut world.said, channel, &basic::Ack { delivery_tag: tag, multiple: false });
            world.talk()
        };
        assert!(world.talk().iter().all(|event| event == "Method"), "{kind}");
        if kind == "classic" {
            assert_eq!(ack(&mut world, 2, 1), ["3"]);
            world.cancel(2, "first");
            assert_eq!(world.talk(), ["Method", "4", "5"]);
        } else {
            // As in RabbitMQ 4: it ends what it has, and is given nothing more.
            assert_eq!(ack(&mut world, 2, 1), [""; 0]);
            assert_eq!(ack(&mut world, 2, 2), ["3", "4"]);
        }
    }
}
