//! A backup of a zone that is served, as a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::answer::Refused;
use super::zones::ByName;
use crate::backup::{LockText, Stretch};

/// Parts of a backup that wait for a slow client: the rest waits in the store.
const AHEAD: usize = 4;

/// What a backup is asked for with: `{"recipients":["age1..."]}` or `{"passphrase":"..."}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Asked {
    Recipients(Vec<String>),
    Passphrase(String),
}

/// `POST /zones/{zone}/backup`: stretches of the file, and at the end what became of it ([`Stretch`]). The file is encrypted
/// here: no key material crosses the socket in the clear.
pub(super) async fn take(ByName(zone): ByName, body: Bytes) -> Result<Response, Refused> {
    let asked = serde_json::from_slice(&body).map_err(Refused::input)?;
    let lock = match asked {
        Asked::Recipients(texts) => LockText::Recipients(texts),
        Asked::Passphrase(text) => LockText::Passphrase(Zeroizing::new(text)),
    };
    let lock = lock.into_lock().map_err(Refused::input)?;
    let (parts, mut taken) = mpsc::channel(AHEAD);
    let (told, stream) = mpsc::channel(AHEAD);
    let kms = zone.kms.clone();
    tokio::spawn(async move {
        let making = tokio::spawn(async move { kms.backup(lock, parts).await });
        while let Some(part) = taken.recv().await {
            if told.send(Stretch::Part(part).encode()).await.is_err() {
                // The client is gone, and with this receiver the backup ends.
                return;
            }
        }
        let end = match making.await {
            Ok(Ok(summary)) => Stretch::Done(summary),
            Ok(Err(cause)) => Stretch::Failed(cause.to_string()),
            Err(_) => Stretch::Failed("the backup was interrupted: see the server's log".to_owned()),
        };
        let _gone = told.send(end.encode()).await;
    });
    Ok(Body::new(Stream(stream)).into_response())
}

struct Stream(mpsc::Receiver<Vec<u8>>);

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes.into()))))
    }
}
