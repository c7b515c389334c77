//! Changes in a series of measurements, and rhythms in a series of times. Pure.

/// The median; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let upper = *sorted.get(n / 2)?;
    Some(if n % 2 == 1 {
        upper
    } else {
        (upper + sorted.get(n / 2 - 1)?) / 2.0
    })
}

/// The mean; `None` of nothing.
#[must_use]
pub fn mean(seconds: &[f64]) -> Option<f64> {
    (!seconds.is_empty()).then(|| to_micros(seconds.iter().sum::<f64>() / seconds.len() as f64))
}

/// To the microsecond: what lies behind is no measurement.
fn to_micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// The smallest value that at least this part of the values does not exceed.
#[must_use]
pub fn percentile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part).ceil() as usize;
    values.get(at.saturating_sub(1)).copied()
}

/// The median distance from the median: how far values lie apart, whatever a few of them do.
#[must_use]
pub fn spread(values: &[f64]) -> f64 {
    let Some(middle) = median(values) else { return 0.0 };
    let distances: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    median(&distances).unwrap_or(0.0)
}

/// The median of the slopes between all pairs of points (Theil–Sen), a step of the index each; `None` for less than two.
#[must_use]
pub fn slope(values: &[f64]) -> Option<f64> {
    let mut slopes = Vec::new();
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate().skip(i + 1) {
            slopes.push((b - a) / (j - i) as f64);
        }
    }
    median(&slopes)
}

/// A level that changed and stayed so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Index of the first value of the new level.
    pub at: usize,
    pub before: f64,
    pub after: f64,
}

/// Values on each side of a step.
const SIDE: usize = 3;
/// Of the new level to the old.
const RATIO: f64 = 1.3;

/// Where a series rose and stayed up, if it did: the place that parts it best into two levels, of which the later one is
/// higher by [`RATIO`] and by more than three times what values lie apart on either side. One outlier is no step.
#[must_use]
pub fn rise(values: &[f64]) -> Option<Step> {
    let mut best: Option<(f64, Step)> = None;
    for at in SIDE..=values.len().saturating_sub(SIDE) {
        let (old, new) = values.split_at(at);
        let (before, after) = (median(old)?, median(new)?);
        let apart = spread(old).max(spread(new));
        if after < before * RATIO || after - before <= 3.0 * apart {
            continue;
        }
        // The sum of distances to the two medians: least where the step is.
        let misfit: f64 = old
            .iter()
            .map(|v| (v - before).abs())
            .chain(new.iter().map(|v| (v - after).abs()))
            .sum();
        if best.is_none_or(|(least, _)| misfit < least) {
            best = Some((misfit, Step { at, before, after }));
        }
    }
    // A slow rise has no step, but a slope.
    let step = best.map(|(_, step)| step)?;
    slope(values).filter(|s| *s > 0.0).map(|_| step)
}

/// Times of day at which something happens daily.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhythm {
    /// Seconds from midnight.
    pub at: i64,
    /// The farthest that one lay from it, seconds.
    pub within: i64,
    /// On so many of the last days.
    pub days: usize,
    pub of: usize,
}

const DAY: i64 = 86_400;
/// Days of which a rhythm is learnt.
const LEARNT: usize = 4;
/// The farthest that times of a rhythm lie from their middle, seconds.
const LOOSE: i64 = 1_800;

/// The daily rhythm of starts (seconds since 1970, any order) over the days before `now`; `None` where there is none: it
/// must have begun once a day, at about the same time, on all days since the first, and on at least four.
#[must_use]
pub fn rhythm(starts: &[i64], now: i64) -> Option<Rhythm> {
    let earlier: Vec<i64> = starts.iter().copied().filter(|t| *t < now - DAY).collect();
    let first = earlier.iter().min()?;
    // Around the time of day of the first, so that midnight parts nothing.
    let phase: Vec<f64> = earlier
        .iter()
        .map(|t| ((t - first + DAY / 2).rem_euclid(DAY) - DAY / 2) as f64)
        .collect();
    let middle = median(&phase)? as i64;
    let within = phase.iter().map(|p| (*p as i64 - middle).abs()).max()?;
    let mut days: Vec<i64> = earlier
        .iter()
        .map(|t| (t - first - middle + DAY / 2).div_euclid(DAY))
        .collect();
    days.sort_unstable();
    let once = days.windows(2).all(|w| w[0] != w[1]);
    let of = (days.last()? - days.first()? + 1) as usize;
    let steady = days.len() >= LEARNT && days.len() == of;
    (once && steady && within <= LOOSE).then_some(Rhythm {
        at: (first + middle).rem_euclid(DAY),
        within,
        days: days.len(),
        of,
    })
}

