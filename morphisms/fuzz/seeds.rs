//! Writes a corpus to start from: valid JSON and safetensors, which mutation alone would hardly come to.

use std::fs;
use std::io::Result;
use std::path::Path;

use morphisms::onnx::{ExportOptions, export};

#[path = "parent.rs"]
mod parent;

fn main() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: String, bytes: Vec<u8>| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    let network = parent::network();
    write("weights", "seed".into(), network.weights().to_safetensors().map_err(std::io::Error::other)?)?;
    for (place, rewrite) in parent::rewrites(&network).iter().enumerate() {
        let child = network.child(rewrite, None).map_err(std::io::Error::other)?;
        let model = export(&child, &ExportOptions::default()).map_err(std::io::Error::other)?;
        write("onnx", format!("seed-{place}"), model)?;
        write("architecture", format!("seed-{place}"), serde_json::to_vec(&rewrite.architecture)?)?;
        let mut bytes = vec![place as u8];
        bytes.extend(serde_json::to_vec(&rewrite.inheritance)?);
        write("inheritance", format!("seed-{place}"), bytes)?;
    }
    let everything = parent::everything();
    let model = export(&everything, &ExportOptions::default()).map_err(std::io::Error::other)?;
    write("onnx", "everything".into(), model)?;
    write("architecture", "everything".into(), serde_json::to_vec(everything.architecture())?)?;
    let edits: Vec<u8> = (0..80u8).map(|byte| byte.wrapping_mul(37)).collect();
    write("edits", "seed".into(), edits)
}
