//! Two ways to do one thing, timed in turn, so that whatever else the machine does meets both: the median of each, and how
//! many times the other's the first takes. `REDRILL_BENCH_ROUNDS` sets how often each is timed.

use std::time::Duration;

/// A number from the environment.
pub fn number(name: &str, usual: f64) -> f64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Does both in turn, each of which says how long it took in a round, and tells how they compare.
pub async fn in_turn(
    what: &str,
    usual_rounds: f64,
    (own, ours): (&str, impl AsyncFn(usize) -> Duration),
    (other, theirs): (&str, impl AsyncFn(usize) -> Duration),
) {
    let rounds = number("REDRILL_BENCH_ROUNDS", usual_rounds) as usize;
    let (mut own_times, mut other_times) = (Vec::new(), Vec::new());
    // The first round of each only warms the caches.
    for round in 0..=rounds {
        let (their_time, our_time) = (theirs(round).await, ours(round).await);
        if round > 0 {
            own_times.push(our_time);
            other_times.push(their_time);
        }
    }
    tell(
        what,
        (own, median(own_times).as_secs_f64()),
        (other, median(other_times).as_secs_f64()),
    );
}

/// Prints two times and their ratio.
pub fn tell(what: &str, (own, own_seconds): (&str, f64), (other, other_seconds): (&str, f64)) {
    println!(
        "{what}\n  {own}: {own_seconds:.3} s\n  {other}: {other_seconds:.3} s\n  ratio: {:.3}\n",
        own_seconds / other_seconds
    );
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
