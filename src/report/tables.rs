//! The parts of the page that account for the run: inheritance, test set, time, settings.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::search::number;
use super::{InheritanceRow, RunView, format, origin};

/// Validation errors of children before any training, beside their parents'.
pub fn inheritance(view: &RunView) -> Option<Markup> {
    (!view.inheritance.is_empty()).then(|| {
        html! {
            p.result { (exact_summary(&view.inheritance)) }
            @if let Some(text) = approximate_summary(&view.inheritance) { p { (text) } }
            div.scroll.tall tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "child" } th scope="col" { "parent" } th scope="col" { "edits" } th scope="col" { "promise" }
                        th.n scope="col" { "parent's error" } th.n scope="col" { "before training" } th.n scope="col" { "after training" }
                    } }
                    tbody { @for row in &view.inheritance {
                        tr data-id=(row.id) {
                            th scope="row" { "#" (row.id) } td { "#" (row.parent) } td.wide { (row.edits) }
                            td { @if row.exact { "exact" } @else { "approximate" } }
                            td.n { (number("%", Some(row.parent_error))) }
                            td.n { (number("%", Some(row.first_error))) }
                            td.n { (number("%", Some(row.trained_error))) }
                        }
                    } }
                }
            }
        }
    })
}

/// By how much the error of each child with this promise differs from its parent's before any training, sorted.
fn differences(rows: &[InheritanceRow], exact: bool) -> Vec<f64> {
    let of = rows.iter().filter(|row| row.exact == exact).map(|row| row.first_error - row.parent_error);
    let mut differences: Vec<f64> = of.collect();
    differences.sort_by(f64::total_cmp);
    differences
}

fn exact_summary(rows: &[InheritanceRow]) -> String {
    let differences = differences(rows, true);
    let largest = differences.iter().map(|difference| difference.abs()).fold(0.0, f64::max);
    match differences.len() {
        0 => "No child was made by exact edits alone.".to_owned(),
        1 if largest == 0.0 => {
            "The one child of exact edits had its parent's validation error before any training.".to_owned()
        }
        count if largest == 0.0 => {
            format!(
                "Each of the {count} children of exact edits had its parent's validation error before any training: the largest difference is 0."
            )
        }
        count => format!(
            "Before any training, the validation errors of the {count} children of exact edits differ from their parents' by at most {} percentage points.",
            format::significant(largest * 100.0)
        ),
    }
}

fn approximate_summary(rows: &[InheritanceRow]) -> Option<String> {
    let differences = differences(rows, false);
    let median = *differences.get(differences.len() / 2)?;
    let (sign, points) =
        (if median < 0.0 { "lower" } else { "higher" }, format::significant(median.abs() * 100.0));
    Some(format!(
        "The errors of the {} children of approximate edits were {points} percentage points {sign} in the median.",
        differences.len()
    ))
}

/// Networks trained on after the search.
pub fn finished(view: &RunView) -> Option<Markup> {
    let found = |id: u64| view.individuals.iter().find(|one| one.id == id).and_then(|one| one.value(0));
    let unit = view.objectives.first().map_or("%", |objective| objective.unit.as_str());
    (!view.finished.is_empty()).then(|| {
        html! {
            p { "Trained after the search had ended. These results did not steer the search, and they are not part of the front above." }
            div.scroll tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "network" } th scope="col" { "weights" } th.n scope="col" { "epochs" } th.n scope="col" { "in the search" }
                        th.n scope="col" { "validation error" } th.n scope="col" { "test error" } th.n scope="col" { "time" }
                    } }
                    tbody { @for row in &view.finished {
                        tr data-id=(row.id) {
                            th scope="row" { "#" (row.id) }
                            td { @if row.from_scratch { "from scratch" } @else { "trained on" } }
                            td.n { (row.epochs) }
                            td.n { (number(unit, found(row.id))) }
                            td.n { (number("%", Some(row.validation_error))) }
                            td.n { (number("%", Some(row.test_error))) }
                            td.n { (format::duration(row.seconds)) }
                        }
                    } }
                }
            }
        }
    })
}

/// Every use of the test set.
pub fn test_uses(view: &RunView) -> Markup {
    if view.test_uses.is_empty() {
        return html! { p { "The test set has not been used." } };
    }
    html! {
        p { "Every look at the test set is written down here, since each one that a choice is based on makes its results a little too good." }
        div.scroll.tall tabindex="0" {
            table {
                thead { tr { th scope="col" { "when" } th scope="col" { "network" } th.n scope="col" { "test error" } th scope="col" { "why" } } }
                tbody { @for entry in &view.test_uses {
                    tr data-id=(entry.id) {
                        td { (entry.when) } th scope="row" { "#" (entry.id) } td.n { (format::percent(entry.error)) } td.wide { (entry.why) }
                    }
                } }
            }
        }
    }
}

/// Shares of the time as bars.
pub fn phases(view: &RunView) -> Option<Markup> {
    let known: f64 = view.phases.iter().map(|(_, seconds)| seconds).sum();
    // Workers side by side can spend more seconds than pass.
    let whole = view.seconds.max(known);
    let rest = (view.seconds - known > 0.005 * whole).then(|| ("other".to_owned(), view.seconds - known));
    (!view.phases.is_empty() && whole > 0.0).then(|| {
        html! {
            p { "From start to end: " (format::duration(view.seconds)) "." }
            div.bars {
                @for (name, seconds) in view.phases.iter().chain(&rest) {
                    @let share = seconds / whole;
                    span { (name) }
                    span.track { span.fill style={ "display:block;width:" (super::svg::px(100.0 * share)) "%" } {} }
                    span.n { (format::duration(*seconds)) ", " (format::percent(share)) }
                }
            }
        }
    })
}

