//! Every instruction set of this processor computes the same.

use super::InstructionSet;
use crate::{
    Activation, Conv2dConfig, ConvAlgorithm, Epilogue, LocalResponseNormConfig, Padding, Pool2dConfig,
    activation, avg_pool2d, batch_norm_train, conv2d, dropout, global_avg_pool2d, group_norm, linear,
    local_response_norm, max_pool2d, multiply, prelu,
};
use candle_core::{Device, Result, Tensor, Var};
use std::cell::Cell;

thread_local!(pub(super) static FORCED: Cell<Option<InstructionSet>> = const { Cell::new(None) });

/// What this processor has, the plainest first.
fn available() -> Vec<InstructionSet> {
    let mut sets = vec![InstructionSet::Portable];
    #[cfg(target_arch = "x86_64")]
    if InstructionSet::best() == InstructionSet::Avx512 {
        sets.push(InstructionSet::Avx2);
    }
    if !sets.contains(&InstructionSet::best()) {
        sets.push(InstructionSet::best());
    }
    sets
}

fn tensor(shape: &[usize]) -> Result<Tensor> {
    let values = (0..shape.iter().product()).map(|i| ((i * i) as f32 * 0.37).sin());
    Tensor::from_vec(values.collect(), shape, &Device::Cpu)
}

/// Output and weight gradients of a network with a layer of every kind.
fn network(set: InstructionSet, algorithm: ConvAlgorithm) -> Result<Vec<Tensor>> {
    FORCED.set(Some(set));
    let shapes: [&[usize]; 5] = [&[7, 3, 3, 3], &[7, 1, 3, 3], &[7], &[7], &[5, 7]];
    let v: Vec<Var> = shapes.iter().map(|s| Var::from_tensor(&tensor(s)?)).collect::<Result<_>>()?;
    let cfg = Conv2dConfig { padding: Padding::even(1, 1), algorithm, ..Default::default() };
    let window = Pool2dConfig { kernel: (3, 3), stride: (1, 1), padding: Padding::even(1, 1) };
    let halve = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
    let x = conv2d(&tensor(&[4, 3, 17, 21])?, &v[0], None, &cfg)?;
    let x = conv2d(&x, &v[1], Some(&v[3]), &Conv2dConfig { groups: 7, ..cfg })?;
    let x = batch_norm_train(&x, &v[2], &v[3], 1e-5, Epilogue::Relu)?.output;
    let x = max_pool2d(&avg_pool2d(&x, &window)?, &halve)?;
    let x = batch_norm_train(&x, &v[2], &v[3], 1e-5, Epilogue::None)?.output;
    let gate = activation(&global_avg_pool2d(&x)?, Activation::Sigmoid)?;
    let x = group_norm(&prelu(&multiply(&x, &gate)?, &v[3])?, &v[2], &v[3], 1, 1e-5)?;
    let response = LocalResponseNormConfig { size: 3, alpha: 1.0, beta: 0.75, bias: 0.5 };
    let x = local_response_norm(&x, &response)?;
    let x = dropout(&activation(&activation(&x, Activation::Gelu)?, Activation::Tanh)?, 0.1, 2)?;
    let y = linear(&global_avg_pool2d(&x)?.flatten_from(1)?, &v[4], None)?;
    let gradients = y.sqr()?.sum_all()?.backward()?;
    let gradients = v.iter().map(|v| gradients.get(v).expect("a gradient of every variable").clone());
    let results = [x, y].into_iter().chain(gradients).collect();
    FORCED.set(None);
    Ok(results)
}

/// Output and gradients of a convolution with channels enough for every shape of tile, and some to spare.
fn convolution(
    set: InstructionSet,
    (channels, outputs): (usize, usize),
    kernel: usize,
    algorithm: ConvAlgorithm,
) -> Result<Vec<Tensor>> {
    let padding = Padding::even(kernel / 2, kernel / 2);
    let cfg = Conv2dConfig { padding, algorithm, ..Default::default() };
    results(set, &[3, channels, 9, 10], &[outputs, channels, kernel, kernel], &cfg)
}

/// Output and gradients of a convolution.
fn results(set: InstructionSet, x: &[usize], weight: &[usize], cfg: &Conv2dConfig) -> Result<Vec<Tensor>> {
    FORCED.set(Some(set));
    let x = Var::from_tensor(&tensor(x)?)?;
    let weight = Var::from_tensor(&tensor(weight)?)?;
    let y = conv2d(&*x, &weight, None, cfg)?;
    let gradients = y.sqr()?.sum_all()?.backward()?;
    let of = |v: &Var| gradients.get(v).expect("a gradient of every variable").clone();
    let results = vec![y, of(&x), of(&weight)];
    FORCED.set(None);
    Ok(results)
}

/// Every instruction set of this processor computes the same: those that fuse to the bit, plain code
/// up to rounding.
fn agree(what: &str, results: impl Fn(InstructionSet) -> Result<Vec<Tensor>> + Sync) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread pool");
    let sets = available();
    let results = sets.iter().map(|&set| pool.install(|| results(set))).collect::<Result<Vec<_>>>()?;
    for (pair, &set) in results.windows(2).zip(&sets) {
        for (i, (plain, better)) in pair[0].iter().zip(&pair[1]).enumerate() {
            let scale: f32 = better.abs()?.max_all()?.to_scalar()?;
            let off: f32 = (plain - better)?.abs()?.max_all()?.to_scalar()?;
            let allowed = if set == InstructionSet::Portable { 3e-5 * scale } else { 0.0 };
            assert!(scale > 1e-3 && off <= allowed, "{what}, {set:?}, result {i}: off by {off} of {scale}");
        }
    }
    Ok(())
}

const ALGORITHMS: [ConvAlgorithm; 2] = [ConvAlgorithm::Direct, ConvAlgorithm::Winograd];

#[test]
fn instruction_sets_agree() -> Result<()> {
    ALGORITHMS.iter().try_for_each(|&a| agree(&format!("{a:?}"), |set| network(set, a)))
}

/// A wide instruction set computes sixteen lanes at a time, of up to four panels of sixteen columns.
#[test]
fn instruction_sets_agree_on_many_channels() -> Result<()> {
    for channels in [(16, 16), (16, 24), (33, 48), (24, 72), (64, 80)] {
        for (kernel, algorithm) in [1, 3].into_iter().flat_map(|kernel| ALGORITHMS.map(|a| (kernel, a))) {
            let what = format!("{channels:?}, {kernel}x{kernel}, {algorithm:?}");
            agree(&what, |set| convolution(set, channels, kernel, algorithm))?;
        }
    }
    Ok(())
}

/// A depthwise convolution's vectors are sixteen lanes where a row has room for them, and stick out or overlap where it
/// has not.
#[test]
fn instruction_sets_agree_on_depthwise_planes() -> Result<()> {
    for (rows, columns) in [(1, 28), (3, 9), (4, 16), (7, 7), (9, 20), (14, 14), (13, 41)] {
        for kernel in [3, 5, 7] {
            let padding = Padding::even(kernel / 2, kernel / 2);
            let cfg = Conv2dConfig { padding, groups: 3, ..Default::default() };
            let (x, weight) = ([10, 3, rows, columns], [3, 1, kernel, kernel]);
            agree(&format!("{rows}x{columns}, {kernel}x{kernel}"), |set| results(set, &x, &weight, &cfg))?;
        }
    }
    Ok(())
}
