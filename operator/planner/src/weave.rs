//! Makes a sorted list of lines from the one before: pieces that stay are copied whole, new ones are put between them.
//!
//! The pieces of two classes seldom interleave. Where they do, the list is made anew and sorted each time.

use skein_mosquitto::link::Line;

/// A piece of a list: where it starts, how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            length: u32::try_from(end - start).ok()?,
        })
    }

    fn start(self) -> usize {
        self.start as usize
    }

    fn end(self) -> usize {
        self.start() + self.length as usize
    }
}

/// Working memory for one list after the other.
#[derive(Debug, Default)]
pub(crate) struct Weave {
    /// New lines, piece by piece.
    fresh: Vec<Option<Line>>,
    /// The place of each piece's owner, and its lines in `fresh`.
    pieces: Vec<(usize, Span)>,
    /// Where each piece goes: before which line of the list before; and where it is in the new one.
    put: Vec<(usize, Span)>,
    gone: Vec<Span>,
}

impl Weave {
    /// The new list, sorted. `span` gives an owner's piece of `old`, which becomes that of the new list, and whether it goes;
    /// `write` appends the lines of an owner that has no piece yet.
    pub(crate) fn weave<O>(
        &mut self,
        old: &[Line],
        owners: &mut [O],
        span: impl Fn(&mut O) -> (&mut Option<Span>, bool),
        mut write: impl FnMut(&O, &mut Vec<Option<Line>>),
    ) -> Vec<Line> {
        let Self {
            fresh,
            pieces,
            put,
            gone,
        } = self;
        fresh.clear();
        pieces.clear();
        put.clear();
        gone.clear();
        // What is not in one piece cannot be told from the rest.
        let known: usize = owners
            .iter_mut()
            .filter_map(|owner| *span(owner).0)
            .map(|span| span.length as usize)
            .sum();
        let old = if known == old.len() { old } else { &[] };
        let mut sorted = true;
        for (place, owner) in owners.iter_mut().enumerate() {
            let (piece, goes) = span(owner);
            if old.is_empty() {
                *piece = None;
            }
            match (*piece, goes) {
                (Some(piece), true) => gone.push(piece),
                (Some(_), false) | (None, true) => {}
                (None, false) => {
                    let start = fresh.len();
                    write(owner, fresh);
                    sorted &= fresh[start..].is_sorted();
                    pieces.extend(Span::new(start, fresh.len()).map(|span| (place, span)));
                }
            }
        }
        gone.sort_unstable();
        pieces.sort_by(|&(_, one), &(_, other)| first(fresh, one).cmp(&first(fresh, other)));
        let left: usize = gone.iter().map(|span| span.length as usize).sum();
        let mut lines = Vec::with_capacity(old.len() - left + fresh.len());
        let mut from = 0;
        for &(_, piece) in pieces.iter() {
            let at = old
                .partition_point(|line| Some(line) < first(fresh, piece))
                .max(from);
            copy(old, from, at, gone, &mut lines);
            let start = lines.len();
            lines.extend(
                fresh[piece.start()..piece.end()]
                    .iter_mut()
                    .filter_map(Option::take),
            );
            put.extend(Span::new(start, lines.len()).map(|span| (at, span)));
            from = at;
        }
        copy(old, from, old.len(), gone, &mut lines);
        let follows = |place: usize| place == 0 || place >= lines.len() || lines[place - 1] <= lines[place];
        sorted &= put
            .iter()
            .all(|&(_, span)| follows(span.start()) && follows(span.end()));
        let mut whole = sorted;
        for owner in owners.iter_mut() {
            if let (Some(piece), false) = span(owner) {
                let before: usize = gone
                    .iter()
                    .take_while(|gone| gone.start < piece.start)
                    .map(|gone| gone.length as usize)
                    .sum();
                let more: usize = put
                    .iter()
                    .take_while(|(at, _)| *at <= piece.start())
                    .map(|(_, span)| span.length as usize)
                    .sum();
                whole &= put
                    .iter()
                    .all(|&(at, _)| at <= piece.start() || at >= piece.end());
                let start = piece.start() + more - before;
                *span(owner).0 = Span::new(start, start + piece.length as usize);
            }
        }
        for (&(place, _), &(_, put)) in pieces.iter().zip(put.iter()) {
            *span(&mut owners[place]).0 = Some(put);
        }
        if !whole {
            lines.sort();
            for owner in owners {
                *span(owner).0 = None;
            }
        }
        lines
    }
}

