//! Layers and whole training steps on a CUDA device, timed by the device's own clock.
//!
//! `cargo bench --workspace --features cuda --bench cuda` prints a line for each case: its name and, in
//! microseconds, the median time of the forward pass and of forward and backward pass together (for training
//! steps: of the whole step, twice). `python3 kernels/benches/cuda.py FILE` runs the same cases in PyTorch and
//! prints both side by side. Without a CUDA device it says so.

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor};

const BATCH: usize = 64;
const WARM_UP: usize = 20;
const SAMPLES: usize = 15;
/// Runs of one sample: the work queued is then long enough for the clock.
const RUNS: usize = 10;

struct Bench {
    device: Device,
}

/// A layer as a function of its values, the input first.
type Layer = Box<dyn Fn(&[Value]) -> Result<Value>>;

impl Bench {
    /// Values that look random to the arithmetic, the same in every run.
    fn tensor(&self, shape: &[usize], scale: f64) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i as f64 * 0.754_877).sin() * scale) as f32).collect();
        Tensor::from_vec(values, shape, &self.device)
    }

    /// The median time of a run, in microseconds.
    fn microseconds(&self, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
        (0..WARM_UP).try_for_each(|_| run())?;
        let mut sample = || -> Result<f64> {
            let (_, time) = cuda::time(&self.device, || (0..RUNS).try_for_each(|_| run()))?;
            Ok(time.as_secs_f64() * 1e6 / RUNS as f64)
        };
        let mut times = (0..SAMPLES).map(|_| sample()).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[SAMPLES / 2])
    }

    fn layer(&self, name: &str, arguments: Vec<Tensor>, layer: Layer) -> Result<()> {
        let constants: Vec<Value> = arguments.iter().cloned().map(Value::from).collect();
        let forward = self.microseconds(|| layer(&constants).map(drop))?;
        let both = self.microseconds(|| {
            let tape = Tape::new();
            let variables: Vec<Value> = arguments.iter().map(|a| tape.variable(a.clone())).collect();
            tape.backward(&layer(&variables)?).map(drop)
        })?;
        println!("{name}\t{forward:.1}\t{both:.1}");
        Ok(())
    }

    fn convolution(
        &self,
        channels: usize,
        out: usize,
        size: usize,
        kernel: usize,
        groups: usize,
    ) -> Result<()> {
        let name = format!("conv {kernel}x{kernel} {channels}->{out} g{groups} {size}x{size}");
        let x = self.tensor(&[BATCH, channels, size, size], 1.0)?;
        let weight = self.tensor(&[out, channels / groups, kernel, kernel], 0.1)?;
        let cfg =
            Conv2dConfig { padding: Padding::even(kernel / 2, kernel / 2), groups, ..Default::default() };
        self.layer(&name, vec![x, weight], Box::new(move |v| conv2d(&v[0], &v[1], None, &cfg)))
    }

    fn norm(&self, channels: usize, size: usize) -> Result<()> {
        let name = format!("batch norm, relu {channels} {size}x{size}");
        let arguments = vec![
            self.tensor(&[BATCH, channels, size, size], 1.0)?,
            self.tensor(&[channels], 1.0)?,
            self.tensor(&[channels], 0.1)?,
        ];
        let layer = |v: &[Value]| Ok(batch_norm_train(&v[0], &v[1], &v[2], 1e-5, Epilogue::Relu)?.output);
        self.layer(&name, arguments, Box::new(layer))
    }

    fn pool(&self, channels: usize, size: usize) -> Result<()> {
        let x = self.tensor(&[BATCH, channels, size, size], 1.0)?;
        let name = format!("max pool 2x2 {channels} {size}x{size}");
        self.layer(&name, vec![x], Box::new(|v| max_pool2d(&v[0], &HALVE)))
    }

    /// Conv-BN-ReLU of 32, 32, pooling, 64, 64, pooling, 128 channels at 32x32, a linear layer, the loss, its
    /// gradients and the optimiser's step.
    fn step(&self, name: &str, batch: usize) -> Result<()> {
        let widths = [3, 32, 32, 64, 64, 128];
        let mut parameters = Vec::new();
        for pair in widths.windows(2) {
            let weight = self.tensor(&[pair[1], pair[0], 3, 3], (2.0 / (9 * pair[0]) as f64).sqrt())?;
            let gamma = Tensor::ones(pair[1], DType::F32, &self.device)?;
            parameters.extend([weight, gamma.clone(), gamma.zeros_like()?]);
        }
        parameters.extend([self.tensor(&[10, 128], 0.1)?, Tensor::zeros(10, DType::F32, &self.device)?]);
        let parameters = parameters.iter().map(Parameter::new).collect::<Result<Vec<_>>>()?;
        let images = self.tensor(&[batch, 3, 32, 32], 1.0)?;
        let labels = Tensor::from_vec((0..batch as u32).map(|i| i % 10).collect(), batch, &Device::Cpu)?;
        let targets = one_hot(&labels)?.to_device(&self.device)?;
        let cfg = SgdConfig { lr: 0.01, momentum: 0.9, weight_decay: 5e-4, nesterov: true };
        let time = self.microseconds(|| {
            let tape = Tape::new();
            let values =
                parameters.iter().map(|p| Ok(tape.variable(p.value()?))).collect::<Result<Vec<_>>>()?;
            let mut gradients = tape.backward(&loss(&images, &targets, &values)?)?;
            for (parameter, value) in parameters.iter().zip(&values) {
                if let Some(gradient) = gradients.take(value) {
                    parameter.step(&gradient, &cfg)?;
                }
            }
            Ok(())
        })?;
        println!("{name}, batch {batch}\t{time:.1}\t{time:.1}");
        Ok(())
    }
}

