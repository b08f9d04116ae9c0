//! The least-squares factorisation of a dense kernel into a depthwise and a pointwise one.

use candle_core::{DType, Tensor};

use super::{refuse, shape};
use crate::Result;

/// Steps of the power iteration: far more than a kernel of 25 taps needs.
const STEPS: usize = 200;

/// Two kernels in the place of one.
#[derive(Debug, Clone)]
pub struct Separable {
    /// `[in, 1, height, width]`, with stride, padding and dilation of the dense convolution, and `in` groups.
    pub depthwise: Tensor,
    /// `[out, in, 1, 1]`.
    pub pointwise: Tensor,
}

/// The best depthwise-separable approximation, in the sense of least squares, of a dense kernel
/// `[out, in, height, width]`, computed in f64. A bias goes to the pointwise convolution.
///
/// For an input channel c the kernel is a matrix `W_c` `[out, height x width]`; the best rank-one matrix is
/// `sigma u v'` (Eckart and Young 1936), with v the leading eigenvector of `W_c' W_c`. The depthwise kernel of the
/// channel is `sqrt(sigma) v`, its pointwise column `sqrt(sigma) u`; of a zero matrix an impulse and zeros, which can
/// still learn.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if it is not a kernel.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let dense = Tensor::new(&[[[[4f64, 8.0]]], [[[1.0, 2.0]]]], &Device::Cpu)?; // (4, 1) times (1, 2)
/// let parts = morphisms::surgery::separate(&dense)?;
/// let product = parts.pointwise.broadcast_mul(&parts.depthwise.transpose(0, 1)?)?;
/// assert!((product - dense)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn separate(kernel: &Tensor) -> Result<Separable> {
    let &[out, channels, height, width] = kernel.dims() else {
        return refuse("separate", "a kernel [out, in, height, width]", shape(kernel.dims()));
    };
    if kernel.elem_count() == 0 {
        return refuse("separate", "a kernel that is not empty", shape(kernel.dims()));
    }
    let taps = height * width;
    let values: Vec<f64> = kernel.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let (mut depthwise, mut pointwise) = (vec![0.0; channels * taps], vec![0.0; out * channels]);
    for channel in 0..channels {
        let row = |o: usize| &values[(o * channels + channel) * taps..][..taps];
        let (v, sigma) = leading(&(0..out).map(row).collect::<Vec<_>>());
        let root = if sigma > 0.0 { sigma.sqrt() } else { 1.0 };
        depthwise[channel * taps..][..taps].iter_mut().zip(&v).for_each(|(tap, v)| *tap = root * v);
        for o in 0..out {
            let projected: f64 = row(o).iter().zip(&v).map(|(w, v)| w * v).sum();
            pointwise[o * channels + channel] = projected / root;
        }
    }
    let tensor = |values, shape| -> Result<Tensor> {
        let (device, dtype): (_, DType) = (kernel.device(), kernel.dtype());
        Ok(Tensor::from_vec::<(usize, usize, usize, usize), f64>(values, shape, device)?.to_dtype(dtype)?)
    };
    Ok(Separable {
        depthwise: tensor(depthwise, (channels, 1, height, width))?,
        pointwise: tensor(pointwise, (out, channels, 1, 1))?,
    })
}

