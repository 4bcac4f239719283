/* Eight-lane vectors for kernels_body.h: plain C of GCC's vector extension, so that every instruction set is
 * compiled from the same text. Included after the instruction set is chosen. */
#ifndef LK_DEVICE_CPU_KERNELS_VECTOR_H
#define LK_DEVICE_CPU_KERNELS_VECTOR_H

#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "device/cpu/kernels.h"

#define LK_INLINE static inline __attribute__((always_inline))

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef uint32_t v8u __attribute__((vector_size(32)));
typedef uint16_t v8h __attribute__((vector_size(16)));
typedef uint8_t v8b __attribute__((vector_size(8)));
typedef double v8d __attribute__((vector_size(64)));

LK_INLINE v8f v8_splat(float a) { return (v8f){a, a, a, a, a, a, a, a}; }
/* select: mask lanes are 0 or -1. at_least, at_most: max and min with a bound that let NaN in v through. */
#if defined(__AVX2__)
LK_INLINE v8f v8_select(v8i mask, v8f a, v8f b) { return (v8f)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask); }
LK_INLINE v8f v8_at_least(v8f v, float low) { return (v8f)_mm256_max_ps((__m256)v8_splat(low), (__m256)v); }
LK_INLINE v8f v8_at_most(v8f v, float high) { return (v8f)_mm256_min_ps((__m256)v8_splat(high), (__m256)v); }
#else
LK_INLINE v8f v8_select(v8i mask, v8f a, v8f b) { return (v8f)(((v8i)a & mask) | ((v8i)b & ~mask)); }
LK_INLINE v8f v8_at_least(v8f v, float low) { return v8_select(v < low, v8_splat(low), v); }
LK_INLINE v8f v8_at_most(v8f v, float high) { return v8_select(v > high, v8_splat(high), v); }
#endif

/* a b + c, rounded once where the instruction set can. */
#if defined(__FMA__)
LK_INLINE v8f v8_fma(v8f a, v8f b, v8f c) { return (v8f)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#else
LK_INLINE v8f v8_fma(v8f a, v8f b, v8f c) { return a * b + c; }
#endif

/* v + m ln 2 for a whole m of up to 127 that leaves no more than ln 2 / 2. A product that is rounded wants ln 2 in two
 * parts, of which m times the first is exact. Source of the parts: Moshier, Cephes, expf. */
#define LK_LN2 0.693147180559945309f
#define LK_LN2_HIGH 0.693359375f
#define LK_LN2_LOW -2.12194440e-4f
#if defined(__FMA__)
LK_INLINE v8f v8_add_ln2(v8f v, v8f m) { return v8_fma(m, v8_splat(LK_LN2), v); }
#else
LK_INLINE v8f v8_add_ln2(v8f v, v8f m) { return (v + m * LK_LN2_HIGH) + m * LK_LN2_LOW; }
#endif

LK_INLINE v8f v8_load_f32(const float *p) {
    v8f v;
    memcpy(&v, p, sizeof v);
    return v;
}
LK_INLINE void v8_store_f32(float *p, v8f v) { memcpy(p, &v, sizeof v); }

LK_INLINE v8f v8_load_bf16(const uint16_t *p) {
    v8h h;
    memcpy(&h, p, sizeof h);
    return (v8f)(__builtin_convertvector(h, v8u) << 16);
}
/* Round to nearest even; NaN stays NaN. */
LK_INLINE void v8_store_bf16(uint16_t *p, v8f v) {
    v8u u = (v8u)v;
    v8u rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    v8u nan = (u >> 16) | 0x40u;
    v8u is_nan = (v8u)(v != v);
    v8h h = __builtin_convertvector((rounded & ~is_nan) | (nan & is_nan), v8h);
    memcpy(p, &h, sizeof h);
}

/* One bit per lane, lane 0 lowest. */
LK_INLINE uint8_t v8_pack_bits(v8i mask) {
    const v8i weight = {1, 2, 4, 8, 16, 32, 64, 128};
    v8i m = mask & weight;
    return (uint8_t)(m[0] | m[1] | m[2] | m[3] | m[4] | m[5] | m[6] | m[7]);
}
LK_INLINE v8i v8_unpack_bits(uint8_t bits) {
    const v8i weight = {1, 2, 4, 8, 16, 32, 64, 128};
    int32_t b = bits;
    v8i all = {b, b, b, b, b, b, b, b};
    return (all & weight) != 0;
}

LK_INLINE v8i v8_load_bytes(const uint8_t *p) {
    v8b b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(b, v8i);
}
LK_INLINE void v8_store_bytes(uint8_t *p, v8i v) {
    v8b b = __builtin_convertvector(v, v8b);
    memcpy(p, &b, sizeof b);
}

/* 2^m of a sum whose last bits hold m, -127 < m < 128: the bits above them leave at the top. */
LK_INLINE v8f v8_power_of_two(v8f sum) { return (v8f)(((v8i)sum << 23) + (127 << 23)); }

/* One lane, under the same names with s1_. */
LK_INLINE float s1_splat(float a) { return a; }
LK_INLINE float s1_fma(float a, float b, float c) { return a * b + c; }
LK_INLINE float s1_select(int32_t mask, float a, float b) { return mask ? a : b; }
LK_INLINE float s1_at_least(float v, float low) { return v < low ? low : v; }
LK_INLINE float s1_at_most(float v, float high) { return v > high ? high : v; }
LK_INLINE float s1_load_f32(const float *p) { return *p; }
LK_INLINE void s1_store_f32(float *p, float v) { *p = v; }
LK_INLINE float s1_load_bf16(const uint16_t *p) {
    uint32_t u = (uint32_t)*p << 16;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}
LK_INLINE void s1_store_bf16(uint16_t *p, float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    *p = (uint16_t)(v != v ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
LK_INLINE float s1_add_ln2(float v, float m) { return (v + m * LK_LN2_HIGH) + m * LK_LN2_LOW; }
LK_INLINE float s1_power_of_two(float sum) {
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bits = (bits << 23) + (127u << 23);
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}
LK_INLINE uint8_t s1_pack_bits(int32_t mask) { return mask != 0; }
LK_INLINE int32_t s1_unpack_bits(uint8_t bits) { return bits != 0; }
LK_INLINE int32_t s1_load_bytes(const uint8_t *p) { return *p; }
LK_INLINE void s1_store_bytes(uint8_t *p, int32_t v) { *p = (uint8_t)v; }

#endif
