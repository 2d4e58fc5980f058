//! "Did you mean": the nearest of a few known words.

/// The word of `known` that `text` was most likely meant to be, if one is near enough.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = text.to_lowercase();
    let length = text.chars().count();
    let limit = 1 + length.min(12) / 4;
    known
        .into_iter()
        // Names are ASCII nearly always; the length rules most of a large fleet out without looking further.
        .filter(|word| {
            !word.is_empty()
                && word.len().abs_diff(text.len()) <= limit * 4
                && word.chars().count().abs_diff(length) <= limit
        })
        .map(|word| (distance(&folded, &word.to_lowercase()), word))
        // One letter is never a slip for another one: "a" is not a misspelt "b".
        .filter(|(distance, word)| *distance <= limit && *distance < word.chars().count())
        .min_by_key(|(distance, word)| (*distance, *word))
        .map(|(_, word)| word)
}

/// Edits between two words: a letter added, dropped, replaced, or two neighbours swapped.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(64).collect(), to.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(letter != other);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let fields = ["filter", "producers", "consumers", "qos"];
        assert_eq!(nearest("fitler", fields), Some("filter"));
        assert_eq!(nearest("Producer", fields), Some("producers"));
        assert_eq!(nearest("replicas", fields), None);
        assert_eq!(nearest("c", ["a", "b"]), None);
    }
}
