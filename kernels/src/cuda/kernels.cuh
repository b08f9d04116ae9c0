// The kernels for one number type: included by kernels.cu with REAL and KERNEL defined.

// ---- Element by element

KERNEL(relu)(const REAL *x, REAL *y, Index n) {
    const Index i = thread_index();
    if (i < n) y[i] = x[i] <= 0 ? (REAL)0 : x[i];
}

KERNEL(relu_gradient)(const REAL *y, const REAL *dy, REAL *dx, Index n) {
    const Index i = thread_index();
    if (i < n) dx[i] = y[i] <= 0 ? (REAL)0 : dy[i];
}

__device__ REAL sigmoid(REAL x) {
    const REAL e = exp(-fabs(x));
    return (x < 0 ? e : (REAL)1) / ((REAL)1 + e);
}

__device__ REAL sigmoid_slope(REAL x) {
    const REAL e = exp(-fabs(x));
    return e / (((REAL)1 + e) * ((REAL)1 + e));
}

__device__ REAL normal(REAL x) { return (REAL)0.5 * erfc(-x * (REAL)0.7071067811865475244); }

__device__ REAL relu6(REAL x) { return x <= 0 ? (REAL)0 : x >= 6 ? (REAL)6 : x; }

// slope: of the leaky ReLU; low and high: of clipping.
__device__ REAL activate(REAL x, int function, REAL slope, REAL low, REAL high) {
    switch (function) {
    case RELU: return x <= 0 ? (REAL)0 : x;
    case RELU6: return relu6(x);
    case LEAKY_RELU: return x > 0 ? x : slope * x;
    case SIGMOID: return sigmoid(x);
    case TANH: return tanh(x);
    case SILU: return x * sigmoid(x);
    case GELU: return x * normal(x);
    case HARD_SIGMOID: return relu6(x + 3) / 6;
    case CLIP: return x <= low ? low : x >= high ? high : x;
    default: return x * relu6(x + 3) / 6; // HARD_SWISH
    }
}

__device__ REAL activation_slope(REAL x, REAL dy, int function, REAL slope, REAL low, REAL high) {
    switch (function) {
    case RELU: return x <= 0 ? (REAL)0 : dy;
    case RELU6: return x <= 0 || x >= 6 ? (REAL)0 : dy;
    case LEAKY_RELU: return x > 0 ? dy : slope * dy;
    case SIGMOID: return dy * sigmoid_slope(x);
    case TANH: return dy * 4 * sigmoid_slope(2 * x);
    case SILU: return dy * fma(x, sigmoid_slope(x), sigmoid(x));
    case GELU: {
        const REAL density = (REAL)0.3989422804014326779 * exp((REAL)-0.5 * x * x);
        return dy * fma(x, density, normal(x));
    }
    case HARD_SIGMOID: return x > -3 && x < 3 ? dy / 6 : (REAL)0;
    case CLIP: return x < low || x > high ? (REAL)0 : dy;
    default: return x <= -3 ? (REAL)0 : x >= 3 ? dy : dy * (x / 3 + (REAL)0.5); // HARD_SWISH
    }
}

KERNEL(activation)(const REAL *x, REAL *y, int function, double slope, double low, double high, Index n) {
    const Index i = thread_index();
    if (i < n) y[i] = activate(x[i], function, slope, low, high);
}

KERNEL(activation_gradient)(const REAL *x, const REAL *dy, REAL *dx, int function, double slope, double low,
                            double high, Index n) {
    const Index i = thread_index();
    if (i < n) dx[i] = activation_slope(x[i], dy[i], function, slope, low, high);
}

// x, dy and dx [batch, channels, pixels], slope [channels]; with x for dy it is the function itself.
KERNEL(prelu_gradient)(const REAL *x, const REAL *slope, const REAL *dy, REAL *dx, Index pixels, Index channels,
                       Index n) {
    const Index i = thread_index();
    if (i < n) dx[i] = x[i] > 0 ? dy[i] : slope[i / pixels % channels] * dy[i];
}

// What each value adds to the gradient of its channel's slope.
KERNEL(prelu_slope_terms)(const REAL *x, const REAL *dy, REAL *terms, Index n) {
    const Index i = thread_index();
    if (i < n) terms[i] = x[i] > 0 ? (REAL)0 : x[i] * dy[i];
}

// gate [n / plane]
KERNEL(multiply)(const REAL *x, const REAL *gate, REAL *y, Index plane, Index n) {
    const Index i = thread_index();
    if (i < n) y[i] = x[i] * gate[i / plane];
}

