//! Counts over many seeds.

use std::fmt;

use crate::kafka::checker::Counts;

/// What was simulated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub seeds: u64,
    pub failed: u64,
    pub simulated_ms: u64,
    pub crashes: u64,
    pub kills: u64,
    pub stops: u64,
    pub failed_syncs: u64,
    pub full_disks: u64,
    pub slow_disks: u64,
    pub drops: u64,
    pub published: u64,
    pub confirmed: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub settled: u64,
    pub checkpoints: u64,
    pub page_outs: u64,
    pub carried: u64,
    pub cold_reads: u64,
    pub journal_writes: u64,
    pub kafka: Counts,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.simulated_ms += other.simulated_ms;
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.stops += other.stops;
        self.failed_syncs += other.failed_syncs;
        self.full_disks += other.full_disks;
        self.slow_disks += other.slow_disks;
        self.drops += other.drops;
        self.published += other.published;
        self.confirmed += other.confirmed;
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.settled += other.settled;
        self.checkpoints += other.checkpoints;
        self.page_outs += other.page_outs;
        self.carried += other.carried;
        self.cold_reads += other.cold_reads;
        self.journal_writes += other.journal_writes;
        self.kafka.add(&other.kafka);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seeds       {} ({} failed), {} s simulated", self.seeds, self.failed, self.simulated_ms / 1000)?;
        writeln!(
            f,
            "faults      {} crashes, {} kills, {} failed syncs, {} full disks, {} slow disks, {} broken connections; {} stops in good order",
            self.crashes, self.kills, self.failed_syncs, self.full_disks, self.slow_disks, self.drops, self.stops
        )?;
        writeln!(
            f,
            "messages    {} published, {} confirmed, {} delivered ({} again), {} settled",
            self.published, self.confirmed, self.delivered, self.redelivered, self.settled
        )?;
        let kafka = &self.kafka;
        writeln!(
            f,
            "records     {} produced, {} confirmed ({} once more), {} read, in {} incremental answers some of them; {} transactions committed, {} aborted; {} offsets committed, {} times a member was handed its part",
            kafka.produced,
            kafka.confirmed,
            kafka.repeated,
            kafka.read,
            kafka.incremental,
            kafka.committed,
            kafka.aborted,
            kafka.offsets,
            kafka.joined
        )?;
        writeln!(
            f,
            "topics      {} times a record was found compacted, {} records deleted, {} times a topic; {} requests of producers that were shut out",
            kafka.compacted, kafka.dropped, kafka.deleted, kafka.fenced
        )?;
        write!(
            f,
            "storage     {} journal writes, {} checkpoints, {} page-outs, {} gathers, {} cold reads",
            self.journal_writes, self.checkpoints, self.page_outs, self.carried, self.cold_reads
        )
    }
}
