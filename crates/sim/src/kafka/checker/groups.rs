//! Members of a group: no generation has one partition at two members, and generations do not go back, not even over a
//! power failure, once one of their members was handed something.

use std::collections::BTreeMap;

use crate::checker::Violation;
use crate::kafka::ask::Joined;
use crate::kafka::plan::PartitionIx;

const NAME: &str = "groups";

/// What members were handed in each generation.
#[derive(Default)]
pub struct Generations {
    handed: BTreeMap<i32, BTreeMap<String, Vec<PartitionIx>>>,
    kept: bool,
}

impl Generations {
    /// The newest in which a member was handed something; 0: none was.
    pub fn newest(&self) -> i32 {
        self.handed.keys().next_back().copied().unwrap_or(0)
    }

    /// An offset was committed: from now on the group is there though it has no members, and goes on counting.
    pub fn kept(&mut self) {
        self.kept = true;
    }

    /// A member was let in. `known`: the newest generation when it asked.
    ///
    /// # Errors
    /// Into one that is over.
    pub fn joined(&mut self, known: i32, joined: &Joined) -> Result<(), Violation> {
        let Joined { generation, id, members } = joined;
        let others = self.handed.get(generation).into_iter().flat_map(BTreeMap::keys);
        let stranger = others.filter(|other| !members.is_empty() && !members.contains(other)).max();
        let text = match stranger {
            _ if *generation < known => format!("{id} joined generation {generation}, and there had been {known}"),
            Some(other) => format!("generation {generation} has the members {members:?}, and had {other}"),
            None => return Ok(()),
        };
        if self.kept {
            return Err(Violation::new(NAME, text));
        }
        // Without members and offsets it was forgotten, and begins anew.
        self.handed.clear();
        Ok(())
    }

    /// A member was handed these partitions.
    ///
    /// # Errors
    /// Another one has some of them in this generation, or it had others.
    pub fn handed(&mut self, generation: i32, id: &str, partitions: &[PartitionIx]) -> Result<(), Violation> {
        let handed = self.handed.entry(generation).or_default();
        let wrong = |text: String| Err(Violation::new(NAME, format!("generation {generation}: {text}")));
        for (other, theirs) in handed.iter() {
            if other == id && *theirs != partitions {
                return wrong(format!("{id} was handed {theirs:?}, and now {partitions:?}"));
            }
            if other != id && theirs.iter().any(|at| partitions.contains(at)) {
                return wrong(format!("{id} was handed {partitions:?}, and {other} {theirs:?}"));
            }
        }
        handed.insert(id.to_owned(), partitions.to_vec());
        Ok(())
    }
}
