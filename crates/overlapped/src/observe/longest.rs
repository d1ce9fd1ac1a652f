//! The longest of something lately, without a list of all: the maximum of this window of time and of the one before.

use std::time::Duration;

use proactor::Time;

/// A value is remembered for one to two of these.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Longest {
    window_began: Time,
    in_this: Duration,
    in_the_last: Duration,
}

impl Longest {
    /// One took this long, and ended now.
    pub(crate) fn add(&mut self, now: Time, took: Duration) {
        let since = now.since(self.window_began);
        if since >= WINDOW {
            self.window_began = now;
            let ended = std::mem::take(&mut self.in_this);
            // After a pause, the window that ended is not the one before.
            self.in_the_last = if since < 2 * WINDOW { ended } else { Duration::ZERO };
        }
        self.in_this = self.in_this.max(took);
    }

    pub(crate) fn get(&self) -> Duration {
        self.in_this.max(self.in_the_last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered_for_one_to_two_windows() {
        let (mut longest, ms) = (Longest::default(), Duration::from_millis);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        longest.add(at(100), ms(7));
        longest.add(at(101), ms(3));
        assert_eq!(longest.get(), ms(7));
        longest.add(at(111), ms(1));
        assert_eq!(longest.get(), ms(7), "of the window before");
        longest.add(at(122), ms(2));
        assert_eq!(longest.get(), ms(2));
        longest.add(at(180), ms(1));
        assert_eq!(longest.get(), ms(1), "nothing was added for long");
    }
}
