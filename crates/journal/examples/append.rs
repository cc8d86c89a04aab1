//! What an append costs: frames into a journal whose disk answers at once.
//!
//! `cargo run --release -p journal --example append`

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use journal::{Journal, Options, Recovered};
use vfs::{Completion, Done, Job, Lane, Token, Vfs};

/// A disk that keeps nothing.
#[derive(Default)]
struct Null(VecDeque<Completion>);

impl Vfs for Null {
    fn submit(&mut self, lane: Lane, token: Token, _job: Job) {
        self.0.push_back(Completion { lane, token, result: Ok(Done::Ok) });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.0.pop_front()
    }

    fn run(&mut self, _job: Job) -> io::Result<Done> {
        Ok(Done::Ok)
    }

    fn list(&mut self, _directory: &str) -> io::Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn random(&mut self) -> u64 {
        7
    }
}

fn main() {
    for (bytes, per_block, cache_bytes) in [
        (1024, 1000, 64 << 20),
        (1024, 100, 64 << 20),
        (1024, 1, 64 << 20),
        (1024, 1000, 4 << 20),
        (100, 1000, 64 << 20),
        (65536, 100, 64 << 20),
    ] {
        let mut disk = Null::default();
        let options = Options { cache_bytes, ..Options::default() };
        let Ok(mut journal) = Journal::create(options, Recovered::default(), &mut disk) else { return };
        let payload = vec![7u8; bytes];
        let frames = (4 << 30) / (bytes + 200);
        let mut best = f64::MAX;
        let mut read = 0u64;
        for part in 0..8 {
            let started = Instant::now();
            for n in 0..frames / 8 {
                let at = journal.append(1, false, bytes, |buffer| buffer.extend_from_slice(&payload));
                read += journal.cached(at.start, bytes).map_or(0, |stored| u64::from(stored.bytes[0]));
                if n % per_block == per_block - 1 {
                    journal.poll(&mut disk);
                    while let Some(completion) = disk.poll() {
                        if journal.completed(completion).is_err() {
                            return;
                        }
                    }
                }
            }
            journal.cut(journal.durable());
            let nanos = started.elapsed().as_nanos() as f64 / (frames / 8) as f64;
            if part > 0 {
                best = best.min(nanos);
            }
        }
        println!(
            "{bytes} bytes, {per_block} per block, cache {} MiB: {best:.0} ns per append and look-up ({read})",
            cache_bytes >> 20
        );
    }
}
