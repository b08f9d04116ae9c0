//! The page of a study, its plots, and its figures as CSV: methods compared over seeds.

mod view;

use std::fs;
use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::axis::Axis;
use super::svg::{Point, Svg, clean, px};
use super::{format, html as page, palette, plot, png, replace};
use crate::{Error, Result};

pub use view::{
    AttainmentView, BandPoint, CheckView, CurveView, FigureView, FrontRow, IntervalView, MethodView,
    ShareView, StudyView, TestView,
};

/// Colours of methods; more methods than that use them again.
const COLOURS: usize = 9;
/// A vertical axis shows what the curves reach in the last so much of the horizontal one, and less only at its edge.
const SHOWN: f64 = 0.9;
/// Corrected probabilities below which a difference is called one.
const SIGNIFICANT: f64 = 0.05;

/// Writes `study.html`, the folder `plots`, and the CSV files `final.csv`, `curves.csv`, `tests.csv` and `front.csv` into `dir`; the
/// path of the page.
///
/// # Errors
/// If a file cannot be written.
pub fn write(view: &StudyView, dir: &Path) -> Result<PathBuf> {
    let folder = dir.join("plots");
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    for (name, drawing) in plots(view) {
        let text = drawing.standalone();
        replace(&folder.join(format!("{name}.png")), &png::render(&text)?)?;
        replace(&folder.join(format!("{name}.svg")), text.as_bytes())?;
    }
    for (name, table) in tables(view) {
        let path = dir.join(name);
        let failed = |error: csv::Error| Error::io("write", &path)(std::io::Error::other(error));
        let mut writer = csv::Writer::from_writer(Vec::new());
        table.iter().try_for_each(|row| writer.write_record(row)).map_err(failed)?;
        let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
        replace(&path, &bytes)?;
    }
    let path = dir.join("study.html");
    replace(&path, html(view).as_bytes())?;
    Ok(path)
}

/// Every drawing with the name of its file.
fn plots(view: &StudyView) -> Vec<(String, Svg)> {
    let mut plots = Vec::new();
    for curve in &view.curves {
        let name: String =
            curve.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        plots.push((format!("hypervolume-{name}"), curve_plot(view, curve)));
    }
    if !view.attainment.is_empty() {
        plots.push(("attainment".into(), attainment_plot(view)));
    }
    plots
}

/// The classes of a method: its colour, and once there are no more colours, that it is the second of that colour.
fn series(view: &StudyView, method: &str) -> String {
    let place = view.methods.iter().position(|one| one.name == method).unwrap_or(0);
    let again = if place / COLOURS % 2 == 1 { " p-again" } else { "" };
    format!("p-s{}{again}", place % COLOURS)
}

fn legend(view: &StudyView, svg: &mut Svg) {
    let entry = |method: &MethodView| format!("p-dot {}", series(view, &method.name));
    let entries: Vec<_> = view.methods.iter().map(|method| (entry(method), method.name.as_str())).collect();
    plot::legend(svg, &entries);
}

/// Medians as lines, the middle halves as bands. Where the true front is known, what is missing to its hypervolume, on a
/// logarithmic axis: there the last steps are to be seen.
fn curve_plot(view: &StudyView, curve: &CurveView) -> Svg {
    let regret = view.reference_known;
    let shown = |value: f64| if regret { view.reference_hypervolume - value } else { value };
    let points = || curve.lines.iter().flat_map(|(_, points)| points);
    let across: Vec<f64> = points().map(|point| point.x).chain([0.0]).collect();
    let end = across.iter().copied().fold(0.0, f64::max);
    let late = points().filter(|point| point.x >= (1.0 - SHOWN) * end);
    let up: Vec<f64> = late.flat_map(|point| point.band).map(shown).collect();
    let (x, y) = (Axis::new(&across, false, "", plot::ACROSS), Axis::new(&up, regret, "", plot::UPWARDS));
    let title = if regret { "hypervolume missing to the true front" } else { "hypervolume" };
    let mut svg = plot::frame(&format!("{title} over {}", curve.title), (&x, &curve.title), (&y, title));
    let at = |point: &BandPoint, which: usize| (x.at(point.x).0, y.at(shown(point.band[which])).0);
    for (method, points) in &curve.lines {
        let series = series(view, method);
        let low = points.iter().map(|point| at(point, 0));
        let high = points.iter().rev().map(|point| at(point, 2));
        svg.path(&format!("p-band {series}"), &format!("{}Z", polyline(low.chain(high))));
    }
    for (method, points) in &curve.lines {
        let class = format!("p-line {}", series(view, method));
        svg.tip(method, |svg| svg.path(&class, &polyline(points.iter().map(|point| at(point, 1)))));
    }
    legend(view, &mut svg);
    svg
}

