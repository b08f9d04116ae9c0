//! A model of your own, that is no `Network`, grown by `surgery`:
//! `cargo run --release -p morphisms --example own_model`
//!
//! The model is a struct of named `Var`s, as candle-nn's `VarMap` keeps them, trained by candle's back-propagation.
//! Growing it means putting other tensors under the same names.

use std::collections::BTreeMap;

use candle_convnet::{Conv2dConfig, conv2d, cross_entropy, global_avg_pool2d, linear, relu};
use candle_core::{DType, Device, Tensor, Var};
use morphisms::{Seed, surgery};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A step of growth.
type Growth = fn(&mut Model) -> Result<()>;

/// Convolutions one after the other, each with a ReLU, then global average pooling and a linear layer.
struct Model {
    convs: usize,
    vars: BTreeMap<String, Var>,
}

impl Model {
    fn new() -> Result<Self> {
        let mut model = Self { convs: 2, vars: BTreeMap::new() };
        model.set("conv0.weight", noise(&[4, 1, 3, 3], 0.4, 1)?)?;
        model.set("conv1.weight", noise(&[8, 4, 3, 3], 0.2, 2)?)?;
        model.set("head.weight", noise(&[2, 8], 0.3, 3)?)?;
        model.set("head.bias", noise(&[2], 0.0, 4)?)?;
        Ok(model)
    }

    fn set(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        self.vars.insert(name.to_string(), Var::from_tensor(&tensor)?);
        Ok(())
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for conv in 0..self.convs {
            let weight = &self.vars[&format!("conv{conv}.weight")];
            let padding = (weight.dim(2)? / 2, weight.dim(3)? / 2).into();
            x = relu(&conv2d(&x, weight, None, &Conv2dConfig { padding, ..Default::default() })?)?;
        }
        let features = global_avg_pool2d(&x)?.flatten_from(1)?;
        Ok(linear(&features, &self.vars["head.weight"], Some(&self.vars["head.bias"]))?)
    }

    /// Trains on the batches of these names; returns the mean loss of the last ten.
    fn train(&self, batches: std::ops::Range<u64>) -> Result<f32> {
        let mut losses = Vec::new();
        for batch in batches {
            let (images, targets) = spots(batch)?;
            let loss = cross_entropy(&self.forward(&images)?, &targets)?;
            let gradients = loss.backward()?;
            for var in self.vars.values() {
                if let Some(gradient) = gradients.get(var) {
                    var.set(&(var.as_tensor() - (gradient * 0.1)?)?)?;
                }
            }
            losses.push(loss.to_scalar::<f32>()?);
        }
        let last = &losses[losses.len().saturating_sub(10)..];
        Ok(last.iter().sum::<f32>() / last.len() as f32)
    }

    /// Six channels in the place of the first convolution's four: copies, and shares for who reads them.
    fn widen(&mut self) -> Result<()> {
        let wider = surgery::replication(4, 6, 0)?;
        let makes = surgery::gather_out(&self.vars["conv0.weight"], &wider.of)?;
        let reads = surgery::gather_in(&self.vars["conv1.weight"], &wider.of, Some(&wider.share))?;
        self.set("conv0.weight", makes)?;
        self.set("conv1.weight", reads)
    }

    /// Four fresh channels for the last convolution, that the linear layer reads with weight 0.
    fn add_channels(&mut self) -> Result<()> {
        let makes = surgery::fresh_out(&self.vars["conv1.weight"], 4, Seed { seed: 0, stream: 0 })?;
        let reads = surgery::pad_in_zeros(&self.vars["head.weight"], 4)?;
        self.set("conv1.weight", makes)?;
        self.set("head.weight", reads)
    }

    /// 5x5 in the place of 3x3.
    fn widen_kernel(&mut self) -> Result<()> {
        let larger = surgery::pad_kernel(&self.vars["conv0.weight"], (5, 5))?;
        self.set("conv0.weight", larger)
    }

    /// A third convolution, which starts as the identity: `relu(relu(x)) = relu(x)`.
    fn deepen(&mut self) -> Result<()> {
        let channels = self.vars["conv1.weight"].dim(0)?;
        self.set("conv2.weight", surgery::dirac(channels, (3, 3), DType::F32, &Device::Cpu)?)?;
        self.convs = 3;
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut model = Model::new()?;
    println!("{:<26} loss {:.4}", "first batch", model.train(0..1)?);
    let before_growth = model.train(1..100)?;
    println!("{:<26} loss {:.4}", "after 100 batches", before_growth);
    let (images, _) = spots(1_000)?;
    let before = model.forward(&images)?;
    let steps: [(&str, Growth); 4] = [
        ("wider by copies", Model::widen),
        ("wider by fresh channels", Model::add_channels),
        ("a larger kernel", Model::widen_kernel),
        ("a convolution more", Model::deepen),
    ];
    for (name, grow) in steps {
        grow(&mut model)?;
        let moved: f32 = (model.forward(&images)? - &before)?.abs()?.max_all()?.to_scalar()?;
        let values: usize = model.vars.values().map(|var| var.elem_count()).sum();
        println!("{name:<26} {values:>5} numbers, no output moved by more than {moved:.0e}");
        assert!(moved < 1e-4);
    }
    let after_growth = model.train(100..200)?;
    println!("{:<26} loss {:.4}", "after 100 batches more", after_growth);
    assert!(after_growth < before_growth);
    Ok(())
}

/// A batch of noise with a spot, bright or dark, `[32, 1, 8, 8]`, and which of the two, one-hot.
fn spots(batch: u64) -> Result<(Tensor, Tensor)> {
    const BATCH: usize = 32;
    let mut pixels = Seed { seed: batch, stream: 5 }.normal(1.0, BATCH * 64);
    let mut targets = vec![0f32; BATCH * 2];
    for image in 0..BATCH {
        let class = image % 2;
        targets[2 * image + class] = 1.0;
        let corner = image * 64 + 8 * (image % 6) + (image / 2 + batch as usize) % 6;
        for place in [0, 1, 2, 8, 9, 10, 16, 17, 18] {
            pixels[corner + place] += if class == 0 { 1.0 } else { -1.0 };
        }
    }
    let images = Tensor::from_vec(pixels, (BATCH, 1, 8, 8), &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok((images, Tensor::from_vec(targets, (BATCH, 2), &Device::Cpu)?))
}

fn noise(shape: &[usize], std: f64, stream: u64) -> Result<Tensor> {
    let values = Seed { seed: 0, stream }.normal(std, shape.iter().product());
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}
