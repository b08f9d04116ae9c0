//! The front in a pair of objectives, among all evaluated networks.

use super::axis::Axis;
use super::svg::{Anchor, Point, Rect, Svg, px, text_width};
use super::{IndividualView, ObjectiveView, RunView, format, labels, plot};

/// A drawn pair of objectives, and how many networks lie beyond its axes.
#[derive(Debug, Clone)]
pub struct FrontPlot {
    /// The drawing.
    pub svg: Svg,
    /// Evaluated networks, diverged ones aside, that an arrowhead at the edge stands for.
    pub beyond: usize,
}

/// The objective `up` over the objective `across`.
pub fn plot(view: &RunView, up: usize, across: usize) -> FrontPlot {
    let (x, y) = (axis(view, across, plot::ACROSS), axis(view, up, plot::UPWARDS));
    let (across_view, up_view) = (&view.objectives[across], &view.objectives[up]);
    let (x_title, y_title) = (across_view.heading(), up_view.heading());
    let label = format!("{y_title} over {x_title} of all evaluated networks, the front marked");
    let mut svg = plot::frame(&label, (&x, &x_title), (&y, &y_title));

    let place =
        |individual: &IndividualView| Some((x.at(individual.value(across)?), y.at(individual.value(up)?)));
    let front: Vec<_> =
        view.front().into_iter().filter_map(|member| Some((member, place(member)?))).collect();
    let members: Vec<Point> = front.iter().map(|(_, (x, y))| (x.0, y.0)).collect();
    step_line(&mut svg, &members);
    bounds(&mut svg, (across_view, &x), (up_view, &y));
    let mut beyond = 0;
    let mut faint = stairs(&members);
    for individual in view.individuals.iter().filter(|individual| !individual.on_front) {
        if let Some((x, y)) = place(individual) {
            svg.individual(individual.id, &tip(view, individual), |svg| mark(svg, x, y));
            beyond += usize::from(x.1 || y.1);
            faint.push(Rect::around((x.0, y.0), 2.5));
        }
    }
    draw_front(
        &mut svg,
        view,
        &front.iter().map(|(member, _)| *member).collect::<Vec<_>>(),
        &members,
        &faint,
    );
    FrontPlot { svg, beyond }
}

/// What the pointer shows over a network: its number, values and origin.
pub fn tip(view: &RunView, individual: &IndividualView) -> String {
    let value = |(index, objective): (usize, &ObjectiveView)| {
        let value =
            individual.value(index).map_or("–".to_owned(), |value| format::value(&objective.unit, value));
        format!("{}: {value}", objective.name)
    };
    let values: Vec<_> = view.objectives.iter().enumerate().map(value).collect();
    format!(
        "#{}, generation {}\n{}\n{}",
        individual.id,
        individual.generation,
        values.join("\n"),
        super::origin(individual)
    )
}

fn axis(view: &RunView, objective: usize, pixels: (f64, f64)) -> Axis {
    let ObjectiveView { log, unit, bound, .. } = &view.objectives[objective];
    let mut values: Vec<f64> = view.individuals.iter().filter_map(|one| one.value(objective)).collect();
    let front: Vec<f64> = view.front().iter().filter_map(|member| member.value(objective)).collect();
    // A few failures, or small networks that the search started from, must not squash the front into a corner.
    if min(&front) < max(&front) {
        values.retain(|value| is_near(*value, &front, 1.5, *log));
    }
    // The axis may stretch to show a bound, by half its length at most.
    values.extend(bound.filter(|bound| is_near(*bound, &values, 0.5, *log)));
    Axis::new(&values, *log, unit, pixels)
}

/// Whether a value is among others or at most `reach` times the stretch that they take away, on the scale of the axis.
fn is_near(value: f64, others: &[f64], reach: f64, log: bool) -> bool {
    let scaled = |value: f64| if log { value.max(f64::MIN_POSITIVE).ln() } else { value };
    match (min(others), max(others)) {
        (Some(low), Some(high)) => {
            let (low, high, value) = (scaled(low), scaled(high), scaled(value));
            let reach = reach * (high - low);
            (low - reach..=high + reach).contains(&value)
        }
        (_, _) => false,
    }
}