KERNEL(dropout)(const REAL *x, REAL *y, unsigned long long key, unsigned long long threshold, double factor,
                Index n) {
    const Index i = thread_index();
    if (i < n) y[i] = x[i] * (drops(key, threshold, i) ? (REAL)0 : (REAL)factor);
}

KERNEL(mix)(const REAL *a, const REAL *b, const REAL *lambda, REAL *y, Index n) {
    const Index i = thread_index();
    if (i < n) y[i] = ((REAL)1 - *lambda) * a[i] + *lambda * b[i];
}

// y [batch, channels, pixels] += bias [channels]
KERNEL(add_bias)(REAL *y, const REAL *bias, Walk walk) {
    const REAL b = bias[blockIdx.x];
    walk.each([&](Index i) { y[i] += b; });
}

// ---- What the taps of a convolution see

// Zero where there is nothing to copy.
KERNEL(frame)(const REAL *x, REAL *y, Index n, Frame f) {
    const Index i = thread_index();
    if (i >= n) return;
    const int row = i / f.to_width % f.to_height - f.top, column = i % f.to_width - f.left;
    const bool inside = row >= 0 && row < f.height && column >= 0 && column < f.width;
    const Index plane = i / ((Index)f.to_width * f.to_height);
    y[i] = inside ? x[(plane * f.height + row) * f.width + column] : (REAL)0;
}

// x [batch * channels, height, width] -> columns [batch * channels, kernel, out], n numbers
KERNEL(columns)(const REAL *x, REAL *columns, Index n, Taps t) {
    const Index i = thread_index();
    if (i >= n) return;
    const int plane = t.out_height * t.out_width, at = i % plane;
    const Index tap = i / plane;
    const int k = tap % (t.kernel_height * t.kernel_width);
    const int row = t.row(at / t.out_width, k / t.kernel_width);
    const int column = t.column(at % t.out_width, k % t.kernel_width);
    const bool inside = row >= 0 && row < t.height && column >= 0 && column < t.width;
    const REAL *source = x + tap / (t.kernel_height * t.kernel_width) * t.height * t.width;
    columns[i] = inside ? source[row * t.width + column] : (REAL)0;
}

// ---- Sums

// One block: partials [gridDim.x] of the sum of a * b.
KERNEL(dot_partials)(const REAL *a, const REAL *b, double *partials, Index n) {
    double sums[1] = {0.0};
    for (Index i = thread_index(); i < n; i += (Index)gridDim.x * blockDim.x) sums[0] += (double)a[i] * b[i];
    block_sums(sums);
    if (threadIdx.x == 0) partials[blockIdx.x] = sums[0];
}

KERNEL(channel_partials)(const REAL *x, double *partials, Walk walk) {
    double sums[1] = {0.0};
    walk.each([&](Index i) { sums[0] += x[i]; });
    store_partials(sums, walk.shares(), partials);
}

// partials [gridDim.x, shares] -> sums [gridDim.x]; blocks of one warp
KERNEL(finish_sums)(const double *partials, REAL *sums, int shares) {
    double total[1];
    channel_totals(partials, shares, total);
    if (threadIdx.x == 0) sums[blockIdx.x] = total[0];
}

// a and b [gridDim.x, plane] -> dots [gridDim.x], a block for each
KERNEL(plane_dots)(const REAL *a, const REAL *b, REAL *dots, Index plane) {
    const Index start = blockIdx.x * plane;
    double sums[1] = {0.0};
    for (Index i = threadIdx.x; i < plane; i += blockDim.x) sums[0] += (double)a[start + i] * b[start + i];
    block_sums(sums);
    if (threadIdx.x == 0) dots[blockIdx.x] = sums[0];
}

// x [batch, n] -> sums [n]
KERNEL(sum_samples)(const REAL *x, REAL *sums, int batch, Index n) {
    const Index i = thread_index();
    if (i >= n) return;
    double sum = 0.0;
    for (int sample = 0; sample < batch; sample++) sum += x[sample * n + i];
    sums[i] = sum;
}

// ---- Batch normalisation. `saved` is double [4, channels]: mean, 1 / standard deviation, gamma, beta.

__device__ void save_channel(double *saved, int channels, double mean, double inverse, REAL gamma, REAL beta) {
    const int channel = blockIdx.x;
    saved[channel] = mean;
    saved[channels + channel] = inverse;
    saved[2 * channels + channel] = gamma;
    saved[3 * channels + channel] = beta;
}

