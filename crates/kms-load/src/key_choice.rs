//! Which key each request uses.

use fastrand::Rng;
use serde::Serialize;

/// How often each of many keys is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// All alike: each key once before any is used again, in random order.
    Uniform,
    /// The k-th key 1/k as often as the first (Zipf with exponent 1).
    Zipf,
}

impl Distribution {
    /// `count` indexes below `keys`. `keys` must not be 0.
    pub(crate) fn draw(self, keys: usize, count: usize, random: &mut Rng) -> Vec<usize> {
        match self {
            Self::Uniform => {
                let mut order: Vec<usize> = (0..keys).collect();
                let mut drawn = Vec::with_capacity(count);
                while drawn.len() < count {
                    random.shuffle(&mut order);
                    drawn.extend(order.iter().take(count - drawn.len()));
                }
                drawn
            }
            Self::Zipf => {
                let mut sum = 0.0;
                let weight = |key: usize| 1.0 / f64::from(u32::try_from(key + 1).unwrap_or(u32::MAX));
                let cumulative: Vec<f64> = (0..keys)
                    .map(|key| {
                        sum += weight(key);
                        sum
                    })
                    .collect();
                let draw = |random: &mut Rng| {
                    let at = random.f64() * sum;
                    cumulative.partition_point(|upto| *upto <= at).min(keys - 1)
                };
                (0..count).map(|_| draw(random)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, keys: usize, count: usize) -> Vec<usize> {
        let mut counts = vec![0; keys];
        for key in distribution.draw(keys, count, &mut Rng::with_seed(7)) {
            counts[key] += 1;
        }
        counts
    }

    #[test]
    fn uniform_is_exactly_even() {
        assert_eq!(counts(Distribution::Uniform, 100, 300), vec![3; 100]);
        assert!(counts(Distribution::Uniform, 100, 250).iter().all(|count| (2..=3).contains(count)));
        let order = Distribution::Uniform.draw(100, 100, &mut Rng::with_seed(7));
        assert!(!order.is_sorted(), "the order is random");
    }

    #[test]
    fn zipf_falls_with_the_rank() {
        // The harmonic number of 1000 is 7.485: the first key has 13.4 % of 100,000.
        let counts = counts(Distribution::Zipf, 1_000, 100_000);
        assert!((12_900..=13_900).contains(&counts[0]), "{}", counts[0]);
        assert!((6_300..=7_100).contains(&counts[1]), "{}", counts[1]);
        assert_eq!(counts.iter().sum::<usize>(), 100_000);
    }
}
