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
        let end = link.ends(&[spot], committed)?;
        let mut positions = Positions::new();
        while positions.get(&spot).is_none_or(|position| Some(position) < end.first()) {
            let before = positions.get(&spot).copied().unwrap_or(0);
            advance(shared, link, committed, vec![(spot, before)], &mut positions)?;
            if positions.get(&spot).copied().unwrap_or(0) == before {
                return Err(LinkError::Fault(format!("{spot} ends at {end:?}, and nothing can be read at {before}")));
            }
        }
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

/// Read a compacted partition from its beginning to its end.
fn scan(shared: &Shared, link: &mut Link, spot: Spot) -> Result<(), LinkError> {
    let end = link.ends(&[spot], false)?.first().copied().unwrap_or(0);
    let (mut position, mut records) = (0, Vec::new());
    while position < end {
        let before = position;
        link.fetch(&[(spot, before)], false, |_, bytes, _| {
            let fetched = read(bytes, spot.topic, before, &[]).map_err(LinkError::Fault)?;
            position = fetched.next;
            records.extend(fetched.records);
            Ok(())
        })?;
        if position == before {
            // What was last may have been a tombstone, and is gone.
            break;
        }
    }
    shared.checker().scanned(spot, end, &records);
    Ok(())
}
