use super::cases;
use super::load::{Latency, Told, consumed_by_java, latency_by_java, produced_by_java, told_by_librdkafka};

#[test]
fn case_names_are_unique_and_fit_the_command_line() {
    let all = cases::all();
    for (index, case) in all.iter().enumerate() {
        assert!(!case.name.contains(','), "{}", case.name);
        assert!(all[..index].iter().all(|other| other.name != case.name), "{}", case.name);
    }
}

#[test]
fn what_programs_of_others_say_is_read() {
    let latency = |p50_ms, p99_ms| Some(Latency { p50_ms, p99_ms });
    let produced = "300 records sent, 16322.9 records/sec (15.94 MB/sec), 1680.6 ms avg latency, 1 ms 50th, 2 ms 99th.\n\
                    250 steady state records sent, 16917.0 records/sec (16.52 MB/sec), 1589.66 ms avg latency, 2545.00 ms max \
                    latency, 1590 ms 50th, 2374 ms 95th, 2521 ms 99th, 2542 ms 99.9th.\n";
    assert_eq!(produced_by_java(produced), Some(Told { records_per_second: 16917.0, latency: latency(1590.0, 2521.0) }));
    let consumed = "2026-11-21 11:00:29:840, 2026-11-21 11:00:36:320, 293.2, 45.2, 300267, 46337.5, 2041, 4439, 66.1, 67642.9\n";
    assert_eq!(consumed_by_java(consumed), Some(Told { records_per_second: 67642.9, latency: None }));
    let end_to_end = "0\t196.8\nAvg latency: 4.0000 ms\nPercentiles: 50th = 1, 99th = 45, 99.9th = 101\n";
    assert_eq!(latency_by_java(end_to_end), Some(Told { records_per_second: 250.0, latency: latency(1.0, 45.0) }));
    for said in
        ["% 3 messages produced in 4663ms: 64323 msgs/s and 65.87 MB/s, none", "% consumed in 8ms: 64323 msgs/s (3.5 MB/s)"]
    {
        assert_eq!(told_by_librdkafka(said), Some(Told { records_per_second: 64323.0, latency: None }));
    }
    assert_eq!(told_by_librdkafka("Local: Broker transport failure"), None);
}
