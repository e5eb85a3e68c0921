//! Named tensors in safetensors files, read strictly: names, shapes and dtypes must match, both ways.
//!
//! tch's own loading broadcasts, changes dtypes and ignores extra tensors; its writing cannot store metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, View};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::params::Params;

/// The only metadata key: the order of several would differ from run to run.
const METADATA_KEY: &str = "seqloom";

/// The most bytes of a header, as the format has it.
const LONGEST_HEADER: u64 = 100_000_000;

/// Tensors by name.
pub type NamedTensors = Vec<(String, Tensor)>;

/// A tensor's bytes as in the file: little endian, row-major.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a safetensors file. The same tensors and metadata give the same bytes.
pub(crate) fn to_bytes(tensors: &[(String, Tensor)], metadata: Option<&str>) -> Result<Vec<u8>> {
    let stored = tensors.iter().map(|(name, tensor)| Ok((name.as_str(), store(tensor)?)));
    let stored: Vec<(&str, Stored)> = stored.collect::<Result<_>>()?;
    let metadata = metadata.map(|text| HashMap::from([(METADATA_KEY.to_owned(), text.to_owned())]));
    safetensors::serialize(stored.iter().map(|(name, tensor)| (*name, tensor)), metadata)
        .map_err(|error| Error::failure(format!("cannot serialize the tensors: {error}")))
}

/// The tensors of a safetensors file's bytes, on the CPU, and its metadata text. `path` is for error messages.
pub(crate) fn from_bytes(bytes: &[u8], path: &Path) -> Result<(NamedTensors, Option<String>)> {
    // The file starts with the length of the header and the header, a JSON object.
    if bytes.get(8).is_some_and(|&first| first != b'{') {
        return Err(Error::input(format!("{} is not a model file", path.display()))
            .hint("name a run directory, a checkpoint folder or a model.safetensors"));
    }
    let damaged = |reason: String| damaged_file(path, &reason);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
    let metadata = text_of(&header);
    let mut tensors = NamedTensors::new();
    for (name, view) in file.iter() {
        let kind = kind_of(view.dtype())
            .ok_or_else(|| damaged(format!("`{name}` has the dtype {:?}", view.dtype())))?;
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
        let tensor =
            tensor.map_err(|error| damaged(format!("`{name}`: {}", Error::from(error).message())))?;
        tensors.push((name.to_owned(), tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((tensors, metadata))
}

/// The metadata text of a safetensors file, of which only the header is read.
///
/// # Errors
/// A missing file; one whose header cannot be read, or that does not end where its last tensor does.
pub(crate) fn read_metadata(path: &Path) -> Result<Option<String>> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let damaged = |reason: &str| damaged_file(path, reason);
    let cut = |_| damaged("it ends within its header");
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(cut)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER.min(size) {
        return Err(damaged("it ends within its header"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(cut)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(&error.to_string()))?;
    match (header.data_len() as u64).checked_add(8 + length) == Some(size) {
        true => Ok(text_of(&header)),
        false => Err(damaged("its length is not that of its tensors")),
    }
}

fn text_of(header: &Metadata) -> Option<String> {
    header.metadata().as_ref()?.get(METADATA_KEY).cloned()
}

fn damaged_file(path: &Path, reason: &str) -> Error {
    Error::failure(format!("{} is damaged or not a model file: {reason}", path.display()))
        .hint("a copy may be incomplete; use another checkpoint of the run")
}

/// SHA-256 of a file's bytes, as hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    sha256_of_parts(&[bytes])
}

/// The same for bytes in several parts.
pub(crate) fn sha256_of_parts(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies saved weights into a model. Names, shapes and dtypes must be the same.
pub fn load_into(params: &Params, saved: &[(String, Tensor)], path: &Path) -> Result<()> {
    check(params, saved, path)?;
    let _guard = tch::no_grad_guard();
    for (name, tensor) in saved {
        if let Some(weight) = params.get(name) {
            weight.shallow_clone().f_copy_(tensor)?;
        }
    }
    Ok(())
}

/// Compares saved weights with those of a model, for which an outline is enough: names, shapes and dtypes must be the
/// same.
///
/// # Errors
/// The first weight that is missing, unknown or of another shape.
pub(crate) fn check(params: &Params, saved: &[(String, Tensor)], path: &Path) -> Result<()> {
    let wrong = |what: String| {
        Error::failure(format!("{}: {what}", path.display()))
            .hint("the weights belong to a model with other settings; compare with `seqloom inspect`")
    };
    let by_name: HashMap<&str, &Tensor> =
        saved.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for param in params.iter() {
        let (name, weight) = (&param.name, &param.tensor);
        let Some(tensor) = by_name.get(name.as_str()) else {
            return Err(wrong(format!("the weight `{name}` is missing")));
        };
        if tensor.size() != weight.size() || tensor.kind() != weight.kind() {
            let shown = |t: &Tensor| format!("{:?} {:?}", t.kind(), t.size());
            let (wanted, found) = (shown(weight), shown(tensor));
            return Err(wrong(format!("`{name}` must be {wanted}, but it is {found}")));
        }
    }
    match saved.iter().find(|(name, _)| params.get(name).is_none()) {
        Some((name, _)) => Err(wrong(format!("the model has no weight named `{name}`"))),
        None => Ok(()),
    }
}

fn store(tensor: &Tensor) -> Result<Stored> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let dtype = dtype_of(tensor.kind())
        .ok_or_else(|| Error::failure(format!("cannot save a tensor of {:?}", tensor.kind())))?;
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    let size = tensor.numel() * tensor.kind().elt_size_in_bytes();
    let mut bytes = Vec::new();
    let there = bytes.try_reserve_exact(size);
    there
        .map_err(|_| Error::out_of_memory(format!("out of memory: cannot copy {size} bytes to save them")))?;
    bytes.resize(size, 0);
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(Stored { dtype, shape, bytes })
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    match kind {
        Kind::Float => Some(Dtype::F32),
        Kind::BFloat16 => Some(Dtype::BF16),
        Kind::Int64 => Some(Dtype::I64),
        _ => None,
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}
