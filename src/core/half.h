/* 16-bit floating point as float32, exactly. Pure. */
#ifndef LK_CORE_HALF_H
#define LK_CORE_HALF_H

#include <stdint.h>

/* Source: IEEE 754 binary16. */
float lk_half_widen(uint16_t bits);
/* The upper half of a float32. */
float lk_bf16_widen(uint16_t bits);

#endif
