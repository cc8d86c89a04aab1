//! Whoever reads the log, or does not, and what clients can do to it.

use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _, pipe};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use amqp::client::ClientEvent;
use amqp::codec::frame::{self, PROTOCOL_HEADER};
use amqp::codec::{Properties, RawTable, basic, channel, connection, exchange, field, queue};
use model::{Table, Value};
use tempfile::tempdir;

use crate::yam::{PATIENCE, Yam, command, consume, count, declare, output, publish_confirmed, refused, rest};

const BOTH: [&str; 4] = ["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];

/// Needs no login, and is a line in the log.
fn junk(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    rest(&mut stream);
}

/// A broker whose log goes into a file.
fn logging(dir: &Path, arguments: &[&str]) -> (Yam, PathBuf) {
    let log = dir.join("log");
    let file = fs::File::create_new(&log).unwrap();
    (Yam::start_logging(&dir.join("data"), arguments, "info", file), log)
}

/// A broker whose log goes into a pipe.
fn piped(dir: &Path, level: &str) -> (Yam, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    (Yam::start_logging(dir, &BOTH, level, writer), reader)
}

/// `yam serve 2>&1 | head -1`, or a logger that was killed: the next line ended the broker by SIGABRT.
#[test]
fn a_log_whose_reader_has_gone_ends_nobody() {
    let dir = tempdir().unwrap();
    let (yam, reader) = piped(dir.path(), "info");
    drop(reader);
    for _ in 0..3 {
        junk(yam.addresses[1], b"GET / HTTP/1.1\r\n\r\n");
    }
    yam.assert_serves();
    assert_eq!(yam.terminate().code(), Some(0));
}

/// 447 connections without a login filled the pipe, and everybody stood still. Here each line is so long that fewer do.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up_and_what_is_dropped_is_counted() {
    let dir = tempdir().unwrap();
    let (yam, mut reader) = piped(dir.path(), "info,node=trace,yam=trace,broker=trace,vfs=trace");
    let mut link = yam.connect();
    // No kind of line is without limit, but a pipe holds 64 KiB: passive declares of many names, each a channel error.
    let mut lines = 0;
    while lines < 600 {
        let name = format!("{lines:0>250}");
        assert!(count(&mut link, &name).is_err());
        link = yam.connect();
        lines += 1;
    }
    yam.assert_serves();
    yam.signal("-TERM");
    // It does not wait for its reader to end either, and what was kept is there once somebody reads.
    let mut log = Vec::new();
    reader.read_to_end(&mut log).unwrap();
    assert!(String::from_utf8(log).unwrap().lines().all(|line| line.starts_with("20")));
    assert_eq!(yam.terminate().code(), Some(0));
}

#[test]
fn a_broker_whose_log_nobody_reads_ends_when_it_is_told_to() {
    let dir = tempdir().unwrap();
    let (yam, reader) = piped(dir.path(), "info");
    for _ in 0..300 {
        yam.connect().close().unwrap();
    }
    assert_eq!(yam.terminate().code(), Some(0));
    drop(reader);
}

/// One address could fill the disk with lines, and hide among them.
#[test]
fn what_one_address_causes_in_the_log_is_limited_and_counted() {
    let dir = tempdir().unwrap();
    let (yam, log) = logging(dir.path(), &BOTH);
    for _ in 0..1_000 {
        junk(yam.addresses[1], b"GET / HTTP/1.1\r\n\r\n");
    }
    // Another kind of line of the same address is still written.
    let mut link = yam.connect();
    assert!(count(&mut link, "nowhere").is_err());
    assert!(yam.terminate().success());
    let log = fs::read_to_string(log).unwrap();
    let written = log.lines().filter(|line| line.contains("seems to speak HTTP") && !line.contains("left out")).count();
    assert!((100..400).contains(&written), "{written} lines");
    let left_out: usize = log
        .lines()
        .filter(|line| line.contains("lines were left out") && line.contains("HTTP") && line.contains("peer=\"127.0.0.1\""))
        .map(|line| line.split("lines=").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(written + left_out, 1_000, "{log}");
    assert!(log.contains("no queue 'nowhere'"), "{log}");
}

/// Whoever listens for the addresses may be gone before they come, or never read.
#[test]
fn standard_output_without_a_reader_ends_nobody() {
    let dir = tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let log = dir.path().join("log");
    let mut child = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", dir.path().join("data").to_str().unwrap()])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")), "{}", log.display());
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// `yam consume --ack | head -1` went on for ever, and took messages that nobody saw.
#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    declare(&mut link, "q", true);
    publish_confirmed(&mut link, "q", &[b"one", b"two", b"three"], true);
    let ended = |arguments: &[&str]| {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = command(arguments).stdout(writer).output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    };
    ended(&["consume", "--url", &yam.url(), "--queue", "q", "--ack"]);
    assert_eq!(count(&mut link, "q").unwrap(), 3, "nobody has seen any");
    ended(&["--help"]);
    ended(&["version"]);
    ended(&["completions", "bash"]);
    yam.kill();
    ended(&["check", "--data-dir", dir.path().to_str().unwrap()]);
}

