//! The report of a search: one HTML page that needs nothing else, and its plots as SVG and PNG files.
//!
//! It takes a [`RunView`], plain data, and knows nothing of the engine. All text of the view may be hostile: a class
//! is called whatever its folder is called.

mod axis;
mod blocks;
mod draw;
mod format;
mod front;
mod given_up;
mod html;
mod hypervolume;
mod labels;
mod lineage;
mod measuring;
mod palette;
mod plot;
mod png;
#[cfg(test)]
mod sample;
mod search;
mod study;
mod svg;
mod tables;
mod view;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

pub use draw::draw_svg;
pub use format::value as format_value;
pub use given_up::summary as given_up_summary;
pub use measuring::summary as measuring_summary;
pub use png::render as render_png;
pub use study::{
    AttainmentView, BandPoint, CheckView, CurveView, FigureView, FrontRow, IntervalView, MethodView,
    ShareView, StudyView, TestView, write as write_study,
};
pub use view::{
    FinishedView, GivenUpView, HypervolumePoint, IndividualView, InheritanceRow, LayerKind, LayerView,
    MeasuringView, ObjectiveView, RepeatView, RunView, TestUse,
};

/// Writes `report.html` and the folder `plots` into `dir`, which is created if need be, and returns the path of the
/// page. A reader sees the old or the new version of each file, never a part of one.
///
/// # Errors
/// If a file cannot be written.
pub fn write(view: &RunView, dir: &Path) -> Result<PathBuf> {
    let folder = dir.join("plots");
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let mut written = BTreeSet::new();
    for (name, drawing) in plots(view) {
        let text = drawing.standalone();
        for (ending, bytes) in [("png", png::render(&text)?), ("svg", text.into_bytes())] {
            let file = format!("{name}.{ending}");
            replace(&folder.join(&file), &bytes)?;
            written.insert(file);
        }
    }
    remove_stale(&folder, &written)?;
    let page = dir.join("report.html");
    replace(&page, html::page(view).as_bytes())?;
    Ok(page)
}

/// Every drawing of the report with the name of its file.
fn plots(view: &RunView) -> Vec<(String, svg::Svg)> {
    let names = file_names(view);
    let mut plots = Vec::new();
    for up in 0..names.len() {
        for across in up + 1..names.len() {
            plots.push((format!("front-{}-{}", names[up], names[across]), front::plot(view, up, across).svg));
        }
    }
    plots.push((
        "hypervolume-evaluations".to_owned(),
        hypervolume::plot(view, hypervolume::Over::Evaluations),
    ));
    plots.push(("hypervolume-time".to_owned(), hypervolume::plot(view, hypervolume::Over::Time)));
    plots.push(("family".to_owned(), lineage::plot(view)));
    for member in view.front().iter().filter(|member| !member.layers.is_empty()) {
        let label = format!("the layers of network {}", member.id);
        plots.push((format!("network-{}", member.id), draw::draw(&member.layers, &label)));
    }
    plots
}

/// The objectives' names as parts of file names, no two alike.
fn file_names(view: &RunView) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, objective) in view.objectives.iter().enumerate() {
        let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' };
        let name: String = objective.name.chars().take(40).map(kept).collect();
        let taken = name.is_empty() || names.contains(&name);
        names.push(if taken { format!("{name}{index}") } else { name });
    }
    names
}

/// Removes plots of an earlier report that this one does not have, such as a network that has left the front.
fn remove_stale(folder: &Path, written: &BTreeSet<String>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = ["front-", "network-"].iter().any(|start| name.starts_with(start))
            && [".svg", ".png"].iter().any(|end| name.ends_with(end));
        if ours && !written.contains(&name) {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Writes a file beside `path` and renames it, so that `path` is always whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; a report is there to be shown.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.persist(path).map_err(|failed| Error::io("write", path)(failed.error))?;
    Ok(())
}

/// How a network came about, in words: "from #12: widen, deepen".
fn origin(individual: &IndividualView) -> String {
    match (individual.parent, individual.edits.as_slice()) {
        (None, []) if individual.epochs == 0 => "initial network, brought along".to_owned(),
        (None, []) => "initial network".to_owned(),
        (None, edits) => format!("initial network: {}", edits.join(", ")),
        (Some(parent), []) => format!("from #{parent}"),
        (Some(parent), edits) => format!("from #{parent}: {}", edits.join(", ")),
    }
}

#[cfg(test)]
mod tests;
