/* The loss of device/loss.h, a block for each sample, in double: a sample's classes are few beside its pixels. */
#include "device/cuda/kernel_util.cuh"

#define THREADS 128

/* Sum (or maximum) over the block's threads, in a fixed order; every thread gets it. */
template <bool MAXIMUM>
static __device__ double combine(double value) {
    __shared__ double values[THREADS];
    __syncthreads(); /* readers of the call before are done */
    values[threadIdx.x] = value;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x >= half) continue;
        double other = values[threadIdx.x + half];
        if (!MAXIMUM)
            values[threadIdx.x] += other;
        else if (other > values[threadIdx.x])
            values[threadIdx.x] = other;
    }
    __syncthreads();
    return values[0];
}

template <typename T>
static __device__ inline double logit(const T *x, const double *offsets, int k) {
    return offsets == nullptr ? (double)lk_float(x[k]) : (double)lk_float(x[k]) + offsets[k];
}

/* The largest logit is taken off first, so that nothing overflows. */
template <typename T>
static __device__ double log_sum_exp(const T *x, const double *offsets, int classes) {
    double largest = logit(x, offsets, 0), sum = 0;
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        double v = logit(x, offsets, k);
        if (v > largest) largest = v;
    }
    largest = combine<true>(largest);
    for (int k = threadIdx.x; k < classes; k += THREADS) sum += exp(logit(x, offsets, k) - largest);
    return largest + log(combine<false>(sum));
}

/* Share of class k in the label. */
static __device__ inline double label_share(const lk_cuda_label &label, int k) {
    const double share = k == label.label ? (double)label.share : 0;
    return label.share < 1 && k == label.other ? share + (1 - (double)label.share) : share;
}

static __device__ inline double target_of(const lk_cuda_loss &p, const lk_cuda_label &label, int k) {
    const double q = label_share(label, k), s = p.config.smoothing;
    if (s == 0) return q;
    const bool uniform = p.config.smoothing_rule == LK_SMOOTHING_UNIFORM;
    return (1 - s) * q + s * (uniform ? 1 / (double)p.classes : (1 - q) / (double)(p.classes - 1));
}

static __device__ inline double weight(const lk_cuda_loss &p, int k) {
    return p.config.class_weights == nullptr ? 1 : p.config.class_weights[k];
}
static __device__ inline double alpha(const lk_cuda_loss &p, int k) {
    return p.config.focal_alpha == nullptr ? 1 : p.config.focal_alpha[k];
}

/* (1 - p)^gamma from surprise = -log p, without the loss of digits near p = 1. */
static __device__ inline double focus(const lk_cuda_loss &p, double surprise) {
    return p.config.focal_gamma == 0 ? 1 : pow(-expm1(-surprise), p.config.focal_gamma);
}

static __device__ double class_value(const lk_cuda_loss &p, int k, double surprise) {
    double value = p.config.cross_entropy * surprise;
    if (p.config.focal > 0) value += p.config.focal * alpha(p, k) * focus(p, surprise) * surprise;
    return weight(p, k) * value;
}

/* Derivative of class_value by log p. At p = 1 the focal value is 0 for any gamma > 0, and so is its slope. */
static __device__ double class_slope(const lk_cuda_loss &p, int k, double surprise) {
    double slope = -p.config.cross_entropy;
    if (p.config.focal > 0) {
        const double miss = -expm1(-surprise), gamma = p.config.focal_gamma;
        const double falling = gamma == 0 || miss == 0 ? 0 : gamma * exp(-surprise) * pow(miss, gamma - 1) * surprise;
        slope -= p.config.focal * alpha(p, k) * (focus(p, surprise) + falling);
    }
    return weight(p, k) * slope;
}

static __device__ inline bool has_terms(const lk_cuda_loss &p) {
    return p.config.cross_entropy > 0 || p.config.focal > 0;
}

/* 1 - macro-F1 of the counts. */
static __device__ double f1_value(const lk_cuda_loss &p) {
    double sum = 0;
    for (int k = threadIdx.x; k < p.classes; k += THREADS)
        sum += 2 * p.counts[k] / (p.counts[p.classes + k] + p.counts[2 * p.classes + k] + p.config.f1_epsilon);
    return 1 - combine<false>(sum) / (double)p.classes;
}

/* Derivative of 1 - macro-F1 by the probability of class k in a sample with this label. */
static __device__ inline double f1_slope(const lk_cuda_loss &p, const lk_cuda_label &label, int k) {
    const double size = p.counts[p.classes + k] + p.counts[2 * p.classes + k] + p.config.f1_epsilon;
    return -2 * (label_share(label, k) - p.counts[k] / size) / (size * (double)p.classes);
}

template <typename T>
static __global__ void loss_forward(lk_cuda_loss p, const T *logits, float *y) {
    const int64_t n = blockIdx.x;
    if (n >= p.rows) {
        if (threadIdx.x == 0) y[n] = 0;
        return;
    }
    const T *x = logits + n * p.block;
    const lk_cuda_label label = p.labels[n];
    double value = 0, f1 = 0;
    if (has_terms(p)) {
        const double total = log_sum_exp<T>(x, p.config.logit_offsets, p.classes);
        for (int k = threadIdx.x; k < p.classes; k += THREADS) {
            const double target = target_of(p, label, k);
            if (target != 0) value += target * class_value(p, k, total - logit(x, p.config.logit_offsets, k));
        }
        value = combine<false>(value);
        if (p.config.class_weights != nullptr) value *= p.scales->weight;
    }
    if (p.counts != nullptr) f1 = p.config.f1 * f1_value(p);
    if (threadIdx.x == 0) y[n] = (float)(value + f1);
}

