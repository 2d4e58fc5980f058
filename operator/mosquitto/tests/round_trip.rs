//! What is rendered is read back as it was, and nothing that a user names can mean something else on the way.

mod common;

use std::collections::BTreeMap;

use common::{NEWEST, OLDEST, broker, compiled, config, declared, link, placement};
use proptest::prelude::*;
use skein_api::name::Qos;
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Config, epoch_of, links_of, parse, render};
use skein_mosquitto::link::{Direction, Line, Link, Mode};

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![
        Just(Qos::AtMostOnce),
        Just(Qos::AtLeastOnce),
        Just(Qos::ExactlyOnce)
    ]
}

/// Texts that a careless writer would get wrong.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\n",
        "\r",
        "\0",
        "\t",
        " ",
        "  ",
        "#",
        "\"",
        "\\",
        "'",
        "=",
        ";",
        "connection x",
        "\ntopic # both",
        "$skein/",
        "+",
        "/",
        "//",
        "é",
        "日本",
        "😀",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\u{a0}",
        "\u{fffe}",
        "in",
        "out 2",
        "a",
        "b7",
        ".",
        ":",
        "{",
        "%",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
        any::<String>()
    ]
}

/// Any valid filter, the nasty ones included.
fn filters() -> impl Strategy<Value = TopicFilter> {
    let plain = prop::collection::vec(prop::sample::select(vec!["farm", "a", "+", "", "7"]), 1..5)
        .prop_map(|levels| levels.join("/"));
    prop_oneof![2 => plain, 1 => nasty()].prop_filter_map("no filter", |text| TopicFilter::parse(&text).ok())
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let names = prop::sample::subsequence(vec!["b", "c-1", "0", "x0123456789"], 0..4);
    names.prop_flat_map(|upstreams| upstreams.into_iter().map(one_link).collect::<Vec<_>>())
}

fn one_link(upstream: &'static str) -> impl Strategy<Value = Link> {
    let class = prop::sample::select(vec!["soil", "c-2", "9"]);
    let directions = prop::sample::select(vec![Direction::In, Direction::Out, Direction::Both]);
    let lines = prop::collection::vec((filters(), directions, qos()), 0..6);
    (any::<bool>(), lines, class).prop_map(move |(duplex, lines, class)| {
        let mode = if duplex { Mode::Duplex } else { Mode::Pull };
        let usable = |filter: &TopicFilter| !filter.as_str().starts_with("$skein/");
        let lines =
            lines
                .into_iter()
                .filter(|(filter, ..)| usable(filter))
                .map(|(filter, direction, qos)| Line {
                    filter,
                    direction: if duplex { direction } else { Direction::In },
                    qos,
                });
        let origin = if duplex { "i" } else { "#" };
        let control = vec![Line {
            filter: common::filter(&format!("$skein/probe/{class}/{origin}")),
            direction: Direction::In,
            qos: Qos::AtLeastOnce,
        }];
        Link {
            downstream: broker("a"),
            upstream: broker(upstream),
            mode,
            lines: lines.collect(),
            control: control.into(),
            class: common::class(class),
        }
    })
}

