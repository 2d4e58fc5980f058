//! What is a filter and what is not, and how a refusal reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use skein_filters::{FilterError, Level, TopicFilter};

fn refusal(text: &str) -> FilterError {
    TopicFilter::parse(text).unwrap_err()
}

#[test]
fn everyday_filters_and_odd_ones_are_taken_as_written() {
    let deepest = vec!["a"; TopicFilter::MAX_LEVELS].join("/");
    let longest = "a".repeat(TopicFilter::MAX_BYTES);
    for text in [
        "a",
        "#",
        "+",
        "/",
        "//",
        "a//b",
        "+/+/#",
        "$SYS/#",
        "$shared/a",
        "a/$share/b",
        "straße/名/ ",
        "/#",
    ]
    .into_iter()
    .chain([deepest.as_str(), &longest])
    {
        let filter = TopicFilter::parse(text).unwrap();
        assert_eq!(filter.as_str(), text);
        assert_eq!(filter.to_string(), text);
        assert_eq!(text.parse(), Ok(filter));
    }
}

#[test]
fn levels_are_told_apart() {
    let filter = TopicFilter::parse("a//+/#").unwrap();
    let levels: Vec<Level<'_>> = filter.levels().collect();
    assert_eq!(
        levels,
        [Level::Literal("a"), Level::Literal(""), Level::Plus, Level::Hash]
    );
}

#[test]
fn wildcards_stand_alone_and_the_number_sign_stands_last() {
    assert_eq!(refusal("a/#/b"), FilterError::HashNotLast { level: 2 });
    assert_eq!(refusal("#/"), FilterError::HashNotLast { level: 1 });
    for (text, level) in [
        ("a/b#", "b#"),
        ("a+/b", "a+"),
        ("++", "++"),
        ("a/#+", "#+"),
        ("##", "##"),
    ] {
        assert_eq!(
            refusal(text),
            FilterError::WildcardInLevel {
                level: level.to_owned()
            },
            "{text}"
        );
    }
}

#[test]
fn shared_subscriptions_are_refused() {
    for (text, prefix) in [
        ("$share/group/a", "$share"),
        ("$share", "$share"),
        ("$queue/a", "$queue"),
    ] {
        assert_eq!(
            refusal(text),
            FilterError::Shared {
                prefix: prefix.to_owned()
            },
            "{text}"
        );
    }
}

#[test]
fn nothing_passes_that_could_break_out_of_a_configuration_line() {
    for character in [
        '\n',
        '\r',
        '\0',
        '\t',
        '\u{7f}',
        '\u{85}',
        '\u{fdd0}',
        '\u{ffff}',
        '\u{1ffff}',
    ] {
        assert_eq!(
            refusal(&format!("ab{character}c")),
            FilterError::Character { character, offset: 2 }
        );
    }
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(refusal(""), FilterError::Empty);
    let bytes = TopicFilter::MAX_BYTES + 1;
    assert_eq!(refusal(&"a".repeat(bytes)), FilterError::TooLong { bytes });
    let levels = TopicFilter::MAX_LEVELS + 1;
    assert_eq!(
        refusal(&vec!["a"; levels].join("/")),
        FilterError::TooDeep { levels }
    );
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let read = |text: &str| refusal(text).to_string();
    assert_eq!(
        read("farm/soil#"),
        "the level \"soil#\" mixes a wildcard with other characters: `+` and `#` stand alone in their level, so write \
         `+` for the whole level"
    );
    assert_eq!(
        read("farm/#/soil"),
        "`#` stands in level 2 and others follow, but it is for the end only: remove what follows, or use `+` for one \
         level"
    );
    assert_eq!(
        read("a\nconnection evil"),
        "it holds a line break at byte 1, which would start a new line in the broker's configuration: remove it"
    );
}
