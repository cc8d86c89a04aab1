//! The commands beside `serve`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use kafka::codec::{Request, consumer_protocol, join_group, offset_commit, sync_group};
use tempfile::tempdir;

use crate::yam::{PATIENCE, Yam, command, contents, output, refused};

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_message_in_and_out_again() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let url = yam.url();
    let publish = ["publish", "--url", &url, "--declare", "--persistent", "--confirm", "--routing-key", "tasks"];
    let all = [&publish[..], &["--header", "kind=test", "--count", "3", "do this"]].concat();
    assert!(output(&all).status.success());

    let look = ["consume", "--url", &url, "--queue", "tasks", "--count", "2"];
    assert_eq!(out(&output(&look)), "do this\ndo this\n");
    // Looking took nothing off the queue.
    let take = ["consume", "--url", &url, "--queue", "tasks", "--ack", "--format", "json", "--timeout", "0.3"];
    let lines = out(&output(&take));
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["body"], "do this");
    assert_eq!(first["headers"]["kind"], "test");
    assert_eq!(first["persistent"], true);
    assert_eq!(first["redelivered"], true);
    assert_eq!(out(&output(&take)), "");
}

#[test]
fn a_stream_is_read_from_where_one_likes_as_often_as_one_likes() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let url = yam.url();
    let read = |from: &str, count: &str, more: &[&str]| {
        let all = [&["consume", "--url", &url, "--queue", "events", "--from", from, "--count", count], more].concat();
        output(&all)
    };
    assert_eq!(out(&read("next", "0", &["--declare"])), "");
    for body in ["one", "two", "three"] {
        assert!(output(&["publish", "--url", &url, "--confirm", "--routing-key", "events", body]).status.success());
    }
    for _ in 0..2 {
        assert_eq!(out(&read("first", "3", &[])), "one\ntwo\nthree\n");
    }
    assert_eq!(out(&read("1", "2", &[])), "two\nthree\n");
    assert_eq!(out(&read("1h", "1", &["--format", "text"])), "one\n");
    let line = out(&read("last", "1", &["--format", "json"]));
    let last: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&last["body"], &last["headers"]["x-stream-offset"]), (&"three".into(), &2.into()));
    assert_eq!(out(&read("1970-01-01T00:00:00Z", "1", &[])), "one\n");
    // Without --from, what comes from now on: nothing, and not an error for want of a prefetch.
    assert_eq!(out(&output(&["consume", "--url", &url, "--queue", "events", "--timeout", "0.2"])), "");
    for wrong in ["soon", "5x", "-5"] {
        let words = refused(&read(wrong, "1", &[]));
        assert!(words.contains(wrong) && words.contains("first, last, next, an offset, a time span"), "{words}");
    }
}

/// `--from` says where to begin in a stream; a classic queue has no such place, and keeps its messages all the same.
#[test]
fn a_place_to_begin_at_in_a_classic_queue_is_said_to_be_none() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let url = yam.url();
    assert!(output(&["publish", "--url", &url, "--declare", "--confirm", "--routing-key", "tasks", "do this"]).status.success());
    for _ in 0..2 {
        let looked = output(&["consume", "--url", &url, "--queue", "tasks", "--from", "first", "--count", "1"]);
        let words = String::from_utf8(looked.stderr.clone()).unwrap();
        assert!(words.contains("queue 'tasks' is no stream"), "{words}");
        assert_eq!(out(&looked), "do this\n");
    }
}

