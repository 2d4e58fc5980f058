//! What is written for a node's programs to read. It knows their settings and the places of a node, and no processes.

use super::cgroups::Version;
use super::settings::Settings;

/// Where a node finds its configuration and its keys.
pub(super) const CONFIGURATION: &str = "/etc/skein";
/// Where its containerd listens.
pub(super) const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// All of them, by file name.
pub(super) fn all(settings: &Settings, number: u8, version: Version) -> [(&'static str, String); 6] {
    [
        ("containerd.toml", containerd()),
        ("10-ptp.conflist", pod_network(settings, number)),
        ("kubelet.yaml", kubelet(settings, number, version)),
        ("kube-proxy.yaml", kube_proxy(settings, number)),
        ("resolv.conf", format!("nameserver {}\n", settings.name_server())),
        (
            "hosts",
            format!(
                "127.0.0.1 localhost\n{} {}\n",
                settings.address(number),
                Settings::node(number)
            ),
        ),
    ]
}

fn containerd() -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Where root may not raise limits (it lacks CAP_SYS_RESOURCE), no process can be told to be killed last.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// A cable to each pod, so that every packet is routed, and none bridged past the rules for Services. Addresses are
/// remembered in memory: those of pods that died with their node are free.
fn pod_network(settings: &Settings, number: u8) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "skein",
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": settings.pods(number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

fn kubelet(settings: &Settings, number: u8, version: Version) -> String {
    // Without this a kubelet no longer starts on the first version. On the second it says nothing.
    let fail = match version {
        Version::One => "failCgroupV1: false\n",
        Version::Two => "",
    };
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
{fail}cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}/{node}
containerRuntimeEndpoint: unix://{CONTAINERD}
clusterDNS: [{name_server}]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
failSwapOn: false
# The default of -999 takes CAP_SYS_RESOURCE.
oomScoreAdj: 0
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {CONFIGURATION}/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {CONFIGURATION}/kubelet.crt
tlsPrivateKeyFile: {CONFIGURATION}/kubelet.key
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 1m
nodeLeaseDurationSeconds: 4
syncFrequency: 10s
# The disk is this machine's, and full or not is not for a test to say.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 100Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}}
shutdownGracePeriod: 0s
",
        cgroup = settings.cgroup,
        node = Settings::node(number),
        name_server = settings.name_server(),
    )
}

fn kube_proxy(settings: &Settings, number: u8) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
hostnameOverride: {node}
clusterCIDR: {pods}/16
oomScoreAdj: 0
clientConnection: {{kubeconfig: {CONFIGURATION}/kube-proxy.kubeconfig}}
iptables: {{minSyncPeriod: {period}ms}}
nftables: {{minSyncPeriod: {period}ms}}
# Limits of connection tracking are the machine's: no network namespace can set them.
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
        mode = settings.proxy.mode,
        node = Settings::node(number),
        pods = settings.pod_network,
        period = settings.proxy.min_sync_milliseconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: u8, version: Version, name: &str) -> String {
        let all = all(&Settings::default(), number, version);
        all.into_iter().find(|(file, _)| *file == name).unwrap().1
    }

    #[test]
    fn each_node_has_pods_addresses_and_cgroups_of_its_own() {
        for (number, pods) in [(1, "10.244.1.0/24"), (2, "10.244.2.0/24")] {
            assert!(text(number, Version::One, "10-ptp.conflist").contains(pods));
            let kubelet = text(number, Version::One, "kubelet.yaml");
            assert!(kubelet.contains(&format!("cgroupRoot: /skein-cluster/node{number}\n")));
        }
        assert_eq!(
            text(2, Version::One, "hosts"),
            "127.0.0.1 localhost\n10.200.0.12 node2\n"
        );
    }

    #[test]
    fn the_first_version_of_cgroups_has_to_be_allowed() {
        assert!(text(1, Version::One, "kubelet.yaml").contains("\nfailCgroupV1: false\n"));
        assert!(!text(1, Version::Two, "kubelet.yaml").contains("failCgroupV1"));
    }
}
