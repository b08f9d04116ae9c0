//! NAS-Bench-201 (Dong and Yang, ICLR 2020) as CSV: a column `cell` with the cell in the benchmark's own notation,
//! `|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|...|`, and any columns of numbers beside it.
//!
//! The six edges of a cell lead from each node to each later one; an operation's `~N` is the node it starts from.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Contents, Format, Lookup, wrong};
use crate::Result;

pub(super) const FORMAT: Format =
    Format { name: "nas-bench-201", accuracy: "c10_val_12ep", percent: true, read };

/// Operations of an edge.
const OPERATIONS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
const EDGES: usize = 6;

fn read(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let csv = |error: csv::Error| wrong(path, error.to_string());
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().map_err(csv)?.clone();
    let missing = || {
        let found: Vec<&str> = header.iter().collect();
        wrong(path, format!("expected a column `cell`, found {}", found.join(", ")))
    };
    let cell_column = header.iter().position(|name| name == "cell").ok_or_else(missing)?;
    let (mut rows, mut by_genes) = (Vec::new(), BTreeMap::new());
    for (line, record) in reader.records().enumerate() {
        let record = record.map_err(csv)?;
        let cell = &record[cell_column];
        let genes = genes(cell).ok_or_else(|| {
            let operations = OPERATIONS.join(", ");
            wrong(path, format!("line {}: `{cell}` is no cell of six edges with {operations}", line + 2))
        })?;
        let mut values = Vec::new();
        for (name, text) in header.iter().zip(&record).filter(|(name, _)| *name != "cell") {
            let number = text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            values.push(number.ok_or_else(|| {
                wrong(path, format!("line {}, column {name}: expected a number, found `{text}`", line + 2))
            })?);
        }
        if by_genes.insert(genes, rows.len()).is_some() {
            return Err(wrong(path, format!("line {}: the cell `{cell}` is there twice", line + 2)));
        }
        rows.push((cell.to_string(), values));
    }
    let columns = header.iter().filter(|name| *name != "cell").map(String::from).collect();
    let choices = vec![OPERATIONS.len(); EDGES];
    Ok(Contents { choices, columns, rows, rows_by_genes: Lookup::Genes(by_genes) })
}

/// The operation of each edge, in the order in which a cell is written.
fn genes(cell: &str) -> Option<Vec<u8>> {
    let mut genes = Vec::new();
    for (node, edges) in cell.split('+').enumerate() {
        let edges: Vec<&str> = edges.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
        if edges.len() != node + 1 {
            return None;
        }
        for (from, edge) in edges.into_iter().enumerate() {
            let (operation, source) = edge.split_once('~')?;
            let known = OPERATIONS.iter().position(|one| *one == operation)?;
            (source.parse() == Ok(from)).then(|| genes.push(known as u8))?;
        }
    }
    (genes.len() == EDGES).then_some(genes)
}
