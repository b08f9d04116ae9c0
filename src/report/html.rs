//! The page: one file that needs nothing else, with or without scripts.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::svg::clean;
use super::{IndividualView, RunView, format, given_up, measuring, palette, search, tables};

const SCRIPT: &str = include_str!("assets/page.js");
/// Even text that slipped through could load nothing.
pub const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The whole page.
pub fn page(view: &RunView) -> String {
    let sections = sections(view);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (view.title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(palette::page_css())) }
            }
            body {
                (header(view, &sections))
                main {
                    @for section in &sections {
                        section id=(section.anchor) { h2 { (section.title) } (section.body) }
                    }
                }
                footer { "Written by paretomorph. The plots of this page lie beside it as SVG and PNG files, in the folder plots." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    clean(&page.into_string())
}

/// A part of the page that the navigation leads to.
pub struct Section {
    /// Its place on the page.
    pub anchor: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// All below the heading.
    pub body: Markup,
}

/// The parts of the page that this run has something to say about.
fn sections(view: &RunView) -> Vec<Section> {
    let part = |anchor, title, body: Option<Markup>| body.map(|body| Section { anchor, title, body });
    [
        part("front", "The front", Some(search::front(view))),
        part("networks", "The networks, drawn", search::networks(view)),
        part("hypervolume", "Hypervolume", Some(search::hypervolume(view))),
        part("family", "Family tree", search::family(view)),
        part("inheritance", "Inheritance", tables::inheritance(view)),
        part("finish", "Longer training", tables::finished(view)),
        part("test", "Test set", Some(tables::test_uses(view))),
        part("measuring", "Measuring", measuring::measuring(view)),
        part("given-up", "Trainings given up", given_up::given_up(view)),
        part("time", "Time", tables::phases(view)),
        part("all", "All networks", tables::individuals(view)),
        part("settings", "Settings and machine", Some(tables::settings(view))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn header(view: &RunView, sections: &[Section]) -> Markup {
    let ended = view.state.starts_with("finished");
    html! {
        header {
            h1 { (view.title) }
            p.muted { (view.dataset) }
            p {
                @if !view.state.is_empty() { span.state.open[!ended] { (view.state) } " " }
                span.muted { "strategy " (view.strategy) ", budget " (view.budget) ", seed " (view.seed) ", started " (view.started) }
            }
            p.lead { (headline(view)) }
            (facts(view))
            nav aria-label="sections" {
                @for section in sections { a href={ "#" (section.anchor) } { (section.title) } }
            }
        }
    }
}

/// The result in a sentence.
fn headline(view: &RunView) -> String {
    let (trained, time) = (view.individuals.len(), format::duration(view.seconds));
    let networks = if trained == 1 { "1 network was".to_owned() } else { format!("{trained} networks were") };
    let start = format!("{networks} trained and evaluated in {time}.");
    let front = view.front();
    let (Some(best), Some(smallest)) = (front.first(), smallest(view)) else {
        return format!("{start} None of them is on the front.");
    };
    match front.len() {
        1 => format!("{start} The front is a single network, #{}: {}.", best.id, values(view, best)),
        size => format!(
            "{start} {size} of them form the front, from {} (#{}) to {} (#{}).",
            values(view, smallest),
            smallest.id,
            values(view, best),
            best.id
        ),
    }
}

/// The values of an individual in words: "1.05 % error, 12.3 k parameters".
pub fn values(view: &RunView, individual: &IndividualView) -> String {
    let parts = view.objectives.iter().enumerate();
    let parts = parts.filter_map(|(index, objective)| Some(objective.phrase(individual.value(index)?)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The objective that a network's size is told by.
fn size_objective(view: &RunView) -> Option<usize> {
    let parameters = view.objectives.iter().position(|objective| objective.unit == "parameters");
    parameters.or_else(|| (view.objectives.len() > 1).then_some(1))
}

fn smallest(view: &RunView) -> Option<&IndividualView> {
    let size = size_objective(view).unwrap_or(0);
    let of = |one: &IndividualView| one.value(size).unwrap_or(f64::INFINITY);
    view.front().into_iter().min_by(|a, b| of(a).total_cmp(&of(b)))
}

/// The numbers that people look for first.
fn facts(view: &RunView) -> Markup {
    let front = view.front();
    let value = |one: &IndividualView, index: usize| {
        let objective = &view.objectives[index];
        one.value(index).map_or("–".to_owned(), |value| format::value(&objective.unit, value))
    };
    let fact = |name: &str, number: String, note: String| {
        html! { div { dt { (name) } dd { (number) span.note { (note) } } } }
    };
    html! {
        dl.facts {
            (fact("networks trained", view.individuals.len().to_string(), format!("in {}", format::duration(view.seconds))))
            (fact("on the front", front.len().to_string(), format!("{} generations", generations(view))))
            @if let Some(best) = front.first().filter(|_| !view.objectives.is_empty()) {
                (fact(&format!("lowest {}", view.objectives[0].name), value(best, 0), format!("#{}, validation", best.id)))
                @if let Some(error) = best.test_error {
                    (fact("its test error", format::percent(error), format!("#{}", best.id)))
                }
            }
            @if let (Some(one), Some(size)) = (smallest(view), size_objective(view)) {
                (fact(&format!("fewest {}", view.objectives[size].unit), value(one, size), format!("#{}, {} {}", one.id, view.objectives[0].name, value(one, 0))))
            }
            @if let Some(last) = view.hypervolume.last() {
                (fact("hypervolume", format::significant(last.value), format!("{} evaluations", last.evaluations)))
            }
        }
    }
}

fn generations(view: &RunView) -> u32 {
    view.individuals.iter().map(|one| one.generation).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_headline_tells_the_result() {
        let view = sample::run();
        let text = headline(&view).replace('\u{a0}', " ");
        let front = view.front();
        assert!(text.starts_with(&format!(
            "{} networks were trained and evaluated in 2 min 48 s.",
            view.individuals.len()
        )));
        assert!(
            text.contains(&format!("{} of them form the front", front.len()))
                && text.contains(&format!("(#{})", front[0].id))
        );
    }

    #[test]
    fn an_interrupted_run_without_results_is_told_as_such() {
        let view = RunView { state: "interrupted".into(), seconds: 3.0, ..RunView::default() };
        assert_eq!(
            headline(&view).replace('\u{a0}', " "),
            "0 networks were trained and evaluated in 3.00 s. None of them is on the front."
        );
        assert!(page(&view).contains(r#"class="state open""#));
    }
}
