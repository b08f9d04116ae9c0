//! `front`, `report`, `lineage`, `morphisms`: what there is to see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use morphisms::{Architecture, Fingerprint, Promise, catalog};
use serde::Serialize;

use super::print;
use crate::individual::Individual;
use crate::search::{Given, hypervolume, reported_front, test_errors};
use crate::store::Store;
use crate::{Error, Result, objective, overview, report};

/// A line above and below, one under the header, and nothing between the rows.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A member of the front, for programs.
#[derive(Serialize)]
struct FrontMember<'a> {
    id: u64,
    objectives: &'a BTreeMap<String, f64>,
    fingerprint: Fingerprint,
    weights: &'a str,
    architecture: &'a Architecture,
}

pub(super) fn front(run: &Path, json: bool) -> Result<()> {
    let store = Store::read(run)?;
    if !json {
        return print(&format!("{}\n", front_text(&store)?));
    }
    let individuals = store.database.individuals()?;
    let members: Vec<FrontMember<'_>> = reported_front(&individuals, &store.config)?
        .into_iter()
        .map(|member| FrontMember {
            id: member.id,
            objectives: &member.objectives,
            fingerprint: member.fingerprint,
            weights: member.weights.as_deref().unwrap_or_default(),
            architecture: &member.architecture,
        })
        .collect();
    let text = serde_json::to_string_pretty(&members);
    print(&format!("{}\n", text.map_err(|source| Error::Json { what: "the front".into(), source })?))
}

pub(super) fn report(run: &Path) -> Result<()> {
    let page = write_report(&Store::read(run)?)?;
    print(&format!("Report: {}\n", page.display()))
}

/// Writes the report of a run; returns its page.
pub(super) fn write_report(store: &Store) -> Result<PathBuf> {
    report::write(&overview::of(store)?, &store.path)
}

pub(super) fn lineage(run: &Path, id: u64) -> Result<()> {
    let store = Store::read(run)?;
    let individuals = store.database.individuals()?;
    let mut line = vec![find(&store, &individuals, id)?];
    while let Some(parent) = line[line.len() - 1].parent {
        line.push(find(&store, &individuals, parent)?);
    }
    let given: Vec<Given> = store.database.fact_or_default("given")?;
    let mut table = table();
    let mut header = vec!["id".to_string(), "generation".into(), "how".into()];
    header.extend(store.config.objectives.iter().cloned());
    table.set_header(header);
    for individual in line.into_iter().rev() {
        let how = match individual.parent {
            None if individual.generation == 0 && individual.child < given.len() => {
                format!("given, {}", given[individual.child].path.display())
            }
            None => "trained from scratch".into(),
            Some(_) => individual.edits_text(),
        };
        let mut row = vec![Cell::new(individual.id), Cell::new(individual.generation), Cell::new(how)];
        row.extend(
            store.config.objectives.iter().map(|name| number(name, individual.objectives.get(name).copied())),
        );
        table.add_row(row);
    }
    print(&format!("{table}\n"))
}

pub(super) fn morphisms() -> Result<()> {
    let mut table = table();
    table.set_header(["morphism", "promise", "what it does"]);
    for morphism in catalog::all() {
        let promise = match morphism.promise() {
            Promise::Exact => "exact: keeps the function",
            Promise::Approximate => "approximate: smaller, nearly keeps it",
        };
        table.add_row([morphism.name(), promise, morphism.summary()]);
    }
    print(&format!("{table}\n"))
}

/// The front as a table, with the hypervolume and its reference point.
pub(super) fn front_text(store: &Store) -> Result<String> {
    let individuals = store.database.individuals()?;
    let mut members = reported_front(&individuals, &store.config)?;
    if members.is_empty() {
        let more = accounts(store, &individuals)?;
        return Ok(format!("No network keeps all bounds yet; {} were trained.{more}", individuals.len()));
    }
    let tests = test_errors(&store.database)?;
    let error = |member: &Individual| member.objectives.get("error").copied().unwrap_or(1.0);
    members.sort_by(|a, b| error(b).total_cmp(&error(a)).then(a.id.cmp(&b.id)));
    let mut table = table();
    let mut header = vec!["id".to_string()];
    header.extend(store.config.objectives.iter().map(|name| match name.as_str() {
        "error" => "validation error".to_string(),
        other => other.replace('_', " "),
    }));
    header.extend(["test error", "generation", "parent", "edits"].map(String::from));
    table.set_header(header);
    for member in &members {
        let mut row = vec![Cell::new(member.id)];
        row.extend(
            store.config.objectives.iter().map(|name| number(name, member.objectives.get(name).copied())),
        );
        row.push(number("error", member.weights.as_ref().and_then(|weights| tests.get(weights)).copied()));
        row.push(Cell::new(member.generation));
        row.push(Cell::new(member.parent.map_or_else(|| "-".into(), |parent| parent.to_string())));
        let names: Vec<&str> = member.edits.iter().map(|edit| edit.morphism.as_str()).collect();
        row.push(Cell::new(if names.is_empty() { "-".into() } else { names.join(", ") }));
        table.add_row(row);
    }
    let reference: Vec<f64> = store.database.fact("reference")?;
    let volume = hypervolume(&members, &store.config, &reference)?;
    let at = store
        .config
        .objectives
        .iter()
        .zip(&reference)
        .map(|(name, value)| format!("{name} {}", text(name, *value)));
    let trained = individuals.len();
    let at: Vec<String> = at.collect();
    Ok(format!(
        "{table}\n{trained} networks trained; hypervolume {volume:.4} to the reference point {} (costs by log10){}",
        at.join(", "),
        accounts(store, &individuals)?
    ))
}

/// What measuring cost and how repeatable it is, a line for each measured objective; and what giving trainings up saved.
fn accounts(store: &Store, individuals: &[Individual]) -> Result<String> {
    let seconds = overview::seconds(store);
    let measured = overview::measuring(store)?;
    let measured = measured.iter().map(|view| report::measuring_summary(view, seconds));
    let given_up = overview::given_up(store, individuals)?.map(|view| report::given_up_summary(&view));
    Ok(measured.chain(given_up).map(|line| format!("\n{line}")).collect())
}

/// The individual `id` of a run.
pub(super) fn find<'a>(store: &Store, individuals: &'a [Individual], id: u64) -> Result<&'a Individual> {
    let missing = || Error::Run {
        path: store.path.clone(),
        problem: match individuals.len() {
            0 => format!("no individual {id}: it has none yet"),
            n => format!("no individual {id}: they are numbered from 0 to {}", n - 1),
        },
    };
    individuals.iter().find(|individual| individual.id == id).ok_or_else(missing)
}

pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn number(name: &str, value: Option<f64>) -> Cell {
    let text = value.map_or_else(|| "-".into(), |value| text(name, value));
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn text(name: &str, value: f64) -> String {
    let unit = objective::named(name).map_or("", |objective| objective.unit);
    report::format_value(unit, value)
}
