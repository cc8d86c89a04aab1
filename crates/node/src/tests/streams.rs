//! Stream queues as AMQP's clients see them.

use amqp::codec::channel;

use super::*;

fn stream(world: &mut World) -> Vec<String> {
    let stream = queue::Declare { queue: "s", durable: true, ..Default::default() };
    world.client.declare_queue(&mut world.said, 1, stream, &table(&[("x-queue-type", text("stream"))]));
    world.talk()
}

/// Read the stream from its beginning.
fn read(world: &mut World) -> Vec<Taken> {
    world.client.prefetch(&mut world.said, 1, 10);
    let arguments = field::encode_entries(&table(&[("x-stream-offset", text("first"))]));
    let consume = basic::Consume { queue: "s", consumer_tag: "c", arguments: RawTable(&arguments), ..Default::default() };
    world.client.send(&mut world.said, 1, &consume);
    world.talk();
    std::mem::take(&mut world.taken)
}

#[test]
fn a_message_is_read_again_and_again_as_it_was_published() {
    let mut world = World::new();
    assert_eq!(stream(&mut world), ["0 ready"]);
    world.declare("q", &[]);
    for name in ["s", "q"] {
        world.bind(name, "amq.fanout", &[]);
    }
    let headers = field::encode_entries(&table(&[("n", Value::U16(7)), ("list", Value::List(vec![text("x")]))]));
    let properties = Properties { headers: Some(RawTable(&headers)), message_id: Some("m"), ..Properties::default() };
    world.client.publish(&mut world.said, 1, "amq.fanout", "key", &properties, b"body");
    world.talk();
    // The queue gives it away, the stream does not.
    let from_queue = world.get("q").unwrap();
    world.client.ack(&mut world.said, 1, from_queue.tag, false);
    assert_eq!(world.get("q"), None);
    for _ in 0..2 {
        let [taken] = &read(&mut world)[..] else { panic!("not one message") };
        let mut expected = from_queue.headers.clone();
        expected.0.push(("x-stream-offset".into(), Value::I64(0)));
        assert_eq!((&*taken.body, &*taken.exchange, &*taken.key), ("body", "amq.fanout", "key"));
        assert_eq!(taken.headers, expected);
        world.client.ack(&mut world.said, 1, taken.tag, false);
        assert_eq!(stream(&mut world), ["1 ready"]);
        world = world.restart();
    }
}

#[test]
fn what_a_stream_cannot_do_is_refused_in_rabbitmqs_words() {
    let get = basic::Get { queue: "s", ..Default::default() };
    let purge = queue::Purge { queue: "s", ..Default::default() };
    let nack = basic::Nack { delivery_tag: 1, ..Default::default() };
    let refused = |what: &str| format!("540 NOT_IMPLEMENTED - {what} not supported by stream queues queue 's' in vhost '/'");
    for attempt in 0..3 {
        let mut world = World::new();
        stream(&mut world);
        world.publish("s", "body");
        world.talk();
        assert_eq!(read(&mut world).len(), 1);
        let what = match attempt {
            0 => {
                world.client.send(&mut world.said, 1, &get);
                "basic.get"
            }
            1 => {
                world.client.send(&mut world.said, 1, &purge);
                "queue.purge"
            }
            _ => {
                world.client.send(&mut world.said, 1, &nack);
                "basic.nack and basic.reject"
            }
        };
        assert_eq!(world.talk(), [refused(what)]);
    }
    // A consumer that does not say how much it takes loses its channel alone.
    let mut world = World::new();
    stream(&mut world);
    world.client.consume(&mut world.said, 1, "s", "c", false);
    let text = "406 PRECONDITION_FAILED - consumer prefetch count is not set for 'queue 's' in vhost '/''";
    assert_eq!(world.talk(), [text]);
    world.client.send(&mut world.said, 2, &channel::Open::default());
    assert_eq!(world.talk(), ["Method"]);
}
