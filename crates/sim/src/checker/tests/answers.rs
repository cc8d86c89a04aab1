//! In time, and a node that stops when it must. What is asked and answered on a channel is tested with `connection`.

use super::named;
use crate::checker::answers::{Patience, late, turned};

#[test]
fn a_node_stops_when_its_journal_failed_and_only_then() {
    assert_eq!(turned(Ok::<(), &str>(()), false), Ok(true));
    assert_eq!(turned(Err("the journal failed"), true), Ok(false));
    assert_eq!(named(turned(Ok::<(), &str>(()), true)), "poison");
    assert_eq!(named(turned(Err("it did not like it"), false)), "poison");
}

#[test]
fn patience_ends_by_the_clock() {
    let mut patience = Patience::new(5_000);
    assert!(!patience.ends(35_000));
    assert!(patience.ends(35_001));
}

#[test]
fn patience_ends_though_the_clock_stands() {
    let mut patience = Patience::new(0);
    let rounds = (0..).take_while(|_| !patience.ends(0)).count();
    assert_eq!(rounds, 20_000);
}

#[test]
fn a_late_answer_is_named() {
    let unanswered: Vec<String> = (0..9).map(|number| format!("channel {number} asked")).collect();
    let violation = late(&unanswered);
    assert_eq!(violation.checker, "answers");
    assert!(violation.text.starts_with("9 things") && violation.text.contains("channel 4 asked"), "{violation}");
}
