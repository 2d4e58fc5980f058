//! Numbers for names: the model compares and matches numbers only.

use std::collections::HashMap;

use skein_filters::TopicFilter;

/// The number of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic(u32);

/// The number of a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Filter(u32);

/// The number of a client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(u32);

/// What the numbers stand for, and which filter matches which topic.
#[derive(Debug, Default)]
pub(crate) struct Names {
    topics: Table,
    filters: Table,
    clients: Table,
    parsed: Vec<Option<TopicFilter>>,
    /// By filter and topic: matches, does not, or was not asked yet.
    matches: Vec<Vec<Option<bool>>>,
}

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Table {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("?", String::as_str)
    }
}

impl Names {
    pub(crate) fn topic(&mut self, text: &str) -> Topic {
        Topic(self.topics.number(text))
    }

    pub(crate) fn client(&mut self, text: &str) -> ClientId {
        ClientId(self.clients.number(text))
    }

    pub(crate) fn filter(&mut self, text: &str) -> Filter {
        let number = self.filters.number(text);
        if number as usize == self.parsed.len() {
            self.parsed.push(TopicFilter::parse(text).ok());
            self.matches.push(Vec::new());
        }
        Filter(number)
    }

    /// Whether a filter matches a topic, as the broker sees it.
    pub(crate) fn matches(&mut self, filter: Filter, topic: Topic) -> bool {
        let (row, column) = (filter.0 as usize, topic.0 as usize);
        let Some(known) = self.matches.get_mut(row) else {
            return false;
        };
        if known.len() <= column {
            known.resize(column + 1, None);
        }
        if let Some(known) = known[column] {
            return known;
        }
        let text = self.topics.text(topic.0);
        let matches = self.parsed[row]
            .as_ref()
            .is_some_and(|filter| filter.matches(text));
        self.matches[row][column] = Some(matches);
        matches
    }

    pub(crate) fn topic_text(&self, topic: Topic) -> &str {
        self.topics.text(topic.0)
    }

    pub(crate) fn filter_text(&self, filter: Filter) -> &str {
        self.filters.text(filter.0)
    }

    pub(crate) fn client_text(&self, client: ClientId) -> &str {
        self.clients.text(client.0)
    }
}