/// Every evaluated network, folded away; and how often each edit was made.
pub fn individuals(view: &RunView) -> Option<Markup> {
    (!view.individuals.is_empty()).then(|| {
        html! {
            p { (outcomes(view)) }
            (edits(view))
            details {
                summary { "The " (view.individuals.len()) " networks as a table" }
                div.scroll.tall tabindex="0" {
                    table {
                        thead { tr {
                            th scope="col" { "network" }
                            @for objective in &view.objectives { th.n scope="col" { (objective.heading()) } }
                            th.n scope="col" { "generation" } th.n scope="col" { "epochs" } th.n scope="col" { "time" }
                            th scope="col" { "outcome" } th scope="col" { "how it came about" }
                        } }
                        tbody { @for one in &view.individuals {
                            tr data-id=(one.id) {
                                th scope="row" { "#" (one.id) @if one.on_front { " (front)" } }
                                @for (index, objective) in view.objectives.iter().enumerate() { td.n { (number(&objective.unit, one.value(index))) } }
                                td.n { (one.generation) } td.n { (one.epochs) } td.n { (format::duration(one.seconds)) }
                                td { (one.outcome) } td.wide { (origin(one)) }
                            }
                        } }
                    }
                }
            }
        }
    })
}

/// How trainings ended: "55 trained, 2 diverged".
fn outcomes(view: &RunView) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    view.individuals.iter().for_each(|one| *counts.entry(&one.outcome).or_default() += 1);
    let parts: Vec<_> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    format!("Outcomes: {}.", parts.join(", "))
}

/// How many children each edit had a part in, and how many of those are on the front.
fn edits(view: &RunView) -> Markup {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in &view.individuals {
        let mut names: Vec<&str> = one.edits.iter().map(|edit| edit_name(edit)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (children, members) = counts.entry(name).or_default();
            *children += 1;
            *members += usize::from(one.on_front);
        }
    }
    html! {
        @if !counts.is_empty() {
            div.scroll tabindex="0" {
                table {
                    thead { tr { th scope="col" { "edit" } th.n scope="col" { "children" } th.n scope="col" { "of these on the front" } } }
                    tbody { @for (name, (children, members)) in &counts {
                        tr { th scope="row" { (name) } td.n { (children) } td.n { (members) } }
                    } }
                }
            }
        }
    }
}

/// The edit without its place: "widen" of "widen 3 to 32".
fn edit_name(edit: &str) -> &str {
    edit.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or(edit)
}

/// Versions, machine and the settings file.
pub fn settings(view: &RunView) -> Markup {
    html! {
        div.columns {
            (pairs("Versions", &view.versions))
            (pairs("Machine", &view.machine))
        }
        @if !view.settings.is_empty() {
            h3 { "Settings" }
            p { "The whole configuration of this run, as the program reads it." }
            pre tabindex="0" { (view.settings) }
        }
    }
}

fn pairs(title: &str, pairs: &[(String, String)]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            div {
                h3 { (title) }
                div.scroll tabindex="0" { table { tbody { @for (name, value) in pairs { tr { th scope="row" { (name) } td.wide { (value) } } } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn row(exact: bool, parent_error: f64, first_error: f64) -> InheritanceRow {
        InheritanceRow { exact, parent_error, first_error, ..InheritanceRow::default() }
    }

    #[test]
    fn the_largest_difference_of_exact_children_is_told() {
        let rows = [row(true, 0.1, 0.1), row(true, 0.2, 0.1965), row(false, 0.1, 0.9)];
        assert!(exact_summary(&rows).contains(
            "the 2 children of exact edits differ from their parents' by at most 0.350 percentage"
        ));
        assert!(exact_summary(&rows[..1]).starts_with("The one child"));
        assert!(exact_summary(&rows[2..]).starts_with("No child"));
        assert!(
            approximate_summary(&rows).is_some_and(|text| text.contains("80.0 percentage points higher"))
        );
    }

    #[test]
    fn shares_of_time_add_up_to_the_whole() {
        let mut view = sample::run();
        view.seconds = 100.0;
        view.phases = vec![("train".into(), 60.0), ("rewrite".into(), 15.0)];
        let text = phases(&view).expect("phases").into_string().replace('\u{a0}', " ");
        for share in ["width:60%", "width:15%", "width:25%"] {
            assert!(text.contains(share), "{share}: {text}");
        }
    }

    #[test]
    fn edits_are_counted_once_a_child_and_without_their_place() {
        let mut view = sample::run();
        view.individuals.truncate(1);
        view.individuals[0].edits = vec!["widen 3 to 32".into(), "widen 4 to 8".into(), "deepen(2)".into()];
        let text = edits(&view).into_string();
        assert!(text.contains(r#"<th scope="row">widen</th><td class="n">1</td>"#), "{text}");
        assert!(text.contains(r#"<th scope="row">deepen</th>"#));
    }

    #[test]
    fn an_unused_test_set_is_mentioned() {
        assert!(test_uses(&RunView::default()).into_string().contains("has not been used"));
    }
}
