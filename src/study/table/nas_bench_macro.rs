//! NAS-Bench-Macro (Su et al., "Prioritized architecture sampling with Monto-Carlo tree search", CVPR 2021): chains of eight blocks,
//! each an identity or one of two inverted residual blocks, trained on CIFAR-10 three times.
//!
//! A JSON object: `{"02012100": {"test_acc": [89.5, 88.9, 89.2], "mean_acc": 89.2, "std": 0.2, "params": 890666, "flops":
//! 47327744}, ...}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Contents, Format, Lookup, wrong};
use crate::{Error, Result};

pub(super) const FORMAT: Format =
    Format { name: "nas-bench-macro", accuracy: "mean_acc", percent: true, read };

/// Choices of a block.
const CHOICES: usize = 3;

#[derive(Deserialize)]
struct Entry {
    test_acc: [f64; 3],
    mean_acc: f64,
    std: f64,
    params: f64,
    flops: f64,
}

fn read(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let entries: BTreeMap<String, Entry> = serde_json::from_slice(bytes)
        .map_err(|source| Error::Json { what: format!("the table {}", path.display()), source })?;
    let columns = ["mean_acc", "test_acc_1", "test_acc_2", "test_acc_3", "std", "params", "flops"];
    let (mut rows, mut by_genes) = (Vec::new(), BTreeMap::new());
    let length = entries.keys().next().map_or(0, String::len);
    for (name, entry) in entries {
        let genes: Option<Vec<u8>> =
            name.chars().map(|one| one.to_digit(CHOICES as u32).map(|choice| choice as u8)).collect();
        let genes = genes.filter(|genes| genes.len() == length && length > 0).ok_or_else(|| {
            wrong(path, format!("expected an architecture of {length} digits from 0 to 2, found `{name}`"))
        })?;
        by_genes.insert(genes, rows.len());
        let [first, second, third] = entry.test_acc;
        let values = vec![entry.mean_acc, first, second, third, entry.std, entry.params, entry.flops];
        rows.push((name, values));
    }
    Ok(Contents {
        choices: vec![CHOICES; length],
        columns: columns.map(String::from).to_vec(),
        rows,
        rows_by_genes: Lookup::Genes(by_genes),
    })
}
