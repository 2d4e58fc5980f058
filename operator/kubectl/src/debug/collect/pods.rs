//! Pods, what they logged, and what controllers measure.

use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Error};
use serde_json::Value;
use skein_commands::Failure;

use super::{Archive, Collection, Tried};

/// The most of one log: a bundle is sent by mail.
const LOG_BYTES: i64 = 4 << 20;
/// Where controllers tell their metrics.
const METRICS_PORT: u16 = 8080;

impl Collection<'_> {
    pub(super) async fn metrics(&self, namespace: &str, pod: &str) -> Result<String, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{METRICS_PORT}/proxy/metrics");
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(Error::HttpError)?;
        self.cluster.client.request_text(request).await
    }

    /// Pods, and what they logged.
    pub(super) async fn pods(
        &mut self,
        archive: &mut Archive,
        folder: &str,
        namespace: &str,
        selector: Option<&str>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let pods = self.list::<Pod>(namespace, selector).await;
        self.objects(archive, &format!("{folder}/pods.yaml"), pods.clone())?;
        let mut logs = Vec::new();
        for pod in &pods {
            let Some(name) = pod.pointer("/metadata/name").and_then(Value::as_str) else {
                continue;
            };
            for (container, has_ended) in containers(pod) {
                for previous in [false, true].into_iter().take(1 + usize::from(has_ended)) {
                    let suffix = if previous { ".previous" } else { "" };
                    match self.log(namespace, name, &container, previous).await {
                        Ok(log) if log.is_empty() => {}
                        Ok(log) => {
                            self.clients.learn_log(&log);
                            logs.push((format!("{folder}/{name}.{container}{suffix}.log"), log));
                        }
                        Err(error) => {
                            let tried = Tried {
                                verb: "get",
                                resource: "pods/log",
                                namespace: Some(namespace),
                            };
                            let what = format!("the log of {container} in Pod/{name}");
                            self.lacks.push(format!("{what}: {}", tried.sentence(&error)));
                        }
                    }
                }
            }
        }
        Ok(logs)
    }

    async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<String, Error> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let since = self.arguments.since.map(|since| since.get().as_secs());
        let parameters = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(self.arguments.lines),
            limit_bytes: Some(LOG_BYTES),
            since_seconds: since.and_then(|since| i64::try_from(since).ok()),
            timestamps: true,
            ..LogParams::default()
        };
        api.logs(pod, &parameters).await
    }
}

/// A pod's containers that have begun, and whether one was before that.
fn containers(pod: &Value) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        let statuses = pod.pointer(list).and_then(Value::as_array);
        for status in statuses.into_iter().flatten() {
            let has_begun =
                status.pointer("/state/waiting").is_none() || status["restartCount"].as_i64() > Some(0);
            if let (Some(name), true) = (status["name"].as_str(), has_begun) {
                found.push((name.to_owned(), status["restartCount"].as_i64() > Some(0)));
            }
        }
    }
    found
}
