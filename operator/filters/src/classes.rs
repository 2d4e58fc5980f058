//! Overlap classes: which filters hang together through overlaps. Knows no topics' names and no order but the input's.
//!
//! All filters go into one trie, and the trie is joined with itself: two nodes are compared only if their levels so
//! far overlap. A subtree that is known to lie in one class stands for all its filters, so that neither a `#` over
//! everything nor many wildcards that cross many others make the work quadratic.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::TopicFilter;
use crate::filter::plus_matches;

/// The class of each filter: two filters are in one class if they overlap, directly or by way of others. Classes are
/// numbered from 0 by first appearance.
pub fn overlap_classes<'a>(filters: impl IntoIterator<Item = &'a TopicFilter>) -> Vec<usize> {
    let mut join = Join::default();
    for filter in filters {
        join.insert(filter);
    }
    join.join_within(ROOT, 0);
    join.numbers()
}

type Node = u32;
type Item = u32;
const ROOT: Node = 0;
const NONE: u32 = u32::MAX;

struct Join<'a> {
    nodes: Vec<Entry<'a>>,
    /// Literal children by parent and level.
    children: HashMap<(Node, &'a str), Node, BuildHasherDefault<LevelHasher>>,
    /// Union-find over the filters, in the order given; a parent is never larger than its child.
    parents: Vec<Item>,
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    /// This node's level, if it is a literal one.
    level: &'a str,
    /// A filter that ends here, one that goes on with `#` from here; or none.
    exact: Item,
    open: Item,
    plus: Node,
    /// The literal children are a chain: the first one here, the next one at each.
    first: Node,
    next: Node,
    literals: u32,
    /// A filter of the class in which everything at and below this node is known to be.
    one_class: Item,
    /// The same for everything below its literal children.
    literals_one_class: Item,
}

impl<'a> Entry<'a> {
    fn new(level: &'a str, next: Node) -> Self {
        Self {
            level,
            exact: NONE,
            open: NONE,
            plus: NONE,
            first: NONE,
            next,
            literals: 0,
            one_class: NONE,
            literals_one_class: NONE,
        }
    }
}

impl Default for Join<'_> {
    fn default() -> Self {
        Self {
            nodes: vec![Entry::new("", NONE)],
            children: HashMap::default(),
            parents: Vec::new(),
        }
    }
}

/// An index from a number that was made from one.
fn at(number: u32) -> usize {
    number as usize
}

/// A number for an index; there is no room in memory for more filters or levels than that.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

impl<'a> Join<'a> {
    fn insert(&mut self, filter: &'a TopicFilter) {
        let item = number(self.parents.len());
        self.parents.push(item);
        let shape = filter.shape();
        let mut node = ROOT;
        for level in shape.levels() {
            node = if level == "+" {
                self.plus(node)
            } else {
                self.literal(node, level)
            };
        }
        let entry = &mut self.nodes[at(node)];
        let held = if shape.open {
            &mut entry.open
        } else {
            &mut entry.exact
        };
        if *held == NONE {
            *held = item;
        } else {
            let held = *held;
            self.unite(held, item);
        }
    }

    fn plus(&mut self, node: Node) -> Node {
        if self.nodes[at(node)].plus == NONE {
            self.nodes[at(node)].plus = number(self.nodes.len());
            self.nodes.push(Entry::new("+", NONE));
        }
        self.nodes[at(node)].plus
    }

    fn literal(&mut self, node: Node, level: &'a str) -> Node {
        let new = number(self.nodes.len());
        let child = *self.children.entry((node, level)).or_insert(new);
        if child == new {
            let parent = &mut self.nodes[at(node)];
            let next = std::mem::replace(&mut parent.first, new);
            parent.literals += 1;
            self.nodes.push(Entry::new(level, next));
        }
        child
    }

    fn find(&mut self, mut item: Item) -> Item {
        while self.parents[at(item)] != item {
            let above = self.parents[at(self.parents[at(item)])];
            self.parents[at(item)] = above;
            item = above;
        }
        item
    }

    fn unite(&mut self, left: Item, right: Item) {
        let (left, right) = (self.find(left), self.find(right));
        self.parents[at(left.max(right))] = left.min(right);
    }

    fn unite_known(&mut self, left: Item, right: Item) {
        if left != NONE && right != NONE {
            self.unite(left, right);
        }
    }

    /// Puts everything at and below a node into one class, and returns one of it. Each node is walked only once.
    fn unite_all(&mut self, node: Node) -> Item {
        let entry = self.nodes[at(node)];
        if entry.one_class != NONE {
            return entry.one_class;
        }
        let mut one = if entry.exact == NONE {
            entry.open
        } else {
            entry.exact
        };
        self.unite_known(one, entry.open);
        let mut child = entry.first;
        while child != NONE {
            let other = self.unite_all(child);
            self.unite_known(one, other);
            one = other;
            child = self.nodes[at(child)].next;
        }
        if entry.plus != NONE {
            let other = self.unite_all(entry.plus);
            self.unite_known(one, other);
            one = other;
        }
        let entry = &mut self.nodes[at(node)];
        entry.one_class = one;
        if entry.literals > 0 {
            entry.literals_one_class = one;
        }
        one
    }

