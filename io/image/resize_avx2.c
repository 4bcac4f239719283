/* vpmaddwd multiplies 16-bit pairs, so a 23-bit weight is split: sum = (sum of high parts << 11) + sum of low parts.
 * The low parts may wrap round; modulo 2^32 the total is still exact. */
#include "io/image/resize_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define LOW_BITS 11

/* Four packed pixels as 16-bit pairs of neighbours: lane 0 has r0r1 g0g1 b0b1, lane 1 the next two. */
static inline __attribute__((always_inline)) AVX2 __m256i load_pixels(const uint8_t *p) {
    const __m256i order = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                                           -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)), order);
}

static inline __attribute__((always_inline)) AVX2 void store_pixel(uint8_t *out, __m256i high, __m256i low) {
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);
    __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    total = _mm_srai_epi32(total, LK_RESIZE_BITS);
    total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);
    int32_t pixel = _mm_cvtsi128_si32(total);
    memcpy(out, &pixel, 4); /* the fourth byte belongs to the next pixel, which is written later */
}

/* Outputs [fast_begin, fast_end) of ROWS rows at once, so that each weight is loaded once. */
static inline __attribute__((always_inline)) AVX2 void fast_rows(const lk_taps *taps, const uint8_t *in,
                                                                 size_t in_stride, const int rows, uint8_t *out,
                                                                 size_t out_stride) {
    const __m256i round = _mm256_setr_epi32(1 << (LK_RESIZE_BITS - 1), 1 << (LK_RESIZE_BITS - 1),
                                            1 << (LK_RESIZE_BITS - 1), 0, 0, 0, 0, 0);
    const int groups = taps->groups;
    const __m256i *weights = (const __m256i *)taps->split + (size_t)taps->fast_begin * (size_t)groups * 2;
    for (int32_t o = taps->fast_begin; o < taps->fast_end; o++) {
        const uint8_t *p = in + (size_t)taps->first[o] * 3;
        __m256i high[4], low[4];
        for (int r = 0; r < rows; r++) {
            high[r] = _mm256_setzero_si256();
            low[r] = round;
        }
        for (int g = 0; g < groups; g++, weights += 2, p += 12) {
            __m256i wl = _mm256_load_si256(weights), wh = _mm256_load_si256(weights + 1);
            for (int r = 0; r < rows; r++) {
                __m256i pixels = load_pixels(p + (size_t)r * in_stride);
                low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, wl));
                high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, wh));
            }
        }
        for (int r = 0; r < rows; r++) store_pixel(out + (size_t)r * out_stride + (size_t)o * 3, high[r], low[r]);
    }
}

static AVX2 void horizontal(const lk_taps *taps, const uint8_t *in, size_t in_stride, int channels, int32_t rows,
                            uint8_t *out, size_t out_stride) {
    if (channels != 3) {
        lk_resize_plain.horizontal(taps, in, in_stride, channels, rows, out, out_stride);
        return;
    }
    int32_t y = 0;
    for (; y + 4 <= rows; y += 4)
        fast_rows(taps, in + (size_t)y * in_stride, in_stride, 4, out + (size_t)y * out_stride, out_stride);
    for (; y < rows; y++)
        fast_rows(taps, in + (size_t)y * in_stride, in_stride, 1, out + (size_t)y * out_stride, out_stride);
    /* After the fast ones, whose last store runs a byte over. */
    for (y = 0; y < rows; y++) {
        const uint8_t *from = in + (size_t)y * in_stride;
        uint8_t *to = out + (size_t)y * out_stride;
        lk_resize_row(taps, 0, taps->fast_begin, from, 3, to);
        lk_resize_row(taps, taps->fast_end, taps->count, from, 3, to);
    }
}

/* 16 bytes of two rows as 16-bit pairs, times a pair of split weights. */
static inline __attribute__((always_inline)) AVX2 void add_rows(__m128i a, __m128i b, __m256i wl, __m256i wh,
                                                                __m256i *low, __m256i *high) {
    __m256i first = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    __m256i second = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    low[0] = _mm256_add_epi32(low[0], _mm256_madd_epi16(first, wl));
    low[1] = _mm256_add_epi32(low[1], _mm256_madd_epi16(second, wl));
    high[0] = _mm256_add_epi32(high[0], _mm256_madd_epi16(first, wh));
    high[1] = _mm256_add_epi32(high[1], _mm256_madd_epi16(second, wh));
}

static inline int32_t pair(int32_t a, int32_t b) { return (int32_t)((uint32_t)(uint16_t)a | (uint32_t)b << 16); }

static inline __attribute__((always_inline)) AVX2 void fast_columns(const int32_t *weights, int32_t taps,
                                                                    const uint8_t *in, size_t in_stride, uint8_t *out) {
    const int32_t mask = (1 << LOW_BITS) - 1;
    __m256i low[2], high[2];
    low[0] = low[1] = _mm256_set1_epi32(1 << (LK_RESIZE_BITS - 1));
    high[0] = high[1] = _mm256_setzero_si256();
    for (int32_t t = 0; t < taps; t += 2, in += 2 * in_stride) {
        bool two = t + 1 < taps;
        int32_t w0 = weights[t], w1 = two ? weights[t + 1] : 0;
        __m128i a = _mm_loadu_si128((const __m128i *)in);
        __m128i b = two ? _mm_loadu_si128((const __m128i *)(in + in_stride)) : _mm_setzero_si128();
        add_rows(a, b, _mm256_set1_epi32(pair(w0 & mask, w1 & mask)),
                 _mm256_set1_epi32(pair(w0 >> LOW_BITS, w1 >> LOW_BITS)), low, high);
    }
    __m256i sums[2];
    for (int i = 0; i < 2; i++) {
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high[i], LOW_BITS), low[i]);
        sums[i] = _mm256_srai_epi32(sum, LK_RESIZE_BITS);
    }
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[0], sums[1]), 0xD8);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}

static AVX2 void vertical(const int32_t *weights, int32_t taps, const uint8_t *in, size_t in_stride, size_t bytes,
                          uint8_t *out) {
    size_t i = 0;
    for (; i + 16 <= bytes; i += 16) fast_columns(weights, taps, in + i, in_stride, out + i);
    if (i < bytes) lk_resize_plain.vertical(weights, taps, in + i, in_stride, bytes - i, out + i);
}

static const lk_resize_kernels kernels = {horizontal, vertical, true};

const lk_resize_kernels *lk_resize_avx2(void) { return __builtin_cpu_supports("avx2") ? &kernels : NULL; }
#else
const lk_resize_kernels *lk_resize_avx2(void) { return NULL; }
#endif
