//! Encrypt calls within one process, from the signed request to the answer's bytes, for a tool that counts instructions.
//!
//! `count_encrypt <plaintext bytes> <calls>` prepares the same number of requests whatever `calls` is, and answers that many of them: the
//! difference between two runs is the cost of the calls alone.

use std::io::{Error, Result};

use clap::Parser;
use zonekms_benches::in_process;

/// Requests that every run prepares.
const PREPARED: usize = 200;

#[derive(Parser)]
struct Arguments {
    /// Length of the plaintext.
    bytes: usize,
    /// How many of the prepared requests are answered: at most 200.
    calls: usize,
}

fn main() -> Result<()> {
    let Arguments { bytes, calls } = Arguments::parse();
    if calls > PREPARED {
        return Err(Error::other("at most 200 calls"));
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(bytes, calls))
}

async fn run(bytes: usize, calls: usize) -> Result<()> {
    let (front_door, _running) = in_process::front_door().await?;
    let signer = in_process::signer();
    let path = in_process::encrypt_path(&front_door, &signer).await?;
    let body = in_process::encrypt_body(bytes);
    let request = || in_process::signed(&signer, &path, body.clone());
    let requests = (0..PREPARED).map(|_| request()).collect::<Result<Vec<_>>>()?;
    for request in requests.into_iter().take(calls) {
        let answer = front_door.respond(request, None).await;
        if !answer.status().is_success() {
            return Err(Error::other(answer.status().to_string()));
        }
    }
    Ok(())
}
