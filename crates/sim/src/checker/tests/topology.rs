//! Where messages go: to every queue that is bound, to no other, and either way only where clients cannot know.

use super::history::{BRIEF, FANOUT, FLEETING, HEADERS, History, SHARED, SINGLE, TOPIC};
use super::named;
use crate::checker::kept;
use crate::checker::topology::{Arrow, Change, Queues, To};
use crate::plan::{ExchangeIx, HEADER_MATCHES, PATTERNS};

fn bind(history: &mut History, source: ExchangeIx, to: To, pattern: usize) -> Arrow {
    let arrow = Arrow { source, to, pattern };
    history.change(Change::Bind(arrow));
    arrow
}

/// A fanout exchange with a binding to [`SHARED`].
fn bound() -> (History, Arrow) {
    let mut history = History::new();
    history.change(Change::DeclareExchange(FANOUT));
    let arrow = bind(&mut history, FANOUT, To::Queue(SHARED), 0);
    (history, arrow)
}

#[test]
fn a_bound_queue_gets_the_message_and_no_other_queue_does() {
    let (mut history, _) = bound();
    let id = history.publish_to(FANOUT, "a");
    history.confirm(id);
    let taker = history.taker;
    kept::emptied(&history.model, SINGLE).unwrap();
    assert_eq!(named(kept::emptied(&history.model, SHARED)), "kept");
    assert_eq!(named(history.comes(taker, SINGLE, id)), "invented");
    history.comes(taker, SHARED, id).unwrap();
}

#[test]
fn a_queue_that_was_unbound_gets_nothing() {
    let (mut history, arrow) = bound();
    history.change(Change::Unbind(arrow));
    let id = history.publish_to(FANOUT, "a");
    history.confirm(id);
    let taker = history.taker;
    kept::emptied(&history.model, SHARED).unwrap();
    assert_eq!(named(history.comes(taker, SHARED, id)), "invented");
}

#[test]
fn while_an_unbinding_is_under_way_both_are_right() {
    let (mut history, arrow) = bound();
    history.model.topology.sent(Change::Unbind(arrow));
    history.model.topology_changed();
    let id = history.publish_to(FANOUT, "a");
    history.confirm(id);
    let taker = history.taker;
    kept::emptied(&history.model, SHARED).unwrap();
    history.comes(taker, SHARED, id).unwrap();
}

#[test]
fn a_binding_goes_with_its_exchange() {
    let (mut history, _) = bound();
    history.change(Change::DeleteExchange(FANOUT));
    history.change(Change::DeclareExchange(FANOUT));
    let id = history.publish_to(FANOUT, "a");
    history.confirm(id);
    let taker = history.taker;
    assert_eq!(named(history.comes(taker, SHARED, id)), "invented");
}

#[test]
fn a_binding_between_durable_ends_outlives_a_restart_and_no_other_does() {
    let (mut history, _) = bound();
    bind(&mut history, FANOUT, To::Queue(FLEETING), 0);
    history.change(Change::DeclareExchange(BRIEF));
    bind(&mut history, BRIEF, To::Queue(SINGLE), 0);
    history.crash();
    history.change(Change::DeclareQueue(FLEETING));
    history.change(Change::DeclareExchange(BRIEF));
    let (kept_one, brief) = (history.publish_to(FANOUT, "a"), history.publish_to(BRIEF, "a"));
    history.confirm(kept_one);
    history.confirm(brief);
    let taker = history.taker;
    assert_eq!(named(kept::emptied(&history.model, SHARED)), "kept");
    assert_eq!(named(history.comes(taker, FLEETING, kept_one)), "invented");
    assert_eq!(named(history.comes(taker, SINGLE, brief)), "invented");
}

/// The queues that messages `id` with that key reach.
fn routed(history: &mut History, exchange: ExchangeIx, key: &str) -> Queues {
    let id = history.publish_to(exchange, key);
    history.model.topology.route(&history.model.plan, &history.model.messages[id as usize], true)
}

#[test]
fn exchanges_bound_in_a_circle_send_to_each_queue_once() {
    let (mut history, _) = bound();
    history.change(Change::DeclareExchange(BRIEF));
    bind(&mut history, FANOUT, To::Exchange(BRIEF), 0);
    bind(&mut history, BRIEF, To::Exchange(FANOUT), 0);
    bind(&mut history, BRIEF, To::Queue(SINGLE), 0);
    let both = 1 << SHARED | 1 << SINGLE;
    assert_eq!(routed(&mut history, FANOUT, "a"), both);
    assert_eq!(routed(&mut history, BRIEF, "a"), both);
}

#[test]
fn a_topic_exchange_compares_words() {
    let mut history = History::new();
    history.change(Change::DeclareExchange(TOPIC));
    let pattern = |wanted: &str| PATTERNS.iter().position(|pattern| *pattern == wanted).unwrap();
    bind(&mut history, TOPIC, To::Queue(SINGLE), pattern("a.*"));
    bind(&mut history, TOPIC, To::Queue(SHARED), pattern("#.d"));
    for (key, queues) in [("a", 0), ("a.b", 1 << SINGLE), ("a.c.d", 1 << SHARED), ("b.c", 0)] {
        assert_eq!(routed(&mut history, TOPIC, key), queues, "{key}");
    }
}

#[test]
fn a_headers_exchange_compares_all_or_any() {
    let mut history = History::new();
    history.change(Change::DeclareExchange(HEADERS));
    let pattern = |wanted| HEADER_MATCHES.iter().position(|pattern| *pattern == wanted).unwrap();
    bind(&mut history, HEADERS, To::Queue(SINGLE), pattern(("all", Some(1), Some(1))));
    bind(&mut history, HEADERS, To::Queue(SHARED), pattern(("any", Some(0), Some(1))));
    // Message n has h = n % 2 and g = n / 2 % 3.
    let expected = [1 << SHARED, 0, 1 << SHARED, 1 << SINGLE | 1 << SHARED];
    for (id, queues) in expected.into_iter().enumerate() {
        assert_eq!(routed(&mut history, HEADERS, "a"), queues, "message {id}");
    }
}
