//! The weight gradient of convolutions with few taps as matrix products, one for each sample, and their sum.
//!
//! The columns of a sample are what each tap of each channel sees, `[channels * taps, out pixels]`; for a 1x1
//! kernel they are the sample itself. cuDNN's engines for the weight gradient that repeat to the last bit took
//! ten times as long as forward passes of the same size, for 1x1 kernels and for the three channels of an image.

use super::launch::{Real, elements, int, kernel, room};
use crate::conv::Geometry;
use candle_core::Result;
use candle_core::cuda::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda::cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig};
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, PushKernelArg};
use candle_core::cuda::{CudaDevice, WrapErr};

/// The most rows of columns that are worth to be written down.
const MOST_ROWS: usize = 72;

/// How taps walk over a plane; `struct Taps` of `kernels.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Taps {
    input: [i32; 2],
    output: [i32; 2],
    kernel: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
}

// SAFETY: twelve `int`s in the order and the layout of C.
unsafe impl DeviceRepr for Taps {}

impl Taps {
    fn new(op: &str, g: &Geometry) -> Result<Self> {
        let (h, w) = (&g.height, &g.width);
        let pair = |h: usize, w: usize| Ok::<_, candle_core::Error>([int(op, h)?, int(op, w)?]);
        Ok(Self {
            input: pair(h.input, w.input)?,
            output: pair(h.output, w.output)?,
            kernel: pair(h.kernel, w.kernel)?,
            stride: pair(h.stride, w.stride)?,
            padding: pair(h.padding, w.padding)?,
            dilation: pair(h.dilation, w.dilation)?,
        })
    }
}

/// Whether the sample itself is its columns.
fn pointwise(g: &Geometry) -> bool {
    g.height.is_pointwise() && g.width.is_pointwise()
}

/// Whether this way suits a convolution, and takes at most `room` bytes.
pub(super) fn applies(g: &Geometry, number_bytes: usize, room: usize) -> bool {
    let rows = g.channels * g.taps();
    let products = g.batch * g.outputs * rows;
    let columns = if pointwise(g) { 0 } else { g.batch * rows * g.output_plane() };
    g.groups == 1 && (pointwise(g) || rows <= MOST_ROWS) && (products + columns) * number_bytes <= room
}

/// (x, dy) -> dweight
pub(super) fn weight_gradient<T: Real>(
    op: &str,
    device: &CudaDevice,
    g: &Geometry,
    x: &CudaView<T>,
    dy: &CudaView<T>,
) -> Result<CudaSlice<T>>
where
    CudaBlas: Gemm<T>,
{
    let products = if pointwise(g) {
        products(op, device, g, x, dy)?
    } else {
        products(op, device, g, &columns(op, device, g, x)?.as_view(), dy)?
    };
    if g.batch == 1 {
        return Ok(products);
    }
    let size = g.weight_shape().iter().product();
    let mut sum = room::<T>(device, size)?;
    let (add, batch, n) = (kernel::<T>(device, "sum_samples")?, int(op, g.batch)?, size as i64);
    let mut launch = add.builder();
    launch.arg(&products).arg(&mut sum).arg(&batch).arg(&n);
    // SAFETY: the kernel's arguments, products of batch * n elements and their sum of n.
    unsafe { launch.launch(elements(size)) }.w()?;
    Ok(sum)
}

/// `[batch, channels * taps, out pixels]`
fn columns<T: Real>(op: &str, device: &CudaDevice, g: &Geometry, x: &CudaView<T>) -> Result<CudaSlice<T>> {
    let count = g.batch * g.channels * g.taps() * g.output_plane();
    let mut columns = room::<T>(device, count)?;
    let (kernel, taps, n) = (kernel::<T>(device, "columns")?, Taps::new(op, g)?, count as i64);
    let mut launch = kernel.builder();
    launch.arg(x).arg(&mut columns).arg(&n).arg(&taps);
    // SAFETY: the kernel's arguments, x of whole planes, n columns of them.
    unsafe { launch.launch(elements(count)) }.w()?;
    Ok(columns)
}

/// For each sample `[out, channels * taps]`, dy `[out, out pixels]` times the transpose of the columns.
fn products<T: Real>(
    op: &str,
    device: &CudaDevice,
    g: &Geometry,
    columns: &CudaView<T>,
    dy: &CudaView<T>,
) -> Result<CudaSlice<T>>
where
    CudaBlas: Gemm<T>,
{
    let (rows, pixels) = (g.channels * g.taps(), g.output_plane());
    let mut products = room::<T>(device, g.batch * g.outputs * rows)?;
    // cuBLAS stores columns first: to it the columns are [out pixels, channels * taps], dy is
    // [out pixels, out] and the product [channels * taps, out].
    let gemm = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_T,
        transb: cublasOperation_t::CUBLAS_OP_N,
        m: int(op, rows)?,
        n: int(op, g.outputs)?,
        k: int(op, pixels)?,
        alpha: T::ONE,
        lda: int(op, pixels)?,
        ldb: int(op, pixels)?,
        beta: T::ZERO,
        ldc: int(op, rows)?,
    };
    let cfg = StridedBatchedConfig {
        gemm,
        batch_size: int(op, g.batch)?,
        stride_a: (rows * pixels) as i64,
        stride_b: (g.outputs * pixels) as i64,
        stride_c: (g.outputs * rows) as i64,
    };
    // SAFETY: columns, dy and products have the sizes of the geometry, as the configuration says.
    unsafe { device.cublas_handle().gemm_strided_batched(cfg, columns, dy, &mut products) }.w()?;
    Ok(products)
}
