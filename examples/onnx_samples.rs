//! Writes networks as ONNX models, each with images and the logits it must compute, for other runtimes to be held to:
//! `onnx_samples DIR COUNT [SEED]` draws random ones, `onnx_samples DIR FOLDER..` takes exported ones. See tests/onnx.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use morphisms::check::{images, rounding};
use morphisms::onnx::{ExportOptions, export};
use morphisms::strategies::{Limits, any_network};
use morphisms::{ConvAlgorithm, Layer, Network};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Images of a sample; a few alone may leave a network that is alive at zero.
const BATCH: usize = 8;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, rest @ ..] = arguments.as_slice() else {
        return Err("usage: onnx_samples DIR COUNT [SEED] | DIR FOLDER..".into());
    };
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir)?;
    let count = rest.first().and_then(|count| count.parse().ok());
    match count {
        Some(count) => {
            let seed = rest.get(1).map_or(Ok(0), |seed| seed.parse())?;
            (0..count).try_for_each(|index| sample(&dir, index, &random(seed, index)?))?;
        }
        None => {
            for (index, folder) in (0..).zip(rest) {
                sample(&dir, index, &Network::load(folder)?)?;
            }
        }
    }
    println!("{}", dir.display());
    Ok(())
}

fn random(seed: u64, index: u64) -> Outcome<Network> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let networks = any_network(Limits::default(), DType::F32).prop_filter("ONNX Runtime takes it", is_taken);
    let tree = networks.new_tree(&mut runner);
    Ok(tree.map_err(|reason| reason.to_string())?.current())
}

/// ONNX Runtime refuses local response norms over an even number of channels, which the format allows.
fn is_taken(network: &Network) -> bool {
    let even = |layer| matches!(layer, Layer::LocalResponseNorm { size, .. } if size % 2 == 0);
    !network.architecture().nodes().any(|node| even(node.layer))
}

/// Every second model keeps its batch norms, every third takes its channels last.
fn sample(dir: &Path, index: u64, network: &Network) -> Outcome<()> {
    let options = ExportOptions {
        fold_batch_norms: index.is_multiple_of(2),
        channels_last: index % 3 == 2,
        ..ExportOptions::default()
    };
    let planes = images(network.architecture().input(), BATCH, index, DType::F32)?;
    // Rounded once, at the end: what is compared with should be right.
    let logits = network.to_dtype(DType::F64)?.logits(&planes.to_dtype(DType::F64)?)?.to_dtype(DType::F32)?;
    let images =
        if options.channels_last { planes.permute([0, 2, 3, 1])?.contiguous()? } else { planes.clone() };
    // What the network's own rounding in f32 comes to: some random ones magnify it.
    let rounding = Tensor::new(&[rounding(network, &planes, ConvAlgorithm::Direct)? as f32], &Device::Cpu)?;
    let tensors: [(&str, &Tensor); 3] = [("images", &images), ("logits", &logits), ("rounding", &rounding)];
    std::fs::write(dir.join(format!("{index:04}.onnx")), export(network, &options)?)?;
    safetensors::serialize_to_file(tensors, None, &dir.join(format!("{index:04}.safetensors")))?;
    Ok(())
}
