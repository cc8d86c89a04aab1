//! Why a client ends, and what of it is a broken promise.

use std::io;

/// Why a connection is of no further use.
#[derive(Debug)]
pub enum LinkError {
    /// The socket is gone, as it must be when the broker is killed.
    Gone(io::Error),
    /// The broker said or did what it should not.
    Fault(String),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkError::Gone(error) => write!(f, "the connection is gone: {error}"),
            LinkError::Fault(fault) => f.write_str(fault),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Gone(error)
    }
}

/// Broken promises kept in words; the rest is counted.
const WORDED_MAX: usize = 20;

/// What a checker has found.
#[derive(Debug, Default)]
pub struct Broken {
    pub count: u64,
    pub words: Vec<String>,
}

impl Broken {
    pub fn note(&mut self, words: String) {
        self.count += 1;
        if self.words.len() < WORDED_MAX {
            self.words.push(words);
        }
    }
}
