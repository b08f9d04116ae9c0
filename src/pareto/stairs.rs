//! The outline of what points of two objectives dominate.

use std::ops::Range;

/// The points of a set in two objectives that no other is at least as good as: the first objective ascends, the
/// second descends, both strictly. Finding a place takes O(log n), and adding shifts what lies behind it.
#[derive(Debug, Default)]
pub(super) struct Stairs {
    steps: Vec<[f64; 2]>,
}

impl Stairs {
    #[inline]
    pub(super) fn steps(&self) -> &[[f64; 2]] {
        &self.steps
    }

    /// Whether some step is at most `point` in both objectives.
    #[inline]
    pub(super) fn covers(&self, point: [f64; 2]) -> bool {
        self.height(point[0]) <= point[1]
    }

    /// The smallest second value of a step whose first is at most `x`; infinite if there is none.
    #[inline]
    pub(super) fn height(&self, x: f64) -> f64 {
        let after = self.steps.partition_point(|step| step[0] <= x);
        self.before(after)
    }

    /// The [`Stairs::height`] at `x`, and the steps whose first value is larger.
    #[inline]
    pub(super) fn from(&self, x: f64) -> (f64, &[[f64; 2]]) {
        let after = self.steps.partition_point(|step| step[0] <= x);
        (self.before(after), &self.steps[after..])
    }

    /// Where `point` would be: the range of the steps that it covers, empty for none. None if a step covers it.
    #[inline]
    pub(super) fn place(&self, point: [f64; 2]) -> Option<Range<usize>> {
        self.place_at(self.steps.partition_point(|step| step[0] < point[0]), point)
    }

    /// The same; `from` is the first step whose first value is at least that of `point`.
    #[inline]
    fn place_at(&self, from: usize, [x, y]: [f64; 2]) -> Option<Range<usize>> {
        let covered = self.before(from) <= y || self.steps.get(from).is_some_and(|s| s[0] == x && s[1] <= y);
        let beaten = || self.steps[from..].iter().take_while(|step| step[1] >= y).count();
        (!covered).then(|| from..from + beaten())
    }

    /// Puts `point` into its [`Stairs::place`].
    #[inline]
    pub(super) fn put(&mut self, place: Range<usize>, point: [f64; 2]) {
        replace(&mut self.steps, place, point);
    }

    /// Adds `point` unless a step covers it.
    #[inline]
    pub(super) fn add(&mut self, point: [f64; 2]) {
        if let Some(place) = self.place(point) {
            self.put(place, point);
        }
    }

    /// Adds points whose first values ascend and are close together.
    #[inline]
    pub(super) fn add_all(&mut self, points: impl Iterator<Item = [f64; 2]>) {
        let mut points = points.peekable();
        let Some(first) = points.peek() else { return };
        let mut from = self.steps.partition_point(|step| step[0] < first[0]);
        for point in points {
            from += self.steps[from..].iter().take_while(|step| step[0] < point[0]).count();
            if let Some(place) = self.place_at(from, point) {
                self.put(place, point);
            }
        }
    }

    /// The area that `point` at `place` dominates below `reference` and no step does.
    #[inline]
    pub(super) fn growth(&self, place: Range<usize>, point: [f64; 2], reference: [f64; 2]) -> f64 {
        let (mut left, mut height) = (point[0], self.before(place.start).min(reference[1]));
        let mut area = 0.0;
        for step in &self.steps[place.clone()] {
            area += (step[0] - left) * (height - point[1]);
            [left, height] = *step;
        }
        let right = self.steps.get(place.end).map_or(reference[0], |step| step[0]);
        area + (right - left) * (height - point[1])
    }

    /// The second value of the step before `index`.
    #[inline]
    fn before(&self, index: usize) -> f64 {
        if index > 0 { self.steps[index - 1][1] } else { f64::INFINITY }
    }
}

/// Puts `value` where `place` was. A splice, but faster where little changes.
#[inline]
pub(super) fn replace<T>(values: &mut Vec<T>, place: Range<usize>, value: T) {
    if place.is_empty() {
        values.insert(place.start, value);
    } else {
        values[place.start] = value;
        if place.len() > 1 {
            values.drain(place.start + 1..place.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stay_a_staircase() {
        let mut stairs = Stairs::default();
        for point in [[2.0, 2.0], [1.0, 4.0], [2.0, 2.0], [3.0, 2.0], [4.0, 1.0], [2.0, 3.0]] {
            stairs.add(point);
        }
        assert_eq!(stairs.steps(), [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]]);
        assert!(stairs.covers([2.0, 2.0]) && stairs.covers([9.0, 9.0]) && !stairs.covers([1.5, 3.9]));
        assert_eq!((stairs.height(0.5), stairs.height(3.0)), (f64::INFINITY, 2.0));
        assert_eq!(stairs.place([1.0, 1.0]), Some(0..3));
        assert_eq!(stairs.from(2.0), (2.0, &[[4.0, 1.0]][..]));
        stairs.add([1.0, 1.0]);
        assert_eq!(stairs.steps(), [[1.0, 1.0]]);
    }

    #[test]
    fn growth_is_what_nobody_covered() {
        let mut stairs = Stairs::default();
        let mut total = 0.0;
        for point in [[2.0, 2.0], [1.0, 3.0], [3.0, 0.0], [0.0, 1.0]] {
            let place = stairs.place(point).unwrap();
            total += stairs.growth(place.clone(), point, [4.0, 4.0]);
            stairs.put(place, point);
        }
        assert_eq!(total, 13.0);
    }
}
