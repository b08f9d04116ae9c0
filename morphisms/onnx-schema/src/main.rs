//! Turns `onnx.proto` into Rust, without a protobuf compiler installed: `onnx-schema FOLDER OUTPUT`, where the folder
//! holds `onnx.proto`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, output] = arguments.as_slice() else {
        return Err("usage: onnx-schema FOLDER OUTPUT".into());
    };
    let made = std::env::temp_dir().join(format!("onnx-schema-{}", std::process::id()));
    std::fs::create_dir_all(&made)?;
    prost_build::Config::new()
        // Weights are the bulk of a model: read without copying them.
        .bytes([".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .out_dir(&made)
        .compile_fds(protox::compile(["onnx.proto"], [folder])?)?;
    let head = "// Generated from the official schema by morphisms/onnx-schema/generate.sh. Do not edit.\n\n";
    let code = std::fs::read_to_string(made.join("onnx.rs"))?;
    std::fs::write(Path::new(output), format!("{head}{code}"))?;
    std::fs::remove_dir_all(&made)?;
    Ok(())
}
