//! What was confirmed is delivered until it is settled.

use super::history::{DEFAULT, FLEETING, History, SHARED, SINGLE};
use super::named;
use crate::checker::kept;
use crate::checker::model::Outcome;
use crate::message::Message;

const NAME: &str = "kept";

#[test]
fn an_emptied_queue_owes_nothing() {
    let mut history = History::new();
    let ids: [_; 3] = history.safe(SINGLE);
    let taker = history.taker;
    for id in ids {
        history.comes(taker, SINGLE, id).unwrap();
        history.ack(taker, id);
    }
    kept::emptied(&history.model, SINGLE).unwrap();
}

#[test]
fn a_confirmed_message_that_never_came_is_missed() {
    let mut history = History::new();
    let [first, second] = history.safe(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, first).unwrap();
    history.ack(taker, first);
    let violation = kept::emptied(&history.model, SHARED).unwrap_err();
    assert_eq!(violation.checker, NAME);
    assert!(violation.text.contains(&format!("[{second}]")), "{violation}");
}

#[test]
fn a_crash_excuses_only_what_was_not_confirmed() {
    let mut history = History::new();
    history.publish(SHARED);
    history.crash();
    kept::emptied(&history.model, SHARED).unwrap();
    history.safe::<1>(SHARED);
    history.crash();
    assert_eq!(named(kept::emptied(&history.model, SHARED)), NAME);
}

#[test]
fn a_clean_stop_excuses_nothing_that_the_broker_had_heard() {
    let heard_of = |clean: bool| {
        let mut history = History::new();
        history.publish(SHARED);
        // A later request was answered, and so the broker had the message; but it had not confirmed it.
        let (publisher, op) = (history.publisher, history.op(history.publisher));
        history.model.processed(publisher, op);
        if clean {
            history.stop()
        } else {
            history.crash()
        }
        kept::emptied(&history.model, SHARED)
    };
    heard_of(false).unwrap();
    assert_eq!(named(heard_of(true)), NAME);
}

#[test]
fn what_came_back_from_a_client_is_still_owed() {
    let mut history = History::new();
    let [requeued] = history.safe(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, requeued).unwrap();
    history.settle(taker, requeued, Outcome::Requeued);
    assert_eq!(named(kept::emptied(&history.model, SHARED)), NAME);
}

#[test]
fn what_a_dead_client_held_is_still_owed() {
    let mut history = History::new();
    let [held] = history.safe(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, held).unwrap();
    kept::emptied(&history.model, SHARED).unwrap();
    history.model.channel_ended(taker);
    assert_eq!(named(kept::emptied(&history.model, SHARED)), NAME);
}

#[test]
fn what_is_transient_is_not_owed_after_a_restart() {
    let mut history = History::new();
    history.safe::<1>(FLEETING);
    let transient = Message { persistent: false, ..history.message(history.publisher, SHARED) };
    let transient = history.send(transient);
    history.confirm(transient);
    for queue in [FLEETING, SHARED] {
        assert_eq!(named(kept::emptied(&history.model, queue)), NAME);
    }
    history.crash();
    for queue in [FLEETING, SHARED] {
        kept::emptied(&history.model, queue).unwrap();
    }
}

#[test]
fn an_expired_message_may_be_gone_and_not_before_its_time() {
    let mut history = History::new();
    let expiring = Message { expiration: Some(("10".into(), 1_010)), ..history.message(history.publisher, SHARED) };
    let expiring = history.send(expiring);
    history.confirm(expiring);
    history.model.at_wall(1_009);
    assert_eq!(named(kept::emptied(&history.model, SHARED)), NAME);
    history.model.at_wall(1_010);
    kept::emptied(&history.model, SHARED).unwrap();
}

#[test]
fn a_purged_message_is_not_owed_and_a_later_one_is() {
    let mut history = History::new();
    history.safe::<1>(SHARED);
    history.model.clearing(SHARED);
    history.model.purged(SHARED);
    kept::emptied(&history.model, SHARED).unwrap();
    history.safe::<1>(SHARED);
    assert_eq!(named(kept::emptied(&history.model, SHARED)), NAME);
}

#[test]
fn a_transaction_is_there_as_a_whole_or_not_at_all() {
    let torn = |came: bool| {
        let mut history = History::new();
        let publisher = history.publisher;
        history.model.begin(publisher);
        let (one, _two) = (history.publish(SINGLE), history.publish(SHARED));
        history.op(publisher);
        history.model.commit_sent(publisher);
        history.crash();
        let taker = history.taker;
        if came {
            history.comes(taker, SINGLE, one).unwrap();
        }
        kept::emptied(&history.model, SHARED)
    };
    torn(false).unwrap();
    assert_eq!(named(torn(true)), NAME);
}

#[test]
fn a_message_that_may_have_reached_no_queue_is_not_owed() {
    let mut history = History::new();
    // Nobody ever declared a queue of that name.
    let nowhere = Message { exchange: DEFAULT, key: "nowhere".into(), ..history.message(history.publisher, SHARED) };
    let nowhere = history.send(nowhere);
    history.confirm(nowhere);
    kept::emptied(&history.model, SHARED).unwrap();
}
