//! Developer tasks: `cargo xtask --help` lists them. Each is a module; none knows another's business.

mod apt;
mod bench;
mod check;
mod cluster;
mod command;
mod dashboards;
mod demo;
mod generate;
mod harm;
mod image;
mod matrix;
mod mosquitto;
mod picture;
mod soak;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of Skein
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show Skein at work on a fleet of ten brokers on this machine, in under two minutes
    Demo(demo::Arguments),
    /// Run every test, the end-to-end tests on real Mosquitto included
    Test(suite::Arguments),
    /// Judge the source: format, lints, generated files, licences, the crate graph, file sizes
    Check(check::Arguments),
    /// Write the generated files (custom resource definitions, pages in docs, dashboards, what charts have of them)
    Gen(generate::Arguments),
    /// Run the benchmarks; print a table and keep the results as JSON in target/bench
    Bench(bench::Arguments),
    /// Do once to real brokers what each row of the contract is about, and count what is lost; results in target/matrix
    Matrix(matrix::Arguments),
    /// Hurt a fleet on real brokers for hours, and count what is lost; results as JSON in target/soak
    Soak(soak::Arguments),
    /// Run a real Kubernetes for tests on this machine: control plane and nodes, without docker or a registry
    Cluster(cluster::Arguments),
    /// Record a failover on a real cluster, and draw it (docs/failover.svg)
    Picture(picture::Arguments),
    /// Build the container image of `skein`, as an archive for docker, podman, kind or the cluster for tests
    Image(image::Arguments),
    /// Put the oldest and the newest supported Mosquitto into the cache, without touching the system
    Mosquitto(mosquitto::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => suite::run(&arguments),
        Task::Check(arguments) => check::run(&arguments),
        Task::Gen(arguments) => generate::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Matrix(arguments) => matrix::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::Picture(arguments) => picture::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Mosquitto(arguments) => mosquitto::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
