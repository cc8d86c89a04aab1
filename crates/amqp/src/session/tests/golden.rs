//! Conversations as text, in testdata/. A transcript is the file itself:
//!
//! ```text
//! > what the client says            @ what the broker or the clock does
//! ? what the broker is asked        < what the client is told            = the session's end
//! ```
//! `UPDATE_GOLDEN=1 cargo test -p amqp golden` writes the answers anew; they are read in review.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use model::record::StoredRecord;
use model::{DeliveryTag, Event, Lsn, Scope, Session, SessionState, SubscriptionId};

use super::{Harness, record, script};

fn play(text: &str) -> String {
    let mut harness = Harness::new();
    let mut told = String::new();
    let mut ended = false;
    for line in text.lines().filter(|line| !line.starts_with(['?', '<', '='])) {
        told.push_str(line);
        told.push('\n');
        match line.split_at_checked(1) {
            Some((">", said)) => harness.receive(&script::frames(said)),
            Some(("@", done)) => happen(&mut harness, done.trim()),
            _ => continue,
        }
        if line.starts_with("> handshake") {
            // Transcripts that are about something else begin with it; handshake.txt shows it.
            harness.broker.log.clear();
            harness.out.take();
        }
        for asked in harness.broker.log.drain(..) {
            writeln!(told, "? {asked}").unwrap();
        }
        for said in harness.said() {
            writeln!(told, "< {said}").unwrap();
        }
        if !ended && harness.session.state() == SessionState::Closing {
            ended = true;
            told.push_str("= closed\n");
        }
    }
    told
}

fn happen(harness: &mut Harness, what: &str) {
    let words: Vec<&str> = what.split_whitespace().collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "durable" => harness.event(Event::Durable(Lsn(number(1)))),
        "wait" => harness.wait(number(1)),
        "blocked" => harness.event(Event::Blocked("low on disk")),
        "unblocked" => harness.event(Event::Unblocked),
        "shutdown" => harness.event(Event::Shutdown("maintenance")),
        "empty" => harness.event(Event::Empty { scope: Scope(number(1) as u16) }),
        "cancelled" => {
            harness.event(Event::Cancelled { scope: Scope(number(1) as u16), subscription: SubscriptionId(number(2)) })
        }
        // channel, subscription, tag, redelivered (2 and more: so often, and counted), exchange, key, body
        "deliver" | "got" => {
            let batch = Bytes::from(record(words[6], words[5], &[0x10, 0, 2], words[7].as_bytes()));
            let stored = StoredRecord { batch: &batch, buffer: Some(&batch) };
            let (scope, tag, redelivered) = (Scope(number(1) as u16), DeliveryTag(number(3)), number(4) != 0);
            let returns = if number(4) > 1 { number(4) as u32 } else { 0 };
            let subscription = SubscriptionId(number(2));
            harness.event(if words[0] == "got" {
                Event::Got { scope, tag, redelivered, returns, remaining: 4, record: stored }
            } else {
                Event::Deliver { scope, subscription, tag, redelivered, returns, offset: None, record: stored }
            });
        }
        other => panic!("the transcripts do not know {other}"),
    }
}

#[test]
#[expect(clippy::disallowed_methods)]
fn golden_transcripts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.retain(|name| name.extension().is_some_and(|extension| extension == "txt"));
    assert!(!names.is_empty());
    for name in names {
        let before = std::fs::read_to_string(&name).unwrap();
        let after = play(&before);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&name, after).unwrap();
        } else {
            assert_eq!(after, before, "{}", name.display());
        }
    }
}