/// A broker that speaks both protocols, and where it speaks Kafka's.
fn both(dir: &Path, more: &[&str]) -> (Yam, String) {
    let listen = ["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];
    let yam = Yam::start_with(dir, &[&listen[..], more].concat());
    let kafka = yam.addresses[1].to_string();
    (yam, kafka)
}

/// Rows of a table, as words.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_topics_settings_and_partitions_are_changed_together_or_not_at_all() {
    let dir = tempdir().unwrap();
    let (_yam, kafka) = both(dir.path(), &[]);
    let topic = |arguments: &[&str]| output(&[&["topic", "--kafka", &kafka], arguments].concat());
    out(&topic(&["create", "orders", "--partitions", "2"]));
    let words = refused(&topic(&["alter", "orders", "--set", "retention.ms=5000", "--partitions", "1"]));
    assert!(words.contains("cannot give topic 'orders' more partitions"), "{words}");
    let words = refused(&topic(&["alter", "orders", "--set", "retention.ms=soon", "--partitions", "3"]));
    assert!(words.contains("cannot change topic 'orders'"), "{words}");
    let shown = out(&topic(&["describe", "orders"]));
    assert_eq!(rows(&shown)[0], ["PARTITION", "FIRST", "END", "OFFSETS"]);
    assert!(rows(&shown).len() == 3 && !shown.contains("retention.ms"), "{shown}");
    out(&topic(&["alter", "orders", "--set", "retention.ms=5000", "--partitions", "3"]));
    let shown = out(&topic(&["describe", "orders"]));
    assert!(rows(&shown).contains(&vec!["retention.ms", "5000", "topic"]) && rows(&shown).contains(&vec!["2", "0", "0", "0"]));
    assert_eq!(rows(&out(&topic(&["list"]))), [["TOPIC", "PARTITIONS", "OFFSETS"], ["orders", "3", "0"]]);
}

#[test]
fn a_groups_offsets_are_set_to_what_exists() {
    let dir = tempdir().unwrap();
    let (yam, kafka) = both(dir.path(), &[]);
    let url = yam.url();
    for name in ["orders", "bills"] {
        out(&output(&["topic", "--kafka", &kafka, "create", name, "--partitions", "1"]));
        let publish = ["publish", "--url", &url, "--confirm", "--routing-key", name, "--count", "3", "x"];
        assert!(output(&publish).status.success());
    }
    let reset = |arguments: &[&str]| output(&[&["group", "--kafka", &kafka, "reset"], arguments].concat());
    let offset = |topic: &str, output: &Output| {
        let text = out(output);
        let row = rows(&text).into_iter().find(|row| row[0] == topic).unwrap_or_else(|| panic!("{text}"));
        row[2].to_owned()
    };
    let made = reset(&["billing", "--topic", "orders", "--to", "1"]);
    assert!(out(&made).starts_with("made group 'billing'\n"));
    assert_eq!(offset("orders", &made), "1");

    let beyond = reset(&["billing", "--topic", "orders", "--to", "99999999"]);
    assert!(!out(&beyond).contains("made"));
    assert_eq!(offset("orders", &beyond), "3");
    let words = String::from_utf8(beyond.stderr).unwrap();
    assert!(words.contains("partition 0 of topic 'orders' has no offset 99999999: set to its end, 3"), "{words}");

    assert_eq!(offset("orders", &reset(&["billing", "--topic", "orders", "--to", "1h"])), "0");
    assert_eq!(offset("orders", &reset(&["billing", "--topic", "orders", "--to", "2026-01-31T12:00:00Z"])), "0");
    // There is no message from then on: the next one.
    assert_eq!(offset("orders", &reset(&["billing", "--topic", "orders", "--to", "2999-01-31T12:00:00Z"])), "3");
    // All topics are those that the group has read.
    let all = reset(&["billing", "--all-topics", "--to", "earliest"]);
    assert_eq!(offset("orders", &all), "0");
    assert!(!out(&all).contains("bills"));
    reset(&["billing", "--topic", "bills", "--topic", "orders", "--to", "latest"]);
    let all = reset(&["billing", "--all-topics", "--to", "2"]);
    assert_eq!((offset("orders", &all), offset("bills", &all)), ("2".into(), "2".into()));

    for wrong in ["-5", "soon"] {
        let words = refused(&reset(&["billing", "--topic", "orders", "--to", wrong]));
        assert!(words.contains("write earliest, latest, an offset, a time span such as 7D"), "{words}");
    }
    let words = refused(&reset(&["new", "--all-topics", "--to", "latest"]));
    assert!(words.contains("group 'new' has read nothing so far"), "{words}");
    assert!(refused(&reset(&["billing", "--to", "latest"])).contains("--topic"));
}

