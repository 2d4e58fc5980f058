//! Tracked files: none names a place that exists on one machine only, none has grown too long to read.

use std::fs;

use anyhow::{Result, bail};

use crate::command::{command, output, root};

/// Beyond this a source file is split.
const MAX_LINES: usize = 800;
const SOURCES: [&str; 5] = ["rs", "sh", "py", "js", "ts"];

/// Fails with every file that breaks a rule.
pub(super) fn check() -> Result<()> {
    let listed = output(command("git").args(["ls-files", "-z"]))?;
    let places = private_places();
    let mut problems = Vec::new();
    let mut count = 0;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        // Binary files and files that are deleted but not yet committed have no lines to look at.
        let Ok(text) = fs::read_to_string(root().join(name)) else {
            continue;
        };
        count += 1;
        problems.extend(judge(name, &text, &places));
    }
    if !problems.is_empty() {
        bail!("\n  {}", problems.join("\n  "));
    }
    println!("{count} files: none names a private place, no source is over {MAX_LINES} lines");
    Ok(())
}

/// Beginnings of paths that mean something on one machine only.
fn private_places() -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let mut places: Vec<String> = ["home", "root", "Users"]
        .iter()
        .map(|name| format!("/{name}/"))
        .collect();
    let here = std::env::var("HOME")
        .ok()
        .into_iter()
        .chain([root().display().to_string()]);
    // A path of one step, as in a container, is too common a word.
    places.extend(here.filter(|path| path.matches('/').count() > 1));
    places
}

fn judge(name: &str, text: &str, places: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(place) = places.iter().find(|place| names(line, place)) {
            problems.push(format!(
                "{name}:{}: names {place}, a place of one machine",
                number + 1
            ));
        }
    }
    let is_source = name
        .rsplit_once('.')
        .is_some_and(|(_, extension)| SOURCES.contains(&extension));
    let lines = text.lines().count();
    if is_source && lines > MAX_LINES {
        problems.push(format!(
            "{name}: {lines} lines; split it (the limit is {MAX_LINES})"
        ));
    }
    problems
}

/// Whether a line holds an absolute path that begins so; `build/home/x` does not.
fn names(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"._-}~/".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_path_is_found_and_a_relative_one_is_not() {
        let places = private_places();
        let line = format!("see /{}/someone/notes", "home");
        assert_eq!(judge("a.md", &line, &places).len(), 1);
        assert!(judge("a.md", "see docs/home/notes and ~/.cache", &places).is_empty());
    }

    #[test]
    fn a_long_source_is_found_and_a_long_list_is_not() {
        let text = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(judge("a.rs", &text, &[]).len(), 1);
        assert!(judge("Cargo.lock", &text, &[]).is_empty());
    }
}
