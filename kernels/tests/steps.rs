//! Convolutions and the batch norms behind them as one step of the tape, against the same operations one by one and candle's
//! back-propagation, which `gradients.rs` checks against finite differences.

mod common;

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor, Var};
use common::{Numbers, cases, distance, numbers};
use proptest::prelude::*;

/// One of each way to compute a convolution, by name.
const CONVOLUTIONS: [(&str, usize, bool, ConvAlgorithm); 6] = [
    ("1x1", 1, false, ConvAlgorithm::Auto),
    ("direct 3x3", 3, false, ConvAlgorithm::Direct),
    ("Winograd", 3, false, ConvAlgorithm::Winograd),
    ("depthwise 3x3", 3, true, ConvAlgorithm::Auto),
    ("depthwise 5x5", 5, true, ConvAlgorithm::Auto),
    ("depthwise 4x4", 4, true, ConvAlgorithm::Auto),
];
const EPILOGUES: [Epilogue; 3] = [Epilogue::None, Epilogue::Relu, Epilogue::ReluMaxPool];

/// A convolution, a second one, what follows their batch norms, and what else reads what lies between.
#[derive(Debug, Clone)]
struct Net {
    image: [usize; 4],
    channels: [usize; 2],
    convolutions: [usize; 2],
    epilogues: [Epilogue; 2],
    reader: Reader,
    /// Gammas are multiplied by it: where they are small or zero, the output does not tell the input.
    gamma: f64,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    Nobody,
    /// A convolution without a batch norm.
    Convolution,
    /// The sum at the end, which needs the numbers.
    Sum,
    /// The ReLU of its sum with the second batch norm's output, if they have one shape.
    Residual,
}

fn net() -> impl Strategy<Value = Net> {
    let sizes = (1..=3usize, 1..=3usize, 9..=24usize, 9..=24usize, 1..=19usize, 1..=19usize);
    let convolution = 0..CONVOLUTIONS.len();
    let epilogue = || prop::sample::select(EPILOGUES.to_vec());
    let reader =
        prop::sample::select(vec![Reader::Nobody, Reader::Convolution, Reader::Sum, Reader::Residual]);
    let gamma = prop::sample::select(vec![1.0, 1.0, 1e-3, 0.0]);
    (sizes, convolution.clone(), convolution, epilogue(), epilogue(), reader, gamma, any::<u64>()).prop_map(
        |((batch, colours, h, w, first, second), a, b, e, f, reader, gamma, seed)| Net {
            image: [batch, colours, h, w],
            channels: [first, second],
            convolutions: [a, b],
            epilogues: [e, f],
            reader,
            gamma,
            seed,
        },
    )
}

impl Net {
    fn config(&self, which: usize, channels: usize) -> Conv2dConfig {
        let (_, kernel, depthwise, algorithm) = CONVOLUTIONS[self.convolutions[which]];
        let groups = if depthwise { channels } else { 1 };
        let padding = Padding::even(kernel / 2, kernel / 2);
        Conv2dConfig { padding, groups, algorithm, ..Default::default() }
    }

    /// Output channels of a convolution: a depthwise one has as many as it reads.
    fn outputs(&self, which: usize, channels: usize) -> usize {
        if CONVOLUTIONS[self.convolutions[which]].2 { channels } else { self.channels[which] }
    }

    /// The image, and weight, gamma and beta of both, and a weight of the other reader.
    fn parameters(&self) -> Vec<Tensor> {
        let mut random = Numbers(self.seed);
        let mut all = vec![random.distinct(&self.image)];
        let mut channels = self.image[1];
        for which in 0..2 {
            let (_, kernel, depthwise, _) = CONVOLUTIONS[self.convolutions[which]];
            let outputs = self.outputs(which, channels);
            all.push(random.tensor(&[outputs, if depthwise { 1 } else { channels }, kernel, kernel]));
            all.push((random.tensor(&[outputs]) * self.gamma).unwrap());
            all.push(random.tensor(&[outputs]));
            channels = outputs;
            if which == 0 {
                all.push(random.tensor(&[2, channels, 1, 1]));
            }
        }
        all
    }