fn polyline(points: impl Iterator<Item = Point>) -> String {
    let mut text = String::new();
    for (place, (x, y)) in points.enumerate() {
        text += &format!("{}{} {}", if place == 0 { "M" } else { "L" }, px(x), px(y));
    }
    text
}

/// What half of the runs attained, a line for each method; dashed, what a quarter and three quarters did.
fn attainment_plot(view: &StudyView) -> Svg {
    let (up_view, across_view) = (&view.objectives[0], &view.objectives[1]);
    let reference: Vec<[f64; 2]> = view.front.iter().map(|row| [row.values[0], row.values[1]]).collect();
    let all = view.attainment.iter().flat_map(|one| one.surfaces.iter().flatten()).chain(&reference);
    // Beyond the reference point nothing counts.
    let limit = |objective: usize| view.intervals.get(objective).map_or(f64::INFINITY, |one| one.reference);
    let within = |objective: usize| {
        let values =
            all.clone().map(move |point| point[objective]).filter(move |value| *value <= limit(objective));
        values.collect::<Vec<f64>>()
    };
    let y = Axis::new(&within(0), up_view.log, &up_view.unit, plot::UPWARDS);
    let x = Axis::new(&within(1), across_view.log, &across_view.unit, plot::ACROSS);
    let (x_title, y_title) = (across_view.heading(), up_view.heading());
    let mut svg =
        plot::frame(&format!("{y_title} over {x_title} that runs attained"), (&x, &x_title), (&y, &y_title));
    for point in &reference {
        svg.circle("p-faint", (x.at(point[1]).0, y.at(point[0]).0), 3.0);
    }
    for AttainmentView { method, surfaces } in &view.attainment {
        let series = series(view, method);
        for (place, surface) in surfaces.iter().enumerate() {
            let class = format!("{} {series}", if place == 1 { "p-line" } else { "p-thin" });
            // From the worst to the best value of the first objective, that is from left to right.
            let points: Vec<Point> =
                surface.iter().rev().map(|point| (x.at(point[1]).0, y.at(point[0]).0)).collect();
            svg.tip(method, |svg| svg.path(&class, &stairs(&points)));
        }
    }
    legend(view, &mut svg);
    svg
}

/// A line that keeps its height up to the next point.
fn stairs(points: &[Point]) -> String {
    let Some(first) = points.first() else { return String::new() };
    let mut line = format!("M{} {}", px(first.0), px(first.1));
    for point in &points[1..] {
        line += &format!("H{}V{}", px(point.0), px(point.1));
    }
    line + &format!("H{}", px(plot::AREA.right()))
}

/// The figures as tables, each with the name of its file.
fn tables(view: &StudyView) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let row = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect::<Vec<String>>();
    let mut last = vec![row(&["method", "figure", "run", "value"])];
    for method in &view.methods {
        for figure in &method.figures {
            for (run, value) in figure.values.iter().enumerate() {
                last.push(vec![method.name.clone(), figure.name.clone(), run.to_string(), value.to_string()]);
            }
        }
    }
    let mut curves = vec![row(&["over", "method", "x", "lower_quartile", "median", "upper_quartile"])];
    for curve in &view.curves {
        for (method, points) in &curve.lines {
            for BandPoint { x, band } in points {
                let numbers = [*x, band[0], band[1], band[2]].map(|number| number.to_string());
                curves.push([vec![curve.title.clone(), method.clone()], numbers.to_vec()].concat());
            }
        }
    }
    let mut tests = vec![row(&["a", "b", "difference_of_medians", "p", "p_holm"])];
    for test in &view.tests {
        let numbers = [test.difference, test.p, test.corrected].map(|number| format!("{number:e}"));
        tests.push([vec![test.a.clone(), test.b.clone()], numbers.to_vec()].concat());
    }
    let methods: Vec<String> = view.methods.iter().map(|method| method.name.clone()).collect();
    let objectives: Vec<String> = view.objectives.iter().map(|objective| objective.name.clone()).collect();
    let mut front = vec![[objectives, vec!["design".into()], methods.clone()].concat()];
    for member in &view.front {
        let values: Vec<String> = member.values.iter().map(f64::to_string).collect();
        let found = methods.iter().map(|method| member.found.get(method).copied().unwrap_or(0).to_string());
        front.push([values, vec![member.design.clone()], found.collect()].concat());
    }
    vec![("final.csv", last), ("curves.csv", curves), ("tests.csv", tests), ("front.csv", front)]
}

