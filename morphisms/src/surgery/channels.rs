//! More channels and fewer.

use candle_core::{DType, Device, Storage, Tensor, WithDType};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::{refuse, shape};
use crate::init::{Seed, he_std};
use crate::{Result, rows};

/// How far the shares of a channel's copies may be from adding up to 1.
const TOLERANCE: f64 = 1e-9;

/// Channels in the place of fewer: which channel each one copies, and what part of it a reader takes from there.
#[derive(Debug, Clone, PartialEq)]
pub struct Replication {
    /// Channel i is a copy of channel `of[i]`.
    pub of: Vec<usize>,
    /// A reader takes the share `share[i]` of channel i; those of the copies of one channel add up to 1.
    pub share: Vec<f64>,
}

impl Replication {
    /// The same behind a flatten, where every channel is `positions` (height x width) columns.
    ///
    /// ```
    /// let wider = morphisms::surgery::Replication { of: vec![0, 1, 0], share: vec![0.75, 1.0, 0.25] };
    /// let columns = wider.repeated(2);
    /// assert_eq!(columns.of, [0, 1, 2, 3, 0, 1]);
    /// assert_eq!(columns.share, [0.75, 0.75, 1.0, 1.0, 0.25, 0.25]);
    /// ```
    pub fn repeated(&self, positions: usize) -> Self {
        let columns = |&channel: &usize| (0..positions).map(move |place| channel * positions + place);
        Self {
            of: self.of.iter().flat_map(columns).collect(),
            share: self.share.iter().flat_map(|&share| std::iter::repeat_n(share, positions)).collect(),
        }
    }

    /// The same copies, all of one channel with the same share, as in Net2Net. They stay equal for ever unless something
    /// else tells them apart, such as noise.
    ///
    /// ```
    /// let wider = morphisms::surgery::Replication { of: vec![0, 1, 0], share: vec![0.75, 1.0, 0.25] };
    /// assert_eq!(wider.shared_equally().share, [0.5, 1.0, 0.5]);
    /// ```
    pub fn shared_equally(self) -> Self {
        let copies = |channel| self.of.iter().filter(|&&of| of == channel).count() as f64;
        let share = self.of.iter().map(|&channel| 1.0 / copies(channel)).collect();
        Self { of: self.of, share }
    }
}

/// `to` channels in the place of `channels`: the old ones, then copies of some drawn by `seed`, each as often as any other
/// or once more.
///
/// Whoever reads channel c takes the share `s_i` of copy i, and `sum_i s_i w x_c = w x_c` as `sum s_i = 1` (Chen et al.,
/// "Net2Net", ICLR 2016, section 2.2). The shares are unequal, so that copies get different gradients and part (Wang et
/// al., "LEMON", ICLR 2024): the k-th copy gets about a third of the one before it.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if there are no channels, or `to` is less.
///
/// ```
/// let wider = morphisms::surgery::replication(3, 4, 7)?;
/// let twin = wider.of[3];
/// assert_eq!(wider.of[..3], [0, 1, 2]);
/// assert!((wider.share[twin] + wider.share[3] - 1.0).abs() < 1e-12 && wider.share[twin] > wider.share[3]);
/// # Ok::<(), morphisms::Error>(())
/// ```
pub fn replication(channels: usize, to: usize, seed: u64) -> Result<Replication> {
    if channels == 0 || to < channels {
        return refuse("replication", format!("{} channels or more", channels.max(1)), to);
    }
    let mut rng = Seed { seed, stream: 0 }.rng();
    let mut places: Vec<usize> = (0..channels).collect();
    let mut of = places.clone();
    while of.len() < to {
        places.shuffle(&mut rng);
        // Which channels is drawn; in their own order they are copied faster.
        let copied = channels.min(to - of.len());
        places[..copied].sort_unstable();
        of.extend(&places[..copied]);
    }
    // With nearly equal shares twins would hardly part.
    let mut turn = vec![0; channels];
    let draws: Vec<f64> = of
        .iter()
        .map(|&place| (0.8 + 0.4 * rng.random::<f64>()) / 3f64.powi((turn[place], turn[place] += 1).0))
        .collect();
    let mut total = vec![0.0; channels];
    of.iter().zip(&draws).for_each(|(&place, draw)| total[place] += draw);
    let share = of.iter().zip(&draws).map(|(&place, draw)| draw / total[place]).collect();
    Ok(Replication { of, share })
}

