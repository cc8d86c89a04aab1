//! The readers of this crate on any bytes: the entry for fuzzing.

use crc_fast::crc32_iscsi;
use model::Lsn;

use crate::log::{Log, Run};
use crate::recovery::{Logs, Recovery, apply};
use crate::{LogId, checkpoint, segment};

struct Nobody;

impl Recovery for Nobody {
    fn snapshot(&mut self, _catalog: &[u8]) {}
    fn entry(&mut self, _entry: &[u8]) {}
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.extend_from_slice(&crc32_iscsi(&bytes).to_le_bytes());
    bytes
}

/// Feed every reader; the first byte chooses. Must neither panic nor allocate beyond a small multiple of the input.
pub fn readers(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    match which % 4 {
        0 => {
            let _ = segment::parse_header(bytes.get(..60).map(sealed).as_deref().unwrap_or(bytes));
        }
        1 => {
            let count = (bytes.len() / 20) as u32;
            let entries = segment::parse_index(&sealed(&bytes[..count as usize * 20]), count);
            assert!(entries.is_some_and(|entries| entries.len() == count as usize));
        }
        2 => {
            if let Some(found) = checkpoint::read(&sealed(bytes)) {
                found.logs.iter().for_each(|(_, log)| walk(log));
            }
        }
        _ => frames(bytes),
    }
}

/// Frames one after another: kind, length u16, payload.
fn frames(mut bytes: &[u8]) {
    let mut logs: Logs = (1..4).map(|id| (LogId(id), Log::new(true))).collect();
    let mut next_log = 1;
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk::<3>() {
        let (payload, after) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        apply(&mut logs, &mut next_log, &mut Nobody, kind, Lsn(4096), payload);
        bytes = after;
    }
    logs.values().for_each(walk);
}

fn walk(log: &Log) {
    let live: u64 = log.runs.iter().map(|run: &Run| u64::from(run.live)).sum();
    assert_eq!(live, log.live);
    let mut from = 0;
    for _ in 0..100 {
        let Some(found) = log.next_live(from) else { break };
        from = found.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::readers;
    use crate::frame;

    /// Found by fuzzing: the id behind the last one was reckoned.
    #[test]
    fn a_log_with_the_last_id_of_all_is_none() {
        for kind in [frame::CREATE_LOG, frame::CREATE_STREAM] {
            readers(&[3, kind, 4, 0, 0xff, 0xff, 0xff, 0xff]);
        }
    }
}
