//! The trie and the classes against their obvious and slow definitions, over random filters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use proptest::collection::vec;
use proptest::prelude::*;
use skein_filters::{FilterTrie, TopicFilter, overlap_classes};

fn parse(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Filters from few levels, so that they meet often.
fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![
        2 => Just("+"),
        3 => Just("a"),
        2 => Just("b"),
        1 => Just("c"),
        1 => Just(""),
        1 => Just("$s"),
    ];
    (vec(level, 0..=4), any::<bool>()).prop_map(|(mut levels, hash)| {
        if hash || levels.is_empty() || levels == [""] {
            levels.push("#");
        }
        parse(&levels.join("/"))
    })
}

fn topic() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![Just("a"), Just("b"), Just("other"), Just(""), Just("$s")],
        1..=5,
    )
    .prop_map(|levels| levels.join("/"))
}

fn trie(filters: &[TopicFilter]) -> FilterTrie<usize> {
    let mut trie = FilterTrie::new();
    for (index, filter) in filters.iter().enumerate() {
        trie.insert(filter, index);
    }
    trie
}

/// What a query visits, sorted; a value visited twice shows.
fn visited(query: impl FnOnce(&mut dyn FnMut(&usize))) -> Vec<usize> {
    let mut found = Vec::new();
    query(&mut |index| found.push(*index));
    found.sort_unstable();
    found
}

fn chosen(filters: &[TopicFilter], holds: impl Fn(&TopicFilter) -> bool) -> Vec<usize> {
    (0..filters.len())
        .filter(|index| holds(&filters[*index]))
        .collect()
}

/// Classes by comparing all pairs until nothing changes.
fn naive_classes(filters: &[TopicFilter]) -> Vec<usize> {
    let mut labels: Vec<usize> = (0..filters.len()).collect();
    for left in 0..filters.len() {
        for right in 0..filters.len() {
            if filters[left].overlaps(&filters[right]) {
                let (from, to) = (labels[left].max(labels[right]), labels[left].min(labels[right]));
                labels
                    .iter_mut()
                    .filter(|label| **label == from)
                    .for_each(|label| *label = to);
            }
        }
    }
    let mut order: Vec<usize> = Vec::new();
    labels
        .iter()
        .map(|label| {
            order.iter().position(|known| known == label).unwrap_or_else(|| {
                order.push(*label);
                order.len() - 1
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_finds_what_comparing_with_each_would(
        filters in vec(filter(), 0..40), asked in filter(), topic in topic()
    ) {
        let trie = trie(&filters);
        prop_assert_eq!(trie.len(), filters.len());
        prop_assert_eq!(
            visited(|visit| trie.overlapping(&asked, visit)), chosen(&filters, |filter| filter.overlaps(&asked)));
        prop_assert_eq!(
            visited(|visit| trie.covering(&asked, visit)), chosen(&filters, |filter| filter.covers(&asked)));
        prop_assert_eq!(
            visited(|visit| trie.covered_by(&asked, visit)), chosen(&filters, |filter| asked.covers(filter)));
        prop_assert_eq!(
            visited(|visit| trie.matching(&topic, visit)), chosen(&filters, |filter| filter.matches(&topic)));
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays(filters in vec(filter(), 0..30), gone in vec(any::<bool>(), 30)) {
        let mut trie = trie(&filters);
        for (index, filter) in filters.iter().enumerate().filter(|(index, _)| gone[*index]) {
            prop_assert!(trie.remove(filter, &index));
            prop_assert!(!trie.remove(filter, &index), "it was there once");
        }
        for asked in &filters {
            let mut expected = chosen(&filters, |filter| filter.overlaps(asked));
            expected.retain(|index| !gone[*index]);
            prop_assert_eq!(visited(|visit| trie.overlapping(asked, visit)), expected);
        }
        for (index, filter) in filters.iter().enumerate().filter(|(index, _)| !gone[*index]) {
            prop_assert!(trie.remove(filter, &index));
        }
        prop_assert!(trie.is_empty());
    }

    #[test]
    fn the_order_of_a_query_does_not_depend_on_the_order_of_insertion(
        mut filters in vec(filter(), 0..30), asked in filter()
    ) {
        // Filters that match the same topics (`#`, `+/#`) come in the order of insertion: keep one of each.
        let mut kept: Vec<TopicFilter> = Vec::new();
        filters.retain(|filter| {
            let new = !kept.iter().any(|other| other.covers(filter) && filter.covers(other));
            kept.extend(new.then(|| filter.clone()));
            new
        });
        let order = |filters: &[TopicFilter]| {
            let mut trie = FilterTrie::new();
            for filter in filters {
                trie.insert(filter, filter.clone());
            }
            let mut found = Vec::new();
            trie.overlapping(&asked, |filter: &TopicFilter| found.push(filter.clone()));
            found
        };
        let backwards: Vec<TopicFilter> = filters.iter().rev().cloned().collect();
        prop_assert_eq!(order(&filters), order(&backwards));
    }

    #[test]
    fn classes_are_those_of_comparing_all_pairs(filters in vec(filter(), 0..40)) {
        prop_assert_eq!(overlap_classes(&filters), naive_classes(&filters));
    }

    #[test]
    fn classes_of_few_filters_too(filters in vec(filter(), 0..9)) {
        prop_assert_eq!(overlap_classes(&filters), naive_classes(&filters));
    }

    #[test]
    fn parsing_takes_what_the_specification_allows(text in "[a$/+#]{1,6}") {
        let levels: Vec<&str> = text.split('/').collect();
        let allowed = levels.iter().enumerate().all(|(index, level)| {
            !level.contains(['+', '#']) || *level == "+" || (*level == "#" && index + 1 == levels.len())
        });
        prop_assert_eq!(TopicFilter::parse(&text).is_ok(), allowed);
    }
}

#[test]
fn classes_are_numbered_by_first_appearance() {
    let filters: Vec<TopicFilter> = ["b/1", "a/1", "b/2", "$s/x", "b/+", "a/#", "#"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!(overlap_classes(&filters[..4]), [0, 1, 2, 3]);
    assert_eq!(overlap_classes(&filters[..6]), [0, 1, 0, 2, 0, 1]);
    assert_eq!(overlap_classes(&filters), [0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_subtree_of_several_classes_is_not_taken_for_one() {
    // `k/x` holds three classes until the last filter joins them.
    let filters = ["k/x/a", "k/x/+/b", "k/x/+/c", "+/+/#"].map(parse);
    assert_eq!(overlap_classes(&filters[..3]), [0, 1, 2]);
    assert_eq!(overlap_classes(&filters), [0, 0, 0, 0]);
}

#[test]
fn one_filter_over_everything_does_not_make_the_work_quadratic() {
    // Comparing all pairs of these would take minutes without optimisation.
    let mut texts: Vec<String> = (0..50_000)
        .map(|number| format!("site{}/device{number}", number % 100))
        .collect();
    texts.extend((0..5_000).map(|number| format!("a/+/x{number}")));
    texts.extend((0..5_000).map(|number| format!("a/b{number}/+")));
    texts.push("#".to_owned());
    let filters: Vec<TopicFilter> = texts.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(overlap_classes(&filters[50_000..60_000]), vec![0; 10_000]);
    assert_eq!(overlap_classes(&filters), vec![0; 60_001]);
}