__device__ void normalise(const REAL *x, REAL *y, Walk walk, REAL mean, REAL scale, REAL shift, int relu) {
    walk.each([&](Index i) {
        const REAL value = fma(x[i] - mean, scale, shift);
        y[i] = relu && value <= 0 ? (REAL)0 : value;
    });
}

// Sums of the distances to the channel's first value and of their squares: the distance keeps a large mean
// from cancelling a small variance.
KERNEL(moment_partials)(const REAL *x, double *partials, Walk walk) {
    const double origin = x[(Index)blockIdx.x * walk.pixels];
    double sums[2] = {0.0, 0.0};
    walk.each([&](Index i) {
        const double distance = (double)x[i] - origin;
        sums[0] += distance;
        sums[1] += distance * distance;
    });
    store_partials(sums, walk.shares(), partials);
}

// moments is [2, channels]: mean and variance.
KERNEL(norm_train)(const REAL *x, const REAL *gamma, const REAL *beta, const double *partials, REAL *y,
                   REAL *moments, double *saved, double eps, int relu, Walk walk) {
    const int channel = blockIdx.x;
    double totals[2];
    channel_totals(partials, walk.shares(), totals);
    const double distance = totals[0] / walk.count();
    const double mean = x[(Index)channel * walk.pixels] + distance;
    double variance = totals[1] / walk.count() - distance * distance;
    if (variance < 0.0) variance = 0.0;
    const double inverse = 1.0 / sqrt(variance + eps);
    normalise(x, y, walk, mean, gamma[channel] * inverse, beta[channel], relu);
    if (blockIdx.y == 0 && threadIdx.x == 0) {
        moments[channel] = mean;
        moments[walk.channels + channel] = variance;
        save_channel(saved, walk.channels, mean, inverse, gamma[channel], beta[channel]);
    }
}

KERNEL(norm_eval)(const REAL *x, const REAL *gamma, const REAL *beta, const REAL *mean, const REAL *variance,
                  REAL *y, double *saved, double eps, int relu, Walk walk) {
    const int channel = blockIdx.x;
    const double inverse = 1.0 / sqrt((double)variance[channel] + eps);
    normalise(x, y, walk, mean[channel], gamma[channel] * inverse, beta[channel], relu);
    if (blockIdx.y == 0 && threadIdx.x == 0)
        save_channel(saved, walk.channels, mean[channel], inverse, gamma[channel], beta[channel]);
}

// What flows back through the ReLU at i; the same arithmetic as in normalise.
__device__ REAL gated(REAL x, REAL dy, REAL mean, REAL scale, REAL shift, int relu) {
    return relu && fma(x - mean, scale, shift) <= 0 ? (REAL)0 : dy;
}

KERNEL(norm_gradient_partials)(const REAL *x, const REAL *dy, const double *saved, double *partials, int relu,
                               Walk walk) {
    const double *channel = saved + blockIdx.x;
    const double mean = channel[0], inverse = channel[walk.channels];
    const REAL scale = channel[2 * walk.channels] * inverse, shift = channel[3 * walk.channels];
    double sums[2] = {0.0, 0.0};
    walk.each([&](Index i) {
        const double gradient = gated(x[i], dy[i], (REAL)mean, scale, shift, relu);
        sums[0] += gradient;
        sums[1] += gradient * ((double)x[i] - mean);
    });
    sums[1] *= inverse;
    store_partials(sums, walk.shares(), partials);
}

// packed is dx, dgamma and dbeta, one behind the other.
KERNEL(norm_gradient)(const REAL *x, const REAL *dy, const double *saved, const double *partials, REAL *packed,
                      int relu, int batch_statistics, Walk walk) {
    const double *channel = saved + blockIdx.x;
    const double inverse = channel[walk.channels];
    const REAL mean = channel[0], scale = channel[2 * walk.channels] * inverse;
    const REAL shift = channel[3 * walk.channels];
    double totals[2];
    channel_totals(partials, walk.shares(), totals);
    const REAL mean_gradient = batch_statistics ? totals[0] / walk.count() : 0.0;
    const REAL slope = batch_statistics ? totals[1] / walk.count() * inverse : 0.0;
    walk.each([&](Index i) {
        const REAL gradient = gated(x[i], dy[i], mean, scale, shift, relu);
        packed[i] = scale * (gradient - mean_gradient - (x[i] - mean) * slope);
    });
    if (blockIdx.y == 0 && threadIdx.x == 0) {
        REAL *parameters = packed + (Index)walk.batch * walk.channels * walk.pixels;
        parameters[blockIdx.x] = totals[1];
        parameters[walk.channels + blockIdx.x] = totals[0];
    }
}