/// Who has which partition stood in no table.
#[test]
fn a_groups_partitions_are_shown_with_their_members() {
    let dir = tempdir().unwrap();
    let (_yam, kafka) = both(dir.path(), &["--group-initial-rebalance-delay-ms", "0"]);
    out(&output(&["topic", "--kafka", &kafka, "create", "orders", "--partitions", "3"]));
    // A consumer that has the partitions 0 and 2.
    let stream = std::net::TcpStream::connect(&kafka).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut member = kafka::client::Client::open(stream, "test").unwrap();
    let protocols = vec![join_group::Protocol { name: "range", metadata: b"" }];
    let mut join = join_group::Request {
        group_id: "billing",
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer",
        protocols,
        ..join_group::Request::default()
    };
    let told: join_group::Response<'_> = member.ask(&Request::JoinGroup(join.clone())).unwrap();
    let id = told.member_id.to_owned();
    join.member_id = &id;
    let told: join_group::Response<'_> = member.ask(&Request::JoinGroup(join)).unwrap();
    assert_eq!(told.error_code, 0);
    let generation_id = told.generation_id;
    let assigned = consumer_protocol::Assignment {
        assigned_partitions: vec![consumer_protocol::TopicPartitions { topic: "orders", partitions: vec![0, 2] }],
        user_data: None,
    };
    let assignment = consumer_protocol::encode(&assigned, 0);
    let assignments = vec![sync_group::Assignment { member_id: &id, assignment: &assignment }];
    let sync = sync_group::Request {
        group_id: "billing",
        generation_id,
        member_id: &id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments,
        ..sync_group::Request::default()
    };
    let told: sync_group::Response<'_> = member.ask(&Request::SyncGroup(sync)).unwrap();
    assert_eq!(told.error_code, 0);
    // It has committed the one, and somebody before it a partition that nobody has now.
    for (partition_index, committed_offset) in [(0, 0), (1, 0)] {
        let partitions = vec![offset_commit::RequestPartition { partition_index, committed_offset, ..Default::default() }];
        let commit = offset_commit::Request {
            group_id: "billing",
            generation_id_or_member_epoch: generation_id,
            member_id: &id,
            topics: vec![offset_commit::RequestTopic { name: "orders", partitions }],
            ..offset_commit::Request::default()
        };
        let told: offset_commit::Response<'_> = member.ask(&Request::OffsetCommit(commit)).unwrap();
        assert_eq!(told.topics[0].partitions[0].error_code, 0);
    }
    let text = out(&output(&["group", "--kafka", &kafka, "describe", "billing"]));
    let rows = rows(&text);
    assert!(rows.contains(&vec!["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"]), "{text}");
    for row in [["orders", "0", "0", "0", "0", &id], ["orders", "1", "0", "0", "0", "-"], ["orders", "2", "-", "0", "-", &id]] {
        assert!(rows.contains(&row.to_vec()), "{row:?} in {text}");
    }
}

