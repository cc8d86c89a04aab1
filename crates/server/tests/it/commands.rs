//! The commands beside `serve`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use tempfile::tempdir;

use crate::yam::{Yam, command, contents, output, refused};

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

/// A topic of several partitions is no queue; whoever takes it for one is told what to name.
#[test]
fn a_topic_of_several_partitions_is_named_by_partition() {
    let dir = tempdir().unwrap();
    let yam = Yam::start_with(dir.path(), &["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"]);
    let (url, kafka) = (yam.url(), yam.addresses[1].to_string());
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

#[test]
fn whoever_comes_to_a_listener_of_the_other_protocol_is_asked_whether_it_is_the_right_one() {
    let dir = tempdir().unwrap();
    let yam = Yam::start_with(dir.path(), &["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"]);
    let words = refused(&output(&["publish", "--url", &format!("amqp://{}", yam.addresses[1]), "x"]));
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
