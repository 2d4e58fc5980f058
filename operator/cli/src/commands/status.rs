//! `skein status`

use std::process::ExitCode;

use skein_commands::{Failure, runtime, status};
use skein_local::client;

use crate::arguments::Status;
use crate::failure;
use crate::seen::{Watch, view};
use crate::voice::VOICE;

pub(crate) fn run(arguments: &Status) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    let format = arguments.output.format;
    if arguments.watch {
        return runtime()?.block_on(async {
            let mut watch = Watch::new(&state);
            status::watch(
                async || {
                    let (status, runs) = watch.next_status().await?;
                    Ok(view(&status, runs))
                },
                format,
                &VOICE,
            )
            .await
        });
    }
    let Some(status) = client::status(&state).map_err(failure::of_client)? else {
        return Err(Failure::could_not(format!(
            "there is no status in {state}: its fleet is starting, or was stopped; start it with `skein up -f DIR --state {state}`",
            state = state.path().display()
        )));
    };
    status::show(&view(&status, state.holder().is_some()), format, &VOICE)
}
