//! Who is who in a cluster: certificates and the kubeconfigs that go with them, made once per cluster. It knows names and rights,
//! and nothing of what runs.
//!
//! The `openssl` program makes them. A crate could, but every one brings a cryptographic library along, which would have to be
//! compiled for each task of this program; and whoever has root and a Debian has that program, too.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::debian;
use super::places::{Cache, State};
use super::settings::Settings;
use crate::command::output;

/// What `openssl` would otherwise take from the system's own configuration.
const CONFIGURATION: &str = "[req]\ndistinguished_name = subject\nprompt = no\n[subject]\n";
const DAYS: &str = "365";

/// Makes all that is missing.
pub(super) fn ensure(settings: &Settings, cache: &Cache, state: &State) -> Result<()> {
    let keys = Keys {
        folder: state.keys(),
        cache,
    };
    fs::create_dir_all(&keys.folder)?;
    fs::set_permissions(&keys.folder, Permissions::from_mode(0o700))?;
    fs::write(keys.at("openssl.cnf"), CONFIGURATION)?;
    keys.authority()?;
    keys.tokens()?;
    let (machine, service) = (settings.machine(), settings.api_service());
    keys.certificate(
        "apiserver",
        "/CN=kube-apiserver",
        &format!(
            "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
             DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:{machine},IP:{service}"
        ),
    )?;
    for (name, subject) in [
        ("admin", "/O=system:masters/CN=admin"),
        (
            "kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
        ),
        ("front-proxy", "/CN=front-proxy"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("kube-proxy", "/CN=system:kube-proxy"),
    ] {
        keys.certificate(name, subject, "")?;
    }
    for name in ["controller-manager", "scheduler"] {
        fs::write(
            keys.at(&format!("{name}.kubeconfig")),
            kubeconfig(&settings.api(), "", name),
        )?;
    }
    for number in settings.numbers() {
        let (name, address) = (Settings::node(number), settings.address(number));
        let subject = format!("/O=system:nodes/CN=system:node:{name}");
        keys.certificate(&name, &subject, &format!("DNS:{name},IP:{address}"))?;
    }
    let admin = state.kubeconfig();
    fs::write(&admin, kubeconfig(&settings.api(), "keys/", "admin"))?;
    fs::set_permissions(&admin, Permissions::from_mode(0o600))?;
    Ok(())
}

/// Gives a node what it needs, and no other's: into a folder that becomes its own.
pub(super) fn hand_out(settings: &Settings, state: &State, number: u8, folder: &Path) -> Result<()> {
    let name = Settings::node(number);
    for (from, to) in [
        ("ca.crt".to_owned(), "ca.crt"),
        (format!("{name}.crt"), "kubelet.crt"),
        (format!("{name}.key"), "kubelet.key"),
        ("kube-proxy.crt".to_owned(), "kube-proxy.crt"),
        ("kube-proxy.key".to_owned(), "kube-proxy.key"),
    ] {
        let from = state.keys().join(from);
        fs::copy(&from, folder.join(to))
            .with_context(|| format!("there is no {}: this cluster has no {name}", from.display()))?;
    }
    for user in ["kubelet", "kube-proxy"] {
        fs::write(
            folder.join(format!("{user}.kubeconfig")),
            kubeconfig(&settings.api(), "", user),
        )?;
    }
    Ok(())
}

/// A kubeconfig that names a certificate and its key by paths from its own folder.
fn kubeconfig(server: &str, folder: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: skein\n\
         contexts:\n\
         - name: skein\n  context: {{cluster: skein, user: {user}}}\n\
         clusters:\n\
         - name: skein\n  cluster: {{server: \"{server}\", certificate-authority: {folder}ca.crt}}\n\
         users:\n\
         - name: {user}\n  user: {{client-certificate: {folder}{user}.crt, client-key: {folder}{user}.key}}\n"
    )
}

struct Keys<'a> {
    folder: PathBuf,
    cache: &'a Cache,
}

impl Keys<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A self-signed certificate, or one that the cluster's authority signs, with a new key.
    fn request(&self, name: &str, subject: &str, extensions: &[String], signed: bool) -> Result<()> {
        let mut command = debian::tool(self.cache, "openssl")?;
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:P-256", "-nodes", "-days", DAYS, "-config"])
            .arg(self.at("openssl.cnf"))
            .args(["-subj", subject]);
        for extension in extensions {
            command.args(["-addext", extension]);
        }
        if signed {
            command.arg("-CA").arg(self.at("ca.crt"));
            command.arg("-CAkey").arg(self.at("ca.key"));
        }
        // Complete or not there at all, so that an interrupted attempt is made again.
        let unfinished = self.at("unfinished.crt");
        command.arg("-keyout").arg(self.at(&format!("{name}.key")));
        command.arg("-out").arg(&unfinished);
        output(&mut command).with_context(|| {
            format!("cannot make the certificate of {name} (OpenSSL 3.0 or later is needed)")
        })?;
        Ok(fs::rename(unfinished, self.at(&format!("{name}.crt")))?)
    }

    fn authority(&self) -> Result<()> {
        if self.at("ca.crt").exists() {
            return Ok(());
        }
        let extensions = [
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,digitalSignature",
        ];
        self.request("ca", "/CN=skein-cluster", &extensions.map(str::to_owned), false)
    }

    /// What the tokens of service accounts are signed with, and what they are checked by.
    fn tokens(&self) -> Result<()> {
        if self.at("tokens.pub").exists() {
            return Ok(());
        }
        let mut command = debian::tool(self.cache, "openssl")?;
        command.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]);
        output(command.arg(self.at("tokens.key")))?;
        let mut command = debian::tool(self.cache, "openssl")?;
        command.args(["ec", "-pubout", "-in"]).arg(self.at("tokens.key"));
        output(command.arg("-out").arg(self.at("tokens.pub"))).map(drop)
    }

    fn certificate(&self, name: &str, subject: &str, names: &str) -> Result<()> {
        if self.at(&format!("{name}.crt")).exists() {
            return Ok(());
        }
        let mut extensions = vec!["extendedKeyUsage=clientAuth,serverAuth".to_owned()];
        if !names.is_empty() {
            extensions.push(format!("subjectAltName={names}"));
        }
        self.request(name, subject, &extensions, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_files_beside_it() {
        assert_eq!(
            kubeconfig("https://10.0.0.1:6443", "keys/", "admin"),
            "apiVersion: v1
kind: Config
current-context: skein
contexts:
- name: skein
  context: {cluster: skein, user: admin}
clusters:
- name: skein
  cluster: {server: \"https://10.0.0.1:6443\", certificate-authority: keys/ca.crt}
users:
- name: admin
  user: {client-certificate: keys/admin.crt, client-key: keys/admin.key}
"
        );
    }
}
