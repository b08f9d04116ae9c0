//! Another program's network in, morphed, and out again:
//! `cargo run --release -p morphisms --example onnx -- model.onnx deeper.onnx`; without names it brings a small one along.

use std::path::PathBuf;

use candle_core::DType;
use morphisms::onnx::ExportOptions;
use morphisms::{Network, Shape, catalog, check};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut names = std::env::args().skip(1).map(PathBuf::from);
    let (model, out) = match (names.next(), names.next()) {
        (Some(model), Some(out)) => (model, out),
        _ => brought_along()?,
    };

    let parent = Network::load_onnx(&model)?;
    let images = check::images(parent.architecture().input(), 8, 0, DType::F32)?;
    let mut child = parent.clone();
    for name in ["widen", "deepen_residual", "widen_kernel"] {
        let morphism = catalog::named(name).expect("in the catalogue");
        let Some(site) = morphism.sites(child.architecture()).into_iter().next() else { continue };
        child = child.child(&morphism.rewrite(child.architecture(), &site, 0)?, Some(&images))?;
        println!("{name} at {site}: {} parameters", child.architecture().parameter_count());
    }
    let drift = check::drift(&parent, &child, &images)?.relative;
    assert!(drift < 1e-4, "exact morphisms keep the function");
    child.save_onnx(&out, &ExportOptions::default())?;
    println!("{}: no logit moved by more than {drift:.0e} of the largest", out.display());
    Ok(())
}

/// A model for want of another, and where its child goes.
fn brought_along() -> morphisms::Result<(PathBuf, PathBuf)> {
    let folder = std::env::temp_dir();
    let (model, out) = (folder.join("morphisms-model.onnx"), folder.join("morphisms-deeper.onnx"));
    let network = Network::builder(Shape::map(3, 32, 32)).conv_bn_relu(16, 3).max_pool(2).head(10).init(0)?;
    network.save_onnx(&model, &ExportOptions::default())?;
    Ok((model, out))
}
