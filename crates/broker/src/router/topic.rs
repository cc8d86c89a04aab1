//! Topic patterns: words split by `.`, `*` one word, `#` zero or more, in one trie.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Target, Targets, remove_one};

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Default)]
struct Node {
    /// Next word (`*` and `#` among them) to node. Words come from clients, so the hash is seeded.
    next: HashMap<Box<str>, NodeId, RandomState>,
    targets: Targets,
}

/// All patterns of one exchange.
pub(crate) struct Trie {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// How many patterns have one, counted for each.
    hashes: usize,
}

/// What is left of a trie that is not asked any more.
pub(crate) struct Remains {
    nodes: Vec<Node>,
    /// Of the node that goes: it may have as many as there are patterns.
    words: std::collections::hash_map::IntoIter<Box<str>, NodeId>,
}

impl Remains {
    /// Drop one word or node. False: there is none left.
    pub fn drop_one(&mut self) -> bool {
        if self.words.next().is_some() {
            return true;
        }
        let Some(node) = self.nodes.pop() else { return false };
        self.words = node.next.into_iter();
        true
    }
}

impl Default for Trie {
    fn default() -> Trie {
        Trie { nodes: vec![Node::default()], free: Vec::new(), hashes: 0 }
    }
}

/// The words of a key or pattern; an empty one has none.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut words = text.split('.');
    if text.is_empty() {
        words.next();
    }
    words
}

impl Trie {
    pub fn insert(&mut self, pattern: &str, target: Target) {
        let mut at = ROOT;
        for word in words(pattern) {
            at = match self.nodes[at].next.get(word) {
                Some(&next) => next,
                None => {
                    let next = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::default());
                        self.nodes.len() - 1
                    });
                    self.nodes[at].next.insert(word.into(), next);
                    next
                }
            };
            self.hashes += usize::from(word == "#");
        }
        *self.nodes[at].targets.entry(target).or_default() += 1;
    }

    /// Take back one insertion of a pattern.
    pub fn remove(&mut self, pattern: &str, target: Target) {
        let mut path = vec![(ROOT, "")];
        let mut at = ROOT;
        for word in words(pattern) {
            let Some(&next) = self.nodes[at].next.get(word) else { return };
            at = next;
            path.push((at, word));
            self.hashes -= usize::from(word == "#");
        }
        remove_one(&mut self.nodes[at].targets, target);
        while let (Some((node, word)), Some((parent, _))) = (path.pop(), path.last()) {
            if !self.nodes[node].targets.is_empty() || !self.nodes[node].next.is_empty() {
                break;
            }
            self.nodes[*parent].next.remove(word);
            self.nodes[node] = Node::default();
            self.free.push(node);
        }
    }

    /// For one that is not asked any more and must go piece by piece.
    pub fn give_up(self) -> Remains {
        Remains { nodes: self.nodes, words: Node::default().next.into_iter() }
    }

    /// Append the targets of every pattern that matches; the same target may come twice.
    pub fn matches(&self, key: &str, out: &mut Vec<Target>) {
        let words: Vec<&str> = words(key).take(WORDS_MAX + 1).collect();
        if words.len() > WORDS_MAX {
            return;
        }
        // Where each word stands. One that is spelt `*` or `#` means itself, and only wildcards match it.
        let mut places: HashMap<&str, Positions, RandomState> = HashMap::default();
        for (position, word) in words.iter().enumerate().filter(|(_, word)| !matches!(**word, "*" | "#")) {
            places.entry(word).or_default().add(position);
        }
        // Each node is visited once, with all positions that the words up to it may reach.
        let mut open = vec![(ROOT, Positions::start())];
        while let Some((at, reached)) = open.pop() {
            let node = &self.nodes[at];
            if reached.holds(words.len()) {
                out.extend(node.targets.keys());
            }
            if self.hashes > 0
                && let Some(&next) = node.next.get("#")
            {
                open.push((next, reached.and_all_behind(words.len())));
            }
            let before_another = reached.before(words.len()).moved_on();
            if !before_another.is_empty()
                && let Some(&next) = node.next.get("*")
            {
                open.push((next, before_another));
            }
            let mut follow = |next: NodeId, standing: &Positions| {
                let moved = reached.both(standing).moved_on();
                if !moved.is_empty() {
                    open.push((next, moved));
                }
            };
            if node.next.len() < places.len() {
                let known = node.next.iter().filter_map(|(word, next)| Some((*next, places.get(&**word)?)));
                known.for_each(|(next, standing)| follow(next, standing));
            } else {
                let known = places.iter().filter_map(|(word, standing)| Some((*node.next.get(*word)?, standing)));
                known.for_each(|(next, standing)| follow(next, standing));
            }
        }
    }
}