fn min(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

fn max(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// A dot, or an arrowhead at the edge that the network lies beyond.
fn mark(svg: &mut Svg, x: (f64, bool), y: (f64, bool)) {
    let (at, centre) = ((x.0, y.0), plot::AREA.centre());
    // Outwards.
    let r = |at: f64, centre: f64| if at < centre { -4.5 } else { 4.5 };
    let (across, down) = (r(at.0, centre.0), r(at.1, centre.1));
    match (x.1, y.1) {
        (false, false) => svg.circle("p-faint", at, 3.2),
        (true, _) => svg.path("p-faint", &triangle(at, (across, 0.0), (-across, across), (-across, -across))),
        (false, true) => svg.path("p-faint", &triangle(at, (0.0, down), (down, -down), (-down, -down))),
    }
}

fn triangle(at: Point, a: Point, b: Point, c: Point) -> String {
    let corner = |by: Point| format!("{} {}", px(at.0 + by.0), px(at.1 + by.1));
    format!("M{}L{}L{}Z", corner(a), corner(b), corner(c))
}

/// The border of what the members dominate in this pair, and the dominated area.
fn step_line(svg: &mut Svg, members: &[Point]) {
    let steps = staircase(members);
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
    let mut line = format!("M{} {}", px(first.0), px(first.1));
    for step in &steps[1..] {
        line += &format!("H{}V{}", px(step.0), px(step.1));
    }
    let (top, right) = (px(plot::AREA.y), px(plot::AREA.right()));
    svg.path("p-area", &format!("{line}H{right}V{top}H{}Z", px(first.0)));
    svg.path(
        "p-reach",
        &format!("M{} {top}V{}M{} {}H{right}", px(first.0), px(first.1), px(last.0), px(last.1)),
    );
    svg.path("p-step", &line);
}

/// The points that no other dominates in this pair, from left to right. With three or more objectives a member of the
/// front may be dominated in a pair.
fn staircase(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    // Small objective values lie to the left and, as pixels, at the bottom.
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut steps: Vec<Point> = Vec::new();
    for point in sorted {
        if steps.last().is_none_or(|last| point.1 > last.1) {
            steps.push(point);
        }
    }
    steps
}

/// The area that the step line covers.
fn stairs(members: &[Point]) -> Vec<Rect> {
    let steps = staircase(members);
    let corner = |pair: &[Point]| {
        let (from, to) = (pair[0], pair[1]);
        let across = Rect { x: from.0, y: from.1 - 1.0, width: to.0 - from.0, height: 2.0 };
        [across, Rect { x: to.0 - 1.0, y: from.1, width: 2.0, height: to.1 - from.1 }]
    };
    steps.windows(2).flat_map(corner).collect()
}

/// The bounds as dashed lines, with their values above the plot or under the line.
fn bounds(svg: &mut Svg, (across, x): (&ObjectiveView, &Axis), (up, y): (&ObjectiveView, &Axis)) {
    if let Some(bound) = across.bound {
        let (at, beyond) = x.at(bound);
        if !beyond {
            svg.line("p-bound", (at, plot::AREA.y), (at, plot::AREA.bottom()));
        }
        let text = bound_text(across, bound, beyond);
        let end = at.max(plot::AREA.x + text_width(&text, 10.0));
        svg.text("p-bound-label", (end, plot::AREA.y - 5.0), Anchor::End, &text);
    }
    if let Some(bound) = up.bound {
        let (at, beyond) = y.at(bound);
        if !beyond {
            svg.line("p-bound", (plot::AREA.x, at), (plot::AREA.right(), at));
        }
        let baseline = (at + 12.0).min(plot::AREA.bottom() - 4.0);
        svg.text(
            "p-bound-label",
            (plot::AREA.right() - 4.0, baseline),
            Anchor::End,
            &bound_text(up, bound, beyond),
        );
    }
}

fn bound_text(objective: &ObjectiveView, bound: f64, beyond: bool) -> String {
    let value = format::value(&objective.unit, bound);
    if beyond { format!("bound {value}, beyond the axis") } else { format!("bound {value}") }
}

fn draw_front(svg: &mut Svg, view: &RunView, front: &[&IndividualView], at: &[Point], faint: &[Rect]) {
    let named: Vec<_> = front.iter().zip(at).map(|(member, at)| (*at, format!("#{}", member.id))).collect();
    let placed = labels::place(&named, faint, Rect { height: plot::AREA.height - 2.0, ..plot::AREA });
    for (from, to) in placed.iter().filter_map(|label| label.leader) {
        svg.line("p-leader", from, to);
    }
    for (index, (member, at)) in front.iter().zip(at).enumerate() {
        svg.individual(member.id, &tip(view, member), |svg| {
            svg.circle("p-front", *at, 5.0);
            if let Some(label) = placed.iter().find(|label| label.point == index) {
                svg.text("p-point-label", label.at, Anchor::Start, &named[index].1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_staircase_leaves_out_what_is_dominated_in_the_pair() {
        let points = [(10.0, 10.0), (20.0, 50.0), (15.0, 5.0), (30.0, 50.0), (40.0, 90.0), (10.0, 8.0)];
        assert_eq!(staircase(&points), [(10.0, 10.0), (20.0, 50.0), (40.0, 90.0)]);
    }

    #[test]
    fn every_member_is_labelled_and_every_other_network_is_a_dot() {
        let view = sample::run();
        let svg = plot(&view, 0, 1).svg.standalone();
        for member in view.front() {
            assert!(svg.contains(&format!(">#{}</text>", member.id)), "{}", member.id);
        }
        let drawn = view.individuals.iter().filter(|one| one.value(0).is_some() && !one.on_front).count();
        assert_eq!(svg.matches(r#"class="p-faint""#).count(), drawn);
    }

    #[test]
    fn failures_are_held_at_the_edge_of_a_linear_axis() {
        let mut view = sample::run();
        view.objectives[0].log = false;
        let worst = view.individuals.iter_mut().find(|one| !one.on_front).expect("one off the front");
        worst.values[0] = Some(0.9);
        assert!(plot(&view, 0, 1).beyond >= 1);
    }

    #[test]
    fn small_networks_that_the_search_started_from_are_held_at_the_edge_of_a_logarithmic_axis() {
        let mut view = sample::run();
        view.objectives[1].log = true;
        let smallest =
            min(&view.front().iter().filter_map(|one| one.value(1)).collect::<Vec<_>>()).expect("a front");
        let first = view.individuals.iter_mut().find(|one| !one.on_front).expect("one off the front");
        first.values[1] = Some(smallest * 1e-9);
        let FrontPlot { svg, beyond } = plot(&view, 0, 1);
        assert_eq!(beyond, 1);
        // The arrowhead points to the left: its tip is the leftmost of the three corners.
        let svg = svg.standalone();
        let path = svg.split(r#"class="p-faint" d="M"#).nth(1).expect("an arrowhead");
        let corner =
            |part: &str| part.split(' ').next().and_then(|x| x.parse::<f64>().ok()).expect("a number");
        let corners: Vec<f64> = path.split('Z').next().expect("a path").split('L').map(corner).collect();
        assert!(corners[0] < corners[1] && corners[0] < corners[2], "{corners:?}");
    }

    #[test]
    fn bounds_are_drawn_or_said_to_lie_beyond() {
        let mut view = sample::run();
        view.objectives[1].bound = Some(1e9);
        assert!(plot(&view, 0, 1).svg.standalone().contains("beyond the axis"));
        view.objectives[1].bound = Some(20_000.0);
        let near = plot(&view, 0, 1).svg.standalone();
        assert!(!near.contains("beyond the axis") && near.contains(r#"class="p-bound""#));
    }
}
