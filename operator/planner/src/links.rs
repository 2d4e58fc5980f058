//! Makes the links of a class: one for each pair of neighbours and holder that the class puts anything on.

use std::collections::HashMap;
use std::sync::Arc;

use skein_api::name::ClassName;
use skein_mosquitto::link::{Direction, Line, Link};

use crate::filters::ClassFilters;
use crate::laid::{Head, Packed, Parts};
use crate::topology::{Node, Topology};

/// The links of these parts, in the same order. A link whose part is as it was in `former` is that very link; lists of lines
/// are shared by all that carry the same.
pub(crate) fn links(
    topology: &Topology,
    class: &ClassName,
    filters: &ClassFilters,
    parts: &Parts,
    former: (&Parts, &[Arc<Link>]),
) -> Arc<[Arc<Link>]> {
    let (known, known_links) = former;
    let mut known = known.iter().zip(known_links).peekable();
    let key = |head: Head| (head.pair, head.held_by_larger, head.mode);
    let mut lines: HashMap<&[Packed], Arc<[Line]>> = HashMap::new();
    let mut control: HashMap<(Direction, &[Node]), Arc<[Line]>> = HashMap::new();
    let mut made = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        while known.next_if(|(old, _)| key(old.head) < key(part.head)).is_some() {}
        if let Some((_, link)) = known.peek().filter(|(old, _)| *old == part) {
            made.push(Arc::clone(link));
            continue;
        }
        let (holder, other) = part.head.ends(topology);
        let lines = lines
            .entry(part.lines)
            .or_insert_with(|| filters.lines(part).collect());
        let control = control
            .entry((part.head.direction, part.origins))
            .or_insert_with(|| filters.control(part).collect());
        made.push(Arc::new(Link {
            downstream: topology.name(holder).clone(),
            upstream: topology.name(other).clone(),
            mode: part.head.mode,
            class: class.clone(),
            lines: Arc::clone(lines),
            control: Arc::clone(control),
        }));
    }
    made.into()
}
