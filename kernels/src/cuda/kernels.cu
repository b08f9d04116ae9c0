// The kernels that cuDNN does not have, or not like this: batch normalisation with ReLU fused in and exact
// moments, pooling whose gradient goes to the first maximum, the loss, the optimiser's step.
//
// Every kernel exists for float and double. None uses atomics, and all sums have a fixed order: the same input
// gives the same bits. Sums over many values are taken in double.

typedef long long Index;

// How the blocks of a grid share out the values of [batch, channels, pixels]: blockIdx.x is the channel, and
// blockIdx.y one of sample_shares * pixel_shares parts of it. Threads stand in 2^log_lanes columns along the
// pixels, the rest along the samples.
struct Walk {
    int batch, channels, pixels, sample_shares, pixel_shares, log_lanes;

    template <typename Visit> __device__ void each(Visit visit) const {
        const int sample_share = blockIdx.y / pixel_shares, pixel_share = blockIdx.y % pixel_shares;
        const int sample_end = (Index)batch * (sample_share + 1) / sample_shares;
        const int pixel_end = (Index)pixels * (pixel_share + 1) / pixel_shares;
        const int lanes = 1 << log_lanes, rows = blockDim.x >> log_lanes;
        const int first_pixel = (Index)pixels * pixel_share / pixel_shares + (threadIdx.x & (lanes - 1));
        int sample = (Index)batch * sample_share / sample_shares + (threadIdx.x >> log_lanes);
        for (; sample < sample_end; sample += rows) {
            const Index plane = ((Index)sample * channels + blockIdx.x) * pixels;
            for (int pixel = first_pixel; pixel < pixel_end; pixel += lanes) visit(plane + pixel);
        }
    }

    __device__ int shares() const { return sample_shares * pixel_shares; }
    __device__ double count() const { return (double)batch * pixels; }
};

// Windows of a pooling over planes of height x width.
struct Windows {
    int height, width, out_height, out_width;
    int kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;

    // What the sum of a window is divided by for its average: its pixels, or all of the kernel.
    __device__ int divisor(int r, int c, bool of_pixels) const {
        return of_pixels ? (row_end(r) - row_start(r)) * (column_end(c) - column_start(c))
                         : kernel_height * kernel_width;
    }
    __device__ int row_start(int r) const { return max(r * stride_height - padding_height, 0); }
    __device__ int column_start(int c) const { return max(c * stride_width - padding_width, 0); }
    __device__ int row_end(int r) const {
        return min(r * stride_height - padding_height + kernel_height, height);
    }
    __device__ int column_end(int c) const {
        return min(c * stride_width - padding_width + kernel_width, width);
    }

    // Calls visit(window) for each window, by its row and column, that a pixel is in.
    template <typename Visit> __device__ void covering(int row, int column, Visit visit) const {
        const int y = row + padding_height, x = column + padding_width;
        const int first_row = y < kernel_height ? 0 : (y - kernel_height) / stride_height + 1;
        const int first_column = x < kernel_width ? 0 : (x - kernel_width) / stride_width + 1;
        const int last_row = min(y / stride_height, out_height - 1);
        const int last_column = min(x / stride_width, out_width - 1);
        for (int r = first_row; r <= last_row; r++)
            for (int c = first_column; c <= last_column; c++) visit(r, c);
    }
};

// Planes of height x width copied into planes of to_height x to_width, where the first pixel lies at (top, left).
struct Frame {
    int height, width, to_height, to_width, top, left;
};

// Where the taps of a convolution's kernel are, over planes of height x width.
struct Taps {
    int height, width, out_height, out_width;
    int kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;
    int dilation_height, dilation_width;

    __device__ int row(int out, int tap) const {
        return out * stride_height - padding_height + tap * dilation_height;
    }
    __device__ int column(int out, int tap) const {
        return out * stride_width - padding_width + tap * dilation_width;
    }
};

// The functions of `Activation`, by the numbers of `function_numbers`.
enum { RELU, RELU6, LEAKY_RELU, SIGMOID, TANH, SILU, GELU, HARD_SIGMOID, HARD_SWISH, CLIP };

// What local response normalisation divides by, over samples of channels * pixels numbers.
struct Response {
    double scale, beta, bias;
    int channels, pixels, before, behind;

    __device__ int channel(Index i) const { return i / pixels % channels; }
    // The channels that a channel sees, the last one included.
    __device__ int first_seen(int channel) const { return max(channel - before, 0); }
    __device__ int last_seen(int channel) const { return min(channel + behind, channels - 1); }
    // The channels that see a channel.
    __device__ int first_seeing(int channel) const { return max(channel - behind, 0); }
    __device__ int last_seeing(int channel) const { return min(channel + before, channels - 1); }
};

__device__ unsigned long long mix_bits(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Whether dropout drops a position: the hash of dropout.rs.
__device__ bool drops(unsigned long long key, unsigned long long threshold, unsigned long long position) {
    return mix_bits(key + (position + 1) * 0x9e3779b97f4a7c15ull) >> 11 < threshold;
}

__device__ Index thread_index() { return (Index)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ double warp_sum(double value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

// The sums over a block's threads, in every thread.
template <int N> __device__ void block_sums(double (&values)[N]) {
    __shared__ double warps[N][32];
    __syncthreads();
    for (int i = 0; i < N; i++) {
        const double sum = warp_sum(values[i]);
        if (threadIdx.x % 32 == 0) warps[i][threadIdx.x / 32] = sum;
    }
    __syncthreads();
    for (int i = 0; i < N; i++)
        values[i] = warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? warps[i][threadIdx.x % 32] : 0.0);
}

// The sums of the shares of this block's channel, in every thread. partials is [channels, shares, N].
template <int N> __device__ void channel_totals(const double *partials, int shares, double (&totals)[N]) {
    const double *channel = partials + (Index)blockIdx.x * shares * N;
    for (int i = 0; i < N; i++) {
        double sum = 0.0;
        for (int share = threadIdx.x % 32; share < shares; share += 32) sum += channel[share * N + i];
        totals[i] = warp_sum(sum);
    }
}

template <int N> __device__ void store_partials(double (&sums)[N], int shares, double *partials) {
    block_sums(sums);
    if (threadIdx.x == 0)
        for (int i = 0; i < N; i++) partials[((Index)blockIdx.x * shares + blockIdx.y) * N + i] = sums[i];
}

#define REAL float
#define KERNEL(name) extern "C" __global__ void name##_f32
#include "kernels.cuh"
#undef REAL
#undef KERNEL
#define REAL double
#define KERNEL(name) extern "C" __global__ void name##_f64
#include "kernels.cuh"
