//! Every API in every version: a request is answered in its version, whatever the broker says, or ends the connection.

use model::{Event, Failure, LogFailure, Reply};

use super::*;
use crate::codec::sample::{SampleApi as _, Source};

/// How often a request may wait for the broker.
const PATIENCE: usize = 1_000;

/// Answers to requests with these contents.
fn check(seed: &'static [u8], answers: &[Result<Reply, Failure>]) {
    for key in ApiKey::ALL {
        for version in key.versions() {
            let request = Request::sample(*key, &mut Source::new(seed), version);
            let mut harness = Harness::running();
            harness.broker.next.extend(answers.iter().cloned());
            harness.correlation_id = 0;
            harness.send(version, &request);
            // Whatever waits is refused, and whatever was written becomes durable.
            for _ in 0..PATIENCE {
                if harness.session.is_quiet() {
                    break;
                }
                harness.durable(u64::MAX);
                if harness.session.awaiting {
                    harness.event(Event::Failed(LogFailure::InvalidRequest.into()));
                }
            }
            assert!(harness.session.is_quiet(), "{key:?} {version} hangs on {request:?}");
            if harness.session.ending {
                continue;
            }
            let silent = matches!(&request, Request::Produce(request) if request.acks == 0);
            assert_eq!(harness.heard().is_none(), silent, "{key:?} {version}: {request:?}");
        }
    }
}

#[test]
fn nothing_but_defaults() {
    check(&[], &[]);
}

#[test]
fn failures_and_answers_that_do_not_fit() {
    let seed: Vec<u8> = (0..2_000u32).map(|at| (at * 7 % 251) as u8).collect();
    let seed = seed.leak();
    check(seed, &vec![Err(Failure::Log(LogFailure::UnknownTopic)); 50]);
    check(seed, &vec![Err(Failure::LimitReached("too many".into())); 50]);
    check(seed, &vec![Ok(Reply::Ok); 50]);
    check(seed, &vec![Ok(Reply::Topics(vec![])); 50]);
    check(seed, &vec![Ok(Reply::Fetched(vec![])); 50]);
    check(seed, &vec![Ok(Reply::Offsets(vec![])); 50]);
    check(seed, &vec![Ok(Reply::Groups(vec![])); 50]);
}

#[test]
fn contents_of_all_kinds() {
    for begin in 0..40u32 {
        let seed: Vec<u8> = (0..600u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(begin * 97) >> 13) as u8).collect();
        check(seed.leak(), &[]);
    }
}
