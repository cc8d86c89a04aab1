//! Disks around another one: what watches or breaks a disk says only what it does of its own.

use std::io;

use crate::{Completion, Done, Job, Lane, Token, Vfs};

/// A disk that does something of its own around another one. What it does not say goes through as it is.
pub trait Around: Send {
    type Disk: Vfs;

    /// The disk that does the jobs.
    fn disk(&mut self) -> &mut Self::Disk;

    /// Hear of a job before it is handed in.
    fn submitting(&mut self, _lane: Lane, _token: Token, _job: &Job) {}

    /// What the caller is told of a finished job.
    fn completing(&mut self, completion: Completion) -> Completion {
        completion
    }

    /// See [`Vfs::run`].
    ///
    /// # Errors
    /// Those of the job, and its own.
    fn running(&mut self, job: Job) -> io::Result<Done> {
        self.disk().run(job)
    }
}

impl<T: Around> Vfs for T {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        self.submitting(lane, token, &job);
        self.disk().submit(lane, token, job);
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.disk().poll()?;
        Some(self.completing(completion))
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        self.running(job)
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk().list(directory)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.disk().free_bytes()
    }

    fn random(&mut self) -> u64 {
        self.disk().random()
    }

    fn stopwatch_ns(&mut self) -> u64 {
        self.disk().stopwatch_ns()
    }
}