/// The leading right singular vector of a matrix, given by rows, and its singular value, by power iteration from the
/// row of the largest norm, so that the start is never orthogonal to the answer. A zero matrix gives an impulse.
fn leading(rows: &[&[f64]]) -> (Vec<f64>, f64) {
    let norm = |vector: &[f64]| vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let taps = rows[0].len();
    let start =
        rows.iter().max_by(|a, b| norm(a).total_cmp(&norm(b))).expect("a kernel has an output channel");
    let size = norm(start);
    if size == 0.0 {
        return ((0..taps).map(|tap| f64::from(u8::from(tap == taps / 2))).collect(), 0.0);
    }
    let mut v: Vec<f64> = start.iter().map(|value| value / size).collect();
    let mut sigma = 0.0;
    for _ in 0..STEPS {
        let mut next = vec![0.0; taps];
        for row in rows {
            let weight: f64 = row.iter().zip(&v).map(|(w, v)| w * v).sum();
            next.iter_mut().zip(*row).for_each(|(next, w)| *next += weight * w);
        }
        let size = norm(&next);
        sigma = size.sqrt();
        v = next.into_iter().map(|value| value / size).collect();
    }
    (v, sigma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn halves(kernel: &Tensor) -> (Vec<f64>, Vec<f64>) {
        let Separable { depthwise, pointwise } = separate(kernel).unwrap();
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        (values(depthwise), values(pointwise))
    }

    #[test]
    fn a_separable_kernel_is_recovered() {
        let (depthwise, pointwise) = ([1.0, -2.0, 0.5, 3.0], [2.0, -1.0, 0.25]);
        let dense: Vec<f64> = pointwise.iter().flat_map(|p| depthwise.map(|d| p * d)).collect();
        let (d, p) = halves(&Tensor::from_vec(dense.clone(), (3, 1, 2, 2), &Device::Cpu).unwrap());
        let product: Vec<f64> = p.iter().flat_map(|p| d.iter().map(move |d| p * d)).collect();
        dense.iter().zip(product).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
    }

    #[test]
    fn the_residual_is_the_smaller_singular_value() {
        // The matrix [[3, 0], [4, 5]] has singular values 3 sqrt(5) and sqrt(5).
        let kernel = Tensor::from_vec(vec![3.0, 0.0, 4.0, 5.0], (2, 1, 1, 2), &Device::Cpu).unwrap();
        let (d, p) = halves(&kernel);
        let residual: f64 = [3.0, 0.0, 4.0, 5.0]
            .iter()
            .zip(p.iter().flat_map(|p| d.iter().map(move |d| p * d)))
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        assert!((residual - 5.0).abs() < 1e-9, "{residual}");
    }

    #[test]
    fn a_dead_channel_stays_dead_but_can_learn() {
        let (d, p) = halves(&Tensor::zeros((2, 1, 3, 3), DType::F64, &Device::Cpu).unwrap());
        assert!(p.iter().all(|&value| value == 0.0));
        assert_eq!(d, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let matrix = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap();
        let error = separate(&matrix).unwrap_err().to_string();
        assert!(error.contains("[out, in, height, width]") && error.contains("[2, 3]"), "{error}");
        let empty = Tensor::zeros((2, 0, 3, 3), DType::F64, &Device::Cpu).unwrap();
        let error = separate(&empty).unwrap_err().to_string();
        assert!(error.contains("not empty") && error.contains("[2, 0, 3, 3]"), "{error}");
    }

    /// Also one that starts with a row of a single tap, or whose rows point away from each other.
    #[test]
    fn every_matrix_of_rank_one_is_recovered() {
        for (depthwise, pointwise) in
            [([0.0, 5.0], [1.0, 0.0]), ([0.5, -4.0], [0.25, -3.0]), ([1e-9, 0.0], [1.0; 2])]
        {
            let dense: Vec<f64> = pointwise.iter().flat_map(|p| depthwise.map(|d| p * d)).collect();
            let (d, p) = halves(&Tensor::from_vec(dense.clone(), (2, 1, 1, 2), &Device::Cpu).unwrap());
            let product: Vec<f64> = p.iter().flat_map(|p| d.iter().map(move |d| p * d)).collect();
            dense
                .iter()
                .zip(&product)
                .for_each(|(a, b)| assert!((a - b).abs() <= 1e-12 * a.abs(), "{product:?}"));
            // Both halves have the same norm, so that they learn at one pace.
            let square = |half: &[f64]| half.iter().map(|value| value * value).sum::<f64>();
            assert!((square(&d) / square(&p) - 1.0).abs() < 1e-12, "{d:?} {p:?}");
        }
    }
}