/// Slices along the output channels, the first axis: of a kernel, a matrix, a bias, or a tensor of a batch norm; of a
/// depthwise kernel too, whose groups then number as many.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if `index` is empty or names a channel that is not there.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let weight = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let wider = morphisms::surgery::gather_out(&weight, &[0, 1, 1])?;
/// assert_eq!(wider.to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gather_out(tensor: &Tensor, index: &[usize]) -> Result<Tensor> {
    gather("gather_out", tensor, 0, index, None)
}

/// Slices along the input channels, the second axis, of a kernel or a matrix; slice i is channel `index[i]` times
/// `shares[i]`. Without shares every one counts as 1.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if `index` is empty or names a channel that is not there, if there are not as
/// many shares, or if those of one channel do not add up to 1, so that the function would change.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use morphisms::surgery::gather_in;
/// let weight = Tensor::new(&[[1f32, 4.0]], &Device::Cpu)?;
/// let wider = gather_in(&weight, &[0, 1, 1], Some(&[1.0, 0.75, 0.25]))?;
/// assert_eq!(wider.to_vec2::<f32>()?, [[1.0, 3.0, 1.0]]);
/// assert_eq!(gather_in(&weight, &[1], None)?.to_vec2::<f32>()?, [[4.0]]); // pruned
/// assert!(gather_in(&weight, &[1, 1], None).is_err()); // counted twice
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gather_in(tensor: &Tensor, index: &[usize], shares: Option<&[f64]>) -> Result<Tensor> {
    let function = "gather_in";
    if let Some(shares) = shares.filter(|shares| shares.len() != index.len()) {
        return refuse(function, format!("{} shares, one a slice", index.len()), shares.len());
    }
    let gathered = gather(function, tensor, 1, index, shares)?;
    let mut total = vec![0.0; tensor.dim(1)?];
    for (place, &channel) in index.iter().enumerate() {
        total[channel] += shares.map_or(1.0, |shares| shares[place]);
    }
    match index.iter().find(|&&channel| (total[channel] - 1.0).abs() > TOLERANCE) {
        Some(&channel) => {
            refuse(function, format!("shares of channel {channel} that add up to 1"), total[channel])
        }
        None => Ok(gathered),
    }
}

/// Slices along any axis, each one scaled.
pub(crate) fn gather(
    function: &'static str,
    tensor: &Tensor,
    axis: usize,
    index: &[usize],
    scale: Option<&[f64]>,
) -> Result<Tensor> {
    let Some(&size) = tensor.dims().get(axis) else {
        return refuse(function, format!("a tensor with an axis {axis}"), shape(tensor.dims()));
    };
    if index.is_empty() {
        return refuse(function, "at least one slice", "none");
    }
    if let Some(bad) = index.iter().find(|&&slice| slice >= size) {
        return refuse(function, format!("slices below {size}"), bad);
    }
    match tensor.dtype() {
        DType::F32 if tensor.device().is_cpu() => return gather_on_cpu::<f32>(tensor, axis, index, scale),
        DType::F64 if tensor.device().is_cpu() => return gather_on_cpu::<f64>(tensor, axis, index, scale),
        _ => {}
    }
    let index: Vec<u32> = index.iter().map(|&slice| slice as u32).collect();
    let taken = tensor.contiguous()?.index_select(&Tensor::new(index, tensor.device())?, axis)?;
    let Some(scale) = scale else { return Ok(taken) };
    let mut along = vec![1; tensor.rank()];
    along[axis] = scale.len();
    let scale = Tensor::from_vec(scale.to_vec(), along, tensor.device())?.to_dtype(tensor.dtype())?;
    Ok(taken.broadcast_mul(&scale)?)
}

