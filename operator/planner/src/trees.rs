//! The shortest-path trees that planning asks for again and again, kept between plans.

use std::sync::Arc;

use crate::repair::Repair;
use crate::search::{Flow, NOWHERE, Search, Tree};
use crate::topology::{Node, Topology};

/// How much memory kept trees may take, in bytes; beyond it they are searched anew each time.
const KEEP: usize = 48 << 20;

/// Trees over the declared topology, by root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trees {
    kept: Vec<Option<Arc<Tree>>>,
    bytes: usize,
    search: Search,
    repair: Repair,
}

impl Trees {
    /// Forgets all, for a new topology.
    pub(crate) fn reset(&mut self, topology: &Topology) {
        self.kept.clear();
        self.kept.resize(topology.len(), None);
        self.bytes = 0;
    }

    /// The tree of a root with all nodes open.
    pub(crate) fn declared(&mut self, topology: &Topology, root: Node) -> Arc<Tree> {
        if let Some(tree) = &self.kept[root as usize] {
            return tree.clone();
        }
        let tree = Arc::new(self.search.tree(topology, root, Flow::Both, &[]));
        let size = 8 * topology.len();
        if self.bytes + size <= KEEP {
            self.bytes += size;
            self.kept[root as usize] = Some(tree.clone());
        }
        tree
    }

    /// The tree of a root that avoids closed nodes.
    pub(crate) fn avoiding(&mut self, topology: &Topology, root: Node, closed: &[Node]) -> Arc<Tree> {
        let declared = self.declared(topology, root);
        if closed.is_empty() || !touches(&declared, closed) {
            return declared;
        }
        let mut tree = Tree::clone(&declared);
        for &node in closed {
            self.repair.branch(topology, &mut tree, node, node);
        }
        Arc::new(tree)
    }

    /// Every asked-for tree is in memory, so a change can be worked into all of them.
    pub(crate) fn are_all_kept(&self, roots: impl IntoIterator<Item = Node>) -> bool {
        roots.into_iter().all(|root| self.kept[root as usize].is_some())
    }

    /// Works one changed pair, already so in the topology, into every kept tree, and shows each tree that changed:
    /// root, before, after, what moved.
    pub(crate) fn change(
        &mut self,
        topology: &Topology,
        (a, b): (Node, Node),
        worse: bool,
        mut show: impl FnMut(Node, &Tree, &Tree, &Repair),
    ) {
        let mut before = Tree::default();
        for (root, kept) in (0..).zip(&mut self.kept) {
            let Some(tree) = kept else { continue };
            if worse {
                let broken = match (tree.parent[a as usize] == b, tree.parent[b as usize] == a) {
                    (true, _) => a,
                    (_, true) => b,
                    _ => continue,
                };
                before.clone_from(tree);
                self.repair.branch(topology, Arc::make_mut(tree), broken, NOWHERE);
            } else {
                if !improves(topology, tree, a, b) {
                    continue;
                }
                before.clone_from(tree);
                self.repair.shortcut(topology, Arc::make_mut(tree), a, b);
            }
            show(root, &before, tree, &self.repair);
        }
    }
}

fn touches(tree: &Tree, closed: &[Node]) -> bool {
    closed
        .iter()
        .any(|&node| tree.distance[node as usize] != crate::topology::UNREACHABLE)
}

/// Whether the way between two neighbours would change the tree.
fn improves(topology: &Topology, tree: &Tree, a: Node, b: Node) -> bool {
    let cost = u64::from(topology.cost(a, b));
    let better = |from: Node, to: Node| {
        let (here, there) = (tree.distance[from as usize], tree.distance[to as usize]);
        if here == crate::topology::UNREACHABLE || there == 0 {
            return false;
        }
        let through = u64::from(here) + cost;
        through < u64::from(there) || (through == u64::from(there) && from < tree.parent[to as usize])
    };
    cost < u64::from(crate::topology::UNREACHABLE) && (better(a, b) || better(b, a))
}
