//! The load cases: options of the generator, the figure that counts, and the targets.

/// Which rate is the throughput of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Deliveries per second.
    Delivered,
    /// Publishes per second; confirmed ones where there are confirms.
    Published,
    /// Publish-to-confirm latency with one message in flight.
    Latency,
}

/// One load.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub figure: Figure,
    /// Whether messages are to survive: then the state of fsync belongs to the figure.
    pub durable: bool,
    pub arguments: Vec<String>,
}

/// Throughput must be at least this many times the peer's.
pub const THROUGHPUT_RATIO_MIN: f64 = 8.0;
/// Broker CPU per message must be at most this part of the peer's.
pub const CPU_RATIO_MAX: f64 = 0.1;

/// All load cases, each for `seconds` where it goes by time.
pub fn all(seconds: f64) -> Vec<Case> {
    use Figure::{Delivered, Latency, Published};
    // Counts grow with the time that is granted, so that a quick run is quick.
    let scaled = |per_second: f64| format!("--count {}", (per_second * seconds) as u64);
    let timed = format!("--duration {seconds}");
    let case = |name, title, figure, durable, arguments: String| Case {
        name,
        title,
        figure,
        durable,
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
    };
    vec![
        case("persistent", "1 KiB persistent, confirms, acks in hundreds", Delivered, true, timed.clone()),
        case(
            "persistent-10",
            "the same, 10 producers, 10 consumers, 10 queues",
            Delivered,
            true,
            format!("{timed} -p 10 -c 10 -q 10"),
        ),
        case("persistent-100B", "100 B persistent, confirms, acks in hundreds", Delivered, true, format!("{timed} --size 100")),
        case(
            "persistent-64KiB",
            "64 KiB persistent, confirms, acks in hundreds",
            Delivered,
            true,
            format!("{timed} --size 65536"),
        ),
        case("publish", "1 KiB persistent, publish only", Published, true, format!("{timed} -c 0")),
        case(
            "drain",
            "draining a backlog of 1 KiB persistent messages",
            Delivered,
            true,
            format!("{} --drain", scaled(40_000.0)),
        ),
        // Without confirms nothing but the backlog's bound holds a publisher back; the same bound for both.
        case(
            "transient",
            "1 KiB transient, automatic acks",
            Delivered,
            false,
            format!("{timed} --transient -w 0 -a 0 --max-backlog 20000"),
        ),
        case(
            "transient-100B",
            "100 B transient, automatic acks",
            Delivered,
            false,
            format!("{timed} --transient -w 0 -a 0 --max-backlog 20000 --size 100"),
        ),
        case(
            "fanout-transient",
            "1 KiB to 100 queues, 100 consumers, transient, automatic acks",
            Delivered,
            false,
            format!("{timed} --fan-out 100 -c 100 --transient -w 0 -a 0 --max-backlog 200"),
        ),
        case(
            "fanout",
            "1 KiB to 100 queues, 100 consumers, persistent, confirms, acks in hundreds",
            Delivered,
            true,
            format!("{timed} --fan-out 100 -c 100 -w 200 --max-backlog 200"),
        ),
        case(
            "fanout-publish",
            "1 KiB to 100 queues, nobody consumes, persistent, confirms",
            Published,
            true,
            format!("{timed} --fan-out 100 -c 0"),
        ),
        case("latency", "1 KiB persistent, one message in flight", Latency, true, format!("{timed} --latency")),
    ]
}
