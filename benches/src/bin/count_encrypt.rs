//! Encrypt calls within one process, from the bytes of the signed request to those of the answer, for a tool that counts instructions.
//!
//! `count_encrypt <plaintext bytes> <calls>` prepares the same number of requests whatever `calls` is, and answers that many of them: the
//! difference between two runs is the cost of the calls alone.

use std::io::{Error, Result};
use std::sync::Arc;

use clap::Parser;
use kms_http::{ConnectionLimits, measured};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
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
    let requests: Vec<_> = (0..PREPARED).map(|_| in_process::wire(&signer, &path, &body)).collect();
    // Room for a whole request and a whole answer: nobody waits for the other but at their ends.
    let (client, server) = duplex(256 * 1024);
    let serving = measured::serve_stream(server, Arc::new(front_door), ConnectionLimits::default());
    let ((), answered) = tokio::join!(serving, ask(client, &requests[..calls]));
    answered
}

/// Sends one request after the other, each when the one before has its answer.
async fn ask(mut client: DuplexStream, requests: &[Vec<u8>]) -> Result<()> {
    let mut answer = vec![0; 128 * 1024];
    for request in requests {
        client.write_all(request).await?;
        let mut read = 0;
        // The answer is a flat object.
        while answer[..read].last() != Some(&b'}') {
            match client.read(&mut answer[read..]).await? {
                0 => return Err(Error::other("the connection was closed")),
                more => read += more,
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(Error::other(String::from_utf8_lossy(&answer[..read]).into_owned()));
        }
    }
    Ok(())
}
