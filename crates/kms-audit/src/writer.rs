//! The writer: one thread, which alone orders, hashes and writes. One write and one sync serve all who wait.

use crate::buffer::{Buffer, Queue, bytes};
use crate::checkpoint::SignedCheckpoint;
use crate::header::write_header;
use crate::line::{begin_body, end_body, number, text, write_line};
use crate::recovery::{OpenError, Resumed};
use crate::segment_writer::{SegmentWriter, close_segment};
use crate::settings::AuditSettings;
use crate::stamp::StampWriter;
use crate::tree::Frontier;
use kms_service::{NotRecorded, ServiceClock, Settled};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long entries of crypto calls are collected.
const BATCH: Duration = Duration::from_millis(100);

/// How long to wait before trying again to write.
const RETRY: Duration = Duration::from_millis(500);

/// The most bytes of bodies that one write takes.
const CHUNK: usize = 4 * 1024 * 1024;

/// The writer's own state: what is on disk, and what should be.
pub(crate) struct Writer {
    buffer: Arc<Buffer>,
    settings: AuditSettings,
    clock: Arc<ServiceClock>,
    file: SegmentWriter,
    tree: Frontier,
    link: [u8; 8],
    settled: Option<Settled>,
    /// Bodies that are not durable yet, and how far they settle.
    backlog: Vec<u8>,
    settling: Option<Settled>,
    /// How many entries the newest checkpoint covers.
    checkpoint_size: u64,
    /// By the elapsed clock: lifecycle time stands still behind a store that is ahead of it, and checkpoints must not.
    checkpoint_at: Duration,
    stamps: StampWriter,
}

impl Writer {
    /// Goes on where `resumed` left off, in a new file.
    pub(crate) fn begin(
        buffer: Arc<Buffer>,
        settings: AuditSettings,
        clock: Arc<ServiceClock>,
        resumed: Resumed,
    ) -> Result<Self, OpenError> {
        let Resumed { mut tree, link, accounted, cut, last } = resumed;
        let directory = settings.directory.clone();
        let io_error = |source| OpenError::Io { directory: directory.clone(), source };
        let before = SignedCheckpoint::sign(&tree, buffer.keys.signer());
        if let Some((segment, newest)) = last
            && newest < tree.size()
        {
            close_segment(&segment, &before).map_err(io_error)?;
        }
        let mut stamps = StampWriter::default();
        let settled = accounted.settled;
        let begun = begin_segment(&buffer, &settings, &clock, &mut tree, link, settled, &mut stamps);
        let (file, link) = begun.map_err(io_error)?;
        let mut writer = Self {
            buffer,
            settings,
            checkpoint_at: clock.elapsed(),
            clock,
            file,
            checkpoint_size: tree.size() - 1,
            tree,
            link,
            settled,
            backlog: Vec::new(),
            settling: None,
            stamps,
        };
        if cut > 0 {
            writer.tell_count("audit-tail-cut", cut);
        }
        writer.write_backlog().map_err(io_error)?;
        Ok(writer)
    }