// ---- Group normalisation: a block for each group of each sample, of `members` channels of `pixels` values

// Mean and 1 / standard deviation of a block's group, in every thread; as in moment_partials.
__device__ void group_moments(const REAL *x, Index size, double eps, double &mean, double &inverse) {
    const double origin = x[0];
    double sums[2] = {0.0, 0.0};
    for (Index i = threadIdx.x; i < size; i += blockDim.x) {
        const double distance = (double)x[i] - origin;
        sums[0] += distance;
        sums[1] += distance * distance;
    }
    block_sums(sums);
    const double distance = sums[0] / size;
    double variance = sums[1] / size - distance * distance;
    if (variance < 0.0) variance = 0.0;
    mean = origin + distance;
    inverse = 1.0 / sqrt(variance + eps);
}

KERNEL(group_norm)(const REAL *x, const REAL *gamma, const REAL *beta, REAL *y, double eps, int groups,
                   Index members, Index pixels) {
    const Index size = members * pixels, start = blockIdx.x * size;
    const Index first = blockIdx.x % groups * members;
    double mean, inverse;
    group_moments(x + start, size, eps, mean, inverse);
    for (Index i = threadIdx.x; i < size; i += blockDim.x) {
        const Index channel = first + i / pixels;
        y[start + i] = fma(x[start + i] - (REAL)mean, (REAL)(gamma[channel] * inverse), beta[channel]);
    }
}

// shares is [batch, channels, 2]: each sample's part of dgamma and dbeta.
KERNEL(group_norm_gradient)(const REAL *x, const REAL *gamma, const REAL *dy, REAL *dx, double *shares,
                            double eps, int groups, Index members, Index pixels) {
    const Index size = members * pixels, start = blockIdx.x * size;
    const Index first = blockIdx.x % groups * members;
    double mean, inverse, totals[2] = {0.0, 0.0};
    group_moments(x + start, size, eps, mean, inverse);
    for (Index member = 0; member < members; member++) {
        const REAL *plane = x + start + member * pixels, *gradient = dy + start + member * pixels;
        double sums[2] = {0.0, 0.0};
        for (Index i = threadIdx.x; i < pixels; i += blockDim.x) {
            sums[0] += gradient[i] * ((double)plane[i] - mean);
            sums[1] += gradient[i];
        }
        block_sums(sums);
        sums[0] *= inverse;
        for (int k = 0; k < 2; k++) {
            totals[k] += gamma[first + member] * sums[k];
            if (threadIdx.x == 0) shares[(blockIdx.x * members + member) * 2 + k] = sums[k];
        }
    }
    const REAL mean_gradient = totals[1] / size, slope = totals[0] / size * inverse;
    for (Index i = threadIdx.x; i < size; i += blockDim.x) {
        const REAL gradient = gamma[first + i / pixels] * dy[start + i];
        dx[start + i] = (REAL)inverse * (gradient - mean_gradient - (x[start + i] - (REAL)mean) * slope);
    }
}

// shares [batch, channels, 2] -> parameters [2, channels]: dgamma, dbeta
KERNEL(group_norm_parameters)(const double *shares, REAL *parameters, int batch, Index channels) {
    const Index channel = thread_index();
    if (channel >= channels) return;
    double sums[2] = {0.0, 0.0};
    for (int sample = 0; sample < batch; sample++)
        for (int k = 0; k < 2; k++) sums[k] += shares[(sample * channels + channel) * 2 + k];
    for (int k = 0; k < 2; k++) parameters[k * channels + channel] = sums[k];
}

// ---- Pooling: 2^log_lanes threads, at most a warp, for each window

// Whether a later value takes the maximum from an earlier one: only if it is larger, or a NaN.
__device__ bool beats(REAL later, REAL earlier) { return later > earlier || later != later; }

