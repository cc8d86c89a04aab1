//! Readers without a group: of committed records or of all, of everything from where they left off, at times from further back;
//! and of a compacted topic from its beginning.

use std::collections::BTreeMap;

use super::Shared;
use super::link::Link;
use super::record::{Spot, Topic, read};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

/// Answers to fetches before a reader may go back.
const FETCHES: u64 = 400;
/// Answers without records, one after another, before the end of a partition.
const EMPTY_MAX: u32 = 600;

/// Where a reader goes on, when the broker is back.
pub type Positions = BTreeMap<Spot, u64>;

/// `name`: under which it tells how far it is.
pub fn run(shared: &Shared, name: &'static str, committed: bool, positions: &mut Positions, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut link = Link::open(shared.address)?;
    while !shared.is_consuming_over() {
        if random.one_in(FETCHES) && !shared.is_producing_over() {
            for position in positions.values_mut() {
                *position -= if random.one_in(2) { random.below(*position + 1) } else { 0 };
            }
        }
        if random.one_in(FETCHES / 20) {
            Topic::Compacted.spots().try_for_each(|spot| scan(shared, &mut link, spot))?;
        }
        let spots = Spot::all().filter(|spot| spot.topic != Topic::Compacted);
        let from: Vec<_> = spots.map(|spot| (spot, positions.get(&spot).copied().unwrap_or(0))).collect();
        advance(shared, &mut link, committed, from, positions)?;
        let told: Vec<_> = positions.iter().map(|(spot, position)| (*spot, *position)).collect();
        shared.tell(name, &told);
    }
    Ok(())
}

/// Read everything from the beginning to the end, while nobody writes.
pub fn read_all(shared: &Shared, link: &mut Link, committed: bool) -> Result<(), LinkError> {
    Topic::Compacted.spots().try_for_each(|spot| scan(shared, link, spot))?;
    for spot in Spot::all().filter(|spot| spot.topic != Topic::Compacted) {
        let end = link.ends(&[spot], committed)?.first().copied().unwrap_or(0);
        let mut positions = Positions::new();
        to_end(spot, end, |from| {
            advance(shared, link, committed, vec![(spot, from)], &mut positions)?;
            Ok(positions.get(&spot).copied().unwrap_or(0))
        })?;
    }
    Ok(())
}

/// Read a compacted partition from its beginning to its end.
fn scan(shared: &Shared, link: &mut Link, spot: Spot) -> Result<(), LinkError> {
    let end = link.ends(&[spot], false)?.first().copied().unwrap_or(0);
    let mut records = Vec::new();
    to_end(spot, end, |from| {
        let mut next = from;
        link.fetch(&[(spot, from)], false, |_, bytes, _| {
            let fetched = read(bytes, spot.topic, from, &[]).map_err(LinkError::Fault)?;
            next = fetched.next;
            records.extend(fetched.records);
            Ok(())
        })?;
        Ok(next)
    })?;
    shared.checker().scanned(spot, end, &records);
    Ok(())
}

/// Fetch until the end is reached: `fetch` returns where to go on.
fn to_end(spot: Spot, end: u64, mut fetch: impl FnMut(u64) -> Result<u64, LinkError>) -> Result<(), LinkError> {
    let (mut position, mut empty) = (0, 0);
    while position < end {
        let next = fetch(position)?;
        // What has to be read from a busy disk may come later than a fetch waits.
        empty = if next == position { empty + 1 } else { 0 };
        if empty == EMPTY_MAX {
            return Err(LinkError::Fault(format!("{spot} ends at {end}, and nothing can be read at {position}")));
        }
        position = next;
    }
    Ok(())
}

/// One fetch.
fn advance(
    shared: &Shared,
    link: &mut Link,
    committed: bool,
    from: Vec<(Spot, u64)>,
    positions: &mut Positions,
) -> Result<(), LinkError> {
    link.fetch(&from, committed, |spot, bytes, aborted| {
        let start = positions.get(&spot).copied().unwrap_or(0);
        let fetched = read(bytes, spot.topic, start, aborted).map_err(LinkError::Fault)?;
        shared.checker().read(spot, committed, start..fetched.next, &fetched.records);
        positions.insert(spot, fetched.next);
        Ok(())
    })
}
