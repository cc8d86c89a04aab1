//! What happened: the last events in words, and a hash of all of them, by which two runs are compared.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Events kept for a report.
const KEPT: usize = 60;

/// The story of one run.
pub struct Trace {
    hash: u64,
    last: VecDeque<(u32, u64, String)>,
    step: u32,
    now_ms: u64,
    /// Print every event as it happens.
    verbose: bool,
}

impl Trace {
    pub fn new(verbose: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new(), step: 0, now_ms: 0, verbose }
    }

    pub fn at(&mut self, step: u32, now_ms: u64) {
        (self.step, self.now_ms) = (step, now_ms);
        self.mix(u64::from(step));
        self.mix(now_ms);
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Bytes went by.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        for &byte in chunks.remainder() {
            self.mix(byte.into());
        }
        self.mix(bytes.len() as u64);
    }

    pub fn event(&mut self, text: std::fmt::Arguments<'_>) {
        let mut line = match self.last.len() {
            KEPT.. => self.last.pop_front().map(|(.., line)| line).unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        let _ = line.write_fmt(text);
        self.bytes(line.as_bytes());
        if self.verbose {
            println!("{:>5} {:>7} ms  {line}", self.step, self.now_ms);
        }
        self.last.push_back((self.step, self.now_ms, line));
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, one a line.
    pub fn tail(&self) -> String {
        let mut out = String::new();
        for (step, now_ms, line) in &self.last {
            let _ = writeln!(out, "{step:>5} {now_ms:>7} ms  {line}");
        }
        out
    }
}