// Where the maximum of a window is, in each of its threads: the first one, or a NaN.
__device__ int first_maximum(const REAL *plane, Windows w, int row, int column, int log_lanes) {
    const int top = w.row_start(row), left = w.column_start(column);
    const int columns = w.column_end(column) - left, size = (w.row_end(row) - top) * columns;
    const int lanes = 1 << log_lanes;
    int best = top * w.width + left;
    for (int i = threadIdx.x & (lanes - 1); i < size; i += lanes) {
        const int at = (top + i / columns) * w.width + left + i % columns;
        if (beats(plane[at], plane[best])) best = at;
    }
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
        const int other = __shfl_xor_sync(0xffffffffu, best, offset);
        const int earlier = min(best, other), later = max(best, other);
        best = beats(plane[later], plane[earlier]) ? later : earlier;
    }
    return best;
}

KERNEL(max_pool)(const REAL *x, REAL *y, Index n, Windows w, int log_lanes) {
    // Threads past the end work on the last window too: whole warps take part in the exchange.
    const Index window = thread_index() >> log_lanes, i = min(window, n - 1);
    const int column = i % w.out_width, row = i / w.out_width % w.out_height;
    const REAL *plane = x + i / ((Index)w.out_width * w.out_height) * w.height * w.width;
    const int best = first_maximum(plane, w, row, column, log_lanes);
    if (window < n && (threadIdx.x & ((1 << log_lanes) - 1)) == 0) y[i] = plane[best];
}

// For windows that do not overlap; dx is zero before.
KERNEL(max_pool_scatter)(const REAL *x, const REAL *dy, REAL *dx, Index n, Windows w, int log_lanes) {
    const Index window = thread_index() >> log_lanes, i = min(window, n - 1);
    const int column = i % w.out_width, row = i / w.out_width % w.out_height;
    const Index start = i / ((Index)w.out_width * w.out_height) * w.height * w.width;
    const int best = first_maximum(x + start, w, row, column, log_lanes);
    if (window < n && (threadIdx.x & ((1 << log_lanes) - 1)) == 0) dx[start + best] = dy[i];
}

// For any windows: each pixel asks the windows it is in.
KERNEL(max_pool_gather)(const REAL *x, const REAL *dy, REAL *dx, Index n, Windows w) {
    const Index i = thread_index();
    if (i >= n) return;
    const int size = w.height * w.width, at = i % size;
    const REAL *plane = x + (i - at), *gradient = dy + i / size * w.out_height * w.out_width;
    REAL sum = 0;
    w.covering(at / w.width, at % w.width, [&](int row, int column) {
        if (first_maximum(plane, w, row, column, 0) == at) sum += gradient[row * w.out_width + column];
    });
    dx[i] = sum;
}

