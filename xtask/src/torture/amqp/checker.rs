//! What must hold, whatever happens to the broker. A pure machine: it hears what clients did and saw, in the
//! order they did and saw it, and names every broken promise.
//!
//! - *Lost*: a confirmed message is delivered until it is settled. Within one run of the broker a queue hands out
//!   each publisher's messages in ascending order (nobody returns any while it runs), so a message that was passed over
//!   is not in the queue any more, and that is allowed only if it was never confirmed, or if it was acked.
//! - *Order*: ascending per publisher and queue within one run, redeliveries after a restart included.
//! - *Invented*: only what was published, only to the queues it was routed to.
//! - *Settled*: an ack followed by a confirmed publish on the same channel is for ever.
//! - *Redelivered*: a message that was delivered before carries the flag, once its delivery is as durable as an ack would
//!   be: followed by a confirmed publish on the same channel.

use std::collections::{HashMap, VecDeque};

use super::message::Id;
use crate::torture::fault::Broken;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    number: u64,
    /// The run of the broker in which it was published: only in that one can its confirm come.
    run: u32,
    confirmed: bool,
    /// Delivered at least once, in whichever run.
    delivered: bool,
    /// Its delivery is known to be durable.
    noted: bool,
    /// An ack was sent in this or an earlier run; whether it was kept is not known.
    acked: bool,
    /// The ack is known to be durable.
    settled: bool,
    /// Passed over without having been confirmed: rightly forgotten, and must not come any more.
    gone: bool,
}

/// The messages of one publisher in one queue.
#[derive(Default)]
struct Track {
    /// Ascending. What is over at the front is dropped.
    entries: VecDeque<Entry>,
    /// The last one delivered in this run of the broker, 0: none.
    last: u64,
}

impl Track {
    fn position(&self, number: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let position = self.position(number)?;
        self.entries.get_mut(position)
    }

    fn drop_finished(&mut self, run: u32) {
        // What is gone in the run that it was published in may still be confirmed, and then it was lost.
        let finished = |entry: &Entry| entry.settled || (entry.gone && entry.run < run);
        while self.entries.front().is_some_and(finished) {
            self.entries.pop_front();
        }
    }
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub published: u64,
    pub confirmed: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub acked: u64,
    pub settled: u64,
    /// Unconfirmed when the broker was killed, and never seen again.
    pub forgotten: u64,
    /// Delivered again without the flag, because the broker was killed before it had noted the first delivery.
    pub unflagged: u64,
}

#[derive(Default)]
pub struct Checker {
    tracks: HashMap<(u16, u16), Track>,
    /// The last number each publisher has used.
    published: HashMap<u16, u64>,
    run: u32,
    figures: Figures,
    broken: Broken,
}

impl Checker {
    pub fn figures(&self) -> Figures {
        self.figures
    }

    pub fn broken(&self) -> &Broken {
        &self.broken
    }

    /// The number that the publisher uses next.
    pub fn next_number(&self, publisher: u16) -> u64 {
        self.published.get(&publisher).copied().unwrap_or(0) + 1
    }

    /// Copies of messages that are published and neither settled nor gone.
    pub fn backlog(&self) -> usize {
        self.tracks.values().map(|track| track.entries.len()).sum()
    }

    /// A message is about to be sent.
    pub fn published(&mut self, id: Id) {
        debug_assert_eq!(id.number, self.next_number(id.publisher));
        self.published.insert(id.publisher, id.number);
        self.figures.published += 1;
        for queue in id.queues() {
            let track = self.tracks.entry((queue, id.publisher)).or_default();
            track.entries.push_back(Entry { number: id.number, run: self.run, ..Entry::default() });
        }
    }

    /// The broker has confirmed it.
    pub fn confirmed(&mut self, id: Id) {
        self.figures.confirmed += 1;
        for queue in id.queues() {
            let Some(track) = self.tracks.get_mut(&(queue, id.publisher)) else { continue };
            let mut lost = false;
            if let Some(entry) = track.entry(id.number) {
                entry.confirmed = true;
                lost = entry.gone;
            }
            if lost {
                self.violation(format!("lost or overtaken: {id:?} was confirmed, but queue {queue} had passed it over"));
            }
        }
    }

