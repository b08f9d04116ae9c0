//! A network in boxes: chains such as Conv-BatchNorm-ReLU become one, and every box gets a row and a column.

use std::collections::BTreeMap;

use super::{LayerKind, LayerView};

/// One or more layers drawn as a box.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Of the first layer.
    pub kind: LayerKind,
    /// Of the first layer.
    pub label: String,
    /// What follows the first layer within the box: "BN", "ReLU", "flatten".
    pub tail: Vec<String>,
    /// Of the last layer.
    pub shape: String,
    /// Of all its layers.
    pub params: u64,
    /// The blocks that it reads; they come before it.
    pub inputs: Vec<usize>,
    /// Length of the longest path to it from a block without inputs.
    pub row: usize,
    /// 0: the longest path through the network; side branches have columns of their own.
    pub column: usize,
}

/// The boxes of a network, inputs first.
pub fn blocks(layers: &[LayerView]) -> Vec<Block> {
    let mut blocks = fuse(&sorted(layers));
    for index in 0..blocks.len() {
        blocks[index].row =
            blocks[index].inputs.iter().map(|input| blocks[*input].row + 1).max().unwrap_or(0);
    }
    let columns = columns(&blocks);
    blocks.iter_mut().zip(columns).for_each(|(block, column)| block.column = column);
    blocks
}

/// The layers with inputs first. Layers on a cycle come last, in the order given.
fn sorted(layers: &[LayerView]) -> Vec<&LayerView> {
    let mut waiting: Vec<&LayerView> = layers.iter().collect();
    let mut sorted: Vec<&LayerView> = Vec::new();
    let mut placed: BTreeMap<u32, bool> = layers.iter().map(|layer| (layer.id, false)).collect();
    while !waiting.is_empty() {
        let ready = |layer: &&LayerView| layer.inputs.iter().all(|input| *placed.get(input).unwrap_or(&true));
        let (now, later): (Vec<_>, Vec<_>) = waiting.iter().copied().partition(ready);
        if now.is_empty() {
            sorted.extend(later);
            break;
        }
        placed.extend(now.iter().map(|layer| (layer.id, true)));
        sorted.extend(now);
        waiting = later;
    }
    sorted
}

fn fuse(layers: &[&LayerView]) -> Vec<Block> {
    let mut uses: BTreeMap<u32, usize> = BTreeMap::new();
    layers.iter().flat_map(|layer| &layer.inputs).for_each(|input| *uses.entry(*input).or_default() += 1);
    let mut blocks: Vec<Block> = Vec::new();
    // The block that each layer is in, as far as it is its last layer.
    let mut ends: BTreeMap<u32, usize> = BTreeMap::new();
    for layer in layers {
        let inputs: Vec<usize> = layer.inputs.iter().filter_map(|input| ends.get(input).copied()).collect();
        let alone = layer.inputs.len() == 1 && uses.get(&layer.inputs[0]) == Some(&1);
        let tail = tail(layer).filter(|_| alone && inputs.len() == 1);
        match tail {
            Some(tail) if takes_tail(blocks[inputs[0]].kind, layer.kind) => {
                let block = &mut blocks[inputs[0]];
                block.tail.push(tail);
                block.shape.clone_from(&layer.shape);
                block.params += layer.params;
                ends.insert(layer.id, inputs[0]);
            }
            Some(_) | None => {
                ends.insert(layer.id, blocks.len());
                blocks.push(block(layer, inputs));
            }
        }
    }
    blocks
}

fn block(layer: &LayerView, inputs: Vec<usize>) -> Block {
    let LayerView { kind, label, shape, params, .. } = layer.clone();
    Block { kind, label, tail: Vec::new(), shape, params, inputs, row: 0, column: 0 }
}

/// What a layer is called at the end of another one's box.
fn tail(layer: &LayerView) -> Option<String> {
    match layer.kind {
        LayerKind::Norm | LayerKind::Activation | LayerKind::Shuffle | LayerKind::Flatten => {
            Some(match layer.label.as_str() {
                "batch norm" => "BN".to_owned(),
                "relu" => "ReLU".to_owned(),
                other => other.to_owned(),
            })
        }
        LayerKind::Input
        | LayerKind::Conv
        | LayerKind::Pool
        | LayerKind::Add
        | LayerKind::Multiply
        | LayerKind::Concat
        | LayerKind::Mix
        | LayerKind::Linear
        | LayerKind::GlobalPool => None,
    }
}

/// Whether a box that begins with `head` may go on with `next`.
fn takes_tail(head: LayerKind, next: LayerKind) -> bool {
    match head {
        LayerKind::Input | LayerKind::Flatten => false,
        LayerKind::Pool | LayerKind::GlobalPool => next == LayerKind::Flatten,
        LayerKind::Conv
        | LayerKind::Norm
        | LayerKind::Activation
        | LayerKind::Shuffle
        | LayerKind::Add
        | LayerKind::Multiply
        | LayerKind::Concat
        | LayerKind::Mix
        | LayerKind::Linear => true,
    }
}