fn first(fresh: &[Option<Line>], piece: Span) -> Option<&Line> {
    fresh.get(piece.start())?.as_ref()
}

/// Appends `old[from..to]` without what goes.
fn copy(old: &[Line], mut from: usize, to: usize, gone: &[Span], lines: &mut Vec<Line>) {
    for gone in gone {
        if gone.end() <= from || gone.start() >= to {
            continue;
        }
        lines.extend_from_slice(&old[from..gone.start().max(from)]);
        from = gone.end();
    }
    if from < to {
        lines.extend_from_slice(&old[from..to]);
    }
}

#[cfg(test)]
mod tests {
    use skein_api::name::Qos;
    use skein_filters::TopicFilter;
    use skein_mosquitto::link::Direction;

    use super::*;

    /// Whose lines, where they are in the list, whether it goes.
    struct Owner(&'static str, Option<Span>, bool);

    fn line(filter: &str) -> Line {
        Line {
            filter: TopicFilter::parse(filter).unwrap(),
            direction: Direction::In,
            qos: Qos::AtLeastOnce,
        }
    }

    /// The next list, and how many of its lines were written and not copied.
    fn woven(old: &[Line], owners: &mut Vec<Owner>) -> (Vec<Line>, usize) {
        let mut written = 0;
        let lines = Weave::default().weave(
            old,
            owners,
            |owner| (&mut owner.1, owner.2),
            |owner, lines| {
                let before = lines.len();
                lines.extend(owner.0.split(' ').map(|filter| Some(line(filter))));
                written += lines.len() - before;
            },
        );
        owners.retain(|owner| !owner.2);
        (lines, written)
    }

    fn text(lines: &[Line]) -> String {
        let filters: Vec<&str> = lines.iter().map(|line| line.filter.as_str()).collect();
        filters.join(" ")
    }

    #[test]
    fn what_stays_is_copied_and_what_comes_is_put_where_it_belongs() {
        let mut owners = vec![Owner("e/1 e/2", None, false), Owner("a/1 a/2", None, false)];
        let (first, written) = woven(&[], &mut owners);
        assert_eq!((text(&first).as_str(), written), ("a/1 a/2 e/1 e/2", 4));
        owners.push(Owner("c/1", None, false));
        let (second, written) = woven(&first, &mut owners);
        assert_eq!((text(&second).as_str(), written), ("a/1 a/2 c/1 e/1 e/2", 1));
        // Whoever changes goes and comes again.
        owners[1].2 = true;
        owners.push(Owner("a/1 f/1", None, false));
        owners[2].2 = true;
        let (third, written) = woven(&second, &mut owners);
        assert_eq!((text(&third).as_str(), written), ("a/1 e/1 e/2 f/1", 2));
    }

    #[test]
    fn pieces_that_interleave_are_sorted_line_by_line() {
        let mut owners = vec![Owner("a/1 a/3", None, false), Owner("b/1", None, false)];
        let (first, _) = woven(&[], &mut owners);
        owners.push(Owner("a/2 b/0", None, false));
        let (second, _) = woven(&first, &mut owners);
        assert_eq!(text(&second), "a/1 a/2 a/3 b/0 b/1");
        owners[0].2 = true;
        let (third, _) = woven(&second, &mut owners);
        assert_eq!(text(&third), "a/2 b/0 b/1");
    }
}
