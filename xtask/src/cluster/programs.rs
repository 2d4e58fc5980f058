//! Kubernetes and its companions, built by Go from the versions that `e2e/cluster/go` pins. It knows modules and packages, and
//! nothing of what the programs do.

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::places::Cache;
use super::stamp::Stamp;
use crate::command::{output, root, succeeds};

/// Between two lines of progress where they cannot replace each other.
const PROGRESS: Duration = Duration::from_secs(30);

/// One Go module that builds programs.
struct Program {
    /// Its folder, and the program if it is one only.
    name: &'static str,
    /// What its version is that of.
    module: &'static str,
    packages: &'static [&'static str],
    /// What is built, if it is not called as the folder.
    results: &'static [&'static str],
    /// Build tags that leave out what is not needed.
    tags: &'static str,
    /// Where it keeps its own version.
    version: &'static str,
}

const PROGRAMS: [Program; 7] = [
    // All of Kubernetes in one go: its programs have most of their packages in common.
    Program {
        name: "kubernetes",
        module: "k8s.io/kubernetes",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
        results: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        tags: "",
        version: "k8s.io/component-base/version.gitVersion",
    },
    Program {
        name: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        packages: &["go.etcd.io/etcd/server/v3"],
        results: &[],
        tags: "",
        version: "",
    },
    Program {
        name: "coredns",
        module: "github.com/coredns/coredns",
        packages: &["."],
        results: &[],
        tags: "",
        version: "",
    },
    Program {
        name: "helm",
        module: "helm.sh/helm/v4",
        packages: &["helm.sh/helm/v4/cmd/helm"],
        results: &[],
        tags: "",
        version: "helm.sh/helm/v4/internal/version.version",
    },
    Program {
        name: "kubeconform",
        module: "github.com/yannh/kubeconform",
        packages: &["github.com/yannh/kubeconform/cmd/kubeconform"],
        results: &[],
        tags: "",
        version: "main.version",
    },
    // Without the interfaces to two dozen clouds.
    Program {
        name: "prometheus",
        module: "github.com/prometheus/prometheus",
        packages: &[
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ],
        results: &["prometheus", "promtool"],
        tags: "remove_all_sd,enable_kubernetes_sd",
        version: "github.com/prometheus/common/version.Version",
    },
    Program {
        name: "pause",
        module: "",
        packages: &["."],
        results: &[],
        tags: "",
        version: "",
    },
];

/// The version of Kubernetes that is pinned.
pub(super) fn kubernetes() -> Result<String> {
    PROGRAMS[0].pinned()
}

/// What is not built yet, or no more what is pinned.
pub(super) fn missing(cache: &Cache) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for program in &PROGRAMS {
        if !program.stamp(cache)?.is_fresh(&program.results(cache)) {
            missing.push(program.name);
        }
    }
    Ok(missing)
}

/// Builds what is missing; gives whether anything was.
pub(super) fn ensure(cache: &Cache) -> Result<bool> {
    let missing = missing(cache)?;
    if missing.is_empty() {
        return Ok(false);
    }
    if !has_go() {
        bail!(
            "building {} takes Go (1.26, or 1.21 and later, which fetches that itself), which is not in the path",
            missing.join(", ")
        );
    }
    println!(
        "Building {} with Go, from modules of Go's own module proxy",
        missing.join(", ")
    );
    println!(
        "  (everything, on two cores: some 14 minutes, of which Kubernetes takes most, and 14 GB of disk meanwhile)"
    );
    for program in &PROGRAMS {
        if missing.contains(&program.name) {
            program.build(cache)?;
        }
    }
    // Thousands of files that nobody needs any more; an interrupted build goes on with them.
    let scratch = cache.go();
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    }
    Ok(true)
}

/// Whether this machine has Go.
pub(super) fn has_go() -> bool {
    succeeds(Command::new("go").arg("version"))
}

impl Program {
    fn folder(&self) -> PathBuf {
        root().join("e2e/cluster/go").join(self.name)
    }

    fn results(&self, cache: &Cache) -> Vec<PathBuf> {
        let names = if self.results.is_empty() {
            std::slice::from_ref(&self.name)
        } else {
            self.results
        };
        names.iter().map(|name| cache.program(name)).collect()
    }

    fn pinned(&self) -> Result<String> {
        let file = self.folder().join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        required(&text, self.module)
            .map(str::to_owned)
            .with_context(|| format!("{} requires no version of {}", file.display(), self.module))
    }

    /// Of what is pinned, of our own sources, and of how it is built.
    fn stamp(&self, cache: &Cache) -> Result<Stamp> {
        let mut text = self.arguments()?.join(" ");
        for file in ["go.mod", "main.go"] {
            text.push('\n');
            text.push_str(&fs::read_to_string(self.folder().join(file)).unwrap_or_default());
        }
        Ok(Stamp::new(cache.stamp(self.name), text))
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let mut linker = vec!["-s -w".to_owned()];
        if !self.version.is_empty() {
            let version = self.pinned()?;
            linker.push(format!("-X {}=v{version}", self.version));
            if let Some(package) = self.version.strip_suffix(".gitVersion") {
                let numbers = ["gitMajor", "gitMinor"].into_iter().zip(version.split('.'));
                linker.extend(numbers.map(|(member, number)| format!("-X {package}.{member}={number}")));
                linker.push(format!("-X {package}.gitTreeState=clean"));
            }
        }
        let linker = linker.join(" ");
        let mut arguments = ["build", "-v", "-trimpath", "-ldflags", &linker]
            .map(str::to_owned)
            .to_vec();
        if !self.tags.is_empty() {
            arguments.extend(["-tags".to_owned(), self.tags.to_owned()]);
        }
        Ok(arguments)
    }

