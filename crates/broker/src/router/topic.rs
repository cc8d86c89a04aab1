//! Topic patterns: words split by `.`, `*` one word, `#` zero or more, in one trie.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Target;

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Default)]
struct Node {
    /// Next word (`*` and `#` among them) to node. Words come from clients, so the hash is seeded.
    next: HashMap<Box<str>, NodeId, RandomState>,
    targets: Vec<Target>,
}

/// All patterns of one exchange.
pub(crate) struct Trie {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// Without any, no state can be reached twice and none need be remembered.
    hashes: usize,
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
        self.nodes[at].targets.push(target);
    }

    /// Remove a pattern that was inserted.
    pub fn remove(&mut self, pattern: &str, target: Target) {
        let mut path = vec![(ROOT, "")];
        let mut at = ROOT;
        for word in words(pattern) {
            let Some(&next) = self.nodes[at].next.get(word) else { return };
            at = next;
            path.push((at, word));
            self.hashes -= usize::from(word == "#");
        }
        self.nodes[at].targets.retain(|other| *other != target);
        while let (Some((node, word)), Some((parent, _))) = (path.pop(), path.last()) {
            if !self.nodes[node].targets.is_empty() || !self.nodes[node].next.is_empty() {
                break;
            }
            self.nodes[*parent].next.remove(word);
            self.nodes[node] = Node::default();
            self.free.push(node);
        }
    }

    /// Append the targets of every pattern that matches; the same target may come twice.
    pub fn matches(&self, key: &str, out: &mut Vec<Target>) {
        let words: Vec<&str> = words(key).collect();
        // With `#` a state can be reached by many ways: remembering it keeps the work at nodes x words.
        let mut seen = if self.hashes > 0 { Some(std::collections::HashSet::new()) } else { None };
        let mut open = vec![(ROOT, 0)];
        while let Some((at, word)) = open.pop() {
            if let Some(seen) = &mut seen
                && !seen.insert((at, word))
            {
                continue;
            }
            let node = &self.nodes[at];
            if word == words.len() {
                out.extend(&node.targets);
            }
            if self.hashes > 0
                && let Some(&next) = node.next.get("#")
            {
                open.extend((word..=words.len()).map(|rest| (next, rest)));
            }
            let Some(text) = words.get(word) else { continue };
            if let Some(&next) = node.next.get("*") {
                open.push((next, word + 1));
            }
            // A key may spell `*` or `#` as a word; it then means itself, and was followed above.
            if *text != "*"
                && *text != "#"
                && let Some(&next) = node.next.get(*text)
            {
                open.push((next, word + 1));
            }
        }
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
