//! The client on any bytes, cut anywhere.
#![no_main]

use amqp::client::{Client, ClientEvent, ConnectOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut out = Vec::new();
    let mut client = Client::connect(&ConnectOptions { frame_max: 4096, ..ConnectOptions::default() }, &mut out);
    let mut buffer = Vec::new();
    for part in bytes.chunks(usize::from(cut) * 4 + 1) {
        buffer.extend_from_slice(part);
        let mut rest = &buffer[..];
        loop {
            let before = rest.len();
            match client.receive(&mut rest, &mut out) {
                Ok(Some(event)) => {
                    if let ClientEvent::Delivered { message, .. } = event {
                        let _ = message.properties();
                    }
                    let _ = format!("{event:?}");
                }
                Ok(None) => break,
                Err(_) => return,
            }
            assert!(rest.len() < before);
        }
        let left = rest.len();
        buffer.drain(..buffer.len() - left);
    }
});