__device__ void average(const REAL *x, REAL *y, Index n, const Windows &w, int log_lanes, bool of_pixels) {
    const Index window = thread_index() >> log_lanes, i = min(window, n - 1);
    const int column = i % w.out_width, row = i / w.out_width % w.out_height, lanes = 1 << log_lanes;
    const REAL *plane = x + i / ((Index)w.out_width * w.out_height) * w.height * w.width;
    const int top = w.row_start(row), left = w.column_start(column);
    const int columns = w.column_end(column) - left, size = (w.row_end(row) - top) * columns;
    REAL sum = 0;
    for (int i = threadIdx.x & (lanes - 1); i < size; i += lanes)
        sum += plane[(top + i / columns) * w.width + left + i % columns];
    for (int offset = lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (window < n && (threadIdx.x & (lanes - 1)) == 0) y[i] = sum / w.divisor(row, column, of_pixels);
}

KERNEL(average_pool)(const REAL *x, REAL *y, Index n, Windows w, int log_lanes) {
    average(x, y, n, w, log_lanes, false);
}

KERNEL(average_pool_of_pixels)(const REAL *x, REAL *y, Index n, Windows w, int log_lanes) {
    average(x, y, n, w, log_lanes, true);
}

__device__ void average_gradient(const REAL *dy, REAL *dx, Index n, const Windows &w, bool of_pixels) {
    const Index i = thread_index();
    if (i >= n) return;
    const int size = w.height * w.width, at = i % size;
    const REAL *gradient = dy + i / size * w.out_height * w.out_width;
    REAL sum = 0;
    w.covering(at / w.width, at % w.width, [&](int row, int column) {
        sum += gradient[row * w.out_width + column] / w.divisor(row, column, of_pixels);
    });
    dx[i] = sum;
}

KERNEL(average_pool_gradient)(const REAL *dy, REAL *dx, Index n, Windows w) {
    average_gradient(dy, dx, n, w, false);
}

KERNEL(average_pool_of_pixels_gradient)(const REAL *dy, REAL *dx, Index n, Windows w) {
    average_gradient(dy, dx, n, w, true);
}

// ---- Across channels

// Channels are groups of members; plane values each.
KERNEL(channel_shuffle)(const REAL *x, REAL *y, int groups, int members, Index plane, Index n) {
    const Index i = thread_index();
    if (i >= n) return;
    const Index to = i / plane, channels = (Index)groups * members, channel = to % channels;
    const Index from = to - channel + channel % groups * members + channel / groups;
    y[i] = x[from * plane + i % plane];
}

// What the number at i is divided by a power of.
__device__ double response(const REAL *x, Index i, const Response &r) {
    const int channel = r.channel(i);
    double sum = 0.0;
    for (int other = r.first_seen(channel); other <= r.last_seen(channel); other++) {
        const double value = x[i + (Index)(other - channel) * r.pixels];
        sum += value * value;
    }
    return r.bias + r.scale * sum;
}

KERNEL(local_response_norm)(const REAL *x, REAL *y, Index n, Response r) {
    const Index i = thread_index();
    if (i < n) y[i] = x[i] * pow(response(x, i, r), -r.beta);
}

KERNEL(local_response_norm_gradient)(const REAL *x, const REAL *dy, REAL *dx, Index n, Response r) {
    const Index i = thread_index();
    if (i >= n) return;
    const int channel = r.channel(i);
    double sum = 0.0;
    for (int other = r.first_seeing(channel); other <= r.last_seeing(channel); other++) {
        const Index at = i + (Index)(other - channel) * r.pixels;
        sum += (double)dy[at] * x[at] * pow(response(x, at, r), -r.beta - 1.0);
    }
    dx[i] = dy[i] * pow(response(x, i, r), -r.beta) - 2.0 * r.scale * r.beta * x[i] * sum;
}

// ---- Cross entropy: a warp for each row

// The logarithm of the sum of exponentials of a row.
__device__ double log_sum_exp(const REAL *row, int classes) {
    double largest = -INFINITY;
    for (int i = threadIdx.x % 32; i < classes; i += 32) largest = fmax(largest, (double)row[i]);
    for (int offset = 16; offset > 0; offset /= 2)
        largest = fmax(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    // All minus infinity: subtracting it would make NaN of what is merely undefined below.
    const double shift = isfinite(largest) ? largest : 0.0;
    double sum = 0.0;
    for (int i = threadIdx.x % 32; i < classes; i += 32) sum += exp((double)row[i] - shift);
    return shift + log(warp_sum(sum));
}

// One block.
KERNEL(cross_entropy)(const REAL *logits, const REAL *targets, REAL *loss, int batch, int classes) {
    double total[1] = {0.0};
    for (int sample = threadIdx.x / 32; sample < batch; sample += blockDim.x / 32) {
        const REAL *row = logits + (Index)sample * classes, *target = targets + (Index)sample * classes;
        const double normaliser = log_sum_exp(row, classes);
        for (int i = threadIdx.x % 32; i < classes; i += 32) total[0] += target[i] * (normaliser - row[i]);
    }
    block_sums(total);
    if (threadIdx.x == 0) *loss = total[0] / batch;
}

KERNEL(cross_entropy_gradient)(const REAL *logits, const REAL *targets, REAL *gradient, int batch, int classes) {
    const Index sample = thread_index() / 32;
    if (sample >= batch) return;
    const REAL *row = logits + sample * classes, *target = targets + sample * classes;
    const double normaliser = log_sum_exp(row, classes);
    double mass = 0.0;
    for (int i = threadIdx.x % 32; i < classes; i += 32) mass += target[i];
    mass = warp_sum(mass);
    for (int i = threadIdx.x % 32; i < classes; i += 32)
        gradient[sample * classes + i] = (mass * exp(row[i] - normaliser) - target[i]) / batch;
}

// ---- Stochastic gradient descent

// pair is [2, n]: a parameter and its velocity.
KERNEL(sgd)(REAL *pair, const REAL *gradient, double lr, double momentum, double weight_decay, int nesterov,
            Index n) {
    const Index i = thread_index();
    if (i >= n) return;
    const REAL w = pair[i], g = fma((REAL)weight_decay, w, gradient[i]);
    const REAL v = fma((REAL)momentum, pair[n + i], g);
    pair[n + i] = v;
    pair[i] = fma((REAL)-lr, nesterov ? fma((REAL)momentum, v, g) : v, w);
}