    /// Everything that is left at the end, one behind the other, and the statistics.
    fn run<V: Operand>(&self, p: &[V], fused: bool) -> Result<(V, Vec<Tensor>)> {
        // Asking a value for its shape would have its numbers computed.
        let channels = [self.image[1], self.outputs(0, self.image[1])];
        let norm = |x: &V, which: usize, at: usize| {
            let cfg = self.config(which, channels[which]);
            let (weight, gamma, beta) = (&p[at], &p[at + 1], &p[at + 2]);
            match fused {
                true => conv2d_batch_norm_train(x, weight, &cfg, (gamma, beta), 1e-2, self.epilogues[which]),
                false => {
                    let y = conv2d(x, weight, None, &cfg)?;
                    batch_norm_train(&y, gamma, beta, 1e-2, self.epilogues[which])
                }
            }
        };
        let first = norm(&p[0], 0, 1)?;
        let between = first.output;
        let aside = match self.reader {
            Reader::Nobody => None,
            Reader::Convolution => Some(conv2d(&between, &p[4], None, &Conv2dConfig::default())?),
            Reader::Sum => Some(between.clone()),
            Reader::Residual => None,
        };
        let second = norm(&between, 1, 5)?;
        let same_size =
            self.epilogues[1] != Epilogue::ReluMaxPool && CONVOLUTIONS[self.convolutions[1]].1 % 2 == 1;
        let alike = channels[1] == self.outputs(1, channels[1]) && same_size;
        let end = match self.reader == Reader::Residual && alike {
            true if fused => add_relu(&between, &second.output)?,
            true => relu(&add(&between, &second.output)?)?,
            false => second.output,
        };
        let mut ends = vec![flatten(&end)?];
        if let Some(aside) = aside {
            ends.push(flatten(&aside)?);
        }
        let count = Tensor::new(&[second.count as f64], &Device::Cpu)?;
        let statistics = vec![first.mean, first.variance, second.mean, second.variance, count];
        Ok((concat(&ends.iter().collect::<Vec<_>>())?, statistics))
    }
}

/// Output, statistics and the gradients of all parameters, of a sum with a weight for each output.
type Found = (Tensor, Vec<Tensor>, Vec<Tensor>);

fn by_candle(net: &Net, parameters: &[Tensor]) -> Result<Found> {
    let variables = parameters.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let (y, statistics) = net.run(&tensors, false)?;
    let store = (&y * weights(&y)?)?.sum_all()?.backward()?;
    let gradient = |t: &Tensor| store.get(t).cloned().map_or_else(|| t.zeros_like(), Ok);
    Ok((y, statistics, tensors.iter().map(gradient).collect::<Result<_>>()?))
}

fn by_tape(net: &Net, parameters: &[Tensor]) -> Result<Found> {
    let tape = Tape::new();
    let values: Vec<Value> = parameters.iter().map(|t| tape.variable(t.clone())).collect();
    let (y, statistics) = net.run(&values, true)?;
    let mut gradients = tape.backward_from(&y, weights(y.as_tensor())?)?;
    let gradient = |(v, t): (&Value, &Tensor)| gradients.take(v).map_or_else(|| t.zeros_like(), Ok);
    let gradients = values.iter().zip(parameters).map(gradient).collect::<Result<_>>()?;
    Ok((y.as_tensor().clone(), statistics, gradients))
}

fn weights(y: &Tensor) -> Result<Tensor> {
    Numbers(99).tensor(y.dims()).to_dtype(y.dtype())
}

