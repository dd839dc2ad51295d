//! The losses that the drills of one scenario measured, taken together: what is lost at most, and what typically.

use std::time::Duration;

/// The losses of one component over the drills of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// How many drills measured one.
    pub drills: usize,
    /// The largest.
    pub most: Duration,
    /// The one in the middle; of an even number, the mean of the two.
    pub median: Duration,
}

impl Spread {
    /// Of these losses; `None` of none.
    pub fn of(windows: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut all: Vec<Duration> = windows.into_iter().collect();
        all.sort();
        let (upper, lower) = (all.len() / 2, all.len().checked_sub(1)? / 2);
        Some(Self {
            drills: all.len(),
            most: *all.last()?,
            median: (*all.get(lower)? + *all.get(upper)?) / 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order_and_the_number() {
        let spread = |seconds: &[u64]| Spread::of(seconds.iter().copied().map(Duration::from_secs));
        let of = |drills, most, median: f64| {
            Some(Spread {
                drills,
                most: Duration::from_secs(most),
                median: Duration::from_secs_f64(median),
            })
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7]), of(1, 7, 7.0));
        assert_eq!(spread(&[300, 1, 5]), of(3, 300, 5.0));
        assert_eq!(spread(&[4, 300, 1, 5]), of(4, 300, 4.5));
    }
}
