//! Which images a pod is made from.

use skein_api::resources::ManagedSpec;

/// The series of the default image, where neither it nor the broker names one.
const SERIES: &str = "2.1";

/// The images of pods, and when to pull them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The image of Skein itself.
    pub skein: String,
    /// When to pull it. Without it: as Kubernetes does for its tag.
    pub skein_pull_policy: Option<String>,
    /// The image of Mosquitto where a broker names none: a repository, to which the series is added as a tag, or an image with a
    /// tag or digest, which is taken as it is by brokers that ask for no version.
    pub mosquitto: String,
    /// When to pull it. Without it: as Kubernetes does for its tag.
    pub mosquitto_pull_policy: Option<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            skein: "skein".to_owned(),
            skein_pull_policy: None,
            mosquitto: "docker.io/library/eclipse-mosquitto".to_owned(),
            mosquitto_pull_policy: None,
        }
    }
}

impl Images {
    /// The image of a broker's Mosquitto.
    #[must_use]
    pub fn mosquitto_of(&self, spec: &ManagedSpec) -> String {
        if let Some(image) = &spec.image {
            return image.clone();
        }
        let repository = repository(&self.mosquitto);
        match &spec.version {
            Some(version) => format!("{repository}:{version}"),
            None if repository == self.mosquitto => format!("{repository}:{SERIES}"),
            None => self.mosquitto.clone(),
        }
    }
}

/// An image without its tag and digest. A colon before the last slash is that of a registry's port.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name..].find(':') {
        Some(colon) => &image[..name + colon],
        None => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(default: &str, version: Option<&str>, image: Option<&str>) -> String {
        let images = Images {
            mosquitto: default.to_owned(),
            ..Images::default()
        };
        images.mosquitto_of(&ManagedSpec {
            version: version.map(str::to_owned),
            image: image.map(str::to_owned),
            ..ManagedSpec::default()
        })
    }

    #[test]
    fn a_repository_is_given_the_series_as_tag() {
        assert_eq!(image("eclipse-mosquitto", None, None), "eclipse-mosquitto:2.1");
        assert_eq!(image("r:5000/m", None, None), "r:5000/m:2.1");
        assert_eq!(image("r:5000/m", Some("2.0"), None), "r:5000/m:2.0");
    }

    #[test]
    fn a_fixed_image_is_for_those_that_ask_for_no_version() {
        assert_eq!(image("r:5000/m:mine", None, None), "r:5000/m:mine");
        assert_eq!(image("r:5000/m:mine", Some("2.1.2"), None), "r:5000/m:2.1.2");
        assert_eq!(image("r/m@sha256:12", None, None), "r/m@sha256:12");
        assert_eq!(image("r/m:x@sha256:12", Some("2.1"), None), "r/m:2.1");
    }

    #[test]
    fn the_brokers_own_image_wins() {
        assert_eq!(image("r/m", Some("2.1"), Some("own/one")), "own/one");
    }
}
