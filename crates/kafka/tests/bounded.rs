//! A length that lies costs its sender a connection, and the broker next to nothing.

use std::alloc::System;

use cap::Cap;
use kafka::codec::{ApiKey, Reader, Request, Response, Version, produce, wire};

/// Counts what is allocated. A program of its own, so that nothing else allocates meanwhile.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const BODY_BYTES: usize = 1024;
/// Bytes that may be allocated for each byte of a body, over all that is allocated while it is read. An empty compact string
/// takes one byte on the wire and sixteen in memory, and an array that grows is allocated about twice over.
const AMPLIFICATION_MAX: usize = 32;

/// A body of `fill`, with an array at `place` that says it has `len` elements.
fn bomb(fill: u8, place: usize, len: usize, flexible: bool) -> Vec<u8> {
    let mut body = vec![fill; place];
    wire::put_length(&mut body, Version { number: 0, flexible }, Some(len));
    body.resize(BODY_BYTES, fill);
    body
}

fn bombs(flexible: bool) -> Vec<Vec<u8>> {
    // An empty thing is a length of 0 in plain versions and of 1 in flexible ones; so what follows is mostly well formed.
    let fill = flexible.into();
    let places = (0..32).flat_map(|place| {
        let rest = BODY_BYTES - place - 4;
        [i32::MAX as usize - 1, rest, rest / 2, rest / 4, rest / 8, rest / 16].map(|len| bomb(fill, place, len, flexible))
    });
    places.collect()
}

#[test]
fn no_length_allocates_more_than_its_bytes_justify() {
    let (plain, flexible) = (bombs(false), bombs(true));
    let mut worst = 0;
    let mut read = 0;
    for key in ApiKey::ALL {
        for version in key.versions() {
            for body in if key.is_flexible(version) { &flexible } else { &plain } {
                if *key == ApiKey::Produce {
                    let walk = || {
                        let before = ALLOCATOR.total_allocated();
                        let _ = produce::walk(body, version).map(|(_, walk)| walk.check());
                        ALLOCATOR.total_allocated() - before
                    };
                    // The thread of the tests' runner is counted too, and it does something at its start.
                    assert!((0..1000).any(|_| walk() == 0), "a walk allocates nothing");
                }
                let before = ALLOCATOR.total_allocated();
                read += usize::from(Request::decode(*key, &mut Reader::new(body), version).is_ok());
                read += usize::from(Response::decode(*key, &mut Reader::new(body), version).is_ok());
                let allocated = ALLOCATOR.total_allocated() - before;
                worst = worst.max(allocated);
                let name = key.name();
                assert!(allocated <= BODY_BYTES * AMPLIFICATION_MAX, "{name} {version}: {allocated} bytes for {BODY_BYTES}");
            }
        }
    }
    // The bombs are of use only if some of them go off.
    assert!(worst > BODY_BYTES * 8, "the worst was {worst} bytes");
    assert!(read > 1000, "{read} bodies could be read");
}
