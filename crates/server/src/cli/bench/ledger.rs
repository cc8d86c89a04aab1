//! What was published and what came out, so that at the end loss, duplicates and disorder show.
//!
//! Body head: producer u16 | sequence u48 | published at, nanoseconds since the generator's start u64. The producer number
//! and sequence are one `u64`, so that patching and checking are one word each.

/// The first bytes of each body: sequence number with the producer's index, and the time of publishing.
pub const BODY_HEAD_BYTES: usize = 16;

const SEQUENCE_BITS: u32 = 48;

/// Encodes the head of a body.
pub fn body_head(producer: usize, sequence: u64, now_ns: u64) -> [u8; BODY_HEAD_BYTES] {
    let number = ((producer as u64) << SEQUENCE_BITS) | sequence;
    let mut head = [0; BODY_HEAD_BYTES];
    head[..8].copy_from_slice(&number.to_be_bytes());
    head[8..].copy_from_slice(&now_ns.to_be_bytes());
    head
}

/// Decodes it: producer, sequence, time of publishing.
pub fn parse_head(head: &[u8; BODY_HEAD_BYTES]) -> (usize, u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let published_ns = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    ((number >> SEQUENCE_BITS) as usize, number & ((1 << SEQUENCE_BITS) - 1), published_ns)
}

/// What one queue delivered of one producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Run {
    count: u64,
    /// Wrapping: together with the count it tells a lost and a doubled message from none.
    sum: u64,
    lowest: Option<u64>,
    highest: u64,
}

/// The account of a whole run.
#[derive(Debug)]
pub struct Ledger {
    producers: usize,
    queues: usize,
    /// Per queue, per producer.
    runs: Vec<Run>,
    pub disordered: u64,
    pub redelivered: u64,
    /// Deliveries whose body this generator did not write.
    pub foreign: u64,
}

/// The outcome of the check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    pub lost: u64,
    pub duplicated: u64,
    pub disordered: u64,
    pub foreign: u64,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        *self == Verdict::default()
    }
}

impl Ledger {
    /// For so many producers (0: another run's, whose number is not known) and queues.
    pub fn new(producers: usize, queues: usize) -> Ledger {
        let producers = if producers == 0 { 256 } else { producers };
        Ledger { producers, queues, runs: vec![Run::default(); producers * queues], disordered: 0, redelivered: 0, foreign: 0 }
    }

    /// Books a delivery. `last` is what the same subscription saw of each producer: one more than the highest sequence.
    pub fn book(&mut self, queue: usize, producer: usize, sequence: u64, redelivered: bool, last: &mut Vec<u64>) {
        if producer >= self.producers {
            self.foreign += 1;
            return;
        }
        if last.len() <= producer {
            last.resize(producer + 1, 0);
        }
        self.redelivered += u64::from(redelivered);
        // A message that comes again may be late; one that comes for the first time may not.
        self.disordered += u64::from(sequence < last[producer] && !redelivered);
        last[producer] = last[producer].max(sequence + 1);
        let run = &mut self.runs[queue * self.producers + producer];
        run.count += 1;
        run.sum = run.sum.wrapping_add(sequence);
        run.lowest = Some(run.lowest.map_or(sequence, |lowest| lowest.min(sequence)));
        run.highest = run.highest.max(sequence);
    }

    /// Compares with what each producer published to each queue, as `published(producer, queue)` has it: so many messages, from
    /// number 0 on. Where that is not known the numbers delivered must be whole: no gap, nothing twice.
    pub fn verdict(&self, published: impl Fn(usize, usize) -> Option<u64>) -> Verdict {
        let mut verdict = Verdict { disordered: self.disordered, foreign: self.foreign, ..Verdict::default() };
        for queue in 0..self.queues {
            for producer in 0..self.producers {
                let run = self.runs[queue * self.producers + producer];
                let (first, expected) = match published(producer, queue) {
                    Some(count) => (0, count),
                    None => run.lowest.map_or((0, 0), |lowest| (lowest, run.highest - lowest + 1)),
                };
                verdict.lost += expected.saturating_sub(run.count);
                verdict.duplicated += run.count.saturating_sub(expected);
                if run.count == expected && run.sum != sum_of(first, expected) {
                    // As many were lost as came twice.
                    verdict.lost += 1;
                    verdict.duplicated += 1;
                }
            }
        }
        verdict
    }
}

/// The wrapping sum of `count` numbers from `first` on.
fn sum_of(first: u64, count: u64) -> u64 {
    let pairs = u128::from(count) * u128::from(count.saturating_sub(1)) / 2;
    first.wrapping_mul(count).wrapping_add(pairs as u64)
}
