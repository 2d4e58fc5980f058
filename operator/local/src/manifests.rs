//! Manifests from files: which files count.

use std::io;
use std::path::{Path, PathBuf};

use skein_adapter::declared::load_where;
pub use skein_adapter::declared::{Declared, ManifestFile, Problem};
pub(crate) use skein_adapter::declared::{compare, differences};
use skein_agent::files::texts;
use skein_api::fleet::Hosting;
use skein_api::manifest::is_manifest;

/// The manifests of a directory (not of those in it), sorted by name; or the one file that `path` is.
///
/// # Errors
/// If the directory or a manifest in it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<ManifestFile>> {
    let files = texts(path, is_manifest)?.into_iter();
    let file = |(path, text): (PathBuf, String)| ManifestFile {
        path: path.display().to_string(),
        text,
    };
    Ok(files.map(file).collect())
}

/// What these files declare, if it can be run on one machine.
///
/// # Errors
/// Every problem, warnings too, if one of them is an error.
pub fn load(files: &[ManifestFile]) -> Result<Declared, Vec<Problem>> {
    load_where(files, |fleet| {
        let attended = fleet
            .brokers
            .iter()
            .filter(|(_, broker)| matches!(broker.hosting, Hosting::Agent(..)));
        let refused = attended.map(|(name, _)| {
            (
                format!("Broker/{name}"),
                "spec.external.control",
                "an agent elsewhere hears of its configuration through Kubernetes, and there is none here",
                "let Skein run the broker here (spec.managed), or set control: None",
            )
        });
        refused.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::manifest::Severity;
    use std::fs;

    #[test]
    fn only_manifests_of_the_directory_itself_are_read_in_order() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        fs::create_dir(root.join("nested")).unwrap();
        for name in [
            "b.yaml",
            "a.json",
            "README.md",
            ".hidden.yaml",
            "c.yaml~",
            "nested/d.yaml",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        let texts: Vec<String> = read(root).unwrap().into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["a.json", "b.yaml"]);
        assert_eq!(
            read(&root.join("README.md")).unwrap().len(),
            1,
            "a file that is named is read whatever it is"
        );
        assert!(
            read(&root.join("nowhere"))
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }

    #[test]
    fn an_agent_elsewhere_is_a_problem_with_its_place() {
        let text = "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Broker\nmetadata: {name: cloud}\nspec:\n  external:\n    \
                    address: example.org:1883\n    control: Agent\n";
        let files = [ManifestFile {
            path: "cloud.yaml".to_owned(),
            text: text.to_owned(),
        }];
        let problems = load(&files).unwrap_err();
        let problems: Vec<_> = problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .collect();
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}")
        };
        assert_eq!(
            (problem.line, problem.field.as_str()),
            (7, "spec.external.control")
        );
    }
}
