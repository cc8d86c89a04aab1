//! Why a message came to a dead-letter exchange, as a header that every protocol can render its own way.

use serde::{Deserialize, Serialize};

/// The header of a dead-lettered record: JSON of [`DeadLetter`].
pub const HEADER: &str = "yam.dead-letter";

/// The history of a dead-lettered message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The exchange it was last sent through.
    pub exchange: String,
    /// One entry per queue and reason, newest first.
    pub deaths: Vec<Death>,
    /// The very first one: queue, reason, exchange (`None`: the one it was published to).
    pub first: (String, String, Option<String>),
    /// A queue's own key has taken the place of all the keys it was published with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rekeyed: bool,
}

/// Deaths in one queue for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Death {
    pub queue: String,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    pub count: u64,
    /// When it first died there, in ms since the Unix epoch.
    pub time_ms: u64,
    /// The exchange it had come through; `None`: the one it was published to.
    pub exchange: Option<String>,
    /// The routing key, and whatever further keys it had.
    pub routing_keys: Vec<String>,
}

impl DeadLetter {
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<DeadLetter> {
        serde_json::from_slice(bytes).ok()
    }

    /// Note one more death.
    pub fn add(&mut self, death: Death) {
        if self.deaths.is_empty() {
            self.first = (death.queue.clone(), death.reason.clone(), death.exchange.clone());
        }
        let same = self.deaths.iter().position(|other| other.queue == death.queue && other.reason == death.reason);
        let entry = match same {
            Some(at) => {
                let mut entry = self.deaths.remove(at);
                entry.count += 1;
                entry
            }
            None => death,
        };
        self.deaths.insert(0, entry);
    }

    /// Whether it has died in that queue before, and nobody rejected it since: it goes round in a circle by itself.
    #[must_use]
    pub fn circles(&self, queue: &str) -> bool {
        let since = self.deaths.iter().position(|death| death.queue == queue);
        since.is_some_and(|at| self.deaths[..=at].iter().all(|death| death.reason != "rejected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(queue: &str, reason: &str) -> Death {
        Death { queue: queue.into(), reason: reason.into(), count: 1, time_ms: 5, exchange: None, routing_keys: vec!["k".into()] }
    }

    #[test]
    fn a_queue_and_reason_is_counted_once_and_moved_first() {
        let mut letter = DeadLetter::default();
        letter.add(death("a", "expired"));
        letter.add(death("b", "rejected"));
        letter.add(death("a", "expired"));
        assert_eq!(letter.deaths.len(), 2);
        assert_eq!((letter.deaths[0].queue.as_str(), letter.deaths[0].count), ("a", 2));
        assert_eq!(letter.first, ("a".into(), "expired".into(), None));
        assert_eq!(DeadLetter::from_bytes(&letter.to_bytes()), Some(letter));
    }

    #[test]
    fn a_circle_without_a_rejection_is_noticed() {
        let mut letter = DeadLetter::default();
        letter.add(death("a", "expired"));
        assert!(letter.circles("a"));
        assert!(!letter.circles("b"));
        letter.add(death("b", "rejected"));
        assert!(!letter.circles("a"));
    }
}
