//! The load cases: who makes the load, how much of it, beside which peers, and the targets.

use crate::broker::Kind;

/// What the figure of a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Records written per second, answered with acks=all.
    Produced,
    /// Records read per second, of a topic that was filled before.
    Consumed,
    /// The time from the write of a record to its being read.
    Latency,
}

/// Whose program makes the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `yam bench kafka`, with these options.
    Own(&'static str),
    /// org.apache.kafka.tools, as they come.
    Java,
    /// librdkafka's rdkafka_performance, as it comes.
    Librdkafka,
}

/// One load.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub figure: Figure,
    pub client: Client,
    pub partitions: u32,
    pub record_bytes: usize,
    /// Beside whom.
    pub kinds: &'static [Kind],
}

/// Records written per second, at least so many times as many as Kafka that syncs nothing.
pub const PRODUCED_RATIO_MIN: f64 = 1.0;
/// The same beside Kafka that syncs every batch, as Yam does.
pub const PRODUCED_RATIO_SYNCED_MIN: f64 = 5.0;
/// Records read per second.
pub const CONSUMED_RATIO_MIN: f64 = 1.5;
/// Broker CPU for a megabyte, beside Kafka that syncs nothing.
pub const CPU_RATIO_MAX: f64 = 0.5;
/// Resident memory at its peak.
pub const MEMORY_RATIO_MAX: f64 = 0.2;
/// The 99th percentile of end-to-end latency.
pub const LATENCY_RATIO_MAX: f64 = 1.0;

const ALL: &[Kind] = &[Kind::Yam, Kind::Kafka, Kind::KafkaSynced];
/// Syncing is a matter of producing.
const READING: &[Kind] = &[Kind::Yam, Kind::Kafka];

const KIB: usize = 1024;

/// All cases.
pub fn all() -> Vec<Case> {
    use Client::{Java, Librdkafka, Own};
    use Figure::{Consumed, Latency, Produced};
    let case = |name, title, figure, client, partitions, kinds| Case {
        name,
        title,
        figure,
        client,
        partitions,
        record_bytes: KIB,
        kinds,
    };
    let mut cases = vec![
        case("produce", "one producer, 1 partition", Produced, Own(""), 1, ALL),
        case("produce-64KiB", "the same, batches of 64 KiB", Produced, Own("--batch 65536"), 1, ALL),
        case("produce-100B", "the same, records of 100 B", Produced, Own(""), 1, ALL),
        case("produce-100", "4 producers, 100 partitions", Produced, Own("-p 4"), 100, ALL),
        case("produce-2000", "4 producers, 2,000 partitions", Produced, Own("-p 4"), 2000, ALL),
        case("consume", "one consumer, 1 partition", Consumed, Own(""), 1, READING),
        case("consume-100", "one consumer, 100 partitions", Consumed, Own(""), 100, READING),
        case("consume-2000", "one consumer, 2,000 partitions", Consumed, Own(""), 2000, READING),
        case("latency", "10,000 records/s, 1 partition", Latency, Own("--rate 10000"), 1, ALL),
        case("latency-100", "10,000 records/s, 100 partitions", Latency, Own("--rate 10000"), 100, ALL),
        case("latency-2000", "10,000 records/s, 2,000 partitions", Latency, Own("--rate 10000"), 2000, ALL),
        case("java-produce", "Kafka's ProducerPerformance, 1 partition", Produced, Java, 1, ALL),
        case("java-produce-100", "Kafka's ProducerPerformance, 100 partitions", Produced, Java, 100, ALL),
        case("java-consume", "Kafka's ConsumerPerformance, 1 partition", Consumed, Java, 1, READING),
        case("java-latency", "Kafka's EndToEndLatency, one record in flight", Latency, Java, 1, ALL),
        case("rdkafka-produce", "librdkafka's rdkafka_performance, 1 partition", Produced, Librdkafka, 1, ALL),
        case("rdkafka-produce-100", "librdkafka's rdkafka_performance, 100 partitions", Produced, Librdkafka, 100, ALL),
        case("rdkafka-consume", "librdkafka's rdkafka_performance, 1 partition", Consumed, Librdkafka, 1, READING),
    ];
    for case in &mut cases {
        if case.name == "produce-100B" {
            case.record_bytes = 100;
        }
    }
    cases
}