/// What a client says, as it would write itself into the log.
const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO FORGED\r\x1b[2J\x1b]0;t\x07\u{9b}31m\u{202e}\u{2028} peer=9.9.9.9:9 \"y";

/// Every line of the log begins as a line of the log, and none holds what a terminal obeys.
fn assert_clean(log: &str, at_least: &[&str]) {
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
        assert!(line.len() < 4096, "{} bytes", line.len());
    }
    let obeyed = |character: char| {
        (character.is_control() && character != '\n') || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}')
    };
    assert!(!log.contains(obeyed), "{log:?}");
    assert!(!log.contains(" peer=9.9.9.9:9 \"y"), "a quote was not escaped: {log}");
    for words in at_least {
        assert!(log.contains(words), "nothing about {words}: {log}");
    }
}

/// Names from the wire were printed as they came, line ends and escape sequences included, before any login.
#[test]
fn no_field_of_an_amqp_client_writes_a_line_of_its_own() {
    for format in ["text", "json"] {
        let dir = tempdir().unwrap();
        let arguments = ["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--log-format", format];
        let (yam, log) = logging(dir.path(), &arguments);
        let name = FORGED;
        // The greeting, the user, the mechanism, the virtual host, the connection's name.
        junk(yam.address(), format!("GET {FORGED}").as_bytes());
        junk(yam.address(), b"A\n\x1b[2Jxyz");
        for step in ["user", "mechanism", "host", "name"] {
            handshake(&yam, step);
        }
        // Whatever names something on a channel.
        type Ask<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
        let ask: Vec<Ask<'_>> = vec![
            Box::new(|out| frame::put_method(out, 1, &queue::Declare { queue: name, passive: true, ..Default::default() })),
            Box::new(|out| {
                frame::put_method(out, 1, &queue::Bind { queue: name, exchange: name, routing_key: name, ..Default::default() })
            }),
            Box::new(|out| frame::put_method(out, 1, &queue::Delete { queue: name, ..Default::default() })),
            Box::new(|out| frame::put_method(out, 1, &exchange::Declare { exchange: name, passive: true, ..Default::default() })),
            Box::new(|out| frame::put_method(out, 1, &exchange::Declare { exchange: "e", kind: name, ..Default::default() })),
            Box::new(|out| frame::put_method(out, 1, &basic::Consume { queue: name, consumer_tag: name, ..Default::default() })),
            Box::new(|out| frame::put_method(out, 1, &basic::Get { queue: name, ..Default::default() })),
            Box::new(|out| {
                let arguments = field::encode_entries(&Table(vec![("x-queue-type".into(), Value::Text(name.into()))]));
                let arguments = RawTable(&arguments);
                frame::put_method(out, 1, &queue::Declare { queue: "q", arguments, ..Default::default() });
            }),
            Box::new(|out| {
                let arguments = field::encode_entries(&Table(vec![(format!("x-{}", &name[..30]), Value::Text(name.into()))]));
                let arguments = RawTable(&arguments);
                frame::put_method(out, 1, &queue::Declare { queue: name, arguments, ..Default::default() });
            }),
        ];
        for ask in ask {
            let mut link = yam.connect();
            ask(&mut link.out);
            let _ = link.answer();
        }
        for (exchange, properties) in [
            (name, Properties::default()),
            ("", Properties { user_id: Some(name), ..Properties::default() }),
            ("", Properties { expiration: Some(name), ..Properties::default() }),
        ] {
            let mut link = yam.connect();
            link.client.publish(&mut link.out, 1, exchange, name, &properties, b"x");
            link.client.send(&mut link.out, 1, &queue::Purge { queue: name, ..Default::default() });
            let _ = link.answer();
        }
        let mut link = yam.connect();
        link.client.send(&mut link.out, 1, &channel::Open::default());
        let _ = link.answer();
        assert!(yam.terminate().success());
        let log = fs::read_to_string(log).unwrap();
        if format == "json" {
            for line in log.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(line["timestamp"].is_string(), "{line}");
            }
            assert!(log.chars().all(|character| character == '\n' || matches!(character, ' '..='~')), "{log:?}");
        } else {
            let words = [
                "login refused",
                "user=\"x\\n",
                "name=\"x\\n",
                "no queue 'x2026",
                "no exchange 'x2026",
                "speak HTTP",
                "no protocol header",
            ];
            assert_clean(&log, &words);
        }
    }
}

/// A handshake with a name of which one part is hostile.
fn handshake(yam: &Yam, step: &str) {
    let mut stream = yam.raw();
    let of = |wanted: &str, usual: &'static str| if step == wanted { FORGED } else { usual };
    let mut out = PROTOCOL_HEADER.to_vec();
    let name = field::encode_entries(&Table(vec![("connection_name".into(), Value::Text(of("name", "usual").into()))]));
    let response = format!("\0{}\0guest", of("user", "guest"));
    let start_ok = connection::StartOk {
        client_properties: RawTable(&name),
        mechanism: of("mechanism", "PLAIN"),
        response: response.as_bytes(),
        locale: "en_US",
    };
    frame::put_method(&mut out, 0, &start_ok);
    frame::put_method(&mut out, 0, &connection::TuneOk { channel_max: 10, frame_max: 131_072, heartbeat: 0 });
    frame::put_method(&mut out, 0, &connection::Open { virtual_host: of("host", "/"), ..Default::default() });
    if step == "name" {
        frame::put_method(&mut out, 1, &channel::Open::default());
        frame::put_method(&mut out, 1, &channel::Open::default());
    }
    stream.write_all(&out).unwrap();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    rest(&mut stream);
}