/// As far apart as rounding explains: gradients that cancel are compared with the largest of them.
fn check(net: &Net, dtype: DType, tolerance: f64) -> std::result::Result<(), TestCaseError> {
    let double = net.parameters();
    let parameters: Vec<Tensor> = double.iter().map(|p| p.to_dtype(dtype).unwrap()).collect();
    let exact: Vec<Tensor> = parameters.iter().map(|p| p.to_dtype(DType::F64).unwrap()).collect();
    let (y, statistics, gradients) = by_tape(net, &parameters).unwrap();
    let (expected, expected_statistics, expected_gradients) = by_candle(net, &exact).unwrap();
    prop_assert!(distance(&y, &expected) <= tolerance, "output: {}", distance(&y, &expected));
    for (i, (found, expected)) in statistics.iter().zip(&expected_statistics).enumerate() {
        prop_assert!(distance(found, expected) <= tolerance, "statistics {}: {:?} {:?}", i, found, expected);
    }
    let largest = |t: &Tensor| numbers(t).into_iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let scale = expected_gradients.iter().map(largest).fold(1.0, f64::max);
    for (i, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
        prop_assert_eq!(found.dims(), expected.dims());
        let off =
            numbers(found).iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        prop_assert!(off <= tolerance * scale, "gradient {}: off by {} of {}", i, off, scale);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn agree_with_their_parts(net in net()) {
        check(&net, DType::F64, 1e-10)?;
    }
}

#[test]
fn agree_at_the_end_of_a_residual_block() {
    let all = (0..CONVOLUTIONS.len() - 1).flat_map(|c| [(c, Epilogue::Relu), (c, Epilogue::None)]);
    for (convolution, epilogue) in all {
        let net = Net {
            image: [3, 5, 13, 12],
            channels: [5, 5],
            convolutions: [convolution; 2],
            epilogues: [Epilogue::Relu, epilogue],
            reader: Reader::Residual,
            gamma: 1.0,
            seed: 6,
        };
        check(&net, DType::F64, 1e-10).unwrap();
        check(&net, DType::F32, 1e-4).unwrap();
    }
}

/// Whatever else reads what lies between, it gets the same numbers however often it asks, and the same bits for any number
/// of threads.
#[test]
fn have_the_same_bits_on_any_number_of_threads() -> Result<()> {
    for (convolution, epilogue) in (0..CONVOLUTIONS.len()).flat_map(|c| EPILOGUES.map(|e| (c, e))) {
        let net = Net {
            image: [9, 8, 16, 16],
            channels: [9, 10],
            convolutions: [convolution; 2],
            epilogues: [epilogue, Epilogue::Relu],
            reader: Reader::Nobody,
            gamma: 1.0,
            seed: 3,
        };
        let parameters: Vec<Tensor> =
            net.parameters().iter().map(|p| p.to_dtype(DType::F32)).collect::<Result<_>>()?;
        let on = |threads| -> Result<Vec<Vec<f32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let (y, statistics, gradients) = pool.install(|| by_tape(&net, &parameters))?;
            let all = std::iter::once(&y).chain(&statistics[..4]).chain(&gradients);
            all.map(|t| t.flatten_all()?.to_vec1()).collect()
        };
        let name = CONVOLUTIONS[convolution].0;
        assert!(on(1)? == on(3)?, "{name} {epilogue:?}");
    }
    Ok(())
}

#[test]
fn pass_a_nan_on() -> Result<()> {
    for epilogue in EPILOGUES {
        let mut net = Net {
            image: [2, 3, 12, 12],
            channels: [4, 5],
            convolutions: [0, 0],
            epilogues: [epilogue, Epilogue::Relu],
            reader: Reader::Sum,
            gamma: 1.0,
            seed: 4,
        };
        for reader in [Reader::Sum, Reader::Convolution] {
            net.reader = reader;
            let mut parameters = net.parameters();
            // One channel of the first convolution becomes NaN, and with it all of the second.
            let mut weight = numbers(&parameters[1]);
            weight[0] = f64::NAN;
            parameters[1] = Tensor::from_vec(weight, parameters[1].dims(), &Device::Cpu)?;
            let (y, _, gradients) = by_tape(&net, &parameters)?;
            let (expected, _, expected_gradients) = by_candle(&net, &parameters)?;
            let pattern = |t: &Tensor| numbers(t).iter().map(|v| v.is_nan()).collect::<Vec<_>>();
            assert!(pattern(&expected).contains(&true));
            assert_eq!(pattern(&y), pattern(&expected));
            for (found, expected) in gradients.iter().zip(&expected_gradients) {
                assert_eq!(pattern(found), pattern(expected));
            }
        }
    }
    Ok(())
}