/// A password stands on the command line or in the environment, and nowhere else.
#[test]
fn the_commands_for_kafka_log_in() {
    let dir = tempdir().unwrap();
    let (_yam, kafka) = both(dir.path(), &["--kafka-login", "required"]);
    let list = |place: &str| output(&["topic", "--kafka", place, "list"]);
    let words = refused(&list(&kafka));
    assert!(words.contains("does it require a login? (--kafka USER:PASSWORD@HOST:PORT)"), "{words}");
    assert_eq!(rows(&out(&list(&format!("guest:guest@{kafka}")))), [["TOPIC", "PARTITIONS", "OFFSETS"]]);
    let words = refused(&list(&format!("guest:secret@{kafka}")));
    assert!(words.contains("cannot log in") && words.contains("guest") && !words.contains("secret"), "{words}");
    let load = ["bench", "kafka", "--kafka", &format!("guest:guest@{kafka}"), "--count", "100", "--json"];
    assert!(output(&load).status.success());

    // Neither a mistake nor the help repeats it.
    for wrong in [&["topic", "--kafka", "ann:secret@h", "list"][..], &["publish", "--url", "http://ann:secret@h", "x"]] {
        let words = refused(&output(wrong));
        assert!(words.contains("write it as") && !words.contains("secret"), "{words}");
    }
    for subcommand in [&["topic", "--help"][..], &["publish", "--help"], &["bench", "amqp", "--help"]] {
        let mut command = command(subcommand);
        command.env("YAM_KAFKA", "ann:secret@h:1").env("YAM_URL", "amqp://ann:secret@h");
        let help = out(&command.output().unwrap());
        assert!(help.contains("[env: YAM_") && !help.contains("secret"), "{help}");
    }
}

/// A topic of several partitions is no queue; whoever takes it for one is told what to name.
#[test]
fn a_topic_of_several_partitions_is_named_by_partition() {
    let dir = tempdir().unwrap();
    let (yam, kafka) = both(dir.path(), &[]);
    let url = yam.url();
    assert_eq!(
        out(&output(&["topic", "--kafka", &kafka, "create", "orders", "--partitions", "3"])),
        "created topic 'orders' with 3 partitions\n"
    );
    assert_eq!(
        out(&output(&["topic", "--kafka", &kafka, "create", "one", "--partitions", "1"])),
        "created topic 'one' with 1 partition\n"
    );
    let words = refused(&output(&["consume", "--url", &url, "--queue", "orders", "--from", "first"]));
    assert!(words.contains("404") && words.contains("name orders-0, orders-1, ..."), "{words}");
    let words = refused(&output(&["consume", "--url", &url, "--queue", "nowhere"]));
    assert!(!words.contains("partitions"), "{words}");
    // Without --from, a partition is read from its end on.
    let publish = |body| output(&["publish", "--url", &url, "--confirm", "--routing-key", "orders-1", body]);
    assert!(publish("before").status.success());
    let reader = command(&["consume", "--url", &url, "--queue", "orders-1", "--timeout", "0.2"]).output().unwrap();
    assert_eq!(out(&reader), "");
    let first = output(&["consume", "--url", &url, "--queue", "orders-1", "--from", "first", "--count", "1"]);
    assert_eq!(out(&first), "before\n");
}

#[test]
fn lines_of_standard_input_are_messages() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let url = yam.url();
    let mut child = command(&["publish", "--url", &url, "--declare", "--routing-key", "lines", "--lines"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n\nfour\n").unwrap();
    assert!(child.wait().unwrap().success());
    let take = ["consume", "--url", &url, "--queue", "lines", "--ack", "--count", "4"];
    assert_eq!(out(&output(&take)), "one\ntwo\n\nfour\n");
}

#[test]
fn what_the_broker_refuses_is_said() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let url = yam.url();
    let words = refused(&output(&["consume", "--url", &url, "--queue", "nowhere"]));
    assert!(words.contains("404") && words.contains("no queue 'nowhere'"), "{words}");
    let words = refused(&output(&["publish", "--url", &url, "--exchange", "nowhere", "x"]));
    assert!(words.contains("404") && words.contains("no exchange 'nowhere'"), "{words}");
    for unroutable in ["--mandatory", "--confirm"] {
        let words = refused(&output(&["publish", "--url", &url, unroutable, "--routing-key", "nowhere", "--count", "2", "x"]));
        assert!(words.contains("no queue took the message: 312 NO_ROUTE (exchange '', routing key 'nowhere')"), "{words}");
        assert_eq!(words.contains("2 published, 0 confirmed, 0 refused, 2 unroutable"), unroutable == "--confirm", "{words}");
    }
    let words = refused(&output(&["publish", "--url", &url.replace("guest:guest", "guest:wrong"), "x"]));
    assert!(words.contains("403") && !words.contains("is it an AMQP listener?"), "{words}");
    // Without either, the message is gone and nobody knows.
    let sent = output(&["publish", "--url", &url, "--routing-key", "nowhere", "x"]);
    assert!(sent.status.success());
    assert!(String::from_utf8(sent.stderr).unwrap().contains("--confirm"));
    let words = refused(&output(&["publish", "--url", &url, "--expiration", "-5", "x"]));
    assert!(words.contains("write a whole number of milliseconds"), "{words}");
    yam.kill();
    let words = refused(&output(&["publish", "--url", &url, "x"]));
    assert!(words.contains("cannot connect") && words.contains("--url"), "{words}");
}

