//! What a cluster answers if it does not do what it is asked, as a person needs to read it: what was tried, and what to do.

use kube::Error;
use skein_commands::Failure;

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried<'a> {
    /// As Kubernetes calls it: `list`.
    pub(crate) verb: &'static str,
    /// As Kubernetes calls it: `brokers.mqtt.skein.dev`.
    pub(crate) resource: &'a str,
    /// Where; everywhere, if nowhere.
    pub(crate) namespace: Option<&'a str>,
}

impl Tried<'_> {
    fn place(&self) -> String {
        self.namespace
            .map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"))
    }

    /// Why it was not done, in a sentence.
    pub(crate) fn sentence(&self, error: &Error) -> String {
        let Self { verb, resource, .. } = self;
        let place = self.place();
        match error {
            Error::Api(status) if status.code == 403 => format!(
                "you may not {verb} {resource} in {place}: have somebody grant you that, as the ClusterRoles skein-view and \
                 skein-edit do, which join view and edit (the API server says: {})",
                status.message
            ),
            Error::Api(status) if status.code == 401 => {
                "the API server does not know you: log in anew, or name another context with --context"
                    .to_owned()
            }
            Error::Api(status)
                if status.code == 404 && resource.ends_with(".mqtt.skein.dev") && *verb == "list" =>
            {
                format!(
                    "the cluster knows no {resource}: Skein's custom resource definitions are not installed; `kubectl apply \
                     --server-side -f crds` installs them, or the chart skein-crds"
                )
            }
            Error::Api(status) => format!("cannot {verb} {resource} in {place}: {}", status.message),
            Error::Auth(error) => {
                format!(
                    "the credentials of the kubeconfig do not work: {error}; log in anew, or name another context with --context"
                )
            }
            error => format!(
                "cannot reach the API server to {verb} {resource} in {place}: {}; is the cluster up, and --context the right one?",
                chain(error)
            ),
        }
    }

    /// The same, as the end of a command.
    pub(crate) fn failure(&self, error: &Error) -> Failure {
        Failure::could_not(self.sentence(error))
    }
}

/// An error with what caused it, which HTTP clients do not say themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if said.iter().all(|known| !known.contains(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn said(code: u16, message: &str) -> String {
        let tried = Tried {
            verb: "list",
            resource: "brokers.mqtt.skein.dev",
            namespace: Some("farm"),
        };
        let status = Status::failure(message, "").with_code(code).boxed();
        tried.sentence(&Error::Api(status))
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let forbidden = said(403, "brokers is forbidden");
        for part in [
            "may not list brokers.mqtt.skein.dev in namespace farm",
            "skein-view",
            "brokers is forbidden",
        ] {
            assert!(forbidden.contains(part), "{forbidden}");
        }
        assert!(said(404, "not found").contains("custom resource definitions are not installed"));
        assert!(said(401, "Unauthorized").contains("log in"));
        assert!(said(500, "etcd is gone").ends_with("farm: etcd is gone"));
    }
}
