//! A topic that one client alone makes, writes to and deletes, again and again: what was made is there, begins empty and
//! keeps what is written to it; what was deleted is gone, with its records and with what groups had committed for it.

use std::collections::{BTreeMap, BTreeSet};

use kafka::codec::error_code::{NONE, TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION};

use crate::checker::Violation;

const NAME: &str = "lives";

fn wrong<T>(text: String) -> Result<T, Violation> {
    Err(Violation::new(NAME, text))
}

/// Whether the topic is there, as far as its client knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exists {
    #[default]
    No,
    Yes,
    /// It was being made or deleted when the connection broke.
    Perhaps,
}

/// A record: in which life of the topic it was sent, and which of that life it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub life: u16,
    pub nth: u16,
}

/// What is known of the topic.
#[derive(Debug, Default)]
pub struct Lives {
    pub exists: Exists,
    /// How often somebody set out to make it.
    life: u16,
    /// Records of this life that were sent.
    sent: u16,
    /// Those that were confirmed or seen, by their offsets.
    known: BTreeMap<u64, u16>,
    /// Where the group may be; `None`: it has committed nothing.
    positions: BTreeSet<Option<i64>>,
}

impl Lives {
    /// It is about to be made.
    pub fn make(&mut self) {
        let life = self.life + 1;
        *self = Lives { life, positions: BTreeSet::from([None]), ..Lives::default() };
    }

    /// # Errors
    /// It was made although it was there.
    pub fn made(&mut self, code: i16) -> Result<bool, Violation> {
        if code == TOPIC_ALREADY_EXISTS {
            return wrong("the topic was deleted and is there again".into());
        }
        self.exists = Exists::Yes;
        Ok(code == NONE)
    }

    /// # Errors
    /// It was deleted although it was not there, or was gone before.
    pub fn deleted(&mut self, code: i16) -> Result<bool, Violation> {
        match (self.exists, code) {
            (Exists::No, NONE) => wrong("the topic was deleted and is deleted once more".into()),
            (Exists::Yes, UNKNOWN_TOPIC_OR_PARTITION) => wrong("the topic is gone although it was made".into()),
            _ => {
                self.exists = Exists::No;
                Ok(matches!(code, NONE | UNKNOWN_TOPIC_OR_PARTITION))
            }
        }
    }

    /// The connection broke while it was made or deleted.
    pub fn is_uncertain(&mut self) {
        self.exists = Exists::Perhaps;
    }

    /// A record is about to be sent.
    pub fn send(&mut self) -> Written {
        self.sent += 1;
        Written { life: self.life, nth: self.sent }
    }

    /// Whether it is there as it should be, to judge by an answer.
    fn is_there(&self, code: i16) -> Result<bool, Violation> {
        match (self.exists, code) {
            (Exists::No, NONE) => wrong("the topic was deleted and is there again".into()),
            (Exists::Yes, UNKNOWN_TOPIC_OR_PARTITION) => wrong("the topic is gone although it was made".into()),
            _ => Ok(code == NONE),
        }
    }

    /// A record was answered.
    ///
    /// # Errors
    /// At an offset where it cannot be, or the topic is not as it should be.
    pub fn written(&mut self, written: Written, told: Result<i64, i16>) -> Result<bool, Violation> {
        match (self.is_there(told.err().unwrap_or(NONE))?, told) {
            (true, Ok(base)) => {
                self.observe(u64::try_from(base).unwrap_or(u64::MAX), written)?;
                Ok(true)
            }
            (_, told) => Ok(told == Err(UNKNOWN_TOPIC_OR_PARTITION)),
        }
    }

    /// A record is at an offset.
    fn observe(&mut self, offset: u64, Written { life, nth }: Written) -> Result<(), Violation> {
        let now = self.life;
        if life != now || nth > self.sent {
            return wrong(format!("offset {offset} names record {nth} of life {life}; {} were sent in life {now}", self.sent));
        }
        let before = self.known.range(..offset).next_back().is_some_and(|(_, before)| *before >= nth);
        let behind = self.known.range(offset + 1..).next().is_some_and(|(_, behind)| *behind <= nth);
        if before || behind || self.known.get(&offset).is_some_and(|other| *other != nth) {
            return wrong(format!("offset {offset} names record {nth}, but these are known: {:?}", self.known));
        }
        self.known.insert(offset, nth);
        Ok(())
    }

    /// The topic was read from an offset on, and is said to end at `high`. Returns where to go on; `None`: it was not there.
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn read(&mut self, from: u64, code: i16, high: i64, found: &[(u64, Written)]) -> Result<Option<u64>, Violation> {
        if !self.is_there(code)? {
            return Ok(None);
        }
        let end = self.known.last_key_value().map_or(0, |(last, _)| last + 1);
        if u64::try_from(high).is_ok_and(|high| high < end) {
            return wrong(format!("its end is {high}, but there was something before {end}"));
        }
        let mut at = from;
        for (offset, written) in found {
            if *offset != at {
                return wrong(format!("a record at {offset} came where {at} was to follow"));
            }
            self.observe(at, *written)?;
            at += 1;
        }
        Ok(Some(at))
    }

    /// A position is about to be committed.
    pub fn commit(&mut self, position: i64) {
        self.positions.insert(Some(position));
    }

    /// # Errors
    /// The topic is not as it should be.
    pub fn committed(&mut self, position: i64, code: i16) -> Result<bool, Violation> {
        if self.is_there(code)? {
            self.positions = BTreeSet::from([Some(position)]);
        }
        Ok(true)
    }

    /// The group's position was told; -1: it has none.
    ///
    /// # Errors
    /// It is another one.
    pub fn position(&mut self, told: i64) -> Result<(), Violation> {
        let told = (told >= 0).then_some(told);
        let gone = self.exists == Exists::No && told.is_some();
        if gone || (self.exists == Exists::Yes && !self.positions.contains(&told)) {
            return wrong(format!("the group is at {told:?}, and may be at {:?} of {:?}", self.positions, self.exists));
        }
        if self.exists == Exists::Yes {
            self.positions = BTreeSet::from([told]);
        }
        Ok(())
    }
}
