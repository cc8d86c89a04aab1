//! Confirms against their definition: each publish is acked once, in order, and not before it is safe.

use model::Lsn;
use proptest::prelude::*;

use crate::session::channel::{Answer, Confirms};

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
    /// Once a refused publish was nacked at once, and an ack of several that came later reached over its number: clients
    /// that take confirms in order reported it as confirmed.
    #[test]
    fn each_publish_is_answered_once_in_order_and_not_before_it_is_safe(steps in steps()) {
        let mut confirms = Confirms::default();
        let (mut appended, mut durable) = (0, 0);
        // Of publish number n, at n - 1: the position it waits for, or none where it was refused.
        let mut needs: Vec<Option<u64>> = Vec::new();
        let mut answered = 0usize;
        for step in steps.into_iter().chain([Step::Durable(u64::MAX), Step::Turn]) {
            match step {
                Step::Publish(bytes) => {
                    appended += bytes;
                    let at = (bytes > 0).then_some(Lsn(appended));
                    confirms.publish(at);
                    needs.push(Some(at.map_or(0, |lsn| lsn.0)));
                }
                Step::Refuse => {
                    confirms.refuse();
                    needs.push(None);
                }
                Step::Durable(bytes) => {
                    durable = appended.min(bytes.saturating_add(durable));
                    confirms.durable(Lsn(durable));
                    prop_assert!(confirms.waits_for().is_none_or(|lsn| lsn.0 > durable));
                }
                Step::Turn => {
                    while let Some(answer) = confirms.take_answer() {
                        let (tag, multiple, accepted) = match answer {
                            Answer::Ack { delivery_tag, multiple } => (delivery_tag as usize, multiple, true),
                            Answer::Nack { delivery_tag } => (delivery_tag as usize, false, false),
                        };
                        prop_assert!(tag > answered && tag <= needs.len());
                        prop_assert_eq!(multiple, tag > answered + 1);
                        for need in &needs[answered..tag] {
                            prop_assert_eq!(need.is_some(), accepted);
                            prop_assert!(need.is_none_or(|need| need <= durable));
                        }
                        answered = tag;
                    }
                }
            }
        }
        prop_assert_eq!(answered, needs.len());
    }
}
