//! Ratios measured in one run: A B A B, the middle of several, and how far they lie apart.
//!
//! Machines differ and are noisy, and noise comes in waves. So what is compared is measured in turn, each round gives
//! one ratio, and the ratio of the middle round is the result. Knows no unit and starts nothing.

use std::future::Future;

use serde::{Deserialize, Serialize};

/// A ratio of two things measured in turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    /// Ours over the reference's, of the middle round.
    pub ratio: f64,
    /// Of the rounds, the lowest and the highest.
    pub spread: (f64, f64),
    pub ours: f64,
    pub theirs: f64,
}

impl Compared {
    /// From what each round measured of both. `None` of nothing.
    pub fn of(rounds: &[(f64, f64)]) -> Option<Self> {
        let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours / theirs).collect();
        let lowest = ratios.iter().copied().reduce(f64::min)?;
        let highest = ratios.iter().copied().reduce(f64::max)?;
        let ours: Vec<f64> = rounds.iter().map(|round| round.0).collect();
        let theirs: Vec<f64> = rounds.iter().map(|round| round.1).collect();
        Some(Self {
            ratio: median(&ratios)?,
            spread: (lowest, highest),
            ours: median(&ours)?,
            theirs: median(&theirs)?,
        })
    }
}

/// Measures both in turn, `rounds` times, after one round that counts for nothing.
pub async fn in_turn<A, B>(
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut theirs: impl FnMut() -> B,
) -> anyhow::Result<Compared>
where
    A: Future<Output = anyhow::Result<f64>>,
    B: Future<Output = anyhow::Result<f64>>,
{
    let mut measured = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let (a, b) = (ours().await?, theirs().await?);
        if round > 0 {
            measured.push((a, b));
        }
    }
    Compared::of(&measured).ok_or_else(|| anyhow::anyhow!("no round was measured"))
}

/// The middle one; of an even number the mean of both in the middle.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_is_of_one_round_and_not_of_two_medians() {
        // Rounds 2 and 3 were slow for both: the ratio of the medians would say 2.
        let compared = Compared::of(&[(10.0, 10.0), (2.0, 1.0), (1.0, 1.0)]).unwrap();
        assert_eq!((compared.ratio, compared.spread), (1.0, (1.0, 2.0)));
        assert_eq!((compared.ours, compared.theirs), (2.0, 1.0));
    }
}