impl Rhythm {
    /// The last time before `now` at which it should have happened, with as much time again as it ever was late.
    #[must_use]
    pub fn due(&self, now: i64) -> i64 {
        let grace = (2 * self.within).max(600);
        let due = now - now.rem_euclid(DAY) + self.at;
        if due + grace > now { due - DAY } else { due }
    }

    /// Whether one of these starts is the one that was due then.
    #[must_use]
    pub fn is_met(&self, starts: &[i64], due: i64) -> bool {
        let near = (2 * self.within).max(600) + LOOSE;
        starts.iter().any(|t| (t - due).abs() <= near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_rises_and_stays_is_a_step_and_one_outlier_is_none() {
        let mut values = vec![10.0, 11.0, 9.5, 10.2, 10.0, 10.4];
        assert_eq!(rise(&values), None);
        values.extend([10.1, 90.0, 10.3, 9.9]);
        assert_eq!(rise(&values), None, "an outlier");
        values.extend([20.0, 21.0, 19.8, 20.5]);
        let step = rise(&values).expect("a step");
        assert_eq!((step.at, step.before.round(), step.after.round()), (10, 10.0, 20.0));
        values.reverse();
        assert_eq!(rise(&values), None, "it fell");
        assert_eq!(rise(&[1.0, 2.0]), None);
        assert_eq!(rise(&[5.0; 20]), None);
    }

    #[test]
    fn a_planted_step_is_found_wherever_it_is_and_whatever_the_noise() {
        for at in 3..17 {
            for noise in 0..5u64 {
                let wobble = |i: u64| ((i * 2_654_435_761 + noise * 97) % 100) as f64 / 100.0;
                let values: Vec<f64> = (0..20)
                    .map(|i| if i < at { 60.0 } else { 90.0 } + wobble(i as u64))
                    .collect();
                assert_eq!(rise(&values).map(|s| s.at), Some(at), "{values:?}");
            }
        }
    }

    #[test]
    fn a_daily_rhythm_is_learnt_and_its_absence_noticed() {
        let days: Vec<i64> = (0..10).map(|d| d * DAY + 7_200 + (d % 3) * 60).collect();
        let now = 10 * DAY + 20_000;
        let found = rhythm(&days, now).expect("a rhythm");
        assert_eq!((found.at / 60, found.days, found.of), (121, 10, 10));
        let due = found.due(now);
        assert_eq!(due.div_euclid(DAY), 10);
        assert!(!found.is_met(&days, due));
        assert!(found.is_met(&[due + 120], due));
        assert_eq!(found.due(10 * DAY + 7_000).div_euclid(DAY), 9, "not yet due today");
        let holes: Vec<i64> = days.iter().copied().filter(|t| t.div_euclid(DAY) != 4).collect();
        assert_eq!(rhythm(&holes, now), None, "not on all days");
        let often: Vec<i64> = days.iter().flat_map(|t| [*t, *t + 3_600]).collect();
        assert_eq!(rhythm(&often, now), None, "more than once a day");
    }

    #[test]
    fn midnight_parts_no_rhythm() {
        let days: Vec<i64> = (0..8).map(|d| d * DAY + DAY - 60 + (d % 2) * 120).collect();
        let found = rhythm(&days, 10 * DAY).expect("a rhythm");
        assert!(found.within <= 120, "{found:?}");
    }
}