/// The broker stopped to read until somebody read what came back, and nobody did before everything was written.
#[test]
fn more_messages_come_back_than_a_socket_holds() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let (url, body) = (yam.url(), "x".repeat(100_000));
    for unroutable in ["--mandatory", "--confirm"] {
        let words =
            refused(&output(&["publish", "--url", &url, unroutable, "--routing-key", "nowhere", "--count", "700", &body]));
        assert!(words.contains("700 published, ") && words.contains("700 unroutable"), "{words}");
    }
}

#[test]
fn whoever_comes_to_a_listener_of_the_other_protocol_is_asked_whether_it_is_the_right_one() {
    let dir = tempdir().unwrap();
    let (yam, kafka) = both(dir.path(), &[]);
    let words = refused(&output(&["publish", "--url", &format!("amqp://{kafka}"), "x"]));
    assert!(words.contains("is it an AMQP listener?"), "{words}");
    let words = refused(&output(&["topic", "--kafka", &yam.addresses[0].to_string(), "list"]));
    assert!(words.contains("is it a Kafka listener?"), "{words}");
}

#[test]
fn check_does_not_create_what_it_checks() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let words = refused(&output(&["check", "--data-dir", data.to_str().unwrap()]));
    assert!(words.contains("--data-dir"), "{words}");
    assert!(!data.exists());
}

/// Any directory used to be "sound", and had a lock file afterwards.
#[test]
fn check_says_where_there_is_nothing_of_yams_and_leaves_nothing_there() {
    let dir = tempdir().unwrap();
    let check = || refused(&output(&["check", "--data-dir", dir.path().to_str().unwrap()]));
    let expected = format!("yam: no Yam data in {}: name the directory that `yam serve` was given", dir.path().display());
    assert_eq!(check(), expected);
    assert_eq!(contents(dir.path()), []);
    // Somebody else's journal and checkpoints, and those who call a file so.
    for path in ["journal/system.journal", "checkpoint/model.pt", "segments"] {
        put(&dir.path().join(path), "not Yam's");
    }
    let before = contents(dir.path());
    assert_eq!(check(), expected);
    assert_eq!(contents(dir.path()), before);
}

/// A file in a directory that is made where it is missing.
fn put(path: &Path, text: &str) {
    fs::DirBuilder::new().recursive(true).create(path.parent().unwrap()).unwrap();
    fs::File::create_new(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn help_version_and_completions() {
    let help = out(&output(&["--help"]));
    for word in ["serve", "publish", "consume", "bench", "check", "completions", "version", "Examples:"] {
        assert!(help.contains(word), "{word} is missing in --help");
    }
    let help = out(&output(&["serve", "--help"]));
    assert!(help.contains("--amqp-listen") && help.contains("YAM_AMQP_LISTEN") && help.contains("127.0.0.1:5672"));
    assert!(out(&output(&["version"])).starts_with(concat!("yam ", env!("CARGO_PKG_VERSION"))));
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&output(&["completions", shell])).contains("amqp-listen"), "{shell}");
    }
}
