//! `zonekms bench`: load on key management services, and what they made of it.

mod arguments;
mod credentials;
mod progress;
mod targets;

pub(crate) use arguments::BenchArguments;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use kms_crypto::{Entropy, OsEntropy};
use kms_load::{Report, Stop, run};

use crate::failure::Failure;
use crate::root_key::Environment;
use crate::signals::Signals;
use crate::{print, process};

use credentials::Credentials;
use progress::Progress;

/// Runs the load that the arguments describe, prints the table and writes the reports that were asked for.
pub(crate) fn bench(arguments: &BenchArguments, environment: Environment<'_>) -> Result<(), Failure> {
    let credentials = Credentials::read(arguments.env_file.as_deref(), environment).map_err(Failure::input)?;
    let targets = targets::targets(arguments, &credentials).map_err(Failure::input)?;
    let sweep = arguments.sweep();
    let mut random = [0; 12];
    OsEntropy.fill(&mut random).map_err(Failure::run)?;
    let (name, seed) = random.split_at(4);
    let settings = arguments.settings(u64::from_le_bytes(seed.try_into().expect("12 bytes less 4 are 8")));
    let settings = settings.map_err(Failure::input)?;
    process::raise_file_limit();

    let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let stop = Stop::new();
    stop_on_signal(stop.clone())?;
    let mut progress = Progress::new();
    let prefix = format!("bench-{}", hex::encode(name));
    let report = run(targets, &sweep, &settings, command.join(" "), &prefix, &stop, &mut |event| progress.show(&event));
    progress.end();
    let report = report.map_err(Failure::run)?;
    write_files(arguments, &report)?;
    print(&report.table())
}

/// The first SIGINT or SIGTERM ends the run in order, the second one the process.
fn stop_on_signal(stop: Stop) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    let mut signals = runtime.block_on(async { Signals::listen() }).map_err(Failure::run)?;
    let wait = async move {
        signals.next().await;
        let _ = writeln!(io::stderr(), "\nending: keys are taken out of use; once more ends at once and leaves them");
        stop.now();
        signals.end_at_once_on_the_next();
        std::future::pending::<()>().await;
    };
    std::thread::Builder::new().spawn(move || runtime.block_on(wait)).map(drop).map_err(Failure::run)
}

fn write_files(arguments: &BenchArguments, report: &Report) -> Result<(), Failure> {
    let write = |file: &Path, content: &str| {
        fs::write(file, content).map_err(|error| Failure::run(format!("{}: {error}", file.display())))
    };
    if let Some(file) = &arguments.json {
        write(file, &report.json().map_err(Failure::run)?)?;
    }
    if let Some(file) = &arguments.report {
        write(file, &report.html())?;
    }
    if let Some(directory) = &arguments.svg {
        fs::create_dir_all(directory).map_err(|error| Failure::run(format!("{}: {error}", directory.display())))?;
        for (name, svg) in report.drawings() {
            write(&directory.join(format!("{name}.svg")), &svg)?;
        }
    }
    Ok(())
}
