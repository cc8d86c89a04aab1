use kafka::codec::error_code::{NONE, TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION};

use super::named;
use crate::kafka::checker::lives::{Exists, Lives};

/// A topic that is there, with two records.
fn alive() -> Lives {
    let mut lives = Lives::default();
    lives.make();
    assert_eq!(lives.made(NONE), Ok(true));
    for base in [0, 1] {
        let written = lives.send();
        assert_eq!(lives.written(written, Ok(base)), Ok(true));
    }
    lives
}

#[test]
fn what_was_made_stays_and_what_was_deleted_does_not() {
    let mut lives = alive();
    assert_eq!(named(lives.read(0, UNKNOWN_TOPIC_OR_PARTITION, -1, &[])), "lives");
    assert_eq!(named(lives.deleted(UNKNOWN_TOPIC_OR_PARTITION)), "lives");
    assert_eq!(lives.deleted(NONE), Ok(true));
    assert_eq!(lives.deleted(UNKNOWN_TOPIC_OR_PARTITION), Ok(true));
    assert_eq!(lives.read(0, UNKNOWN_TOPIC_OR_PARTITION, -1, &[]), Ok(None));
    let late = lives.send();
    assert_eq!(lives.written(late, Err(UNKNOWN_TOPIC_OR_PARTITION)), Ok(true));
    assert_eq!(named(lives.written(late, Ok(2))), "lives");
    assert_eq!(named(lives.read(0, NONE, 2, &[])), "lives");
    assert_eq!(named(lives.deleted(NONE)), "lives");
    lives.make();
    assert_eq!(named(lives.made(TOPIC_ALREADY_EXISTS)), "lives");
}

#[test]
fn either_may_be_where_nobody_was_told() {
    for code in [NONE, UNKNOWN_TOPIC_OR_PARTITION] {
        let mut lives = alive();
        lives.is_uncertain();
        assert_eq!((lives.exists, lives.deleted(code)), (Exists::Perhaps, Ok(true)));
        assert_eq!(named(lives.deleted(NONE)), "lives");
    }
}

#[test]
fn records_stand_where_they_were_confirmed_and_are_of_this_life() {
    let mut lives = alive();
    let old = lives.send();
    assert_eq!(lives.read(0, NONE, 2, &[]), Ok(Some(0)));
    assert_eq!(named(lives.read(0, NONE, 1, &[])), "lives");
    assert_eq!(named(lives.read(0, NONE, 3, &[(1, old)])), "lives", "there is a hole");
    assert_eq!(named(lives.read(1, NONE, 3, &[(1, old)])), "lives", "another stands there");
    assert_eq!(lives.read(2, NONE, 3, &[(2, old)]), Ok(Some(3)), "it was sent, and nobody was told of it");
    lives.deleted(NONE).unwrap();
    lives.make();
    lives.made(NONE).unwrap();
    assert_eq!(named(lives.read(0, NONE, 1, &[(0, old)])), "lives", "it is of the life before");
    let new = lives.send();
    assert_eq!(lives.written(new, Ok(0)), Ok(true));
}

#[test]
fn positions_go_with_the_topic() {
    let mut lives = alive();
    lives.position(-1).unwrap();
    lives.commit(2);
    assert_eq!(lives.committed(2, NONE), Ok(true));
    assert_eq!(named(lives.position(-1)), "lives");
    // Nobody was told of this one.
    lives.commit(1);
    lives.position(2).unwrap();
    assert_eq!(named(lives.position(1)), "lives", "it was not committed when somebody looked");
    lives.deleted(NONE).unwrap();
    lives.position(-1).unwrap();
    assert_eq!(named(lives.position(2)), "lives");
    lives.make();
    lives.made(NONE).unwrap();
    assert_eq!(named(lives.position(2)), "lives");
}
