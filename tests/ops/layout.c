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

double op_round(lk_dtype dtype, double value) {
    if (dtype == LK_F32) return (float)value;
    if (dtype == LK_BF16) return bf16_value(bf16_of(value));
    return value;
}

double op_get(lk_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
        case LK_F32: return ((const float *)data)[i];
        case LK_F64: return ((const double *)data)[i];
        case LK_BF16: return bf16_value(((const uint16_t *)data)[i]);
        default: return NAN;
    }
}

void op_put(lk_dtype dtype, void *data, int64_t i, double value) {
    if (dtype == LK_F32) ((float *)data)[i] = (float)value;
    if (dtype == LK_F64) ((double *)data)[i] = value;
    if (dtype == LK_BF16) ((uint16_t *)data)[i] = bf16_of(value);
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
