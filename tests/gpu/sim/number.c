/* Float32, bfloat16, half precision and TF32, as IEEE 754 rounds to nearest even. */
#include <math.h>
#include <string.h>

#include "sim.h"

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float widen_half(uint16_t half) {
    int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    float sign = half & 0x8000 ? -1.0F : 1.0F;
    if (exponent == 0x1f) return fraction == 0 ? sign * INFINITY : NAN;
    if (exponent == 0) return sign * ldexpf((float)fraction, -24);
    return sign * ldexpf((float)(fraction + 1024), exponent - 25);
}

static uint16_t narrow_half(float value) {
    uint16_t sign = bits_of(value) >> 16 & 0x8000;
    float size = fabsf(value);
    if (isnan(value)) return sign | 0x7e00;
    if (size >= 65520) return sign | 0x7c00; /* half a step above the largest: to infinity */
    if (size < ldexpf(1, -14)) return sign | (uint16_t)nearbyintf(ldexpf(size, 24));
    int exponent;
    float fraction = frexpf(size, &exponent); /* in [0.5, 1): 11 bits of it stay; a carry raises the exponent */
    return (uint16_t)(sign | ((uint16_t)(exponent + 13) * 1024 + (uint16_t)nearbyintf(ldexpf(fraction, 11))));
}

float sim_widen(sim_type type, uint16_t bits) {
    return type == SIM_F16 ? widen_half(bits) : float_of((uint32_t)bits << 16);
}

uint16_t sim_narrow(sim_type type, float value) {
    uint32_t bits = bits_of(value);
    if (type == SIM_F16) return narrow_half(value);
    return (uint16_t)(isnan(value) ? (bits >> 16) | 0x40U : (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float sim_tf32(float value) {
    uint32_t bits = bits_of(value);
    if (isnan(value) || isinf(value)) return value;
    return float_of((bits + 0xfffU + (bits >> 13 & 1U)) & ~UINT32_C(0x1fff));
}