template <typename T>
static __global__ void loss_backward(lk_cuda_loss p, const T *logits, T *dx) {
    const int64_t n = blockIdx.x;
    T *to = dx + n * p.block;
    if (n >= p.rows) {
        for (int k = threadIdx.x; k < p.block; k += THREADS) to[k] = lk_round<T>(0);
        return;
    }
    const T *x = logits + n * p.block;
    const lk_cuda_label label = p.labels[n];
    const double *offsets = p.config.logit_offsets;
    const lk_cuda_loss_scales scales = *p.scales;
    const double scale = p.config.class_weights == nullptr ? 1 : scales.weight;
    double total = 0, sum = 0, plain_total = 0, mean = 0;
    if (has_terms(p)) {
        total = log_sum_exp<T>(x, offsets, p.classes);
        for (int k = threadIdx.x; k < p.classes; k += THREADS) {
            const double target = target_of(p, label, k);
            if (target != 0) sum -= target * class_slope(p, k, total - logit(x, offsets, k));
        }
        sum = combine<false>(sum);
        /* The targets sum to 1: said exactly where nothing else changes the sum. */
        if (p.config.class_weights == nullptr && p.config.focal == 0) sum = p.config.cross_entropy;
    }
    if (p.counts != nullptr) {
        plain_total = log_sum_exp<T>(x, nullptr, p.classes);
        for (int k = threadIdx.x; k < p.classes; k += THREADS)
            mean += exp(logit(x, (const double *)nullptr, k) - plain_total) * f1_slope(p, label, k);
        mean = combine<false>(mean);
    }
    for (int k = threadIdx.x; k < p.block; k += THREADS) {
        double value = 0;
        if (k < p.classes && has_terms(p)) {
            const double surprise = total - logit(x, offsets, k), target = target_of(p, label, k);
            value = (exp(-surprise) * sum + (target == 0 ? 0 : target * class_slope(p, k, surprise))) * scale;
        }
        if (k < p.classes && p.counts != nullptr)
            value +=
                scales.f1 * exp(logit(x, (const double *)nullptr, k) - plain_total) * (f1_slope(p, label, k) - mean);
        to[k] = lk_round<T>((float)(value * scales.loss));
    }
}

template <typename T>
static __global__ void row_totals(lk_cuda_loss p, const T *logits) {
    const double total = log_sum_exp<T>(logits + (int64_t)blockIdx.x * p.block, nullptr, p.classes);
    if (threadIdx.x == 0) p.totals[blockIdx.x] = total;
}

/* A thread for each class, the samples in order. */
template <typename T>
static __global__ void soft_counts(lk_cuda_loss p, const T *logits, double *counts) {
    LK_GRID_LOOP(k, p.classes) {
        double hits = 0, predicted = 0, support = 0;
        for (int64_t n = 0; n < p.rows; n++) {
            const double share = exp((double)lk_float(logits[n * p.block + k]) - p.totals[n]);
            const double q = label_share(p.labels[n], (int)k);
            hits += q * share;
            predicted += share;
            support += q;
        }
        counts[k] = hits;
        counts[p.classes + k] = predicted;
        counts[2 * p.classes + k] = support;
    }
}

template <typename T>
static int run_count(cudaStream_t stream, const lk_cuda_loss *p, const void *x, double *counts) {
    int code = 0;
    if (p->rows > 0) code = lk_launch(row_totals<T>, dim3((unsigned)p->rows), THREADS, stream, *p, (const T *)x);
    if (code != 0) return code;
    return lk_launch(soft_counts<T>, lk_grid(p->classes), LK_CUDA_THREADS, stream, *p, (const T *)x, counts);
}

template <typename T>
static int run_forward(cudaStream_t stream, const lk_cuda_loss *p, const void *x, float *y) {
    return lk_launch(loss_forward<T>, dim3((unsigned)p->n), THREADS, stream, *p, (const T *)x, y);
}

template <typename T>
static int run_backward(cudaStream_t stream, const lk_cuda_loss *p, const void *x, void *dx) {
    return lk_launch(loss_backward<T>, dim3((unsigned)p->n), THREADS, stream, *p, (const T *)x, (T *)dx);
}

int lk_cuda_loss_count(cudaStream_t stream, const lk_cuda_loss *p, const void *x, double *counts) {
    return LK_BY_TYPE(p->type, run_count, stream, p, x, counts);
}

int lk_cuda_loss_forward(cudaStream_t stream, const lk_cuda_loss *p, const void *x, float *y) {
    return LK_BY_TYPE(p->type, run_forward, stream, p, x, y);
}

int lk_cuda_loss_backward(cudaStream_t stream, const lk_cuda_loss *p, const void *x, void *dx) {
    return LK_BY_TYPE(p->type, run_backward, stream, p, x, dx);
}
