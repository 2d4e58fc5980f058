//! What each command asks the cluster, and hands to what shows it.

use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use skein_adapter::declared::Declared;
use skein_api::resources::MigrationSpec;
use skein_commands::arguments::{Down, Format};
use skein_commands::diff::{self as differences, steps};
use skein_commands::{
    Failure, Subject, check, explain, graph, manifests, output, plan, runtime, status as shown,
};

use crate::arguments::{Arguments, Command, Completions, Diff, Status};
use crate::cluster::Cluster;
use crate::debug;
use crate::keeper::Keeper;
use crate::kubeconfig;
use crate::moves;
use crate::objects::{Objects, namespaces};
use crate::status;
use crate::voice::VOICE;
use crate::watching::Watch;

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if let Command::Completions(completions) = arguments.command {
        return complete(&completions);
    }
    runtime()?.block_on(async {
        let cluster = Cluster::find(&arguments.place).await?;
        match arguments.command {
            Command::Status(arguments) => status(&cluster, &arguments).await,
            Command::Plan(arguments) => {
                let subject = subject(&cluster, &arguments.supposed.down).await?;
                plan::run(&subject, arguments.output.format, arguments.roles)
            }
            Command::Check(arguments) => {
                let subject = subject(&cluster, &arguments.supposed.down).await?;
                check::run(&subject, arguments.output.format)
            }
            Command::Explain(arguments) => {
                explain::judge(&arguments.what)?;
                let subject = subject(&cluster, &arguments.supposed.down).await?;
                explain::run(&subject, &arguments.what, arguments.output.format)
            }
            Command::Graph(arguments) => graph::run(&subject(&cluster, &arguments.supposed.down).await?),
            Command::Diff(arguments) => diff(&cluster, &arguments).await,
            Command::Drain(arguments) => moves::drain(&cluster, &arguments).await,
            Command::Undrain(arguments) => moves::undrain(&cluster, &arguments).await,
            Command::Approve(arguments) => moves::approve(&cluster, &arguments).await,
            Command::Kubeconfig(arguments) => kubeconfig::run(&cluster, &arguments).await,
            Command::Debug(arguments) => debug::run(&cluster, &arguments).await,
            Command::Completions(completions) => complete(&completions),
        }
    })
}

fn complete(completions: &Completions) -> Result<ExitCode, Failure> {
    // Not straight to standard output, for clap panics if the reader goes away.
    let mut script = Vec::new();
    // Without the name that has a space in it, which no shell would take for a command.
    let mut definition = Arguments::definition().bin_name("kubectl-skein");
    clap_complete::generate(completions.shell, &mut definition, "kubectl-skein", &mut script);
    output::write_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

async fn subject(cluster: &Cluster, down: &[Down]) -> Result<Subject, Failure> {
    let mut subject = Objects::read(cluster).await?.subject();
    subject.suppose(down)?;
    Ok(subject)
}

async fn status(cluster: &Cluster, arguments: &Status) -> Result<ExitCode, Failure> {
    let format = arguments.output.format;
    if arguments.all_namespaces {
        return all(cluster, format).await;
    }
    let objects = Objects::read(cluster).await?;
    if arguments.watch {
        let mut watch = Watch::begin(cluster).await;
        return shown::watch(async || watch.next_status().await, format, &VOICE).await;
    }
    let keeper = Keeper::look(cluster).await;
    let view = status::view(&objects, &cluster.namespace, &keeper, Timestamp::now());
    shown::show(&view, format, &VOICE)
}

async fn all(cluster: &Cluster, format: Format) -> Result<ExitCode, Failure> {
    let keeper = Keeper::look(cluster).await;
    let mut views = Vec::new();
    for namespace in namespaces(cluster).await? {
        // One whose last broker went meanwhile has none to show.
        if let Ok(objects) = Objects::read(&cluster.at(&namespace)).await {
            views.push(status::view(&objects, &namespace, &keeper, Timestamp::now()));
        }
    }
    if views.is_empty() {
        return Err(Failure::could_not(
            "there is no fleet: no Broker is declared in any namespace",
        ));
    }
    shown::show_all(&views, format, &VOICE)
}

async fn diff(cluster: &Cluster, arguments: &Diff) -> Result<ExitCode, Failure> {
    let directory = &arguments.directory;
    let (format, exit_code) = (arguments.output.format, arguments.exit_code);
    let new = manifests::declared(directory)?;
    let objects = Objects::read(cluster).await?;
    let mut old = objects.subject();
    // What is down will be back: the question is what the edit changes.
    old.view.down.clear();
    old.view.served_by.clear();
    if arguments.steps {
        let wishes = objects.drains().into_iter();
        let wish = |drain: skein_adapter::moves::Drain| -> Option<(String, MigrationSpec)> {
            let spec = serde_json::json!({"broker": drain.broker, "to": drain.to, "abandon": drain.abandon});
            Some((drain.declared_by?, serde_json::from_value(spec).ok()?))
        };
        let declared = Declared {
            fleet: Arc::new(old.fleet),
            migrations: wishes.filter_map(wish).collect(),
            warnings: Vec::new(),
        };
        let name = format!("namespace {}", cluster.namespace);
        return steps::run((declared, &name), new, format, exit_code);
    }
    let mut new = Subject::declared(Arc::unwrap_or_clone(new.fleet));
    new.view.previous_classes = old.plan().class_names();
    differences::run(&old, &new, format, exit_code)
}
