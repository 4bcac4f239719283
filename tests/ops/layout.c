/* Types and layouts: rounding, element access, canonical order against an activation's layout. */
#include <math.h>
#include <string.h>

#include "values.h"

static uint16_t bf16_of(double value) {
    float f = (float)value; /* two roundings; values of the cases are drawn, not tuned to the middle of two floats */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(f)) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static double bf16_value(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Units of the last place: 2^-24 among the subnormal numbers, else 2^-10 of the power of two below. */
static uint16_t half_of(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    int exponent;
    (void)frexp(value, &exponent);
    if (isnan(value)) return 0x7e00;
    if (fabs(value) >= 65520) return sign | 0x7c00;
    if (value == 0 || exponent < -13) exponent = -13;
    double units = nearbyint(ldexp(fabs(value), 11 - exponent)); /* at most 2048: a carry is the next power's 1024 */
    return sign | (uint16_t)((exponent + 13) * 1024 + (int)units);
}

static double half_value(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double sign = half & 0x8000 ? -1 : 1;
    if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
    return sign * (exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25));
}

double op_round(lk_dtype dtype, double value) {
    if (dtype == LK_F32 || dtype == LK_TF32) return (float)value;
    if (dtype == LK_BF16) return bf16_value(bf16_of(value));
    if (dtype == LK_F16) return half_value(half_of(value));
    return value;
}

double op_get(lk_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
        case LK_F32: return ((const float *)data)[i];
        case LK_F64: return ((const double *)data)[i];
        case LK_BF16: return bf16_value(((const uint16_t *)data)[i]);
        case LK_F16: return half_value(((const uint16_t *)data)[i]);
        default: return NAN;
    }
}

void op_put(lk_dtype dtype, void *data, int64_t i, double value) {
    if (dtype == LK_F32) ((float *)data)[i] = (float)value;
    if (dtype == LK_F64) ((double *)data)[i] = value;
    if (dtype == LK_BF16) ((uint16_t *)data)[i] = bf16_of(value);
    if (dtype == LK_F16) ((uint16_t *)data)[i] = half_of(value);
}

void op_encode(const lk_act_desc *d, const double *canonical, void *data) {
    memset(data, 0, (size_t)lk_act_bytes(d));
    int64_t i = 0;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t c = 0; c < d->c; c++)
            for (int64_t y = 0; y < d->h; y++)
                for (int64_t x = 0; x < d->w; x++) op_put(d->dtype, data, lk_act_index(d, n, c, y, x), canonical[i++]);
}

bool op_decode(const lk_act_desc *d, const void *data, double *canonical) {
    int64_t i = 0;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t c = 0; c < d->c; c++)
            for (int64_t y = 0; y < d->h; y++)
                for (int64_t x = 0; x < d->w; x++) canonical[i++] = op_get(d->dtype, data, lk_act_index(d, n, c, y, x));
    lk_act_desc padded = *d; /* the same memory with its padding as channels */
    padded.c = (d->c + d->block - 1) / d->block * d->block;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t c = d->c; c < padded.c; c++)
            for (int64_t y = 0; y < d->h; y++)
                for (int64_t x = 0; x < d->w; x++)
                    if (op_get(d->dtype, data, lk_act_index(&padded, n, c, y, x)) != 0) return false;
    return true;
}
