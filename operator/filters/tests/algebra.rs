//! The laws of the algebra, over every filter of up to three levels from a small alphabet and every topic that can
//! tell two of them apart, judged by a matcher that follows the wording of MQTT 3.1.1, section 4.7.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use skein_filters::TopicFilter;

const LITERALS: [&str; 4] = ["a", "b", "", "$s"];

/// Every list of 1 to `longest` of these levels.
fn lists(levels: &[&'static str], longest: usize) -> Vec<Vec<&'static str>> {
    let mut all = vec![vec![]];
    let mut start = 0;
    for _ in 0..longest {
        let end = all.len();
        for index in start..end {
            for level in levels {
                let mut list = all[index].clone();
                list.push(*level);
                all.push(list);
            }
        }
        start = end;
    }
    all.split_off(1)
}

fn filters() -> Vec<TopicFilter> {
    let levels = ["a", "b", "", "$s", "+"];
    let stems = lists(&levels, 3).into_iter().map(|list| list.join("/"));
    let mut texts: Vec<String> = stems.flat_map(|stem| [format!("{stem}/#"), stem]).collect();
    texts.push("#".to_owned());
    texts.retain(|text| !text.is_empty());
    texts
        .iter()
        .map(|text| TopicFilter::parse(text).unwrap())
        .collect()
}

/// One level more than any filter names, and one literal that none does, so that a difference always shows.
fn topics() -> Vec<String> {
    let mut levels = LITERALS.to_vec();
    levels.push("other");
    lists(&levels, 4)
        .into_iter()
        .map(|list| list.join("/"))
        .filter(|topic| !topic.is_empty())
        .collect()
}

/// MQTT 3.1.1, section 4.7, clause by clause.
fn oracle(filter: &str, topic: &str) -> bool {
    // 4.7.2: no wildcard in the first place for topics that begin with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    // 4.7.1.2: the number sign represents the parent and any number of child levels.
    if let Some((&"#", parent)) = filter.split_last() {
        return topic.len() >= parent.len() && levels_match(parent, &topic[..parent.len()]);
    }
    filter.len() == topic.len() && levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    filter
        .iter()
        .zip(topic)
        .all(|(filter, topic)| *filter == "+" || filter == topic)
}

/// Filters, and for each the set of topics that it matches, as bits.
struct Universe {
    filters: Vec<TopicFilter>,
    sets: Vec<Vec<u64>>,
}

impl Universe {
    fn new() -> Self {
        let (filters, topics) = (filters(), topics());
        let sets = filters.iter().map(|filter| Self::set(filter, &topics)).collect();
        Self { filters, sets }
    }

    fn set(filter: &TopicFilter, topics: &[String]) -> Vec<u64> {
        let bit = |(index, topic): (usize, &String)| u64::from(oracle(filter.as_str(), topic)) << index;
        topics
            .chunks(64)
            .map(|chunk| chunk.iter().enumerate().map(bit).sum())
            .collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.filters.len();
        (0..count).flat_map(move |left| (0..count).map(move |right| (left, right)))
    }

    fn is_subset(&self, inner: usize, outer: usize) -> bool {
        self.sets[inner]
            .iter()
            .zip(&self.sets[outer])
            .all(|(inner, outer)| inner & !outer == 0)
    }
}

#[test]
fn matching_follows_the_specification() {
    let topics = topics();
    for filter in filters() {
        for topic in &topics {
            assert_eq!(
                filter.matches(topic),
                oracle(filter.as_str(), topic),
                "{filter} and {topic}"
            );
        }
    }
}

#[test]
fn the_clauses_one_trips_over() {
    let matches = |filter: &str, topic: &str| TopicFilter::parse(filter).unwrap().matches(topic);
    assert!(matches("a/#", "a"), "`#` includes its parent");
    assert!(!matches("a/+", "a"));
    assert!(matches("a/+", "a/"), "an empty level is a level");
    assert!(matches("+/+", "/a"));
    assert!(!matches("#", "$SYS/uptime"), "wildcards do not reach `$` topics");
    assert!(!matches("+/uptime", "$SYS/uptime"));
    assert!(matches("$SYS/#", "$SYS/uptime"));
    assert!(matches("a/+", "a/$b"), "`$` is special in the first level only");
    assert!(!matches("+", ""), "there is no empty topic");
    assert!(!matches("A", "a"), "case counts");
}

#[test]
fn a_filter_covers_another_just_if_it_matches_all_that_the_other_does() {
    let universe = Universe::new();
    // Subset is reflexive, transitive and antisymmetric up to equal sets, hence so is covering.
    for (outer, inner) in universe.pairs() {
        let (left, right) = (&universe.filters[outer], &universe.filters[inner]);
        assert_eq!(
            left.covers(right),
            universe.is_subset(inner, outer),
            "{left} covers {right}"
        );
    }
}

#[test]
fn filters_overlap_just_if_some_topic_matches_both_and_the_intersection_matches_just_those() {
    let universe = Universe::new();
    let topics = topics();
    for (left, right) in universe.pairs() {
        let (one, other) = (&universe.filters[left], &universe.filters[right]);
        let common: Vec<u64> = universe.sets[left]
            .iter()
            .zip(&universe.sets[right])
            .map(|(left, right)| left & right)
            .collect();
        let expected = common.iter().any(|word| *word != 0);
        assert_eq!(one.overlaps(other), expected, "{one} overlaps {other}");
        assert_eq!(other.overlaps(one), expected, "{other} overlaps {one}");
        let intersection = one.intersection(other);
        assert_eq!(intersection.is_some(), expected, "{one} and {other}");
        if let Some(intersection) = intersection {
            assert_eq!(
                TopicFilter::parse(intersection.as_str()).as_ref(),
                Ok(&intersection)
            );
            assert_eq!(
                Universe::set(&intersection, &topics),
                common,
                "{one} and {other}: {intersection}"
            );
        }
    }
}

#[test]
fn the_least_cover_is_a_cover_and_every_other_cover_covers_it() {
    let universe = Universe::new();
    let count = universe.filters.len();
    let covers: Vec<Vec<bool>> = (0..count)
        .map(|outer| (0..count).map(|inner| universe.is_subset(inner, outer)).collect())
        .collect();
    for (left, right) in universe.pairs().filter(|(left, right)| left <= right) {
        let (one, other) = (&universe.filters[left], &universe.filters[right]);
        let bounds = || (0..count).filter(|bound| covers[*bound][left] && covers[*bound][right]);
        let least = one.least_cover(other);
        assert_eq!(least.is_some(), bounds().next().is_some(), "{one} and {other}");
        let Some(least) = least else { continue };
        assert_eq!(TopicFilter::parse(least.as_str()).as_ref(), Ok(&least));
        assert!(
            least.covers(one) && least.covers(other),
            "{one} and {other}: {least}"
        );
        for bound in bounds() {
            assert!(
                universe.filters[bound].covers(&least),
                "{one} and {other}: {least} is not the least"
            );
        }
        let back = other.least_cover(one).unwrap();
        assert!(
            back.covers(&least) && least.covers(&back),
            "{one} and {other}: {least} or {back}"
        );
    }
}

#[test]
fn a_witness_matches_its_filter_and_all_that_cover_it() {
    let filters = filters();
    for filter in &filters {
        for witness in [filter.witness(), filter.witness_with("other")] {
            assert!(oracle(filter.as_str(), &witness), "{filter}: {witness}");
            for other in filters.iter().filter(|other| other.covers(filter)) {
                assert!(
                    oracle(other.as_str(), &witness),
                    "{other} covers {filter}: {witness}"
                );
            }
        }
    }
}

#[test]
fn covers_and_intersections_of_everyday_filters() {
    let filter = |text: &str| TopicFilter::parse(text).unwrap();
    assert!(filter("a/#").covers(&filter("a/+/#")));
    assert!(!filter("a/+/#").covers(&filter("a/#")));
    assert!(filter("#").covers(&filter("+/#")) && filter("+/#").covers(&filter("#")));
    assert!(!filter("#").covers(&filter("$SYS/#")));
    assert_eq!(
        filter("a/+/c").intersection(&filter("a/b/#")),
        Some(filter("a/b/c"))
    );
    assert_eq!(filter("+/x").intersection(&filter("$s/x")), None);
    assert_eq!(
        filter("farm/1/soil").least_cover(&filter("farm/2/soil")),
        Some(filter("farm/+/soil"))
    );
    assert_eq!(
        filter("farm").least_cover(&filter("farm/1/soil")),
        Some(filter("farm/#"))
    );
    assert_eq!(filter("a/b").least_cover(&filter("c")), Some(filter("#")));
    assert_eq!(filter("$SYS/a").least_cover(&filter("b")), None);
    assert_eq!(
        filter("$SYS/a").least_cover(&filter("$SYS/b")),
        Some(filter("$SYS/+"))
    );
    assert!(filter("a/b").is_exact() && !filter("a/+").is_exact() && !filter("#").is_exact());
    assert_eq!(filter("farm/+/#").witness(), "farm/any/any");
}