/// The page: one file that needs nothing else.
fn html(view: &StudyView) -> String {
    let sections = sections(view);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(page::POLICY);
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
                footer { "Written by paretomorph. The plots of this page lie beside it as SVG and PNG files, the figures as CSV." }
            }
        }
    };
    clean(&page.into_string())
}

fn sections(view: &StudyView) -> Vec<page::Section> {
    let part = |anchor, title, body: Markup| page::Section { anchor, title, body };
    let mut sections = vec![
        part("figures", "Final figures", figures(view)),
        part("hypervolume", "Hypervolume", curves(view)),
    ];
    if !view.attainment.is_empty() {
        sections.push(part("attainment", "What runs attained", attainment(view)));
    }
    if !view.shares.is_empty() {
        sections.push(part("share", "How soon as good as the baseline", shares(view)));
    }
    sections.push(part("tests", "Pairwise tests", tests(view)));
    let title = if view.reference_known { "The true front" } else { "The union front" };
    sections.push(part("front", title, front(view)));
    sections.push(part("checklist", "Checklist", checklist(view)));
    sections.push(part("settings", "The study's file", html! { pre tabindex="0" { (view.settings) } }));
    sections
}

fn header(view: &StudyView, sections: &[page::Section]) -> Markup {
    let whole = view.runs == view.runs_planned;
    let state =
        if whole { "finished".to_owned() } else { format!("{} of {} runs", view.runs, view.runs_planned) };
    html! {
        header {
            h1 { (view.title) }
            p.muted { (view.problem) }
            p { span.state.open[!whole] { (state) } " "
                span.muted { (view.methods.len()) " methods, " (view.seeds) " seeds, " (view.budget) " a run, started " (view.started) ", " (format::duration(view.seconds)) " of runs" } }
            p.lead { (headline(view)) }
            nav aria-label="sections" {
                @for section in sections { a href={ "#" (section.anchor) } { (section.title) } }
            }
        }
    }
}

