//! Larger and smaller kernels.

use candle_core::Tensor;

use super::{refuse, shape};
use crate::Result;

/// A kernel `[out, in / groups, height, width]` with zeros around it, of the size `to`, (height, width). With the padding of
/// the convolution grown by half the difference (times its dilation) the function stays (Wei et al., "Network morphism",
/// ICML 2016, section 3.4).
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if `to` is smaller, or larger by an odd number.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let kernel = Tensor::new(&[[[[2f32]]]], &Device::Cpu)?;
/// let larger = morphisms::surgery::pad_kernel(&kernel, (1, 3))?;
/// assert_eq!(larger.flatten_all()?.to_vec1::<f32>()?, [0.0, 2.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pad_kernel(kernel: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    let (height, width) = size("pad_kernel", kernel)?;
    match (margin(height, to.0), margin(width, to.1)) {
        (Some(rows), Some(columns)) => {
            Ok(kernel.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, columns, columns)?)
        }
        _ => refuse("pad_kernel", expected("no smaller than", (height, width)), sized(to)),
    }
}

/// The middle `to`, (height, width), of a kernel `[out, in / groups, height, width]`. With the padding of the convolution
/// shrunk by half the difference (times its dilation) what is lost is what the outer taps held.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if `to` is zero, larger, or smaller by an odd number.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let kernel = Tensor::new(&[[[[1f32, 2.0, 3.0]]]], &Device::Cpu)?;
/// let smaller = morphisms::surgery::crop_kernel(&kernel, (1, 1))?;
/// assert_eq!(smaller.flatten_all()?.to_vec1::<f32>()?, [2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn crop_kernel(kernel: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    let (height, width) = size("crop_kernel", kernel)?;
    match (margin(to.0, height), margin(to.1, width)) {
        (Some(rows), Some(columns)) if to.0 > 0 && to.1 > 0 => {
            Ok(kernel.narrow(2, rows, to.0)?.narrow(3, columns, to.1)?.contiguous()?)
        }
        _ => refuse("crop_kernel", expected("no larger than", (height, width)), sized(to)),
    }
}

fn size(function: &'static str, kernel: &Tensor) -> Result<(usize, usize)> {
    match *kernel.dims() {
        [_, _, height, width] => Ok((height, width)),
        ref found => refuse(function, "a kernel [out, in / groups, height, width]", shape(found)),
    }
}

/// What lies on each side of `inner` in the middle of `outer`.
fn margin(inner: usize, outer: usize) -> Option<usize> {
    outer.checked_sub(inner).filter(|difference| difference % 2 == 0).map(|difference| difference / 2)
}

fn expected(relation: &str, (height, width): (usize, usize)) -> String {
    format!("a size {relation} {height}x{width}, the difference even")
}

fn sized((height, width): (usize, usize)) -> String {
    format!("{height}x{width}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_padded_kernel_is_cropped_to_itself() {
        let kernel = Tensor::arange(0f64, 18.0, &Device::Cpu).unwrap().reshape((2, 1, 3, 3)).unwrap();
        let padded = pad_kernel(&kernel, (5, 7)).unwrap();
        assert_eq!(padded.dims(), [2, 1, 5, 7]);
        let value = |row: usize, column: usize| -> f64 {
            padded.get(1).unwrap().get(0).unwrap().get(row).unwrap().get(column).unwrap().to_scalar().unwrap()
        };
        assert_eq!([value(0, 3), value(2, 1), value(1, 2), value(3, 4)], [0.0, 0.0, 9.0, 17.0]);
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(numbers(&crop_kernel(&padded, (3, 3)).unwrap()), numbers(&kernel));
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let kernel = Tensor::zeros((2, 1, 3, 3), candle_core::DType::F64, &Device::Cpu).unwrap();
        for (to, found) in [((4, 5), "found 4x5"), ((5, 4), "found 5x4"), ((1, 5), "found 1x5")] {
            let error = pad_kernel(&kernel, to).unwrap_err().to_string();
            assert!(error.contains("no smaller than 3x3") && error.contains(found), "{error}");
        }
        for (to, found) in [((5, 3), "found 5x3"), ((2, 3), "found 2x3"), ((3, 2), "found 3x2")] {
            let error = crop_kernel(&kernel, to).unwrap_err().to_string();
            assert!(error.contains("no larger than 3x3") && error.contains(found), "{error}");
        }
        let even = Tensor::zeros((2, 1, 4, 4), candle_core::DType::F64, &Device::Cpu).unwrap();
        for to in [(0, 2), (2, 0)] {
            assert!(crop_kernel(&even, to).is_err(), "nothing is left: {to:?}");
        }
        let error = pad_kernel(&kernel.get(0).unwrap(), (5, 5)).unwrap_err().to_string();
        assert!(error.contains("[1, 3, 3]"), "{error}");
    }
}