/// [`gather`] in one pass over memory, where candle takes one to select and one to scale.
fn gather_on_cpu<T: WithDType>(
    tensor: &Tensor,
    axis: usize,
    index: &[usize],
    scale: Option<&[f64]>,
) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    let mut dims = tensor.dims().to_vec();
    let (size, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    dims[axis] = index.len();
    let scale: Option<Vec<T>> = scale.map(|scale| scale.iter().map(|&factor| T::from_f64(factor)).collect());
    let taken = {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { unreachable!("the device is the CPU") };
        let all = &T::cpu_storage_as_slice(storage)?[layout.start_offset()..][..tensor.elem_count()];
        rows::gathered(all, size, inner, index, scale.as_deref())
    };
    Ok(Tensor::from_vec(taken, dims, &Device::Cpu)?)
}

/// A kernel or matrix that reads `count` more channels, behind those it reads, with weight 0: fresh channels, or those that
/// a skip concatenates, `[W 0] [x; a] = W x` (Elsken et al., LEMONADE, ICLR 2019, section 3.1).
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if there is no second axis.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let weight = Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?;
/// let reads_more = morphisms::surgery::pad_in_zeros(&weight, 2)?;
/// assert_eq!(reads_more.to_vec2::<f32>()?, [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pad_in_zeros(tensor: &Tensor, count: usize) -> Result<Tensor> {
    if tensor.rank() < 2 {
        return refuse("pad_in_zeros", "a weight [out, in, ...]", shape(tensor.dims()));
    }
    Ok(tensor.pad_with_zeros(1, 0, count)?)
}

/// A vector `[out]` with `count` more entries of `value`, for fresh channels: 0 for a bias, a shift and a running mean; 1 for
/// a scale and a running variance.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if it is not a vector.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let gamma = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// assert_eq!(morphisms::surgery::pad_out(&gamma, 2, 1.0)?.to_vec1::<f32>()?, [0.5, 1.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pad_out(vector: &Tensor, count: usize, value: f64) -> Result<Tensor> {
    if vector.rank() != 1 {
        return refuse("pad_out", "a vector [out]", shape(vector.dims()));
    }
    with_rows(vector, vec![value; count], &[count])
}

/// A kernel `[out, in / groups, height, width]` or matrix `[out, in]` with `count` more rows behind the others, drawn by
/// name from the normal distribution of standard deviation `sqrt(2 / inputs)` (He et al. 2015).
///
/// Nobody may read what they make with another weight than 0 yet: [`pad_in_zeros`].
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if there is no second axis.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use morphisms::{Seed, surgery::fresh_out};
/// let weight = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let more = fresh_out(&weight, 3, Seed { seed: 0, stream: 0 })?;
/// assert_eq!(more.dims(), [4, 2]);
/// assert_eq!(more.get(0)?.to_vec1::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fresh_out(tensor: &Tensor, count: usize, seed: Seed) -> Result<Tensor> {
    if tensor.rank() < 2 {
        return refuse("fresh_out", "a weight [out, in, ...]", shape(tensor.dims()));
    }
    let mut rows = tensor.dims().to_vec();
    rows[0] = count;
    let values = seed.normal(he_std(tensor.dims()), rows.iter().product());
    with_rows(tensor, values, &rows)
}