/// The same of Kafka's clients.
#[test]
fn no_field_of_a_kafka_client_writes_a_line_of_its_own() {
    use kafka::codec::{self, ApiKey, RequestHeader};
    let dir = tempdir().unwrap();
    let (yam, log) = logging(dir.path(), &BOTH);
    let say = |bytes: &[u8]| junk(yam.addresses[1], bytes);
    let framed = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        codec::frame::put_frame(&mut out, |out| write(out));
        out
    };
    let header = |key: ApiKey, version| {
        let header = RequestHeader { api_key: key.number(), api_version: version, correlation_id: 1, client_id: Some(FORGED) };
        move |out: &mut Vec<u8>| header.encode(out)
    };
    // A client id in front of what is malformed; a mechanism; a user.
    let malformed = framed(&|out| {
        header(ApiKey::Metadata, 1)(out);
        out.extend_from_slice(&[0x7f, 0xff]);
    });
    say(&malformed);
    let mechanism = framed(&|out| {
        header(ApiKey::SaslHandshake, 0)(out);
        out.extend_from_slice(&u16::try_from(FORGED.len()).unwrap().to_be_bytes());
        out.extend_from_slice(FORGED.as_bytes());
    });
    say(&mechanism);
    let plain = framed(&|out| {
        header(ApiKey::SaslHandshake, 0)(out);
        out.extend_from_slice(b"\0\x05PLAIN");
    });
    let token = framed(&|out| out.extend_from_slice(format!("\0{FORGED}\0wrong").as_bytes()));
    say(&[plain, token].concat());
    for beginning in ["GET ", "SSH-", "AMQP"] {
        say(format!("{beginning}{FORGED}").as_bytes());
    }
    assert!(yam.terminate().success());
    let words = ["SASL mechanism 'x\\n", "user=\"x\\n", "login refused for user 'x\\n", "name=\"x\\n", "speak HTTP", "speak SSH"];
    assert_clean(&fs::read_to_string(log).unwrap(), &words);
}

/// What the broker says of names was printed to the terminal as it came.
#[test]
fn a_command_prints_no_escape_sequence_of_others() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let words = refused(&output(&["consume", "--url", &yam.url(), "--queue", "a\x1b[2J\nb"]));
    // Line ends in names of queues are left out, as RabbitMQ does.
    assert!(words.contains(r"no queue 'a\u{1b}[2Jb'"), "{words:?}");
    assert_eq!(words.lines().count(), 1, "{words}");
}

/// On 5672 nothing was said, and TLS on 9092 was a frame of 369 MB.
#[test]
fn what_comes_to_the_wrong_port_is_named() {
    let dir = tempdir().unwrap();
    let (yam, log) = logging(dir.path(), &BOTH);
    let kafka = b"\0\0\0\x19\0\x12\0\x03\0\0\0\0\0\x04test\0\x02a\x02b\0\0\0\0\0";
    let cases: [(&[u8], &str); 7] = [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "TLS"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"AMQP\0\x01\0\0", "AMQP 1.0"),
        (b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\0", "MQTT"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (&PROTOCOL_HEADER, "AMQP 0-9-1"),
        (kafka, "Kafka"),
    ];
    for (bytes, what) in cases {
        for (address, speaks) in [(yam.addresses[0], "AMQP 0-9-1"), (yam.addresses[1], "Kafka")] {
            if what != speaks {
                junk(address, bytes);
            }
        }
    }
    assert!(yam.terminate().success());
    let log = fs::read_to_string(log).unwrap();
    for (_, what) in cases {
        for speaks in ["AMQP 0-9-1", "Kafka"] {
            let words = format!("the client seems to speak {what}, and this port speaks {speaks}");
            assert_eq!(log.contains(&words), what != speaks, "{words}: {log}");
        }
    }
    assert!(!log.contains("a frame of"), "{log}");
}

/// A message that comes back, and a consumer that goes, are no faults.
#[test]
fn an_ordinary_client_is_two_lines_at_its_beginning_and_end() {
    let dir = tempdir().unwrap();
    let (yam, log) = logging(dir.path(), &BOTH);
    let mut link = yam.connect();
    declare(&mut link, "q", false);
    publish_confirmed(&mut link, "q", &[b"x"], false);
    consume(&mut link, "q", true);
    let delivered = link.next(Some(PATIENCE), &mut |event| Ok(matches!(event, ClientEvent::Delivered { .. }).then_some(())));
    assert!(delivered.unwrap().is_some());
    link.close().unwrap();
    // Looked at only: a probe is no news.
    drop(yam.raw());
    assert!(yam.terminate().success());
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("peer=")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("connection opened") && lines[1].contains("connection closed"), "{log}");
}