fn versions() -> impl Strategy<Value = skein_mosquitto::version::Version> {
    prop::sample::select(vec![OLDEST, NEWEST])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_compiles_comes_back_with_the_plans_links(
        before in links(), links in links(), left in prop::collection::btree_set(filters(), 0..3), version in versions(),
    ) {
        let Ok(mut config) = compiled(&links, &declared(|_| ()), &placement(), version) else { return Ok(()) };
        if let Ok(before) = compiled(&before, &declared(|_| ()), &placement(), version) {
            config = common::after(&before, config);
            if !left.is_empty() {
                config.left.insert("skein:a:z:pull".to_owned(), left);
            }
        }
        let text = render(&config);
        prop_assert_eq!(parse(&text), Ok(config.clone()), "{}", text);
        prop_assert_eq!(links_of(&broker("a"), &config), links);
        prop_assert_eq!(epoch_of(&text), Some(7));
        prop_assert_eq!(render(&parse(&text).unwrap()), text);
    }

    #[test]
    fn whatever_is_named_adds_no_line(
        place in 0..8,
        text in nasty(),
        key in prop_oneof![nasty(), prop::sample::select(vec!["log_type", "log_timestamp_format", "auto_id_prefix"]).prop_map(str::to_owned)],
    ) {
        // One bad name at a time, so that the others do not hide it.
        let mut placement = placement();
        let mut host = "127.0.0.1".to_owned();
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        match place {
            0 => placement.listen = text,
            1 => placement.data_directory = format!("/{text}"),
            2 => placement.sqlite_plugin = Some(format!("/{text}")),
            3 => placement.user = Some(text),
            4 => host = text,
            _ => drop(settings.insert(key, text)),
        }
        let links = [std::sync::Arc::new(link("a", "b", "soil", &["t in 1"]))];
        let result = skein_mosquitto::config::compile(&skein_mosquitto::config::Compile {
            broker: &broker("a"), declared: &declared(|managed| managed.settings = settings), links: &links,
            placement: &placement, addresses: &|_| Some((host.clone(), 1883)), version: NEWEST, epoch: 1,
        });
        let Ok(config) = result else { return Ok(()) };
        let text = render(&config);
        prop_assert_eq!(parse(&text), Ok(config.clone()), "{}", text);
        let words = config.settings.get("log_type").map_or(0, |value| value.split(' ').count() - 1);
        let usual = common::config(&[link("a", "b", "soil", &["t in 1"])], NEWEST);
        let usual = render(&usual).split('\n').count() - usual.settings.len();
        let more = config.settings.len() + words + usize::from(config.user.is_some());
        prop_assert_eq!(text.split('\n').count(), usual + more, "{}", text);
        prop_assert!(!text.contains('\r') && !text.contains('\0'));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), nasty in nasty()) {
        let _ = parse(&text);
        let _ = parse(&format!("# skein: broker=a epoch=1\n{nasty}\n{text}"));
        let _ = epoch_of(&text);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_and_what_is_read_is_meant(
        links in links(), cut in any::<prop::sample::Index>(), length in 0..40_usize, insert in nasty(),
    ) {
        let Ok(config) = compiled(&links, &declared(|_| ()), &placement(), NEWEST) else { return Ok(()) };
        let characters: Vec<char> = render(&config).chars().collect();
        let at = cut.index(characters.len());
        let tail = characters.iter().skip(at + length);
        let damaged: String = characters[..at].iter().copied().chain(insert.chars()).chain(tail.copied()).collect();
        if let Ok(read) = parse(&damaged) {
            // Reading is a projection: written again it reads the same.
            prop_assert_eq!(parse(&render(&read)), Ok(read));
        }
    }
}

#[test]
fn lines_may_change_places_within_their_section_only() {
    let text = render(&config(&[link("a", "b", "soil", &["t/# in 1"])], NEWEST));
    let moved = text.replace("cleansession false\n", "") + "cleansession false\n";
    assert_eq!(parse(&moved), parse(&text));
    let outside = text.replace("cleansession false\n", "");
    let error = parse(&outside).unwrap_err();
    assert_eq!(error.what, "cleansession is missing here");
    assert!(
        text.lines()
            .nth(error.line - 1)
            .unwrap()
            .starts_with("connection b-pull-"),
        "{error}"
    );
}

#[test]
fn errors_say_which_line_and_what() {
    let text = render(&config(&[link("a", "b", "soil", &["t/# in 1"])], NEWEST));
    let cases = [
        ("", "line 1: expected \"# skein: broker=NAME epoch=NUMBER\""),
        (
            "# skein: broker=A epoch=7",
            "line 1: \"A\" is not a name: only a-z, 0-9 and '-' are allowed",
        ),
        ("# skein: broker=a epoch=-7", "line 1: \"-7\" is no epoch"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }
    let damage = [
        ("t/# in 1", "t/# sideways 1", "\"sideways\" is no direction"),
        ("t/# in 1", "t/# in 3", "\"3\" is no quality of service"),
        ("t/# in 1", "t/#x in 1", "#"),
        (
            "t/# in 1",
            "t/# in",
            "expected a direction and a quality of service",
        ),
        ("try_private true", "try_private false", "Skein writes \"true\""),
        (
            "try_private true",
            "try_private true\ntry_private true",
            "given twice",
        ),
        (
            "try_private true",
            "try_private true\nbridge_psk x",
            "bridge_psk is nothing that Skein writes",
        ),
        (
            "restart_timeout 1 1",
            "restart_timeout 1",
            "the least and the most seconds",
        ),
        (
            "listener 18830 127.0.0.1",
            "listener x 127.0.0.1",
            "a port and an address",
        ),
        ("address 127.0.0.1:", "address 127.0.0.1;", "is not host:port"),
        (
            "queue_qos0_messages true",
            "queue_qos0_messages perhaps",
            "cannot be \"perhaps\"",
        ),
        ("try_private true", "try_private true\r", "a control character"),
        ("log_dest stderr", "log_dest", "an option, a space and its value"),
    ];
    for (from, to, expected) in damage {
        assert!(text.contains(from), "{from}");
        let error = parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn links_of_others_are_not_ours() {
    let config: Config = config(&[link("a", "b", "soil", &["t/# in 1"])], NEWEST);
    assert_eq!(links_of(&broker("b"), &config), []);
    let mut foreign = config;
    std::sync::Arc::make_mut(&mut foreign.connections[0]).remote_client_id = "my-own-bridge".to_owned();
    assert_eq!(links_of(&broker("a"), &foreign), []);
}
