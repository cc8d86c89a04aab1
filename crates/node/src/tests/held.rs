//! Heartbeats of connections that are not being read.

use super::*;

/// Turn the wheel for so long without the disk doing anything, and without a word from the client.
fn wait(world: &mut World, from_ms: u64, ms: u64) {
    for after in (0..=ms).step_by(250) {
        world.node.turn(Now { mono_ms: NOW.mono_ms + from_ms + after, ..NOW }).unwrap();
    }
}

/// A disk that stood still for longer than two heartbeats cost every publisher its connection: what they said was not
/// read meanwhile, and they were taken for dead.
#[test]
fn a_publisher_that_is_held_back_is_not_taken_for_dead() {
    let connect = ConnectOptions { heartbeat_s: 1, ..ConnectOptions::default() };
    for publishes in [true, false] {
        let mut world = World::with(SimulatedDisk::new(1), Options::default(), connect);
        let durable = queue::Declare { queue: "q", durable: true, ..Default::default() };
        world.declare_as(durable, &[]);
        if publishes {
            let body = vec![7; 12 * 1024 * 1024];
            for _ in 0..4 {
                world.client.publish(&mut world.said, 1, "", "q", &Properties::persistent(), &body);
                while world.offer() {}
            }
            world.node.turn(NOW).unwrap();
            assert!(!world.node.may_read(world.session), "the publisher is not held");
        }
        wait(&mut world, 0, 10_000);
        let expected = if publishes { SessionState::Open } else { SessionState::Closing };
        assert_eq!(world.node.state(world.session), expected);
        if publishes {
            // Once it is heard again, its silence counts again.
            while world.disk.step() {
                world.node.turn(Now { mono_ms: NOW.mono_ms + 10_000, ..NOW }).unwrap();
            }
            wait(&mut world, 10_000, 500);
            assert!(world.node.may_read(world.session));
            assert_eq!(world.node.state(world.session), SessionState::Open);
            wait(&mut world, 10_500, 10_000);
            assert_eq!(world.node.state(world.session), SessionState::Closing);
        }
    }
}

/// Whoever takes nothing of what fills its output is not heard either; that must not keep it alive for ever.
#[test]
fn one_that_takes_nothing_is_dead_though_it_is_not_read() {
    let connect = ConnectOptions { heartbeat_s: 1, ..ConnectOptions::default() };
    let mut world = World::with(SimulatedDisk::new(1), Options::default(), connect);
    let publish = basic::Publish { exchange: "", routing_key: "nobody", mandatory: true, ..Default::default() };
    let template = PublishTemplate::new(1, publish, &Properties::default());
    for _ in 0..64 {
        template.put(&mut world.said, world.client.frame_max(), &[7; 64 * 1024]);
    }
    while world.offer() {}
    assert!(!world.node.may_read(world.session), "the output is not full");
    wait(&mut world, 0, 10_000);
    assert_eq!(world.node.state(world.session), SessionState::Closing);
}
