//! Random choices that a seed repeats. SplitMix64: small, and good enough to pick faults with.

use std::time::Duration;

/// A sequence of choices.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one of several tasks, so that what one does never depends on how fast another is.
    pub fn of_task(seed: u64, task: u64) -> Self {
        Self::new(Self::new(seed ^ task.wrapping_mul(0xA24B_AED4_963E_E407)).next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    /// True `percent` times out of a hundred.
    pub fn says(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A span from `least` to `most`.
    pub fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let micros = |span: Duration| usize::try_from(span.as_micros()).unwrap();
        let width = micros(most.saturating_sub(least));
        let more = u64::try_from(self.below(width + 1)).unwrap();
        least + Duration::from_micros(more)
    }
}

#[test]
fn the_same_seed_makes_the_same_choices_and_tasks_make_their_own() {
    let roll = |mut dice: Dice| (0..50).map(|_| dice.below(6)).collect::<Vec<_>>();
    assert_eq!(roll(Dice::new(7)), roll(Dice::new(7)));
    assert_ne!(roll(Dice::new(7)), roll(Dice::new(8)));
    assert_ne!(roll(Dice::of_task(7, 1)), roll(Dice::of_task(7, 2)));
    assert!((0..6).all(|side| roll(Dice::new(7)).contains(&side)));
}
