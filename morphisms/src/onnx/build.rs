//! Puts an ONNX graph together, message by message.

use candle_core::{DType, Tensor};

use super::schema::tensor_proto::DataType;
use super::schema::tensor_shape_proto::{Dimension, dimension};
use super::schema::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, type_proto,
};
use crate::Result;

/// A graph in the making.
#[derive(Default)]
pub(super) struct GraphBuilder {
    pub graph: GraphProto,
}

impl GraphBuilder {
    /// Adds a node whose only output has the node's name; returns that name.
    pub fn node<S: AsRef<str>>(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[S],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.graph.node.push(NodeProto {
            op_type: Some(operator.into()),
            name: Some(name.into()),
            input: inputs.iter().map(|input| input.as_ref().to_string()).collect(),
            output: vec![name.into()],
            attribute: attributes,
            ..NodeProto::default()
        });
        name.into()
    }

    /// Adds an initialiser in f32; returns its name.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(self.floats(name, tensor.dims(), &values))
    }

    /// Adds an initialiser in f32 from its values, row by row; returns its name.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims.iter().map(|&size| size as i64).collect(), DataType::Float, bytes)
    }

    /// Adds a vector of integers, such as a shape; returns its name.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, vec![values.len() as i64], DataType::Int64, bytes)
    }

    fn initializer(&mut self, name: &str, dims: Vec<i64>, kind: DataType, bytes: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims,
            data_type: Some(kind.into()),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
        name.into()
    }
}

/// An f32 tensor that the graph takes or yields; the first axis is the batch, of any size.
pub(super) fn value(name: &str, sizes: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".into());
    let sizes = sizes.iter().map(|&size| dimension::Value::DimValue(size as i64));
    let dim = std::iter::once(batch)
        .chain(sizes)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(DataType::Float.into()), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind.into()), ..AttributeProto::default() }
}

pub(super) fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto { f: Some(value as f32), ..attribute(name, AttributeType::Float) }
}

pub(super) fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto { i: Some(value as i64), ..attribute(name, AttributeType::Int) }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}
