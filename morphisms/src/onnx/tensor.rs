//! Tensors of ONNX files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use candle_core::{DType, Device, Tensor};

use super::constant::{Constant, count};
use super::import::Reason;
use super::schema::TensorProto;
use super::schema::tensor_proto::{DataLocation, DataType};

/// What lies beside a model.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    /// Where files with weights may lie.
    pub folder: Option<&'a Path>,
    /// How many numbers may still be read from them: many tensors may be in the same place of a file.
    pub room: usize,
}

/// Reads a tensor.
pub(super) fn read(tensor: &TensorProto, beside: &mut Beside) -> Result<Constant, Reason> {
    let kind = DataType::try_from(tensor.data_type()).map_err(|_| {
        Reason::from(format!("its type has the number {}, which is none", tensor.data_type()))
    })?;
    let size = |&size: &i64| usize::try_from(size).map_err(|_| format!("a size of {size}"));
    let dims = tensor.dims.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    if tensor.segment.is_some() {
        return Err("it is stored in segments".into());
    }
    let entries = count(&dims)?;
    let outside = tensor.data_location() == DataLocation::External;
    let outside = outside.then(|| external(tensor, beside, entries, bytes_of(kind)?)).transpose()?;
    let raw = outside.as_deref().or(tensor.raw_data.as_deref());
    match kind {
        DataType::Float => floats(tensor, raw, DType::F32, &tensor.float_data, entries, &dims),
        DataType::Double => floats(tensor, raw, DType::F64, &tensor.double_data, entries, &dims),
        // Without raw data their bits are the lower halves of integers.
        DataType::Float16 | DataType::Bfloat16 => {
            let dtype = if kind == DataType::Float16 { DType::F16 } else { DType::BF16 };
            let halves = tensor.int32_data.iter().flat_map(|&bits| (bits as u16).to_le_bytes());
            let halves: Vec<u8> = if raw.is_none() { halves.collect() } else { Vec::new() };
            from_bytes(raw.unwrap_or(&halves), dtype, entries, &dims)
        }
        DataType::Int64 => ints(raw, i64::from_le_bytes, &tensor.int64_data, entries, dims),
        DataType::Int32 => {
            let values: Vec<i64> = tensor.int32_data.iter().map(|&value| value.into()).collect();
            ints(raw, |bytes| i32::from_le_bytes(bytes).into(), &values, entries, dims)
        }
        DataType::Bool => {
            let values: Vec<i64> = tensor.int32_data.iter().map(|&value| (value != 0).into()).collect();
            ints(raw, |[byte]: [u8; 1]| (byte != 0).into(), &values, entries, dims)
        }
        other => Err(foreign(other)),
    }
}

/// Bytes of a number in a file.
fn bytes_of(kind: DataType) -> Result<usize, Reason> {
    match kind {
        DataType::Bool => Ok(1),
        DataType::Float16 | DataType::Bfloat16 => Ok(2),
        DataType::Float | DataType::Int32 => Ok(4),
        DataType::Double | DataType::Int64 => Ok(8),
        other => Err(foreign(other)),
    }
}

fn foreign(kind: DataType) -> Reason {
    format!("it holds numbers of type {}", kind.as_str_name()).into()
}

/// Floating-point numbers as they lie in memory, or in a field of the message.
fn floats<T: candle_core::WithDType>(
    tensor: &TensorProto,
    raw: Option<&[u8]>,
    dtype: DType,
    values: &[T],
    entries: usize,
    dims: &[usize],
) -> Result<Constant, Reason> {
    if let Some(raw) = raw {
        return from_bytes(raw, dtype, entries, dims);
    }
    if values.len() != entries {
        let name = tensor.name();
        return Err(format!("`{name}` of shape {dims:?} has {} numbers", values.len()).into());
    }
    Ok(Constant::Floats(Tensor::from_slice(values, dims, &Device::Cpu)?.to_dtype(DType::F32)?))
}

fn from_bytes(bytes: &[u8], dtype: DType, entries: usize, dims: &[usize]) -> Result<Constant, Reason> {
    if Some(bytes.len()) != entries.checked_mul(dtype.size_in_bytes()) {
        return Err(format!("{} bytes for a tensor of shape {dims:?}", bytes.len()).into());
    }
    Ok(Constant::Floats(Tensor::from_raw_buffer(bytes, dtype, dims, &Device::Cpu)?.to_dtype(DType::F32)?))
}

fn ints<const SIZE: usize>(
    raw: Option<&[u8]>,
    read: impl Fn([u8; SIZE]) -> i64,
    values: &[i64],
    entries: usize,
    dims: Vec<usize>,
) -> Result<Constant, Reason> {
    let values = match raw.map(|raw| raw.as_chunks::<SIZE>()) {
        Some((chunks, [])) => chunks.iter().map(|&bytes| read(bytes)).collect(),
        Some(_) => Vec::new(),
        None => values.to_vec(),
    };
    if values.len() != entries {
        return Err(format!("{} integers for a tensor of shape {dims:?}", values.len()).into());
    }
    Constant::stored_ints(dims, values)
}

/// The bytes of a tensor that lies in a file of its own, which must be in the model's folder: a model from elsewhere
/// must not read what it likes.
fn external(
    tensor: &TensorProto,
    beside: &mut Beside,
    entries: usize,
    bytes_each: usize,
) -> Result<Vec<u8>, Reason> {
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
    let number =
        |key: &str| entry(key).map(|text| text.parse::<u64>().map_err(|_| format!("{key} `{text}`")));
    let location = entry("location").ok_or("its numbers are in a file that is not named")?;
    let folder = beside.folder.ok_or_else(|| {
        format!("its numbers are in the file `{location}`, and the model does not come from a folder")
    })?;
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_)));
    let inside = |path: &Path| Some(path.canonicalize().ok()?.starts_with(folder.canonicalize().ok()?));
    let path = folder.join(location);
    if !plain || inside(&path) == Some(false) {
        return Err(format!("its numbers are in the file `{location}`, outside the model's folder").into());
    }
    let (offset, length) = (number("offset").transpose()?.unwrap_or(0), number("length").transpose()?);
    let cannot = |error: std::io::Error| format!("its numbers are in the file `{location}`: {error}");
    // Opening a pipe would wait for whoever writes into it.
    let about = std::fs::metadata(&path).map_err(cannot)?;
    if !about.is_file() {
        return Err(format!("its numbers are in `{location}`, which is not a file").into());
    }
    let length = length.unwrap_or(about.len().saturating_sub(offset));
    let expected = entries.checked_mul(bytes_each).ok_or("it is too large to count")?;
    if length != expected as u64 || offset.checked_add(length).is_none_or(|end| end > about.len()) {
        let found = about.len().saturating_sub(offset).min(length);
        return Err(format!("`{location}`: expected {expected} bytes from {offset} on, found {found}").into());
    }
    let room = beside.room.checked_sub(entries);
    beside.room = room.ok_or("more numbers in files than are taken")?;
    let mut file = File::open(&path).map_err(cannot)?;
    file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
    let mut bytes = Vec::with_capacity(expected);
    file.take(length).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
