//! The part of the page that accounts for measured objectives: what measuring cost, and what its numbers are worth.

use maud::{Markup, html};

use super::{MeasuringView, RunView, format};

/// Each measured objective.
pub fn measuring(view: &RunView) -> Option<Markup> {
    (!view.measuring.is_empty()).then(|| {
        html! { @for one in &view.measuring { p { (summary(one, view.seconds)) } (repeated(one)) (failures(one)) } }
    })
}

/// What measuring cost as a share of the `seconds` of a run, and how repeatable it is, in sentences.
pub fn summary(view: &MeasuringView, seconds: f64) -> String {
    let parts = [
        Some(cost(view, seconds)),
        repeatability(view),
        view.spread.map(|spread| {
            format!(
                "The middle half of the values of one network spans {} of their median, in the median.",
                format::percent(spread)
            )
        }),
        prediction(view),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn cost(view: &MeasuringView, seconds: f64) -> String {
    let share = match seconds > 0.0 {
        true => format!(", {} of the run", format::percent(view.seconds / seconds)),
        false => String::new(),
    };
    let failed: usize = view.failures.iter().map(|(_, count)| count).sum();
    let failed = match failed {
        0 => String::new(),
        count => format!("; {} could not be measured", networks(count)),
    };
    let (measured, time) = (networks(view.networks), format::duration(view.seconds));
    format!("{} of {measured} was measured by {} in {time}{share}{failed}.", capitalised(&view.name), view.by)
}

fn repeatability(view: &MeasuringView) -> Option<String> {
    let mut off: Vec<f64> =
        view.repeated.iter().filter_map(|one| Some((one.again? / one.first - 1.0).abs())).collect();
    off.sort_by(f64::total_cmp);
    let (median, largest) = (off.get(off.len() / 2)?, off.last()?);
    let (median, largest) = (format::percent(*median), format::percent(*largest));
    let measured = networks(off.len());
    Some(format!(
        "Measured again at the end, {measured} differed from the first value by {median} in the median, by {largest} at most."
    ))
}

fn prediction(view: &MeasuringView) -> Option<String> {
    let correlation = view.correlation?;
    let predicted = networks(view.predicted);
    Some(format!(
        "Predictions made before measuring ranked {predicted} as the measured values do with a correlation of {correlation:.2} (Spearman)."
    ))
}

fn networks(count: usize) -> String {
    if count == 1 { "1 network".into() } else { format!("{count} networks") }
}

fn capitalised(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn repeated(view: &MeasuringView) -> Markup {
    html! {
        @if !view.repeated.is_empty() {
            div.scroll tabindex="0" { table {
                thead { tr {
                    th.n scope="col" { "parameters of the network" } th.n scope="col" { "first value" }
                    th.n scope="col" { "again, at the end" } th.n scope="col" { "difference" }
                } }
                tbody { @for one in &view.repeated { tr {
                    th.n scope="row" { (format::value("parameters", one.parameters as f64)) }
                    td.n { (format::value(&view.unit, one.first)) }
                    td.n { (one.again.map_or("failed".to_owned(), |again| format::value(&view.unit, again))) }
                    td.n { (one.again.map_or("–".to_owned(), |again| format::percent(again / one.first - 1.0))) }
                } } }
            } }
        }
    }
}

fn failures(view: &MeasuringView) -> Markup {
    html! {
        @if !view.failures.is_empty() {
            div.scroll.tall tabindex="0" { table {
                thead { tr { th scope="col" { "why networks could not be measured" } th.n scope="col" { "networks" } } }
                tbody { @for (why, count) in &view.failures {
                    tr { td.wide { (why) } td.n { (count) } }
                } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RepeatView;

    fn view() -> MeasuringView {
        let repeat = |again| RepeatView { parameters: 1000, first: 2.0, again };
        MeasuringView {
            name: "latency".into(),
            unit: "ms".into(),
            by: "`./bench {onnx}`".into(),
            networks: 40,
            failures: vec![("no <route>".into(), 2)],
            seconds: 12.5,
            spread: Some(0.03),
            repeated: vec![repeat(Some(2.02)), repeat(Some(1.9)), repeat(None)],
            predicted: 30,
            correlation: Some(0.954),
        }
    }

    #[test]
    fn the_summary_tells_cost_failures_repeatability_and_rank_correlation() {
        let text = summary(&view(), 100.0).replace('\u{a0}', " ");
        for part in [
            "Latency of 40 networks was measured by `./bench {onnx}` in 12.5 s, 12.5 % of the run; 2 networks could not",
            "2 networks differed from the first value by 5.00 % in the median, by 5.00 % at most",
            "spans 3.00 % of their median",
            "ranked 30 networks as the measured values do with a correlation of 0.95",
        ] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
        let bare = MeasuringView { networks: 1, seconds: 2.0, ..MeasuringView::default() };
        assert_eq!(summary(&bare, 0.0).replace('\u{a0}', " "), " of 1 network was measured by  in 2.00 s.");
    }

    #[test]
    fn the_page_lists_what_failed_and_what_was_measured_again() {
        let run = RunView { measuring: vec![view()], seconds: 100.0, ..RunView::default() };
        let text = measuring(&run).unwrap().into_string().replace('\u{a0}', " ");
        assert!(
            text.contains("no &lt;route&gt;") && text.contains("failed") && text.contains("-5.00 %"),
            "{text}"
        );
        assert!(measuring(&RunView::default()).is_none());
    }
}
