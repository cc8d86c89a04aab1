//! Confirms against their definition: each publish is acked once, in order, and not before it is safe.

use model::Lsn;
use proptest::prelude::*;

use crate::session::channel::Confirms;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Durable so many bytes further on; 0: nothing to wait for.
    Publish(u64),
    Refuse,
    /// The journal climbs by so many bytes.
    Durable(u64),
    /// The session's turn ends.
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..4).prop_map(Step::Publish),
        1 => Just(Step::Refuse),
        2 => (0u64..6).prop_map(Step::Durable),
        2 => Just(Step::Turn),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn each_publish_is_acked_once_in_order_and_not_before_it_is_safe(steps in steps()) {
        let mut confirms = Confirms::default();
        let (mut appended, mut durable) = (0, 0);
        // Of publish number n, at n - 1: the position it waits for, or none where it was refused.
        let mut needs: Vec<Option<u64>> = Vec::new();
        let mut acked = 0usize;
        let mut check = |ack: Option<(u64, bool)>, needs: &[Option<u64>], durable: u64| {
            let Some((tag, multiple)) = ack else { return Ok(acked) };
            let tag = tag as usize;
            prop_assert!(tag > acked && tag <= needs.len());
            prop_assert_eq!(multiple, tag > acked + 1);
            for need in needs[acked..tag].iter().flatten() {
                prop_assert!(*need <= durable);
            }
            acked = tag;
            Ok(acked)
        };
        for step in steps {
            match step {
                Step::Publish(bytes) => {
                    appended += bytes;
                    let at = (bytes > 0).then_some(Lsn(appended));
                    confirms.publish(at);
                    needs.push(Some(at.map_or(0, |lsn| lsn.0)));
                }
                Step::Refuse => {
                    let (ack, refused) = confirms.refuse();
                    check(ack, &needs, durable)?;
                    needs.push(None);
                    prop_assert_eq!(refused as usize, needs.len());
                    if confirms.waits_for().is_none() {
                        // Nothing before it is open, so the nack speaks for the last one.
                        acked_is_all(&mut check, &needs)?;
                    }
                }
                Step::Durable(bytes) => {
                    durable = (durable + bytes).min(appended);
                    confirms.durable(Lsn(durable));
                    prop_assert!(confirms.waits_for().is_none_or(|lsn| lsn.0 > durable));
                }
                Step::Turn => {
                    check(confirms.take_ack(), &needs, durable)?;
                }
            }
        }
        confirms.durable(Lsn(appended));
        let last = check(confirms.take_ack(), &needs, appended)?;
        prop_assert_eq!(last, needs.len());
        prop_assert_eq!(confirms.take_ack(), None);
    }
}

/// The refused publish counts as answered: everything up to it has been.
fn acked_is_all(
    check: &mut impl FnMut(Option<(u64, bool)>, &[Option<u64>], u64) -> Result<usize, TestCaseError>,
    needs: &[Option<u64>],
) -> Result<(), TestCaseError> {
    let before = check(None, needs, 0)?;
    prop_assert_eq!(before, needs.len() - 1);
    check(Some((needs.len() as u64, false)), needs, u64::MAX)?;
    Ok(())
}
