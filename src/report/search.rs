//! The parts of the page that show what the search found.

use maud::{Markup, html};

use super::svg::Svg;
use super::{
    IndividualView, LayerKind, RunView, draw, format, front, html as page, hypervolume, lineage, origin,
};

/// Networks that are drawn at once; the others are unfolded on demand.
const DRAWN_AT_ONCE: usize = 12;
/// Rows from which on a table scrolls inside a box of its own.
const LONG: usize = 25;

/// The front as a table and in each pair of objectives.
pub fn front(view: &RunView) -> Markup {
    let front = view.front();
    if front.is_empty() {
        return html! { p { "No network is on the front: none was evaluated in every objective, within all bounds." } };
    }
    html! {
        p { "No network in this table is better than another one in every objective. Errors are of the validation set, unless a column says otherwise." }
        (front_table(view, &front))
        div.plots.one[view.objectives.len() == 2] {
            @for up in 0..view.objectives.len() {
                @for across in up + 1..view.objectives.len() { (pair(view, up, across)) }
            }
        }
    }
}

fn front_table(view: &RunView, front: &[&IndividualView]) -> Markup {
    let tested = front.iter().any(|member| member.test_error.is_some());
    html! {
        div.scroll.tall[front.len() > LONG] tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "network" }
                    @for objective in &view.objectives { th.n scope="col" { (objective.heading()) } }
                    @if tested { th.n scope="col" { "test error" } }
                    th.n scope="col" { "generation" }
                    th scope="col" { "how it came about" }
                } }
                tbody {
                    @for member in front {
                        tr data-id=(member.id) {
                            th scope="row" { a href={ "#net-" (member.id) } { "#" (member.id) } }
                            @for (index, objective) in view.objectives.iter().enumerate() {
                                td.n { (number(&objective.unit, member.value(index))) }
                            }
                            @if tested { td.n { (number("%", member.test_error)) } }
                            td.n { (member.generation) }
                            td.wide { (origin(member)) }
                        }
                    }
                }
            }
        }
    }
}

/// A number for a table; a dash where there is none.
pub fn number(unit: &str, value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format::value(unit, value))
}

fn pair(view: &RunView, up: usize, across: usize) -> Markup {
    let plot = front::plot(view, up, across);
    let placed = |one: &&IndividualView| one.value(up).is_some() && one.value(across).is_some();
    let others = view.individuals.iter().filter(|one| !one.on_front).filter(placed).count();
    let lost = view.individuals.iter().filter(|one| !placed(one)).count();
    html! {
        figure {
            (plot.svg.inline())
            figcaption {
                (view.objectives[up].heading()) " over " (view.objectives[across].heading()) ". Blue: the front"
                @if view.objectives.len() > 2 { ", the line along those that none beats in these two alone" }
                ". Grey: " (others) " other " (plural(others)) "."
                @if plot.beyond > 0 { " Arrowheads: " (plot.beyond) " beyond the axes." }
                @if lost > 0 { " Not shown: " (lost) " " (plural(lost)) " without these values." }
            }
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "network" } else { "networks" }
}

/// Each network of the front, drawn.
pub fn networks(view: &RunView) -> Option<Markup> {
    let front: Vec<_> = view.front().into_iter().filter(|member| !member.layers.is_empty()).collect();
    let (first, others) = front.split_at(front.len().min(DRAWN_AT_ONCE));
    (!front.is_empty()).then(|| {
        html! {
            p { "From the image at the top to the logits at the bottom. A box shows the layer and what follows it at once, the shape of its output (channels, height, width) and its parameters." }
            (legend())
            div.nets { @for member in first { (card(view, member)) } }
            @if !others.is_empty() {
                details {
                    summary { (others.len()) " more" }
                    div.nets { @for member in others { (card(view, member)) } }
                }
            }
        }
    })
}

fn card(view: &RunView, member: &IndividualView) -> Markup {
    let drawing = draw::draw(&member.layers, &format!("the layers of network {}", member.id));
    html! {
        article.net.broad[drawing.width() > 300.0] id={ "net-" (member.id) } data-id=(member.id) {
            h3 { "#" (member.id) }
            p { (page::values(view, member)) @if let Some(error) = member.test_error { "; test error " (format::percent(error)) } }
            p.muted { (origin(member)) ", generation " (member.generation) ", " (member.epochs) " epochs in " (format::duration(member.seconds)) }
            (drawing.inline())
        }
    }
}

fn legend() -> Markup {
    let kinds = [
        (LayerKind::Conv, "convolution"),
        (LayerKind::Pool, "pooling"),
        (LayerKind::Add, "join"),
        (LayerKind::Linear, "linear"),
        (LayerKind::Activation, "other"),
    ];
    html! {
        ul.legend aria-label="colours" {
            @for (kind, name) in kinds { li { (swatch(|svg| svg.rect(draw::colour(kind), SWATCH, 3.0))) (name) } }
            li { (swatch(|svg| svg.line("p-skip", (1.0, 7.0), (15.0, 7.0)))) "skip" }
        }
    }
}

const SWATCH: super::svg::Rect = super::svg::Rect { x: 1.0, y: 1.0, width: 14.0, height: 12.0 };

fn swatch(draw: impl FnOnce(&mut Svg)) -> Markup {
    let mut svg = Svg::new(16.0, 14.0, "");
    draw(&mut svg);
    svg.inline()
}

/// The hypervolume over evaluations and over time.
pub fn hypervolume(view: &RunView) -> Markup {
    use hypervolume::{Over, plot, reference};
    html! {
        p {
            "The volume that the networks found so far dominate"
            @if !view.reference.is_empty() { ", up to the fixed reference point of " (reference(view)) }
            ". It never falls; larger is better."
        }
        div.plots {
            @for over in [Over::Evaluations, Over::Time] { figure { (plot(view, over).inline()) } }
        }
    }
}

/// The members of the front and their ancestors.
pub fn family(view: &RunView) -> Option<Markup> {
    let first = view.objectives.first().map_or("value", |objective| objective.name.as_str());
    (!view.front().is_empty()).then(|| {
        html! {
            p { "Filled: the front. Outlined: its ancestors. Over each line stand the edits that made the child, under each network its " (first) ". Generations without a network in the tree are left out." }
            div.scroll.tree tabindex="0" { (lineage::plot(view).inline()) }
        }
    })
}
