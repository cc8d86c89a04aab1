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
    let words = refused(&read("soon", "1", &[]));
    assert!(words.contains("406") && words.contains("x-stream-offset"), "{words}");
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
    assert!(words.contains("403"), "{words}");
    yam.kill();
    let words = refused(&output(&["publish", "--url", &url, "x"]));
    assert!(words.contains("cannot connect") && words.contains("--url"), "{words}");
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