    /// Writes until told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let queue = self.wait();
            let stop = queue.stop;
            self.round(queue);
            if stop {
                break;
            }
        }
        let last = self.buffer.end();
        self.round(last);
        self.buffer.set_trouble(Some("the audit log is closed".to_owned()));
        if let Err(error) = self.write_checkpoint() {
            tracing::error!(%error, "the last checkpoint of the audit log could not be written");
        }
        if !self.backlog.is_empty() {
            tracing::error!(bytes = self.backlog.len(), "entries of the audit log could not be written and are lost");
        }
    }

    /// Waits until there is something to do, and takes it.
    fn wait(&self) -> Queue {
        let buffer = &self.buffer;
        let calls = |queue: &Queue| queue.stop || !queue.changes.is_empty() || !queue.barriers.is_empty();
        let mut queue = buffer.queue();
        if self.is_in_trouble() {
            // Crypto calls go on meanwhile, and must not make it try without end.
            let waited = buffer.called.wait_timeout_while(queue, RETRY, |queue| !calls(queue));
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        } else {
            let is_idle = |queue: &mut Queue| !calls(queue) && !queue.early && !buffer.told.load(Ordering::SeqCst);
            queue = if self.checkpoint_size < self.tree.size() {
                let until = self.settings.checkpoint_interval;
                let waited = buffer.called.wait_timeout_while(queue, until, is_idle);
                waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
            } else {
                buffer.called.wait_while(queue, is_idle).unwrap_or_else(std::sync::PoisonError::into_inner)
            };
            if !calls(&queue) && !queue.early {
                let waited = buffer.called.wait_timeout_while(queue, BATCH, |queue| !calls(queue) && !queue.early);
                queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            }
        }
        std::mem::take(&mut *queue)
    }

    /// Writes what is there, and answers who waits.
    fn round(&mut self, queue: Queue) {
        // What was used before a change was told is in front of it.
        self.buffer.drain(&mut self.backlog);
        self.tell_sums();
        let mut waiting = queue.barriers;
        for change in queue.changes {
            self.buffer.waiting.fetch_add(bytes(change.body.len()), Ordering::Relaxed);
            self.backlog.extend_from_slice(&change.body);
            self.settling = change.settled.or(self.settling);
            waiting.push(change.durable);
        }
        let written = self.write_backlog();
        let answer = if written.is_ok() { Ok(()) } else { Err(NotRecorded::Broken) };
        if let Err(error) = written {
            // Before anyone is refused: who was, and comes again, finds the log broken.
            self.note(Err(error));
        }
        for waiter in waiting {
            // Who left does not need an answer.
            let _left = waiter.send(answer);
        }
        if answer.is_ok() {
            let outcome = self.turn_over();
            self.note(outcome);
        }
    }

    /// Makes the backlog durable.
    fn write_backlog(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            let end = chunk(&self.backlog);
            let (mut tree, mut link, mut lines) = (self.tree.clone(), self.link, Vec::with_capacity(end + end / 4));
            for body in self.backlog[..end].split_inclusive(|byte| *byte == b'\n') {
                let leaf = write_line(&mut lines, tree.size(), link, body);
                tree.append(leaf);
                link = leaf.link();
            }
            self.file.append(&lines)?;
            (self.tree, self.link) = (tree, link);
            self.backlog.drain(..end);
            self.buffer.waiting.fetch_sub(bytes(end), Ordering::Relaxed);
        }
        self.backlog.shrink_to(CHUNK);
        self.settled = self.settling.take().or(self.settled);
        Ok(())
    }

    /// Begins a new file or writes a checkpoint when it is time.
    fn turn_over(&mut self) -> io::Result<()> {
        let elapsed = self.clock.elapsed();
        let is_old = elapsed.saturating_sub(self.file.begun) >= self.settings.file_age;
        if self.file.length() >= self.settings.file_bytes || (is_old && self.file.first + 1 < self.tree.size()) {
            self.write_checkpoint()?;
            let Self { buffer, settings, clock, stamps, .. } = self;
            let mut tree = self.tree.clone();
            let begun = begin_segment(buffer, settings, clock, &mut tree, self.link, self.settled, stamps);
            (self.file, self.link) = begun.inspect_err(|_| self.file.goes_on(&settings.directory, self.tree.size()))?;
            self.tree = tree;
        } else if self.checkpoint_size < self.tree.size()
            && elapsed.saturating_sub(self.checkpoint_at) >= self.settings.checkpoint_interval
        {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    /// Writes a checkpoint over everything, unless there is one: a size has one checkpoint, however often the step after it
    /// fails and is tried again.
    fn write_checkpoint(&mut self) -> io::Result<()> {
        if self.checkpoint_size == self.tree.size() {
            return Ok(());
        }
        self.file.checkpoint(&SignedCheckpoint::sign(&self.tree, self.buffer.keys.signer()))?;
        (self.checkpoint_size, self.checkpoint_at) = (self.tree.size(), self.clock.elapsed());
        Ok(())
    }

    fn is_in_trouble(&self) -> bool {
        self.buffer.is_broken.load(Ordering::SeqCst)
    }

    /// Tells everyone how the log stands.
    fn note(&self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) if self.is_in_trouble() => {
                tracing::info!("the audit log can be written again");
                self.buffer.set_trouble(None);
            }
            Ok(()) => {}
            Err(error) => {
                let directory = self.settings.directory.display();
                if !self.is_in_trouble() {
                    tracing::error!(%directory, %error, "the audit log cannot be written; changes are refused until it can");
                }
                self.buffer.set_trouble(Some(format!("the audit log in {directory} cannot be written: {error}")));
            }
        }
    }

    fn tell_sums(&mut self) {
        for (operation, sum) in [
            ("audit-refusals-summed", self.buffer.summed.swap(0, Ordering::Relaxed)),
            ("audit-entries-lost", self.buffer.lost.swap(0, Ordering::Relaxed)),
        ] {
            if sum > 0 {
                self.tell_count(operation, sum);
            }
        }
    }

    /// An entry of the log about itself.
    fn tell_count(&mut self, operation: &str, count: u64) {
        let (time, zone) = (self.clock.now(), self.buffer.keys.zone().as_str());
        let before = self.backlog.len();
        begin_body(&mut self.backlog, time, zone, operation, &mut self.stamps);
        text(&mut self.backlog, "result", "ok");
        text(&mut self.backlog, "by", "server");
        number(&mut self.backlog, "count", count);
        end_body(&mut self.backlog);
        self.buffer.waiting.fetch_add(bytes(self.backlog.len() - before), Ordering::Relaxed);
    }
}

/// Begins a file whose first line follows `tree`, which then has that line. Gives the link of that line, too.
fn begin_segment(
    buffer: &Buffer,
    settings: &AuditSettings,
    clock: &ServiceClock,
    tree: &mut Frontier,
    link: [u8; 8],
    settled: Option<Settled>,
    stamps: &mut StampWriter,
) -> io::Result<(SegmentWriter, [u8; 8])> {
    let signer = buffer.keys.signer();
    let before = SignedCheckpoint::sign(tree, signer);
    let (mut body, mut line) = (Vec::new(), Vec::new());
    write_header(&mut body, clock.now(), buffer.keys.zone().as_str(), signer.verifier(), tree, settled, stamps);
    let leaf = write_line(&mut line, tree.size(), link, &body);
    let file = SegmentWriter::begin(&settings.directory, tree.size(), &before, &line, clock.elapsed())?;
    tree.append(leaf);
    Ok((file, leaf.link()))
}

/// The end of the last whole body within one chunk.
fn chunk(bodies: &[u8]) -> usize {
    if bodies.len() <= CHUNK {
        return bodies.len();
    }
    bodies[..CHUNK].iter().rposition(|byte| *byte == b'\n').map_or(bodies.len(), |at| at + 1)
}
