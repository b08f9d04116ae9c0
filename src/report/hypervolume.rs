//! The hypervolume as the search goes on.

use super::axis::Axis;
use super::svg::{Anchor, Svg, px};
use super::{RunView, format, plot};

/// What the search is measured by along the horizontal axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Evaluated networks.
    Evaluations,
    /// Time since the search began.
    Time,
}

/// The hypervolume over evaluations or time: it holds from each point to the next.
pub fn plot(view: &RunView, over: Over) -> Svg {
    let (unit, title) = scale(view, over);
    let across: Vec<f64> = view
        .hypervolume
        .iter()
        .map(|point| match over {
            Over::Evaluations => point.evaluations as f64,
            Over::Time => point.seconds / unit,
        })
        .collect();
    let up: Vec<f64> = view.hypervolume.iter().map(|point| point.value).collect();
    let (x, y) = (Axis::new(&across, false, "", plot::ACROSS), Axis::new(&up, false, "", plot::UPWARDS));
    let mut svg = plot::frame(&format!("hypervolume over {title}"), (&x, title), (&y, "hypervolume"));
    let places: Vec<_> = across.iter().zip(&up).map(|(across, up)| (x.at(*across).0, y.at(*up).0)).collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        let middle = (plot::AREA.x + plot::AREA.width / 2.0, plot::AREA.y + plot::AREA.height / 2.0);
        svg.text("p-small", middle, Anchor::Middle, "not measured yet");
        return svg;
    };
    let mut line = format!("M{} {}", px(first.0), px(first.1));
    for place in &places[1..] {
        line += &format!("H{}V{}", px(place.0), px(place.1));
    }
    svg.path("p-step", &line);
    svg.circle("p-front", *last, 5.0);
    let text = format::significant(up[up.len() - 1]);
    svg.text("p-point-label", (last.0 - 8.0, last.1 - 8.0), Anchor::End, &text);
    svg
}

/// The reference point in words: "100 % error, 1.00 M parameters".
pub fn reference(view: &RunView) -> String {
    let parts =
        view.objectives.iter().zip(&view.reference).map(|(objective, value)| objective.phrase(*value));
    parts.collect::<Vec<_>>().join(", ")
}

/// Seconds that a unit of the axis stands for, and its title.
fn scale(view: &RunView, over: Over) -> (f64, &'static str) {
    let longest = view.hypervolume.iter().map(|point| point.seconds).fold(0.0, f64::max);
    match over {
        Over::Evaluations => (1.0, "evaluated networks"),
        Over::Time if longest > 2.0 * 3600.0 => (3600.0, "time (h)"),
        Over::Time if longest > 180.0 => (60.0, "time (min)"),
        Over::Time => (1.0, "time (s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{HypervolumePoint, sample};

    #[test]
    fn time_is_shown_in_the_unit_that_fits() {
        let mut view = sample::run();
        for (seconds, title) in [(100.0, "time (s)"), (1000.0, "time (min)"), (90_000.0, "time (h)")] {
            view.hypervolume = vec![HypervolumePoint { evaluations: 1, seconds, value: 0.5 }];
            assert!(plot(&view, Over::Time).standalone().contains(title), "{title}");
        }
    }

    #[test]
    fn a_run_without_points_says_so() {
        let mut view = sample::run();
        view.hypervolume.clear();
        assert!(plot(&view, Over::Evaluations).standalone().contains("not measured yet"));
    }

    #[test]
    fn the_reference_point_is_told_with_units() {
        let text = reference(&sample::run()).replace('\u{a0}', " ");
        assert_eq!(text, "100 % error, 1.00 M parameters");
    }
}
