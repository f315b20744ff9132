//! Saying something again only after a while: a line of the log for a trouble, not for each time that
//! it happens.

use std::time::Duration;

use tokio::time::Instant;

/// Of one trouble there is one line in this time.
const SILENCE: Duration = Duration::from_secs(10);

/// Something that is said again only after a while, and with how often it has happened since.
#[derive(Debug, Default)]
pub struct Seldom {
    said: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// How often it happened since it was last said, if it should be said now.
    pub fn says(&mut self) -> Option<u64> {
        self.since += 1;
        if self.said.is_some_and(|said| said.elapsed() < SILENCE) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_is_said_at_once_and_then_after_a_while_with_how_often_it_came() {
        let mut trouble = Seldom::default();
        assert_eq!(trouble.says(), Some(1));
        for _ in 0..5 {
            assert_eq!(trouble.says(), None);
        }
        tokio::time::advance(SILENCE).await;
        assert_eq!(trouble.says(), Some(6));
    }
}