const HALVE: Pool2dConfig = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };

fn one_hot(labels: &Tensor) -> Result<Tensor> {
    let classes = Tensor::arange(0u32, 10, &Device::Cpu)?;
    labels.unsqueeze(1)?.broadcast_eq(&classes.unsqueeze(0)?)?.to_dtype(DType::F32)
}

fn loss(images: &Tensor, targets: &Tensor, values: &[Value]) -> Result<Value> {
    let same = Conv2dConfig { padding: Padding::even(1, 1), ..Default::default() };
    let mut x = Value::from(images.clone());
    for (block, v) in values.chunks_exact(3).take(5).enumerate() {
        x = conv2d(&x, &v[0], None, &same)?;
        x = batch_norm_train(&x, &v[1], &v[2], 1e-5, Epilogue::Relu)?.output;
        if block == 1 || block == 3 {
            x = max_pool2d(&x, &HALVE)?;
        }
    }
    let features = flatten(&global_avg_pool2d(&x)?)?;
    cross_entropy(&linear(&features, &values[15], Some(&values[16]))?, targets)
}

fn main() -> Result<()> {
    if cuda::device_count() == 0 {
        eprintln!("no CUDA device was found: nothing was timed");
        return Ok(());
    }
    let bench = Bench { device: cuda::device(0)? };
    for (channels, out, size, kernel, groups) in [
        (3, 32, 32, 3, 1),
        (32, 32, 32, 3, 1),
        (32, 64, 16, 3, 1),
        (64, 64, 16, 3, 1),
        (64, 128, 8, 3, 1),
        (64, 64, 16, 1, 1),
        (64, 64, 16, 3, 64),
        (32, 32, 28, 3, 32),
    ] {
        bench.convolution(channels, out, size, kernel, groups)?;
    }
    bench.norm(32, 32)?;
    bench.norm(64, 16)?;
    bench.pool(32, 32)?;
    for batch in [64, 512] {
        bench.step("step", batch)?;
        cuda::set_options(cuda::Options { deterministic: false, timed: true, ..Default::default() });
        bench.step("step, timed", batch)?;
        cuda::set_options(cuda::Options {
            deterministic: false,
            timed: true,
            allow_tf32: true,
            ..Default::default()
        });
        bench.step("step, timed, TF32", batch)?;
        cuda::set_options(cuda::Options::default());
    }
    Ok(())
}
