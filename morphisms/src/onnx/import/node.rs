//! A node and its attributes.

use super::super::schema::{AttributeProto, NodeProto, TensorProto};

/// A node of a model.
pub(super) struct Operator<'a> {
    pub proto: &'a NodeProto,
}

impl<'a> Operator<'a> {
    pub fn new(proto: &'a NodeProto) -> Self {
        Self { proto }
    }

    /// What the node is called; without a name, what its output is called.
    pub fn name(&self) -> &'a str {
        let output = self.proto.output.first().map_or("", String::as_str);
        self.proto.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(output)
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|attribute| attribute.ints.clone())
    }

    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|attribute| attribute.floats.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(name)?.s.as_deref()?).ok()
    }

    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name)?.t.as_ref()
    }
}
