//! `kubectl skein debug`: what a bug report needs, without secrets, in one archive.

mod archive;
mod clients;
mod collect;
mod redact;

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use skein_commands::paint::{CAREFUL, count, paint};
use skein_commands::{Failure, output};

use crate::arguments::Debug;
use crate::cluster::Cluster;
use archive::Archive;
use collect::Collection;

pub(crate) async fn run(cluster: &Cluster, arguments: &Debug) -> Result<ExitCode, Failure> {
    let now = Timestamp::now();
    let path = arguments.out.clone().unwrap_or_else(|| {
        let time = now.strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from(format!("skein-{}-{time}.tar.gz", cluster.namespace))
    });
    // Whether anything answers is found out before there is a file.
    let collection = Collection::begin(cluster, arguments).await?;
    let mut archive = Archive::create(&path, now)?;
    let lacks = collection.into(&mut archive, now).await?;
    let files = archive.finish()?;
    for lack in &lacks {
        output::tell(&paint(CAREFUL, format!("not collected: {lack}")));
    }
    output::write(&format!(
        "{} in {}; look at it before you give it to others\n",
        count(files, "file"),
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
