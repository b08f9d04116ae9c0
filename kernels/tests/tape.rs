//! The tape's gradients against those of candle's own back-propagation, on a network with every way in which
//! values meet: read twice, added, mixed, joined, reshaped.

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor, Var};

const SAME: Conv2dConfig = Conv2dConfig {
    stride: (1, 1),
    padding: Padding::even(1, 1),
    dilation: (1, 1),
    groups: 1,
    algorithm: ConvAlgorithm::Auto,
};

fn tensor(shape: &[usize], seed: usize) -> Result<Tensor> {
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| ((i * i + 7 * i + seed) as f64 * 0.618).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Stem, two convolutions that read it, their sum and mix and concatenation, pooling, a linear layer.
fn parameters() -> Result<Vec<Tensor>> {
    let shapes: [&[usize]; 9] =
        [&[4, 2, 3, 3], &[4], &[4], &[4, 4, 3, 3], &[4], &[4, 4, 3, 3], &[1], &[3, 72], &[3]];
    shapes.iter().enumerate().map(|(seed, shape)| tensor(shape, seed)).collect()
}

fn loss<V: Operand>(x: &V, p: &[V]) -> Result<V> {
    let stem = conv2d(x, &p[0], None, &SAME)?;
    let stem = batch_norm_train(&stem, &p[1], &p[2], 1e-5, Epilogue::Relu)?.output;
    let a = conv2d(&stem, &p[3], Some(&p[4]), &SAME)?;
    let b = relu(&conv2d(&stem, &p[5], None, &SAME)?)?;
    let joined = concat(&[&add(&a, &stem)?, &mix(&a, &b, &p[6])?])?;
    let halves = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
    let logits = linear(&flatten(&max_pool2d(&joined, &halves)?)?, &p[7], Some(&p[8]))?;
    let targets = Tensor::new(&[[1f64, 0., 0.], [0.1, 0.2, 0.7]], &Device::Cpu)?;
    let warm = cross_entropy(&scale(&logits, 0.5)?, &targets)?;
    add(&cross_entropy(&logits, &targets)?, &scale(&warm, 4.0)?)
}

#[test]
fn it_agrees_with_candle() -> Result<()> {
    compare(&parameters()?, loss, loss)
}

#[test]
fn it_agrees_with_candle_on_gates() -> Result<()> {
    let shapes: [&[usize]; 8] = [&[4, 2, 3, 3], &[4], &[4], &[4, 4, 3, 3], &[4], &[1], &[3, 144], &[3]];
    let parameters = shapes.iter().enumerate().map(|(seed, shape)| tensor(shape, seed));
    compare(&parameters.collect::<Result<Vec<_>>>()?, gated_loss, gated_loss)
}

fn compare(
    parameters: &[Tensor],
    loss: impl Fn(&Tensor, &[Tensor]) -> Result<Tensor>,
    taped: impl Fn(&Value, &[Value]) -> Result<Value>,
) -> Result<()> {
    let x = tensor(&[2, 2, 6, 6], 50)?;
    let variables = parameters.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let store = loss(&x, &tensors)?.backward()?;
    let tape = Tape::new();
    let values: Vec<Value> = tensors.iter().map(|t| tape.variable(t.clone())).collect();
    let mut gradients = tape.backward(&taped(&x.into(), &values)?)?;
    for (i, (tensor, value)) in tensors.iter().zip(&values).enumerate() {
        let expected = store.get(tensor).expect("every parameter counts");
        let found = gradients.take(value).expect("every parameter counts");
        let size = expected.abs()?.max_all()?.to_scalar::<f64>()?;
        let off = (expected - &found)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(size > 1e-3 && off <= 1e-13 * size, "parameter {i}: off by {off} of {size}");
        assert!(gradients.take(value).is_none());
    }
    Ok(())
}

/// Stem, group norm, activations, the gate of squeeze-and-excitation, dropout, local responses, a shuffle, and a
/// residual.
fn gated_loss<V: Operand>(x: &V, p: &[V]) -> Result<V> {
    let x = group_norm(&conv2d(x, &p[0], None, &SAME)?, &p[1], &p[2], 2, 1e-5)?;
    let y = activation(&prelu(&x, &p[4])?, Activation::Gelu)?;
    let gate = conv2d(&global_avg_pool2d(&y)?, &p[3], None, &SAME)?;
    let gated = multiply(&y, &activation(&gate, Activation::Sigmoid)?)?;
    let y = dropout(&add(&gated, &multiply(&x, &y)?)?, 0.25, 11)?;
    let response = LocalResponseNormConfig { size: 3, alpha: 1.0, beta: 0.75, bias: 0.5 };
    let y = channel_shuffle(&local_response_norm(&y, &response)?, 2)?;
    let logits = linear(&flatten(&mix(&y, &x, &p[5])?)?, &p[6], Some(&p[7]))?;
    let targets = Tensor::new(&[[1f64, 0., 0.], [0.1, 0.2, 0.7]], &Device::Cpu)?;
    add(&cross_entropy(&logits, &targets)?, &cross_entropy(&scale(&logits, 0.5)?, &targets)?)
}

#[test]
fn constants_and_strangers_have_no_gradient() -> Result<()> {
    let (tape, other) = (Tape::new(), Tape::new());
    let constant = Value::from(Tensor::ones((2, 2), DType::F32, &Device::Cpu)?);
    let variable = tape.variable(Tensor::ones((2, 2), DType::F32, &Device::Cpu)?);
    let unused = tape.variable(Tensor::ones((2, 2), DType::F32, &Device::Cpu)?);
    assert!(Tape::new().backward(&relu(&constant)?).is_err());
    assert!(other.backward(&relu(&variable)?).is_err());
    let mut gradients = tape.backward(&add(&relu(&variable)?, &constant)?)?;
    assert_eq!(gradients.take(&variable).expect("it counts").to_vec2::<f32>()?, [[1.0; 2]; 2]);
    assert!(gradients.take(&unused).is_none() && gradients.take(&constant).is_none());
    Ok(())
}

#[test]
fn a_gradient_may_come_from_elsewhere() -> Result<()> {
    let x = Tensor::new(&[[-1f32, 2.0]], &Device::Cpu)?;
    let tape = Tape::new();
    let variable = tape.variable(x.clone());
    let mut gradients = tape.backward_from(&relu(&variable)?, Tensor::new(&[[3f32, 5.0]], &Device::Cpu)?)?;
    assert_eq!(gradients.take(&variable).expect("it counts").to_vec2::<f32>()?, [[0.0, 5.0]]);
    let tape = Tape::new();
    let variable = tape.variable(x);
    let wrong = tape.backward_from(&relu(&variable)?, Tensor::new(&[3f32], &Device::Cpu)?);
    assert!(wrong.is_err_and(|error| error.to_string().contains("gradient of shape [1, 2]")));
    Ok(())
}
