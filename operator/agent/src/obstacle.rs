//! What keeps a broker from starting and does not go away by itself, and what a person is to do about it. Knows what Mosquitto says of
//! its stores; removes nothing.

use std::path::Path;

/// 2.0 and 2.1 of a classic store (`mosquitto.db`) that ends in the midst of something. As it ends, 2.1 puts an empty one in its place.
const CUT_OFF: &str = "Couldn't open database";
/// SQLite, in the words of 2.1's plugin.
const NO_ROOM: &str = "database or disk is full";

/// What the last words of a broker that died at its start mean for a person; `data` is where it keeps its store.
pub(crate) fn obstacle(words: &str, data: &Path) -> Option<String> {
    if words.contains(NO_ROOM) {
        return Some(format!(
            "it does not start, as there is no room where it keeps its messages ({}): make room, and it starts by itself",
            data.display()
        ));
    }
    words.contains(CUT_OFF).then(|| {
        format!(
            "it does not start, as its store {} is not whole, which is what a full disk may leave of it: see that there is room, and move \
             the file away, and it starts by itself; its retained messages, the sessions of its clients and what waited in them \
             are lost",
            data.join("mosquitto.db").display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_to_do_is_said_with_the_file_or_the_folder() {
        let of = |words| obstacle(words, Path::new("/state/b/data"));
        let cut_off = of("Error: Not a directory. Error: Couldn't open database.").unwrap();
        assert!(
            cut_off.contains("/state/b/data/mosquitto.db") && cut_off.contains("move the file away"),
            "{cut_off}"
        );
        let full = of("Sqlite persistence: Error opening: database or disk is full").unwrap();
        assert!(
            full.contains("/state/b/data") && full.contains("make room"),
            "{full}"
        );
        assert_eq!(of("Error: Address already in use"), None);
    }
}
