//! SIGTERM and SIGINT: the first asks for an orderly end, the second for an end at once. SIGXFSZ ends nothing.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the process.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Interrupt,
    Terminate,
}

impl Signals {
    /// From now on the signals are waited for; they no longer end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        // A file that may not grow is then a failed write, as on a full disk, and not the end of the process.
        let _handled_from_now_on = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next signal. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Interrupt,
            _ = self.terminate.recv() => Ending::Terminate,
        }
    }

    /// The orderly end has begun: one more signal ends the process at once, with 128 and the signal's number.
    pub(crate) fn end_at_once_on_the_next(mut self) {
        tokio::spawn(async move {
            let code = match self.next().await {
                Ending::Interrupt => 130,
                Ending::Terminate => 143,
            };
            tracing::warn!("ended at once; changes that were answered are safe");
            std::process::exit(code);
        });
    }
}