/// Column of each block: 0 on the longest path; each side chain the nearest column that is free from where the chain
/// starts to where it joins again.
fn columns(blocks: &[Block]) -> Vec<usize> {
    let mut columns = vec![0; blocks.len()];
    let spine = spine(blocks);
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    for chain in chains(blocks, &spine) {
        let (first, last) = (chain[0], chain[chain.len() - 1]);
        let start = blocks[first].row.saturating_sub(1);
        let joins = blocks.iter().filter(|block| block.inputs.contains(&last)).map(|block| block.row).max();
        let span = (start, joins.unwrap_or(blocks[last].row + 1));
        let free =
            |column: &Vec<(usize, usize)>| column.iter().all(|(from, to)| span.1 <= *from || *to <= span.0);
        let column = taken.iter().position(free).unwrap_or(taken.len());
        if column == taken.len() {
            taken.push(Vec::new());
        }
        taken[column].push(span);
        chain.iter().for_each(|block| columns[*block] = column + 1);
    }
    columns
}

/// Whether each block is on the longest path that ends in the lowest row.
fn spine(blocks: &[Block]) -> Vec<bool> {
    let mut spine = vec![false; blocks.len()];
    let mut next = (0..blocks.len()).max_by_key(|index| blocks[*index].row);
    while let Some(index) = next {
        spine[index] = true;
        let row = blocks[index].row;
        next = blocks[index].inputs.iter().copied().find(|input| blocks[*input].row + 1 == row);
    }
    spine
}

/// The blocks off the spine, in chains of which each block reads the one before it.
fn chains(blocks: &[Block], spine: &[bool]) -> Vec<Vec<usize>> {
    let mut chains: Vec<Vec<usize>> = Vec::new();
    for index in (0..blocks.len()).filter(|index| !spine[*index]) {
        let goes_on =
            |chain: &&mut Vec<usize>| chain.last().is_some_and(|last| blocks[index].inputs.contains(last));
        match chains.iter_mut().find(goes_on) {
            Some(chain) => chain.push(index),
            None => chains.push(vec![index]),
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: u32, kind: LayerKind, inputs: &[u32]) -> LayerView {
        let (label, shape) = (format!("{kind:?} {id}"), format!("shape {id}"));
        LayerView { id, kind, label, shape, params: 10, inputs: inputs.to_vec() }
    }

    #[test]
    fn a_simple_chain_becomes_one_box() {
        use LayerKind::{Activation, Conv, Flatten, GlobalPool, Input, Linear, Norm};
        let kinds = [Input, Conv, Norm, Activation, GlobalPool, Flatten, Linear];
        let layers: Vec<_> = (0..7)
            .zip(kinds)
            .map(|(i, kind)| layer(i, kind, &[i.wrapping_sub(1)][..usize::from(i > 0)]))
            .collect();
        let blocks = blocks(&layers);
        assert_eq!(blocks.iter().map(|b| b.kind).collect::<Vec<_>>(), [Input, Conv, GlobalPool, Linear]);
        assert_eq!(
            (blocks[1].tail.clone(), blocks[1].shape.as_str(), blocks[1].params),
            (vec!["Norm 2".to_owned(), "Activation 3".to_owned()], "shape 3", 30)
        );
        assert_eq!(blocks.iter().map(|b| b.row).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_box_ends_where_something_else_reads_its_middle() {
        use LayerKind::{Activation, Add, Conv, Input, Norm};
        let layers = [
            layer(0, Input, &[]),
            layer(1, Conv, &[0]),
            layer(2, Norm, &[1]),
            layer(3, Activation, &[2]),
            layer(4, Add, &[2, 3]),
        ];
        let blocks = blocks(&layers);
        assert_eq!(blocks.iter().map(|b| b.kind).collect::<Vec<_>>(), [Input, Conv, Activation, Add]);
        assert_eq!(blocks[3].inputs, [1, 2]);
    }

    #[test]
    fn branches_have_columns_and_the_longest_path_is_straight() {
        use LayerKind::{Concat, Conv, Input};
        let layers = [
            layer(9, Concat, &[3, 4, 1]),
            layer(0, Input, &[]),
            layer(1, Conv, &[0]),
            layer(2, Conv, &[1]),
            layer(3, Conv, &[2]),
            layer(4, Conv, &[1]),
        ];
        let blocks = blocks(&layers);
        let at = |label: &str| blocks.iter().find(|b| b.label == label).map(|b| (b.row, b.column));
        let expected = [
            ("Input 0", 0, 0),
            ("Conv 1", 1, 0),
            ("Conv 2", 2, 0),
            ("Conv 3", 3, 0),
            ("Conv 4", 2, 1),
            ("Concat 9", 4, 0),
        ];
        for (label, row, column) in expected {
            assert_eq!(at(label), Some((row, column)), "{label}");
        }
    }

    #[test]
    fn damaged_graphs_still_give_boxes() {
        use LayerKind::{Add, Conv};
        let layers =
            [layer(0, Conv, &[1]), layer(1, Conv, &[0, 77]), layer(2, Add, &[2, 2]), layer(2, Conv, &[0])];
        assert_eq!(blocks(&layers).len(), 4);
        assert!(blocks(&[]).is_empty());
    }
}