fn with_rows(tensor: &Tensor, values: Vec<f64>, rows: &[usize]) -> Result<Tensor> {
    if values.is_empty() {
        return Ok(tensor.clone());
    }
    let rows = Tensor::from_vec(values, rows, tensor.device())?.to_dtype(tensor.dtype())?;
    Ok(Tensor::cat(&[tensor, &rows], 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn every_channel_is_copied_as_often_as_any_other_or_once_more() {
        for (channels, to) in [(1, 1), (1, 5), (4, 6), (4, 8), (4, 11), (7, 30)] {
            let Replication { of, share } = replication(channels, to, 3).unwrap();
            assert_eq!((of.len(), share.len()), (to, to));
            for channel in 0..channels {
                let shares: Vec<f64> =
                    of.iter().zip(&share).filter(|(c, _)| **c == channel).map(|(_, s)| *s).collect();
                assert!(shares.len() == to / channels || shares.len() == to.div_ceil(channels));
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-14, "{shares:?}");
                assert!(shares.windows(2).all(|pair| pair[0] > 1.5 * pair[1]), "{shares:?}");
            }
        }
        assert_eq!(replication(4, 7, 1).unwrap(), replication(4, 7, 1).unwrap());
        assert_ne!(replication(4, 7, 1).unwrap(), replication(4, 7, 2).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let weight = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let text = |result: Result<Tensor>| result.unwrap_err().to_string();
        let cases = [
            (text(gather_out(&weight, &[0, 2])), ["below 2", "found 2"]),
            (text(gather_out(&weight, &[])), ["at least one", "none"]),
            (text(gather_in(&weight, &[0, 3], None)), ["below 3", "found 3"]),
            (text(gather_in(&weight, &[0, 1], Some(&[1.0]))), ["2 shares", "found 1"]),
            (text(gather_in(&weight, &[2, 2], Some(&[0.5, 0.25]))), ["channel 2", "0.75"]),
            (text(pad_out(&weight, 1, 0.0)), ["[out]", "[2, 3]"]),
            (text(pad_in_zeros(&weight.get(0).unwrap(), 1)), ["[out, in, ...]", "[3]"]),
            (text(fresh_out(&weight.get(0).unwrap(), 1, Seed { seed: 0, stream: 0 })), ["[out, in", "[3]"]),
            (text(gather_in(&weight.get(0).unwrap(), &[0], None)), ["an axis 1", "[3]"]),
            (text(gather_in(&weight, &[2, 2], None)), ["channel 2", "found 2"]),
            (replication(4, 3, 0).unwrap_err().to_string(), ["4 channels", "found 3"]),
            (replication(0, 3, 0).unwrap_err().to_string(), ["1 channels", "found 3"]),
        ];
        for (error, parts) in cases {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}: {parts:?}");
        }
    }

    #[test]
    fn fresh_rows_have_the_deviation_of_a_fresh_layer() {
        let weight = Tensor::zeros((1, 8, 3, 3), DType::F64, &Device::Cpu).unwrap();
        let more = fresh_out(&weight, 400, Seed { seed: 5, stream: 2 }).unwrap();
        let drawn: Vec<f64> = more.narrow(0, 1, 400).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let square = drawn.iter().map(|value| value * value).sum::<f64>() / drawn.len() as f64;
        // 28,800 draws: the standard error of the mean square is 0.8 % of it.
        assert!((square / (2.0 / 72.0) - 1.0).abs() < 0.04, "{square}");
        let matrix = Tensor::zeros((1, 8), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(fresh_out(&matrix, 3, Seed { seed: 5, stream: 2 }).unwrap().dims(), [4, 8]);
    }

    /// Apart enough that twins part, and none so small that it learns nothing.
    #[test]
    fn the_next_copy_has_about_a_third_of_the_share() {
        for seed in 0..20 {
            let Replication { of, share } = replication(5, 20, seed).unwrap();
            for channel in 0..5 {
                let mut shares = of.iter().zip(&share).filter(|(of, _)| **of == channel).map(|(_, s)| *s);
                let mut last = shares.next().unwrap();
                for next in shares {
                    // Each is drawn between 0.8 and 1.2 times a power of three.
                    assert!((2.0..4.5).contains(&(last / next)), "{last} {next}");
                    last = next;
                }
            }
        }
    }

    /// Other number formats than f32 and f64, and GPUs, take candle's way to the same numbers.
    #[test]
    fn slices_are_gathered_in_any_number_format() {
        let numbers: Vec<f64> = (0..12).map(f64::from).collect();
        let tensor = Tensor::from_vec(numbers, (2, 3, 2), &Device::Cpu).unwrap();
        let gathered = |dtype, scale| {
            let found = gather("gather", &tensor.to_dtype(dtype).unwrap(), 1, &[2, 0, 2], scale).unwrap();
            assert_eq!((found.dtype(), found.dims()), (dtype, &[2, 3, 2][..]));
            found.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        for dtype in [DType::F64, DType::F32, DType::F16] {
            assert_eq!(gathered(dtype, None), [4., 5., 0., 1., 4., 5., 10., 11., 6., 7., 10., 11.]);
            let scaled = gathered(dtype, Some(&[0.5, 1.0, 2.0]));
            assert_eq!(scaled, [2., 2.5, 0., 1., 8., 10., 5., 5.5, 6., 7., 20., 22.]);
        }
    }
}
