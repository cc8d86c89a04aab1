//! The frame splitter on any bytes: it makes progress, keeps to the limit, and asks for no more than a frame.
#![no_main]

use amqp::codec::content::{Whole, whole};
use amqp::codec::frame::{self, OVERHEAD, Split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[limit, channel], bytes)) = data.split_first_chunk::<2>() else { return };
    let frame_max = usize::from(limit) * 32 + OVERHEAD;
    let mut rest = bytes;
    loop {
        match frame::split(rest, frame_max) {
            Ok(Split::Frame(frame)) => {
                assert!(frame.wire_len() <= frame_max);
                let mut again = Vec::new();
                frame::put(&mut again, frame.kind, frame.channel, |out| out.extend_from_slice(frame.payload));
                assert_eq!(again, &rest[..frame.wire_len()]);
                rest = &rest[frame.wire_len()..];
            }
            Ok(Split::Need(needed)) => {
                assert!(needed > rest.len() && needed <= frame_max.max(7));
                break;
            }
            Err(_) => break,
        }
    }
    match whole(bytes, channel.into(), frame_max) {
        Whole::Here { header, body, rest } => {
            assert_eq!(header.body_len, body.len() as u64);
            assert!(rest.len() < bytes.len());
        }
        Whole::More(needed) => assert!(needed > bytes.len() && needed <= 2 * frame_max.max(7)),
        Whole::InPieces => {}
    }
});
