//! What several targets share.

pub mod kafka;
