//! Which layers depend on which, for all pairs at once.

use crate::architecture::Architecture;

/// A bit for every pair of layers, named by their places in topological order.
pub(crate) struct Reach {
    words: usize,
    bits: Vec<u64>,
}

impl Reach {
    /// The layers are visited from the last to the first: what depends on a layer are its readers and what depends on
    /// those.
    pub(crate) fn of(architecture: &Architecture) -> Self {
        let count = architecture.nodes().len();
        let words = count.div_ceil(64);
        let mut reach = Self { words, bits: vec![0; count * words] };
        for (place, node) in architecture.nodes().enumerate().rev() {
            reach.bits[place * words + place / 64] |= 1 << (place % 64);
            for &input in &node.inputs {
                reach.include(architecture.place(input), place);
            }
        }
        reach
    }

    /// Whether the layer at `later` depends on the one at `earlier`, or is the same.
    pub(crate) fn depends(&self, later: usize, earlier: usize) -> bool {
        self.bits[earlier * self.words + later / 64] >> (later % 64) & 1 == 1
    }

    /// What depends on the reader depends on `input` too.
    fn include(&mut self, input: usize, reader: usize) {
        let (before, behind) = self.bits.split_at_mut(reader * self.words);
        let row = &mut before[input * self.words..][..self.words];
        row.iter_mut().zip(behind).for_each(|(row, reader)| *row |= *reader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Layer, Shape};

    #[test]
    fn it_agrees_with_a_search_for_every_pair() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        // More than 64 layers, so that a row has two words.
        let mut ends = [draft.input(); 2];
        for _ in 0..12 {
            ends = ends.map(|end| draft.conv_bn_relu(end, Conv::same(2, 3)));
        }
        let sum = draft.push(Layer::Add, &ends);
        draft.head(sum, 2);
        let architecture = draft.build().unwrap();
        let reach = Reach::of(&architecture);
        for (earlier, node) in architecture.nodes().enumerate() {
            let behind = architecture.descendants(node.id);
            for (later, other) in architecture.nodes().enumerate() {
                assert_eq!(reach.depends(later, earlier), behind.contains(&other.id), "{later} on {earlier}");
            }
        }
    }
}
