//! Runs ONNX models in tract and compares with the logits they must compute: `onnx-tract DIR`, where DIR holds NAME.onnx and
//! NAME.safetensors as `cargo run --example onnx_samples` writes them.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use safetensors::SafeTensors;
use tract_onnx::prelude::*;

/// The largest difference, by the largest logit.
const BOUND: f32 = 1e-4;

fn main() -> TractResult<()> {
    let dir = std::env::args().nth(1).unwrap_or_default();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<TractResult<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    ensure!(!paths.is_empty(), "no models in `{dir}`");
    paths.sort();
    let (mut found, mut good, mut plain) = (Vec::new(), true, 0);
    for path in &paths {
        let Judgement { moved, allowed, optimised } =
            judge(path).with_context(|| path.display().to_string())?;
        let holds = moved <= allowed;
        if !holds || moved > BOUND {
            let name = path.file_name().unwrap_or_default().display();
            println!("{name}: {moved:.1e}; what the network's own rounding allows: {allowed:.1e}");
        }
        found.push(moved);
        good &= holds;
        plain += usize::from(!optimised);
    }
    found.sort_by(f32::total_cmp);
    let at = |share: f64| found[((found.len() - 1) as f64 * share).round() as usize];
    println!(
        "tract: {} models; difference by the largest logit: 50% at most {:.1e}, 90% at most {:.1e}, 99% at most \
         {:.1e}, 100% at most {:.1e}; {plain} run as they are, because tract's optimiser fails on them",
        found.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    std::process::exit(if good { 0 } else { 1 })
}

struct Judgement {
    /// The largest difference by the largest logit.
    moved: f32,
    allowed: f32,
    optimised: bool,
}

fn judge(path: &Path) -> TractResult<Judgement> {
    let bytes = std::fs::read(path.with_extension("safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let [images, logits, rounding] = ["images", "logits", "rounding"].map(|name| tensor(&tensors, name));
    let (images, logits, rounding) = (images?, logits?, rounding?);
    let model =
        tract_onnx::onnx().model_for_path(path)?.with_input_fact(0, f32::fact(images.shape()).into())?;
    let (optimised, model) = match model.clone().into_optimized() {
        Ok(model) => (true, model),
        Err(_) => (false, model.into_typed()?),
    };
    let outputs = model.into_runnable()?.run(tvec!(images.into()))?;
    let (found, expected) = (outputs[0].to_plain_array_view::<f32>()?, logits.to_plain_array_view::<f32>()?);
    ensure!(found.shape() == expected.shape(), "shape {:?}, not {:?}", found.shape(), expected.shape());
    let difference = |(a, b): (&f32, &f32)| if a.is_nan() { f32::INFINITY } else { (a - b).abs() };
    let moved = found.iter().zip(&expected).map(difference).fold(0f32, f32::max);
    let scale = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let own = rounding.to_plain_array_view::<f32>()?.iter().copied().fold(0f32, f32::max);
    Ok(Judgement { moved: moved / scale, allowed: BOUND.max(own / scale), optimised })
}

fn tensor(tensors: &SafeTensors, name: &str) -> TractResult<Tensor> {
    let view = tensors.tensor(name)?;
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    Tensor::from_shape(view.shape(), &values)
}
