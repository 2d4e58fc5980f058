//! The custom resource definitions in `crds/` are what the types say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that panics has failed, as it should.

use std::collections::BTreeSet;
use std::path::Path;

use skein_api::resources::crds;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds")
}

#[test]
fn the_committed_files_are_up_to_date() {
    for (name, text) in crds() {
        let committed = std::fs::read_to_string(folder().join(&name)).unwrap_or_default();
        assert!(
            committed == text,
            "crds/{name} is out of date: run `cargo xtask gen` and commit what it writes"
        );
    }
    let written: BTreeSet<String> = crds().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            Path::new(&name).extension().is_none_or(|kind| kind != "yaml") || written.contains(&name),
            "crds/{name} is nobody's"
        );
    }
}

#[test]
fn every_field_of_a_spec_says_what_it_is() {
    for (name, text) in crds() {
        let definition: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            documented(&schema[part], &format!("{name}: {part}"));
        }
        assert_eq!(definition["spec"]["names"]["categories"][0], "skein");
        assert_eq!(definition["spec"]["scope"], "Namespaced");
        assert!(definition["spec"]["versions"][0]["subresources"]["status"].is_object());
    }
}

fn documented(schema: &serde_json::Value, path: &str) {
    for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{field}");
        let description = inner["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{path} has no documentation");
        let paragraphs = description.split("\n\n");
        assert!(
            paragraphs.into_iter().all(|paragraph| !paragraph.contains('\n')),
            "{path} is broken into lines, which whoever shows it does"
        );
        documented(inner, &path);
        documented(&inner["items"], &path);
    }
}
