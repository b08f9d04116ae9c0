//! Every instruction set of this processor computes the same.

use super::{Float, InstructionSet, Isa, Kernel, LANES, Lanes, Portable, WIDE_LANES, dispatch};
use crate::{
    Activation, Conv2dConfig, ConvAlgorithm, Epilogue, LocalResponseNormConfig, Padding, Pool2dConfig, Tape,
    activation, avg_pool2d, batch_norm_train, conv2d, conv2d_batch_norm_train, dropout, global_avg_pool2d,
    group_norm, linear, local_response_norm, max_pool2d, multiply, prelu,
};
use candle_core::{Device, Result, Tensor, Var};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
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
/// has not, or hold channels.
#[test]
fn instruction_sets_agree_on_depthwise_planes() -> Result<()> {
    for (rows, columns) in [(1, 28), (3, 9), (4, 16), (7, 7), (9, 20), (14, 14), (13, 41)] {
        for (kernel, groups) in [3, 5, 7].into_iter().flat_map(|kernel| [3, 12, 24].map(|g| (kernel, g))) {
            let padding = Padding::even(kernel / 2, kernel / 2);
            let cfg = Conv2dConfig { padding, groups, ..Default::default() };
            let (x, weight) = ([10, groups, rows, columns], [groups, 1, kernel, kernel]);
            let what = format!("{groups} of {rows}x{columns}, {kernel}x{kernel}");
            agree(&what, |set| results(set, &x, &weight, &cfg))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: 200, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..Config::default()
    })]

    /// A wide set reads planes where they lie, the others copy them and put zeros around them.
    #[test]
    fn instruction_sets_agree_on_any_depthwise_plane(
        kernel in prop_oneof![Just(3usize), Just(5), Just(7)],
        (rows, columns) in (1..=40usize, 1..=50usize),
        sides in (0..=7usize, 0..=7usize, 0..=7usize, 0..=7usize),
    ) {
        // Pixels of padding enough for one output, and no side of more than a kernel.
        let (top, left) = (sides.0.min(kernel), sides.1.min(kernel));
        let bottom = sides.2.min(kernel).max(kernel.saturating_sub(rows + top));
        let right = sides.3.min(kernel).max(kernel.saturating_sub(columns + left));
        let padding = Padding { top, left, bottom, right };
        let cfg = Conv2dConfig { padding, groups: 2, ..Default::default() };
        agree(&format!("{rows}x{columns}, {kernel}x{kernel}, {padding:?}"), |set| {
            results(set, &[3, 2, rows, columns], &[2, 1, kernel, kernel], &cfg)
        })
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

/// Output and gradients of a convolution and a batch norm in one step, with another convolution behind them.
fn step(set: InstructionSet, [rows, columns]: [usize; 2], epilogue: Epilogue) -> Result<Vec<Tensor>> {
    FORCED.set(Some(set));
    let tape = Tape::new();
    let shapes: [&[usize]; 5] = [&[3, 4, rows, columns], &[9, 4, 3, 3], &[9], &[9], &[6, 9, 1, 1]];
    let v = shapes.iter().map(|s| Ok(tape.variable(tensor(s)?))).collect::<Result<Vec<_>>>()?;
    let cfg = Conv2dConfig { padding: Padding::even(1, 1), ..Default::default() };
    let x = conv2d_batch_norm_train(&v[0], &v[1], &cfg, (&v[2], &v[3]), 1e-5, epilogue)?.output;
    let y = conv2d(&x, &v[4], None, &Conv2dConfig::default())?;
    let dy = tensor(y.as_tensor().dims())?;
    let mut gradients = tape.backward_from(&y, dy)?;
    let mut results = vec![y.as_tensor().clone()];
    results.extend(v.iter().map(|v| gradients.take(v).expect("a gradient of every variable")));
    FORCED.set(None);
    Ok(results)
}

#[test]
fn instruction_sets_agree_on_steps() -> Result<()> {
    for epilogue in [Epilogue::None, Epilogue::Relu, Epilogue::ReluMaxPool] {
        for size in [[12, 16], [13, 28], [17, 11], [16, 35], [40, 8]] {
            agree(&format!("{size:?} {epilogue:?}"), |set| step(set, size, epilogue))?;
        }
    }
    Ok(())
}

/// The parts of windows' gradients.
struct Route([Lanes<f32, WIDE_LANES>; 2], Lanes<f32>);

impl Kernel for Route {
    type Output = [Lanes<f32, WIDE_LANES>; 2];

    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        I::route(self.0, self.1)
    }
}

#[test]
fn every_window_has_one_winner() {
    // Few values, so that many windows have several maxima, NaNs, or nothing above zero.
    let values = [-1.0, 0.0, -0.0, 1.0, 2.0, 2.0, f32::INFINITY, f32::NAN];
    let mut state = 1u32;
    let mut value = |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        values[(state >> 16) as usize % most as usize]
    };
    for case in 0..2000 {
        let most = if case % 2 == 0 { 7 } else { 8 };
        let mut rows = [[0.0; WIDE_LANES]; 2];
        rows.iter_mut().flatten().for_each(|pixel| *pixel = value(most));
        let dy: [f32; LANES] = std::array::from_fn(|window| window as f32 + 1.0);
        let lanes = rows.map(Lanes::from_array);
        let found = dispatch(Route(lanes, Lanes::from_array(dy))).map(Lanes::to_array);
        assert_eq!(found, Portable::route(lanes, Lanes::from_array(dy)).map(Lanes::to_array), "{rows:?}");
        for (window, dy) in dy.into_iter().enumerate() {
            // As PyTorch: the first maximum, or the last NaN; then the ReLU.
            let pixels = [0, 1, 2, 3].map(|pixel: usize| rows[pixel / 2][2 * window + pixel % 2]);
            let (mut best, mut winner) = (f32::NEG_INFINITY, 0);
            for (place, pixel) in pixels.into_iter().enumerate() {
                if pixel > best || Float::is_nan(pixel) {
                    (best, winner) = (pixel, place);
                }
            }
            let off = best <= 0.0;
            for place in 0..4 {
                let expected = if place == winner && !off { dy } else { 0.0 };
                assert_eq!(found[place / 2][2 * window + place % 2], expected, "{rows:?}, window {window}");
            }
        }
    }
}
