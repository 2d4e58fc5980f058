//! Prints the inventory of a store as JSON, and its retained topics: `cargo run --example inventory -- PATH`.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use skein_store::Store;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("give a file or a directory")?;
    let path = PathBuf::from(path);
    let Some(mut store) = Store::open(&path)? else {
        println!("nothing kept at {} yet", path.display());
        return Ok(());
    };
    println!("{}", serde_json::to_string_pretty(&store.inventory()?)?);
    for retained in store.retained(|_| false)? {
        println!(
            "{} (QoS {}, {} bytes)",
            retained.topic, retained.qos, retained.bytes
        );
    }
    Ok(())
}
