//! The frames under way in one direction, as faults have arranged them.

use crate::faults::FrameVerdict;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How long a frame is held back when no other comes to overtake it.
const LONGEST_HOLD: Duration = Duration::from_millis(200);
/// How many frames may be under way. More wait at the sender.
const LONGEST_LINE: usize = 64;

/// What is to be sent, and when. Without faults a frame is due at once.
#[derive(Default)]
pub(crate) struct FaultyLine {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    held: Option<(Instant, Vec<u8>)>,
}

/// The line is to be closed, and what is under way is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsCut;

impl FaultyLine {
    pub(crate) fn has_room(&self) -> bool {
        self.under_way.len() < LONGEST_LINE
    }

    /// Puts `frame` on the line.
    pub(crate) fn push(&mut self, frame: Vec<u8>, verdict: FrameVerdict, now: Instant) -> Result<(), IsCut> {
        match verdict {
            FrameVerdict::Deliver => self.append(frame, now),
            FrameVerdict::Cut => return Err(IsCut),
            FrameVerdict::Delay(delay) => self.append(frame, now + delay),
            FrameVerdict::Drop => return Ok(()),
            FrameVerdict::Duplicate => {
                self.append(frame.clone(), now);
                self.append(frame, now);
            }
            FrameVerdict::Reorder if self.held.is_none() => {
                self.held = Some((now + LONGEST_HOLD, frame));
                return Ok(());
            }
            // It overtakes the one that is held back already.
            FrameVerdict::Reorder => self.append(frame, now),
        }
        if let Some((_, frame)) = self.held.take() {
            self.append(frame, now);
        }
        Ok(())
    }

    /// When something will be due; `None` while the line is empty.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let first = self.under_way.front().map(|(due, _)| *due);
        let held = self.held.as_ref().map(|(until, _)| *until);
        first.into_iter().chain(held).min()
    }

    /// The next frame that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some((_, frame)) = self.held.take_if(|(until, _)| *until <= now) {
            self.append(frame, now);
        }
        self.under_way.pop_front_if(|(due, _)| *due <= now).map(|(_, frame)| frame)
    }

    /// Nobody overtakes: a frame is due no earlier than the one before it.
    fn append(&mut self, frame: Vec<u8>, due: Instant) {
        let due = self.under_way.back().map_or(due, |(last, _)| due.max(*last));
        self.under_way.push_back((due, frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(frames: &[(u8, FrameVerdict)], now: Instant) -> FaultyLine {
        let mut line = FaultyLine::default();
        for (frame, verdict) in frames {
            line.push(vec![*frame], *verdict, now).unwrap();
        }
        line
    }

    fn due(line: &mut FaultyLine, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| line.take_due(now)).flatten().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_verdict_does_what_it_says() {
        use FrameVerdict::{Cut, Deliver, Drop, Duplicate, Reorder};
        let now = Instant::now();
        assert_eq!(due(&mut line(&[(1, Deliver), (2, Deliver)], now), now), [1, 2]);
        assert_eq!(due(&mut line(&[(1, Drop), (2, Deliver)], now), now), [2]);
        assert_eq!(due(&mut line(&[(1, Duplicate), (2, Deliver)], now), now), [1, 1, 2]);
        assert_eq!(due(&mut line(&[(1, Reorder), (2, Deliver), (3, Deliver)], now), now), [2, 1, 3]);
        assert_eq!(due(&mut line(&[(1, Reorder), (2, Reorder), (3, Deliver)], now), now), [2, 1, 3]);
        assert_eq!(FaultyLine::default().push(vec![1], Cut, now), Err(IsCut));
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_frames_keep_their_order_and_do_not_add_up() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let frames = [(1, FrameVerdict::Delay(second)), (2, FrameVerdict::Delay(second)), (3, FrameVerdict::Deliver)];
        let mut line = line(&frames, now);
        assert_eq!(line.next_due(), Some(now + second));
        assert_eq!(due(&mut line, now + second - Duration::from_millis(1)), []);
        assert_eq!(due(&mut line, now + second), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_held_back_goes_on_when_none_follows() {
        let now = Instant::now();
        let mut line = line(&[(1, FrameVerdict::Reorder)], now);
        assert_eq!(due(&mut line, now), []);
        assert_eq!(line.next_due(), Some(now + LONGEST_HOLD));
        assert_eq!(due(&mut line, now + LONGEST_HOLD), [1]);
        assert_eq!(line.next_due(), None);
    }
}
