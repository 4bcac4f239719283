/* Depthwise convolution in NHWC: what the passes share. A thread takes two neighbouring channels of a strip, some
 * columns wide, and goes down its rows: each row of the input is loaded once, as it lies in memory and one row ahead of
 * its use, and added to every row of the output that it touches. Those rows, and the weights of the two channels, stay
 * in registers. A row of threads are neighbouring channels, the rows of a block neighbouring strips, so that the
 * columns which strips share come from the cache. Nothing is summed across threads but the weight gradient. */
#ifndef LK_DEVICE_CUDA_KERNEL_DEPTHWISE_CUH
#define LK_DEVICE_CUDA_KERNEL_DEPTHWISE_CUH

#include "device/cuda/kernel_util.cuh"

/* Two neighbouring channels as they lie in memory. */
template <typename T>
struct lk_pair;
template <>
struct alignas(8) lk_pair<float> {
    float first, second;
};
template <>
struct alignas(4) lk_pair<lk_bf16> {
    unsigned bits; /* the first channel below */
};
template <>
struct alignas(4) lk_pair<lk_f16> {
    unsigned bits;
};

static __device__ inline void lk_unpack(float (&out)[2], lk_pair<float> v) {
    out[0] = v.first;
    out[1] = v.second;
}
static __device__ inline void lk_unpack(float (&out)[2], lk_pair<lk_bf16> v) {
    out[0] = __uint_as_float(v.bits << 16);
    out[1] = __uint_as_float(v.bits & 0xffff0000u);
}
static __device__ inline void lk_unpack(float (&out)[2], lk_pair<lk_f16> v) {
    const lk_f16 first = {(uint16_t)v.bits}, second = {(uint16_t)(v.bits >> 16)};
    out[0] = lk_float(first);
    out[1] = lk_float(second);
}

static __device__ inline void lk_store_pair(float *to, const float (&v)[2]) {
    *reinterpret_cast<lk_pair<float> *>(to) = {v[0], v[1]};
}
template <typename T>
static __device__ inline void lk_store_pair(T *to, const float (&v)[2]) {
    *reinterpret_cast<lk_pair<T> *>(to) = {lk_pack<T>(v[0], v[1])};
}

/* Zero where wanted is 0; nobody looks at the address then. In PTX, so that the load stays where it is written: the
 * compiler would put it behind the work that is to hide it. */
template <typename T>
static __device__ inline void lk_fetch_pair(lk_pair<T> &out, const T *from, unsigned wanted) {
#ifdef __CUDA_ARCH__
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; mov.b32 %0, 0; @p ld.global.nc.b32 %0, [%1]; }"
                 : "=&r"(out.bits)
                 : "l"(from), "r"(wanted));
#else
    out = {};
    if (wanted != 0) out = *reinterpret_cast<const lk_pair<T> *>(from);
#endif
}
static __device__ inline void lk_fetch_pair(lk_pair<float> &out, const float *from, unsigned wanted) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "{ .reg .pred p; setp.ne.u32 p, %3, 0; mov.b32 %0, 0; mov.b32 %1, 0;"
        " @p ld.global.nc.v2.f32 {%0, %1}, [%2]; }"
        : "=&f"(out.first), "=&f"(out.second)
        : "l"(from), "r"(wanted));
#else
    out = {};
    if (wanted != 0) out = *reinterpret_cast<const lk_pair<float> *>(from);
#endif
}

/* COUNT pixels of a row, `block` elements apart; those whose bit is not set are zero. */
template <typename T, int COUNT>
static __device__ inline void lk_fetch_pairs(lk_pair<T> (&out)[COUNT], const T *row, int block, unsigned inside) {
#pragma unroll
    for (int j = 0; j < COUNT; j++) lk_fetch_pair(out[j], row + j * block, inside & 1u << j);
}

template <typename T, int COUNT>
static __device__ inline void lk_copy_pairs(lk_pair<T> (&to)[COUNT], const lk_pair<T> (&from)[COUNT]) {
#pragma unroll
    for (int j = 0; j < COUNT; j++) to[j] = from[j];
}

