//! The time until which ranks wait for each other.

use std::time::{Duration, Instant};

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    pub(super) fn after(limit: Duration) -> Deadline {
        Deadline(Instant::now() + limit)
    }

    /// What is left until then.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it is over.
    pub(super) fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Sleeps for a while, but not beyond.
    pub(super) fn pause(self, at_most: Duration) {
        std::thread::sleep(at_most.min(self.left()));
    }
}
