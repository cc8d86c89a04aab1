//! What is published. Everything about a message follows from who publishes it and its number, so that whoever
//! receives one knows what it must look like and where it belongs.
//!
//! ```text
//! 0  publisher u16 | 2  number u64 | 10 filling, length and bytes from both
//! ```

use crate::torture::random::mix;

pub const QUEUES: u16 = 12;
/// The fanout exchange, and the queues bound to it.
pub const FANOUT: &str = "torture-fanout";
pub const FANOUT_QUEUES: std::ops::Range<u16> = 0..4;

/// Names one message. Numbers count from 1 per publisher, across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub publisher: u16,
    pub number: u64,
}

pub fn queue_name(queue: u16) -> String {
    format!("torture-{queue}")
}

impl Id {
    fn hash(self) -> u64 {
        mix(self.number ^ (u64::from(self.publisher) << 48))
    }

    /// `None`: published to the fanout exchange.
    pub fn queue(self) -> Option<u16> {
        let hash = self.hash();
        if hash.is_multiple_of(10) { None } else { u16::try_from((hash >> 8) % u64::from(QUEUES)).ok() }
    }

    /// Every queue that the message must reach.
    pub fn queues(self) -> std::ops::Range<u16> {
        self.queue().map_or(FANOUT_QUEUES, |queue| queue..queue + 1)
    }

    /// Append the body.
    pub fn body(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.publisher.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        let hash = self.hash();
        // Mostly small, now and then larger than a frame.
        let words = if (hash >> 32).is_multiple_of(2_000) { 20_000 } else { (hash >> 40) % 200 };
        for word in 0..words {
            out.extend_from_slice(&mix(hash ^ word).to_le_bytes());
        }
    }

    /// The message that this is the body of, if it is one.
    pub fn of(body: &[u8]) -> Option<Id> {
        let publisher = u16::from_le_bytes(body.get(..2)?.try_into().ok()?);
        let number = u64::from_le_bytes(body.get(2..10)?.try_into().ok()?);
        let id = Id { publisher, number };
        let mut whole = Vec::with_capacity(body.len());
        id.body(&mut whole);
        (whole == body).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_its_message_and_a_changed_one_none() {
        for number in 1..3_000 {
            let id = Id { publisher: 3, number };
            let mut body = Vec::new();
            id.body(&mut body);
            assert_eq!(Id::of(&body), Some(id));
            body.push(0);
            assert_eq!(Id::of(&body), None);
        }
    }

    #[test]
    fn all_queues_and_the_fanout_get_some() {
        let ids: Vec<Id> = (1..1_000).map(|number| Id { publisher: 0, number }).collect();
        assert!(ids.iter().any(|id| id.queue().is_none()));
        assert!((0..QUEUES).all(|queue| ids.iter().any(|id| id.queue() == Some(queue))));
    }
}