    fn go(&self, cache: &Cache) -> Command {
        let mut command = Command::new("go");
        command
            .current_dir(self.folder())
            // Of its own: what building Kubernetes leaves behind would be ten gigabytes in the user's.
            .env("GOCACHE", cache.go().join("built"))
            .env("GOMODCACHE", cache.go().join("modules"))
            .env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0");
        command
    }

    fn build(&self, cache: &Cache) -> Result<()> {
        let begin = Instant::now();
        let version = if self.module.is_empty() {
            String::new()
        } else {
            format!(" {}", self.pinned()?)
        };
        let what = format!("{}{version}", self.name);
        println!("  {what}: fetching its modules");
        let mut list = self.go(cache);
        list.args(["list", "-deps", "-tags", self.tags])
            .args(self.packages);
        let listed = output(&mut list).with_context(|| format!("cannot fetch the modules of {what}"))?;
        let mut progress = Progress::new(&what, listed.lines().count());
        let target = cache.programs();
        fs::create_dir_all(&target)?;
        let work = tempfile::Builder::new()
            .prefix(".build-")
            .tempdir_in(cache.folder())?;
        let mut command = self.go(cache);
        command.args(self.arguments()?).arg("-o");
        if self.results.is_empty() {
            command.arg(work.path().join(self.name));
        } else {
            command.arg(format!("{}/", work.path().display()));
        }
        let mut child = command
            .args(self.packages)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run go")?;
        let mut said = Vec::new();
        for line in BufReader::new(child.stderr.take().context("no output")?).lines() {
            let line = line?;
            if is_package(&line) {
                progress.step();
            } else {
                said.push(line);
            }
        }
        if !child.wait()?.success() {
            bail!("go cannot build {what}:\n{}", said.join("\n"));
        }
        for result in self.results(cache) {
            // A program that runs keeps its old file.
            let name = result.file_name().context("no name")?;
            fs::rename(work.path().join(name), &result)
                .with_context(|| format!("go built no {}", result.display()))?;
        }
        self.stamp(cache)?.set()?;
        progress.end(&format!("built in {:.0} s", begin.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// The version that a `go.mod` requires of a module, without its `v`.
fn required<'a>(text: &'a str, module: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.trim();
        let rest = line.strip_prefix("require ").unwrap_or(line);
        rest.strip_prefix(module)?
            .strip_prefix(" v")?
            .split_whitespace()
            .next()
    })
}

/// Whether `go build -v` names a package with this line, and does not complain.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', ':']) && !line.starts_with('#')
}

/// One line that says how far a build is.
struct Progress<'a> {
    what: &'a str,
    of: usize,
    done: usize,
    begin: Instant,
    said: Instant,
    replaces: bool,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, of: usize) -> Self {
        let now = Instant::now();
        Self {
            what,
            of,
            done: 0,
            begin: now,
            said: now,
            replaces: std::io::stdout().is_terminal(),
        }
    }

    fn step(&mut self) {
        self.done += 1;
        let pause = if self.replaces {
            Duration::from_millis(200)
        } else {
            PROGRESS
        };
        if self.said.elapsed() >= pause {
            self.said = Instant::now();
            let seconds = self.begin.elapsed().as_secs();
            self.say(&format!("{} of {} packages, {seconds} s", self.done, self.of));
            if !self.replaces {
                println!();
            }
        }
    }

    fn end(&self, how: &str) {
        self.say(how);
        println!();
    }

    fn say(&self, how: &str) {
        if self.replaces {
            print!("\r\x1b[K");
        }
        print!("  {}: {how}", self.what);
        // Progress that cannot be shown is no reason to stop.
        let _ = std::io::stdout().flush();
    }
}

/// What the folder of programs weighs, in bytes, and that of anything else.
pub(super) fn weight(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let data = entry.metadata().ok()?;
            Some(if data.is_dir() {
                weight(&entry.path())
            } else {
                data.len()
            })
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned() {
        for program in PROGRAMS.iter().filter(|program| !program.module.is_empty()) {
            assert!(!program.pinned().unwrap().is_empty());
            assert!(program.folder().join("go.sum").is_file(), "{}", program.name);
        }
    }

    #[test]
    fn a_version_is_found_in_a_line_or_in_a_block() {
        assert_eq!(required("module a\nrequire b/c v1.2.3\n", "b/c"), Some("1.2.3"));
        let block = "require (\n\tb/c/d v2.0.0\n\tb/c v1.2.3 // indirect\n)\n";
        assert_eq!(required(block, "b/c"), Some("1.2.3"));
        assert_eq!(required(block, "b"), None);
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        let arguments = PROGRAMS[0].arguments().unwrap();
        let linker = arguments.last().unwrap();
        let version = kubernetes().unwrap();
        assert!(linker.contains(&format!("gitVersion=v{version} ")), "{linker}");
        assert!(linker.contains("gitMajor=1 "), "{linker}");
    }

    #[test]
    fn complaints_are_no_packages() {
        assert!(is_package("k8s.io/api/core/v1") && is_package("runtime"));
        assert!(!is_package("# k8s.io/api/core/v1") && !is_package("main.go:3:1: expected"));
    }
}