    /// A message came out of a queue.
    pub fn delivered(&mut self, queue: u16, id: Id, redelivered: bool) {
        self.figures.delivered += 1;
        self.figures.redelivered += u64::from(redelivered);
        if id.number >= self.next_number(id.publisher) || !id.queues().contains(&queue) {
            self.violation(format!("invented: {id:?} came out of queue {queue}, and nobody had published it there"));
            return;
        }
        let track = self.tracks.entry((queue, id.publisher)).or_default();
        let mut broken = Vec::new();
        if id.number <= track.last {
            broken.push(format!("order: {id:?} came out of queue {queue} after number {}", track.last));
        }
        for entry in track.entries.iter_mut().filter(|entry| entry.number > track.last && entry.number < id.number) {
            if entry.settled || entry.gone {
                continue;
            }
            if entry.acked {
                // Its ack was kept after all.
                entry.settled = true;
            } else {
                if entry.confirmed {
                    let seen = if entry.delivered { "delivered before, not acked" } else { "never delivered" };
                    broken.push(format!(
                        "lost: number {} of publisher {} was confirmed ({seen}), and queue {queue} handed out {} without it",
                        entry.number, id.publisher, id.number
                    ));
                } else {
                    self.figures.forgotten += 1;
                }
                entry.gone = true;
            }
        }
        match track.entry(id.number) {
            None => broken.push(format!("settled came back (or was given up): {id:?} out of queue {queue}")),
            Some(entry) => {
                if entry.settled {
                    broken.push(format!("settled came back: {id:?} out of queue {queue}"));
                }
                if entry.gone {
                    broken.push(format!("order: {id:?} came out of queue {queue} after it had been passed over"));
                }
                self.figures.unflagged += u64::from(entry.delivered && !redelivered);
                if entry.noted && !redelivered {
                    broken.push(format!("redelivered flag missing: {id:?} out of queue {queue}"));
                }
                entry.delivered = true;
                // It is here again, so an earlier ack was not kept.
                entry.acked = false;
            }
        }
        track.last = track.last.max(id.number);
        track.drop_finished(self.run);
        for words in broken {
            self.violation(words);
        }
    }

    /// A body came that is no message of ours.
    pub fn garbled(&mut self, queue: u16, bytes: usize) {
        self.violation(format!("invented: queue {queue} handed out {bytes} bytes that nobody had published"));
    }

    /// A publish sent after its delivery, on the same channel, was confirmed.
    pub fn noted(&mut self, queue: u16, id: Id) {
        if let Some(entry) = self.tracks.get_mut(&(queue, id.publisher)).and_then(|track| track.entry(id.number)) {
            entry.noted = true;
        }
    }

    /// An ack is about to be sent.
    pub fn acked(&mut self, queue: u16, id: Id) {
        self.figures.acked += 1;
        if let Some(entry) = self.tracks.get_mut(&(queue, id.publisher)).and_then(|track| track.entry(id.number)) {
            entry.acked = true;
        }
    }

    /// A publish sent after its ack, on the same channel, was confirmed.
    pub fn settled(&mut self, queue: u16, id: Id) {
        self.figures.settled += 1;
        if let Some(track) = self.tracks.get_mut(&(queue, id.publisher)) {
            if let Some(entry) = track.entry(id.number) {
                entry.settled = true;
            }
            track.drop_finished(self.run);
        }
    }

    /// The broker was killed; everything that its clients had still received has been told.
    pub fn restarted(&mut self) {
        self.run += 1;
        for track in self.tracks.values_mut() {
            track.last = 0;
            track.drop_finished(self.run);
        }
    }

    /// The queues are empty and everything was acked: what is still owed?
    pub fn finish(&mut self) {
        let mut lost = Vec::new();
        for ((queue, publisher), track) in &self.tracks {
            for entry in track.entries.iter().filter(|entry| entry.confirmed && !entry.acked && !entry.settled && !entry.gone) {
                lost.push(format!("lost: number {} of publisher {publisher} is not in queue {queue} at the end", entry.number));
            }
        }
        for words in lost {
            self.violation(words);
        }
    }

    pub fn violation(&mut self, words: String) {
        self.broken.note(words);
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
