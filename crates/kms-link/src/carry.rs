//! Frames over one connection between two zones that have proven themselves.

use crate::config::LinkLimits;
use crate::ended::Ended;
use crate::faults::FrameFaults;
use crate::faulty_line::{FaultyLine, IsCut};
use crate::frame::{read_frame, write_frame};
use kms_service::{BadFrame, FrameReceiver, FrameSender, LinkEndpoint, MAX_FRAME_LEN};
use kms_types::ZoneName;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Who talks to whom, and under which rules.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) own: ZoneName,
    pub(crate) peer: ZoneName,
    pub(crate) limits: LinkLimits,
    pub(crate) endpoint: Arc<dyn LinkEndpoint>,
    pub(crate) faults: Arc<dyn FrameFaults>,
}

/// Which part this zone has in a connection.
pub(crate) enum Part {
    /// It dialled: answers come in.
    Origin,
    /// It was dialled: requests come in, and what they are answered goes here.
    Replica(FrameSender),
}

impl Lane {
    /// Carries frames both ways until one side ends it.
    pub(crate) async fn carry<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
        part: &Part,
        mut outgoing: FrameReceiver,
    ) -> Ended {
        let (mut reader, mut writer) = split(stream);
        let ended = tokio::select! {
            ended = self.read(&mut reader, part) => ended,
            ended = self.write(&mut writer, &mut outgoing) => ended,
            () = self.until_cut() => Ended::Cut,
        };
        // A goodbye tells the other side at once. Whoever does not take it finds out by itself.
        let _ = timeout(GOODBYE, writer.shutdown()).await;
        ended
    }

    /// Takes in frames one by one. The next is not read before the zone has taken in this one.
    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut R, part: &Part) -> Ended {
        loop {
            let taken = match read_frame(reader, MAX_FRAME_LEN, self.limits.frame_timeout).await {
                Ok(frame) => self.take_in(frame, part).await,
                Err(error) => return error.into(),
            };
            if let Err(bad) = taken {
                return bad.into();
            }
        }
    }

    async fn take_in(&self, frame: Vec<u8>, part: &Part) -> Result<(), BadFrame> {
        match part {
            Part::Origin => self.endpoint.origin_received(&self.peer, frame).await,
            Part::Replica(answers) => self.endpoint.replica_received(&self.peer, frame, answers).await,
        }
    }

    async fn write<W: AsyncWrite + Unpin>(&self, writer: &mut W, outgoing: &mut FrameReceiver) -> Ended {
        let mut line = FaultyLine::default();
        loop {
            let due = line.next_due();
            let room = line.has_room();
            tokio::select! {
                biased;
                () = until(due) => {
                    while let Some(frame) = line.take_due(Instant::now()) {
                        if let Err(error) = write_frame(writer, &frame, self.limits.frame_timeout).await {
                            return error.into();
                        }
                    }
                }
                frame = outgoing.receive(), if room => {
                    let Some(frame) = frame else { return Ended::Released };
                    if frame.len() > MAX_FRAME_LEN {
                        tracing::error!(peer = %self.peer, bytes = frame.len(), "a frame too long for any zone was not sent");
                        continue;
                    }
                    let verdict = self.faults.verdict(&self.own, &self.peer);
                    if let Err(IsCut) = line.push(frame, verdict, Instant::now()) {
                        return Ended::Cut;
                    }
                }
            }
        }
    }

    /// Whether either direction is cut: a connection needs both.
    pub(crate) fn is_cut(&self) -> bool {
        self.faults.can_cut()
            && (self.faults.is_cut(&self.own, &self.peer) || self.faults.is_cut(&self.peer, &self.own))
    }

    async fn until_cut(&self) {
        if !self.faults.can_cut() {
            pending::<()>().await;
        }
        while !self.is_cut() {
            sleep(LOOK_FOR_CUTS).await;
        }
    }

    pub(crate) async fn until_not_cut(&self) {
        while self.is_cut() {
            sleep(LOOK_FOR_CUTS).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
const LOOK_FOR_CUTS: Duration = Duration::from_millis(50);
