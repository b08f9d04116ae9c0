//! Layers that change nothing.

use candle_core::{DType, Device, Tensor, WithDType};

use super::refuse;
use crate::Result;

/// The kernel `[channels, channels, height, width]` that convolves every channel with a unit impulse: the identity, with
/// stride 1 and padding `(height / 2, width / 2)`. A layer inserted behind a ReLU starts with it (Chen et al., "Net2Net",
/// ICLR 2016, section 2.3; Zagoruyko and Komodakis, "DiracNets", 2017).
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) for no channels or an even kernel, which has no centre.
///
/// ```
/// use candle_core::{DType, Device};
/// let kernel = morphisms::surgery::dirac(1, (1, 3), DType::F64, &Device::Cpu)?;
/// assert_eq!(kernel.flatten_all()?.to_vec1::<f64>()?, [0.0, 1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dirac(channels: usize, kernel: (usize, usize), dtype: DType, device: &Device) -> Result<Tensor> {
    let values = impulses::<f64>("dirac", channels, kernel)?;
    Ok(Tensor::from_vec(values, (channels, channels, kernel.0, kernel.1), device)?.to_dtype(dtype)?)
}

/// The numbers of [`dirac`].
pub(crate) fn impulses<T: WithDType>(
    function: &'static str,
    channels: usize,
    (height, width): (usize, usize),
) -> Result<Vec<T>> {
    if channels == 0 || height % 2 == 0 || width % 2 == 0 {
        let found = format!("{channels} channels and a kernel of {height}x{width}");
        return refuse(function, "at least one channel and a kernel of odd height and width", found);
    }
    let mut values = vec![T::zero(); channels * channels * height * width];
    for channel in 0..channels {
        values[((channel * channels + channel) * height + height / 2) * width + width / 2] = T::one();
    }
    Ok(values)
}

/// The identity matrix `[features, features]`, for a linear layer that is inserted.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) for no features.
///
/// ```
/// use candle_core::{DType, Device};
/// let matrix = morphisms::surgery::identity_linear(2, DType::F32, &Device::Cpu)?;
/// assert_eq!(matrix.to_vec2::<f32>()?, [[1.0, 0.0], [0.0, 1.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn identity_linear(features: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    if features == 0 {
        return refuse("identity_linear", "at least one feature", features);
    }
    Ok(dirac(features, (1, 1), dtype, device)?.reshape((features, features))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_impulse_is_in_the_middle_of_its_own_channel() {
        let kernel = dirac(2, (3, 1), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(kernel.dims(), [2, 2, 3, 1]);
        let values: Vec<f32> = kernel.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(values, [0., 1., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.]);
    }

    #[test]
    fn what_has_no_centre_is_refused() {
        for (channels, kernel, found) in [(2, (3, 4), "3x4"), (2, (4, 3), "4x3"), (0, (3, 3), "0 channels")] {
            let error = dirac(channels, kernel, DType::F32, &Device::Cpu).unwrap_err().to_string();
            assert!(error.contains("odd") && error.contains(found), "{error}");
        }
        let error = identity_linear(0, DType::F32, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("at least one feature"), "{error}");
    }
}