/// Words of a key; one with more matches nothing. A routing key of AMQP has at most 256.
const WORDS_MAX: usize = 64 * POSITION_WORDS - 1;
const POSITION_WORDS: usize = 5;

/// Positions between the words of a key, from 0, before the first, to the number of words.
#[derive(Clone, Copy, Default)]
struct Positions([u64; POSITION_WORDS]);

impl Positions {
    fn start() -> Positions {
        let mut start = Positions::default();
        start.add(0);
        start
    }

    fn add(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    fn holds(&self, position: usize) -> bool {
        self.0[position / 64] >> (position % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn both(mut self, other: &Positions) -> Positions {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// Those before `end`.
    fn before(mut self, end: usize) -> Positions {
        self.0[end / 64] &= (1 << (end % 64)) - 1;
        self.0[end / 64 + 1..].fill(0);
        self
    }

    /// Each one word further.
    fn moved_on(mut self) -> Positions {
        let mut carry = 0;
        for word in &mut self.0 {
            (*word, carry) = (*word << 1 | carry, *word >> 63);
        }
        self
    }

    /// The first, and all behind it up to `end`.
    fn and_all_behind(mut self, end: usize) -> Positions {
        let first = self.0.iter().position(|word| *word != 0).unwrap_or(0);
        self.0[first] |= !(self.0[first] & self.0[first].wrapping_neg()).wrapping_sub(1);
        self.0[first + 1..].fill(u64::MAX);
        self.before(end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use storage::LogId;

    fn target(id: u32) -> Target {
        Target::Queue(LogId(id))
    }

    fn matching(trie: &Trie, key: &str) -> Vec<Target> {
        let mut out = Vec::new();
        trie.matches(key, &mut out);
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The definition, word by word.
    fn plain(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => plain(rest, key) || (!key.is_empty() && plain(pattern, &key[1..])),
            (Some((&"*", rest)), Some((_, key))) => plain(rest, key),
            (Some((word, rest)), Some((other, key))) => word == other && plain(rest, key),
            _ => false,
        }
    }

    #[test]
    fn the_tutorials_patterns() {
        let mut trie = Trie::default();
        for (id, pattern) in ["*.orange.*", "*.*.rabbit", "lazy.#", "#", "", "a..b"].iter().enumerate() {
            trie.insert(pattern, target(id as u32));
        }
        assert_eq!(matching(&trie, "quick.orange.rabbit"), [target(0), target(1), target(3)]);
        assert_eq!(matching(&trie, "lazy"), [target(2), target(3)]);
        assert_eq!(matching(&trie, "lazy.a.b.c.d"), [target(2), target(3)]);
        assert_eq!(matching(&trie, ""), [target(3), target(4)]);
        trie.insert("*", target(6));
        assert_eq!(matching(&trie, ""), [target(3), target(4)], "an empty key has no words");
        trie.remove("*", target(6));
        assert_eq!(matching(&trie, "a..b"), [target(3), target(5)]);
    }

    #[test]
    fn many_hashes_do_not_explode() {
        let mut trie = Trie::default();
        trie.insert(&["#.a"; 60].join("."), target(1));
        assert_eq!(matching(&trie, &["a"; 120].join(".")), [target(1)]);
        assert_eq!(matching(&trie, &["a"; 59].join(".")), []);
    }

    proptest! {
        #[test]
        fn matches_the_definition(
            patterns in proptest::collection::vec("(a|b|\\*|#|)(\\.(a|b|\\*|#|)){0,4}", 1..20),
            removed in proptest::collection::vec(any::<bool>(), 20),
            key in "(a|b|c|)(\\.(a|b|c|)){0,5}",
        ) {
            let mut trie = Trie::default();
            for (id, pattern) in patterns.iter().enumerate() {
                trie.insert(pattern, target(id as u32));
            }
            for (id, pattern) in patterns.iter().enumerate().filter(|(id, _)| removed[*id]) {
                trie.remove(pattern, target(id as u32));
            }
            let key_words: Vec<&str> = words(&key).collect();
            let expected: Vec<Target> = patterns
                .iter()
                .enumerate()
                .filter(|(id, pattern)| !removed[*id] && plain(&words(pattern).collect::<Vec<_>>(), &key_words))
                .map(|(id, _)| target(id as u32))
                .collect();
            prop_assert_eq!(matching(&trie, &key), expected);
        }
    }
}
