//! `skein render`

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use skein_commands::paint::count;
use skein_commands::{Failure, configs, output};
use skein_mosquitto::config;

use crate::arguments;
use crate::source;

/// Lists what render wrote, so that the next render may replace it and nothing else.
const LEDGER: &str = ".skein-render";

pub(crate) fn run(arguments: &arguments::Render) -> Result<ExitCode, Failure> {
    let subject = source::subject(&arguments.source)?;
    let configs = configs::all(&subject.fleet, &subject.plan())?;
    let files: BTreeMap<PathBuf, String> = configs
        .iter()
        .map(|(broker, config)| {
            (
                Path::new(broker.as_str()).join("mosquitto.conf"),
                config::render(config),
            )
        })
        .collect();
    write(&arguments.out, &files, arguments.force)?;
    output::write(&format!(
        "{} in {}\n",
        count(files.len(), "configuration"),
        arguments.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes files below a folder and removes those that an earlier render left there.
fn write(out: &Path, files: &BTreeMap<PathBuf, String>, force: bool) -> Result<(), Failure> {
    let fail = |path: &Path, error: &io::Error| Failure::could_not(format!("{}: {error}", path.display()));
    let ledger = out.join(LEDGER);
    let earlier = match fs::read_to_string(&ledger) {
        Ok(text) => text
            .lines()
            .map(PathBuf::from)
            .filter(|path| is_below(path))
            .collect(),
        Err(_) if force || is_free(out).map_err(|error| fail(out, &error))? => Vec::new(),
        Err(_) => {
            return Err(Failure::could_not(format!(
                "{} holds files that render did not write; choose an empty folder, or say --force to write among them",
                out.display()
            )));
        }
    };
    fs::create_dir_all(out).map_err(|error| fail(out, &error))?;
    // The ledger first: whatever happens next, the next render knows what may be ours.
    let mut listed: Vec<String> = files.keys().map(|path| path.display().to_string()).collect();
    listed.extend(
        earlier
            .iter()
            .filter(|path| !files.contains_key(*path))
            .map(|path| path.display().to_string()),
    );
    fs::write(&ledger, listed.join("\n") + "\n").map_err(|error| fail(&ledger, &error))?;
    for path in earlier.iter().filter(|path| !files.contains_key(*path)) {
        let path = out.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(&path, &error)),
            _ => {}
        }
        // The folder stays if somebody else keeps something in it.
        if let Some(folder) = path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
    for (path, text) in files {
        let path = out.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| fail(folder, &error))?;
        }
        fs::write(&path, text).map_err(|error| fail(&path, &error))?;
    }
    Ok(())
}

fn is_free(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// `BROKER/mosquitto.conf` and nothing more daring: the ledger is a file that anybody may have edited.
fn is_below(path: &Path) -> bool {
    use std::path::Component;
    path.components().count() == 2 && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeMap<PathBuf, String> {
        names
            .iter()
            .map(|name| (Path::new(name).join("mosquitto.conf"), format!("# {name}\n")))
            .collect()
    }

    #[test]
    fn a_second_render_replaces_the_first_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        write(&out, &files(&["a", "b"]), false).unwrap();
        fs::write(out.join("b/notes"), "mine").unwrap();

        write(&out, &files(&["a"]), false).unwrap();

        assert!(out.join("a/mosquitto.conf").exists());
        assert!(!out.join("b/mosquitto.conf").exists());
        assert!(out.join("b/notes").exists());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis"), "mine").unwrap();

        let refused = write(folder.path(), &files(&["a"]), false).unwrap_err();
        assert!(refused.to_string().contains("render did not write"), "{refused}");
        assert!(!folder.path().join("a").exists());

        write(folder.path(), &files(&["a"]), true).unwrap();
        assert!(folder.path().join("a/mosquitto.conf").exists());
        assert!(folder.path().join("thesis").exists());
    }

    #[test]
    fn an_edited_ledger_removes_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::write(folder.path().join("precious"), "mine").unwrap();
        write(&out, &files(&["a"]), false).unwrap();
        fs::write(out.join(LEDGER), "../precious\na/../../precious\n").unwrap();

        write(&out, &files(&["a"]), false).unwrap();

        assert!(folder.path().join("precious").exists());
    }
}