/// The result in a sentence.
fn headline(view: &StudyView) -> String {
    let median = |method: &&MethodView| {
        method.figures.first().and_then(|figure| figure.spread).map(|spread| spread[1])
    };
    let mut order: Vec<&MethodView> = view.methods.iter().filter(|method| median(method).is_some()).collect();
    order.sort_by(|a, b| median(b).partial_cmp(&median(a)).unwrap_or(std::cmp::Ordering::Equal));
    let [best, rest @ ..] = order.as_slice() else { return "No run has ended yet.".into() };
    let of_best = |test: &&TestView| [&test.a, &test.b].contains(&&best.name);
    let beaten = |other: &&&MethodView| {
        let test = view.tests.iter().filter(of_best).find(|test| [&test.a, &test.b].contains(&&other.name));
        test.is_some_and(|test| test.corrected < SIGNIFICANT)
    };
    let level: Vec<&str> =
        rest.iter().filter(|other| !beaten(other)).map(|other| other.name.as_str()).collect();
    let start = format!(
        "{} has the largest median hypervolume, {}",
        best.name,
        format::significant(median(best).unwrap_or(0.0))
    );
    match (rest.len(), level.as_slice()) {
        (0, _) => format!("{start}."),
        (_, []) => format!("{start}; every other method is behind it by more than chance explains."),
        (_, level) => format!("{start}; chance may explain its lead over {}.", listed(level)),
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A probability; very small ones are known to be no more than that.
fn probability(p: f64) -> String {
    if p < 1e-6 { "< 0.000001".to_owned() } else { format::significant(p) }
}

fn text(unit: &str, value: f64) -> String {
    match (value.is_finite(), unit) {
        (false, _) => "never".to_owned(),
        (true, "") => format::significant(value),
        (true, unit) => format::value(unit, value),
    }
}

/// "0.51–0.54", "19.1–24.1 %".
fn range(unit: &str, low: f64, high: f64) -> String {
    let (low, high) = (text(unit, low), text(unit, high));
    if low == high {
        return low;
    }
    let split =
        |text: &str| text.split_once('\u{a0}').map(|(number, unit)| (number.to_owned(), unit.to_owned()));
    match (split(&low), split(&high)) {
        (Some((number, of_low)), Some((_, of_high))) if of_low == of_high => format!("{number}–{high}"),
        _ => format!("{low}–{high}"),
    }
}

fn figures(view: &StudyView) -> Markup {
    let names: Vec<&FigureView> =
        view.methods.first().map_or(Vec::new(), |method| method.figures.iter().collect());
    // The best median of each figure.
    let best: Vec<Option<f64>> = (0..names.len())
        .map(|figure| {
            let medians = view.methods.iter().filter_map(|method| Some(method.figures[figure].spread?[1]));
            let finite = medians.filter(|value| value.is_finite());
            match names[figure].smaller_is_better {
                true => finite.min_by(f64::total_cmp),
                false => finite.max_by(f64::total_cmp),
            }
        })
        .collect();
    html! {
        p { "Medians over the runs; below them the quartiles. The best median of a row is marked. " (measured(view)) }
        div.scroll tabindex="0" {
            table.dense {
                thead { tr {
                    th scope="col" { "" }
                    @for method in &view.methods { th.n scope="col" { (swatch(view, &method.name)) (method.name) } }
                } }
                tbody {
                    @for (place, figure) in names.iter().enumerate() {
                        tr {
                            th scope="row" { (figure.name) }
                            @for method in &view.methods {
                                @let found = &method.figures[place];
                                td.n { @match found.spread {
                                    Some([low, median, high]) => {
                                        @if Some(median) == best[place] { mark { (text(&found.unit, median)) } } @else { (text(&found.unit, median)) }
                                        br; span.muted { (range(&found.unit, low, high)) }
                                    }
                                    None => { "–" }
                                } }
                            }
                        }
                    }
                    tr {
                        th scope="row" { "runs" }
                        @for method in &view.methods { td.n { (method.runs) br; span.muted { (format::duration(method.seconds)) } } }
                    }
                }
            }
        }
        @for method in &view.methods {
            @if method.ends.len() > 1 || method.ends.iter().any(|(end, _)| !end.contains("used up")) {
                p.muted { (method.name) ": " (method.ends.iter().map(|(end, count)| format!("{count} runs ended because {end}")).collect::<Vec<_>>().join("; ")) "." }
            }
        }
    }
}

/// How fronts are measured, in words.
fn measured(view: &StudyView) -> String {
    let interval = |one: &IntervalView| {
        let unit = view
            .objectives
            .iter()
            .find(|objective| objective.name == one.name)
            .map_or("", |found| &found.unit);
        let (from, to) = (format::value(unit, one.ideal), format::value(unit, one.reference));
        let log = if one.log { " on a scale of logarithms" } else { "" };
        format!("{} from {from} (0) to {to} (1){log}", one.name)
    };
    let intervals: Vec<String> = view.intervals.iter().map(interval).collect();
    let front = if view.reference_known { "the true front" } else { "the union front of all runs" };
    format!(
        "Fronts are measured in {}, as the study states; the reference point is 1 in each, and the hypervolume of {front} is {}.",
        intervals.join(", "),
        format::significant(view.reference_hypervolume)
    )
}

fn swatch(view: &StudyView, method: &str) -> Markup {
    let mut svg = Svg::new(14.0, 10.0, "");
    svg.rect(
        &format!("p-dot {}", series(view, method)),
        super::svg::Rect { x: 0.0, y: 1.0, width: 10.0, height: 8.0 },
        2.0,
    );
    svg.inline()
}

fn curves(view: &StudyView) -> Markup {
    let caption = match view.reference_known {
        true => {
            "What is missing to the hypervolume of the true front: lower is better. Lines are medians over the runs, bands their middle halves."
        }
        false => "Lines are medians over the runs, bands their middle halves.",
    };
    html! {
        div.plots.one[view.curves.len() == 1] {
            @for curve in &view.curves { figure { (curve_plot(view, curve).inline()) figcaption { (caption) } } }
        }
    }
}

fn attainment(view: &StudyView) -> Markup {
    html! {
        div.plots.one { figure {
            (attainment_plot(view).inline())
            figcaption { "Empirical attainment surfaces: half of the runs of a method have a network at or below its line; dashed, a quarter and three quarters of them. Grey dots are the reference front." }
        } }
    }
}

fn shares(view: &StudyView) -> Markup {
    let percent = |share: f64| if share.is_finite() { format::percent(share) } else { "never".to_owned() };
    html! {
        p { "The share of the budget after which the mean hypervolume of a method's runs is that of " (view.shares[0].baseline) " at its end; in brackets, what 95 % of bootstrap resamples of the runs give." }
        div.scroll tabindex="0" { table { tbody { @for share in &view.shares {
            tr { th scope="row" { (swatch(view, &share.method)) (share.method) }
                 td.n { (percent(share.share)) } td { span.muted { "(" (percent(share.interval.0)) " to " (percent(share.interval.1)) ")" } } }
        } } } }
    }
}

fn tests(view: &StudyView) -> Markup {
    html! {
        p { "Final hypervolumes by Wilcoxon's rank-sum test, two-sided, corrected for the number of pairs by Holm's method. " (view.seeds) " runs of each method." }
        div.scroll.tall[view.tests.len() > 25] tabindex="0" { table {
            thead { tr { th scope="col" { "larger median" } th scope="col" { "smaller median" } th.n scope="col" { "difference" } th.n scope="col" { "p" } th.n scope="col" { "p, corrected" } th scope="col" { "" } } }
            tbody { @for test in &view.tests {
                @let (a, b) = if test.difference < 0.0 { (&test.b, &test.a) } else { (&test.a, &test.b) };
                tr {
                    th scope="row" { (swatch(view, a)) (a) } td { (swatch(view, b)) (b) }
                    td.n { (format::significant(test.difference.abs())) } td.n { (probability(test.p)) } td.n { (probability(test.corrected)) }
                    td { @if test.corrected < SIGNIFICANT { "differ" } @else { span.muted { "chance may explain it" } } }
                }
            } }
        } }
    }
}

fn front(view: &StudyView) -> Markup {
    html! {
        p { "Each member, and in how many runs of each method it was found." }
        div.scroll.tall[view.front.len() > 25] tabindex="0" { table {
            thead { tr {
                @for objective in &view.objectives { th.n scope="col" { (objective.heading()) } }
                @for method in &view.methods { th.n scope="col" { (method.name) } }
                th scope="col" { "design" }
            } }
            tbody { @for member in &view.front { tr {
                @for (objective, value) in view.objectives.iter().zip(&member.values) { td.n { (format::value(&objective.unit, *value)) } }
                @for method in &view.methods { td.n { (member.found.get(&method.name).copied().unwrap_or(0)) } }
                td { code { (member.design) } }
            } } }
        } }
    }
}

fn checklist(view: &StudyView) -> Markup {
    html! {
        p { "After the NAS best practice checklist of Lindauer and Hutter (JMLR 2020), in our words. What the record of this study does not tell is left open." }
        div.scroll tabindex="0" { table { tbody { @for check in &view.checklist {
            tr { th.wide scope="row" { (check.question) } td.wide { @match &check.answer { Some(answer) => { (answer) } None => { span.state.open { "open" } } } } }
        } } } }
        div.scroll tabindex="0" { table { tbody { @for (name, value) in &view.machine { tr { th scope="row" { (name) } td { (value) } } } } } }
    }
}