/* Bits of the columns from `left` on that lie in [0, width). */
template <int COUNT>
static __device__ inline unsigned lk_columns_inside(int left, int width) {
    unsigned inside = 0;
#pragma unroll
    for (int j = 0; j < COUNT; j++) inside |= (unsigned)(left + j >= 0 && left + j < width) << j;
    return inside;
}

/* The weights of two channels, tap by tap; flipped: the last tap first. */
template <int TAPS>
static __device__ inline void lk_load_taps(float (&w)[TAPS][2], const float *weights, int block, int channel,
                                           bool flipped) {
#pragma unroll
    for (int k = 0; k < TAPS; k++) {
        const int tap = flipped ? TAPS - 1 - k : k;
        lk_unpack(w[k], *reinterpret_cast<const lk_pair<float> *>(weights + (int64_t)tap * block + channel));
    }
}

/* How the threads of a pass share out its strips. */
struct lk_strips {
    int across, down, groups; /* threadIdx; groups of channels */
    int columns, chunks;      /* strips side by side and above one another in an image */
    int width, rows;          /* of a strip */
    unsigned count;           /* images x chunks x columns */
};

/* Threads of a block, and blocks that a multiprocessor holds at once, of the passes that add nothing across threads: 5
 * of 128 leave each 102 registers, which 3x3 is content with on every GPU; 5x5 takes 128. */
#define LK_STRIP_BLOCK 128
#define LK_STRIP_BLOCKS(kernel) ((kernel) == 3 ? 5 : 4)

#define LK_STRIP_ROWS 32        /* at most: long strips load few rows twice */
#define LK_STRIP_LEAST 8        /* at least, where there are so many */
#define LK_STRIP_THREADS 262144 /* wanted: four times what an H100 runs at once with 128 registers each */

/* rows x columns: of what a pass walks over. The widest row of threads of which 1/8 or less has no channels. */
static inline lk_strips lk_strips_of(const lk_cuda_depthwise *d, int rows, int columns, int width, int threads) {
    const int pairs = d->block / 2;
    lk_strips s = {32, 0, 0, (int)lk_ceil_div(columns, width), 1, width, rows, 0};
    while (s.across > 4 && lk_ceil_div(pairs, s.across) * s.across * 8 > (int64_t)pairs * 9) s.across /= 2;
    s.down = threads / s.across;
    s.groups = (int)lk_ceil_div(pairs, s.across);
    const int64_t all = d->n * s.columns * pairs, most = lk_ceil_div(rows, LK_STRIP_LEAST);
    int64_t chunks = lk_ceil_div(LK_STRIP_THREADS, all);
    if (chunks > most) chunks = most;
    if (chunks < lk_ceil_div(rows, LK_STRIP_ROWS)) chunks = lk_ceil_div(rows, LK_STRIP_ROWS);
    s.rows = (int)lk_ceil_div(rows, chunks);
    s.chunks = (int)lk_ceil_div(rows, s.rows);
    s.count = (unsigned)(d->n * s.chunks * s.columns);
    return s;
}

/* Where a thread is. */
struct lk_strip {
    int channel; /* the first of two */
    int64_t image;
    int column, begin, end; /* first column; rows */
};

static __device__ inline lk_strip lk_strip_of(const lk_strips &s, unsigned index, int rows) {
    lk_strip at;
    const unsigned above = index / (unsigned)s.columns;
    at.channel = ((int)(blockIdx.x % (unsigned)s.groups) * s.across + (int)threadIdx.x) * 2;
    at.column = (int)(index % (unsigned)s.columns) * s.width;
    at.image = above / (unsigned)s.chunks;
    at.begin = (int)(above % (unsigned)s.chunks) * s.rows;
    at.end = at.begin + s.rows < rows ? at.begin + s.rows : rows;
    return at;
}

#endif
