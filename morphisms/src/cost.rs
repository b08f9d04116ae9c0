//! What an architecture costs, counted without weights.

use std::collections::BTreeMap;

use crate::architecture::{Architecture, Node};
use crate::layer::LayerId;

/// Bytes of an activation number in deployment, f32.
const BYTES: u64 = 4;

impl Architecture {
    /// Trained parameters: kernels, matrices, biases, batch norm scales and shifts, mixing factors. Running
    /// statistics are not counted.
    pub fn parameter_count(&self) -> u64 {
        self.nodes().map(|node| self.layer_parameter_count(node)).sum()
    }

    /// Trained parameters of one layer.
    pub fn layer_parameter_count(&self, node: &Node) -> u64 {
        let mut count = 0;
        node.layer.each_parameter(self.input_shape(node).channels(), &mut |role, shape| {
            if role.is_trained() {
                count += shape.iter().map(|&size| size as u64).product::<u64>();
            }
        });
        count
    }

    /// Multiply-adds of convolutions and linear layers for one image.
    pub fn macs(&self) -> u64 {
        let of = |node: &Node| node.layer.macs(&self.input_shape(node), &node.shape);
        self.nodes().map(of).fold(0, u64::saturating_add)
    }

    /// Peak bytes of live activations while one image is classified in f32, layer by layer in topological order.
    ///
    /// A tensor lives from the layer that makes it to the last one that reads it. Normalisations, activations and flatten
    /// work in place when nobody else reads their input later, as deployed networks do.
    pub fn activation_memory(&self) -> u64 {
        let places = self.nodes().enumerate();
        // Later readers take the place of earlier ones.
        let last_use: BTreeMap<LayerId, usize> =
            places.flat_map(|(place, node)| node.inputs.iter().map(move |&id| (id, place))).collect();
        let (mut live, mut peak) = (0u64, 0u64);
        for (place, node) in self.nodes().enumerate() {
            let mut inputs = node.inputs.clone();
            inputs.sort_unstable();
            inputs.dedup();
            let freed: u64 = inputs
                .iter()
                .filter(|&input| last_use[input] == place)
                .map(|&input| self.shape(input).elements() as u64)
                .sum();
            let made = node.shape.elements() as u64;
            let in_place = node.layer.is_in_place() && freed > 0;
            peak = peak.max(if in_place { live } else { live + made });
            live = live + made - freed;
        }
        peak.saturating_mul(BYTES)
    }
}
