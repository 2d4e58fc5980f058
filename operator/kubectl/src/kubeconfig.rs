//! `kubectl skein kubeconfig`: what an agent outside of the cluster is let in by, to one Secret and one `ConfigMap`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Error};
use serde_json::{Value, json};
use skein_api::resources::{Broker, Control};
use skein_commands::paint::{CAREFUL, paint};
use skein_commands::{Failure, output};
use skein_controller::names;

use crate::arguments::Credentials;
use crate::cluster::{Cluster, Server};
use crate::refusal::Tried;

pub(crate) async fn run(cluster: &Cluster, arguments: &Credentials) -> Result<ExitCode, Failure> {
    let name = &arguments.broker;
    let namespace = cluster.namespace.as_str();
    let tried = |verb, resource| Tried {
        verb,
        resource,
        namespace: Some(namespace),
    };
    let brokers: Api<Broker> = Api::namespaced(cluster.client.clone(), namespace);
    let broker = brokers.get_opt(name.as_str()).await;
    let broker = broker.map_err(|error| tried("get", "brokers.mqtt.skein.dev").failure(&error))?;
    let Some(broker) = broker else {
        let text = format!("there is no broker {name} in namespace {namespace}");
        return Err(Failure::bad_input(text));
    };
    let external = broker.spec.external.as_ref();
    if external.is_none_or(|external| external.control != Control::Agent) {
        let text =
            format!("no agent is wanted for broker {name}: that takes spec.external with control: Agent");
        return Err(Failure::bad_input(text));
    }
    let account = names::own(name);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    let seconds = i64::from(arguments.days) * 24 * 60 * 60;
    let wanted = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(seconds),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let granted = accounts
        .create_token_request(&account, &PostParams::default(), &wanted)
        .await;
    let granted = granted.map_err(|error| match &error {
        Error::Api(status) if status.code == 404 => Failure::could_not(format!(
            "there is no ServiceAccount {account} yet: the controller makes it; is it running?"
        )),
        error => tried("create", "serviceaccounts/token").failure(error),
    })?;
    let granted = granted.status.unwrap_or_default();
    let (Some(token), Some(until)) = (granted.token, granted.expiration_timestamp) else {
        let text = "the API server grants a token and does not say which: try it again";
        return Err(Failure::could_not(text));
    };
    let config = kubeconfig(&cluster.server, namespace, &account, &token);
    let text = serde_saphyr::to_string(&config)
        .map_err(|error| Failure::could_not(format!("the kubeconfig cannot be written: {error}")))?;
    output::write(&text)?;
    output::tell(&paint(
        CAREFUL,
        format!(
            "it lets in as {account} until {}: keep it secret, and give the agent a new one before",
            until.0
        ),
    ));
    Ok(ExitCode::SUCCESS)
}

fn kubeconfig(server: &Server, namespace: &str, account: &str, token: &str) -> Value {
    let mut cluster = json!({"server": server.url.trim_end_matches('/')});
    if let Some(roots) = &server.roots {
        let pem: String = roots.iter().map(|root| pem(root)).collect();
        cluster["certificate-authority-data"] = STANDARD.encode(pem).into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "skein", "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": "skein", "context": {"cluster": "skein", "user": account, "namespace": namespace}}],
        "current-context": "skein",
    })
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = vec!["-----BEGIN CERTIFICATE-----"];
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(64));
        lines.push(line);
        rest = further;
    }
    lines.push("-----END CERTIFICATE-----\n");
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_written_in_lines_of_64() {
        let text = pem(&[0; 60]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "-----BEGIN CERTIFICATE-----");
        assert_eq!((lines[1].len(), lines[2].len()), (64, 16));
        assert_eq!(lines[3], "-----END CERTIFICATE-----");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn roots_that_the_system_has_are_not_named() {
        let server = |roots| Server {
            url: "https://10.0.0.1:6443/".to_owned(),
            roots,
        };
        let with = kubeconfig(&server(Some(vec![vec![1]])), "farm", "a-skein", "secret");
        let without = kubeconfig(&server(None), "farm", "a-skein", "secret");
        let cluster = |config: &Value| config["clusters"][0]["cluster"].clone();
        assert!(cluster(&with)["certificate-authority-data"].is_string());
        assert_eq!(cluster(&without), json!({"server": "https://10.0.0.1:6443"}));
        assert_eq!(without["contexts"][0]["context"]["namespace"], "farm");
    }
}
