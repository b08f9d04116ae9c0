//! Architectures in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Architecture, Draft, Node};
use crate::layer::{Layer, LayerId, Shape};

/// Larger ids are refused in files, so that a line of descent never runs out of them.
const LARGEST_ID: u32 = 1 << 31;

/// The form of an architecture in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    input: Shape,
    output: LayerId,
    next_id: u32,
    layers: Vec<DocumentLayer>,
}

#[derive(Serialize)]
struct DocumentLayer {
    id: LayerId,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<LayerId>,
    #[serde(flatten)]
    layer: Layer,
}

impl<'de> Deserialize<'de> for DocumentLayer {
    /// Refuses unknown fields, which serde cannot do by itself for layers without fields of their own.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        struct Fields {
            id: LayerId,
            #[serde(default)]
            inputs: Vec<LayerId>,
            #[serde(flatten)]
            layer: serde_json::Map<String, serde_json::Value>,
        }
        let Fields { id, inputs, layer: fields } = Fields::deserialize(deserializer)?;
        let at = |problem: String| D::Error::custom(format!("layer {id}: {problem}"));
        let layer: Layer =
            serde_json::from_value(fields.clone().into()).map_err(|error| at(error.to_string()))?;
        let known = serde_json::to_value(layer).map_err(|error| at(error.to_string()))?;
        match fields.keys().find(|name| known.get(name).is_none()) {
            Some(name) => Err(at(format!("unknown field `{name}` of {layer}"))),
            None => Ok(Self { id, inputs, layer }),
        }
    }
}

impl Serialize for Architecture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let layers = self
            .nodes()
            .map(|node| DocumentLayer { id: node.id, inputs: node.inputs.clone(), layer: node.layer })
            .collect();
        Document { input: self.input, output: self.output, next_id: self.next, layers }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        if document.next_id > LARGEST_ID {
            let found = document.next_id;
            return Err(serde::de::Error::custom(format!("next_id: at most {LARGEST_ID}, found {found}")));
        }
        let mut layers = BTreeMap::new();
        for DocumentLayer { id, inputs, layer } in document.layers {
            if id.0 >= LARGEST_ID {
                return Err(serde::de::Error::custom(format!("layer {id}: ids are below {LARGEST_ID}")));
            }
            if layers.insert(id, Arc::new(Node::new(id, layer, inputs))).is_some() {
                return Err(serde::de::Error::custom(format!("layer {id} is listed twice")));
            }
        }
        let Document { input, output, next_id: next, .. } = document;
        let draft = Draft { input, nodes: layers.into_values().collect(), output, next, parent: None };
        draft.build().map_err(serde::de::Error::custom)
    }
}