    /// Finds the overlaps among the filters at and below one node.
    fn join_within(&mut self, node: Node, depth: usize) {
        let entry = self.nodes[at(node)];
        if entry.one_class != NONE {
            return;
        }
        if entry.open != NONE {
            self.unite_all(node);
            return;
        }
        // A `+/#` here makes most of what is below one class: then there is nothing to find within it.
        let plus_first = entry.plus != NONE && self.nodes[at(entry.plus)].open != NONE;
        if plus_first {
            self.join_literals(entry.plus, node, depth);
        }
        let mut child = entry.first;
        while child != NONE {
            self.join_within(child, depth + 1);
            child = self.nodes[at(child)].next;
        }
        if entry.plus != NONE {
            self.join_within(entry.plus, depth + 1);
            if !plus_first {
                self.join_literals(entry.plus, node, depth);
            }
        }
        self.learn(node);
    }

    /// Finds the overlaps between two nodes whose levels so far overlap.
    fn join(&mut self, left: Node, right: Node, depth: usize) {
        let (mine, theirs) = (self.nodes[at(left)], self.nodes[at(right)]);
        if mine.open != NONE || theirs.open != NONE {
            let (left, right) = (self.unite_all(left), self.unite_all(right));
            self.unite(left, right);
            return;
        }
        if mine.one_class != NONE
            && theirs.one_class != NONE
            && self.find(mine.one_class) == self.find(theirs.one_class)
        {
            return;
        }
        self.unite_known(mine.exact, theirs.exact);
        if mine.plus != NONE && theirs.plus != NONE {
            self.join(mine.plus, theirs.plus, depth + 1);
        }
        if mine.plus != NONE {
            self.join_literals(mine.plus, right, depth);
        }
        if theirs.plus != NONE {
            self.join_literals(theirs.plus, left, depth);
        }
        let (few, many) = if mine.literals <= theirs.literals {
            (left, right)
        } else {
            (right, left)
        };
        if self.nodes[at(many)].literals > 0 {
            let mut child = self.nodes[at(few)].first;
            while child != NONE {
                let Entry { level, next, .. } = self.nodes[at(child)];
                if let Some(&other) = self.children.get(&(many, level)) {
                    self.join(child, other, depth + 1);
                }
                child = next;
            }
        }
        self.learn(left);
        self.learn(right);
    }

    /// Finds the overlaps between a `+` level and the literal children of `node`, which stands at `depth`.
    fn join_literals(&mut self, plus: Node, node: Node, depth: usize) {
        let known = self.nodes[at(node)].literals_one_class;
        let mut child = self.nodes[at(node)].first;
        while child != NONE {
            if known != NONE {
                let plus = self.nodes[at(plus)].one_class;
                if plus != NONE && self.find(plus) == self.find(known) {
                    return;
                }
            }
            let Entry { level, next, .. } = self.nodes[at(child)];
            if plus_matches(depth, level) {
                self.join(plus, child, depth + 1);
            }
            child = next;
        }
        if known == NONE {
            self.learn_literals(node);
        }
    }

    /// Notes that all literal children are of one class, if they are.
    fn learn_literals(&mut self, node: Node) {
        let mut child = self.nodes[at(node)].first;
        let mut one = NONE;
        while child != NONE {
            let Entry { one_class, next, .. } = self.nodes[at(child)];
            if one_class == NONE || (one != NONE && self.find(one) != self.find(one_class)) {
                return;
            }
            one = one_class;
            child = next;
        }
        self.nodes[at(node)].literals_one_class = one;
    }

    /// Notes that a node is of one class, if it is.
    fn learn(&mut self, node: Node) {
        let entry = self.nodes[at(node)];
        if entry.one_class != NONE {
            return;
        }
        if entry.literals > 0 && entry.literals_one_class == NONE {
            self.learn_literals(node);
        }
        let entry = self.nodes[at(node)];
        if entry.literals > 0 && entry.literals_one_class == NONE {
            return;
        }
        let plus = if entry.plus == NONE {
            NONE
        } else {
            self.nodes[at(entry.plus)].one_class
        };
        if entry.plus != NONE && plus == NONE {
            return;
        }
        let mut one = NONE;
        for part in [entry.exact, entry.open, plus, entry.literals_one_class] {
            if part != NONE {
                if one != NONE && self.find(one) != self.find(part) {
                    return;
                }
                one = part;
            }
        }
        self.nodes[at(node)].one_class = one;
    }

    fn numbers(mut self) -> Vec<usize> {
        let mut classes: Vec<usize> = Vec::with_capacity(self.parents.len());
        let mut count = 0;
        for index in 0..self.parents.len() {
            // The first of a class is the smallest, and the smallest is the one that stands for it.
            let first = at(self.find(number(index)));
            if first == index {
                classes.push(count);
                count += 1;
            } else {
                classes.push(classes[first]);
            }
        }
        classes
    }
}

/// A quick hash of a node number and a short string, the same in every run.
#[derive(Default)]
struct LevelHasher(u64);

impl LevelHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for LevelHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    fn finish(&self) -> u64 {
        // The table takes its place from the low bits and its tag from the high ones.
        self.0 ^ (self.0 >> 32)
    }
}
