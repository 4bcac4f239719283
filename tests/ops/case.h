/* The one list of op cases, shared by all devices and all modes of ops_test. */
#ifndef LK_TESTS_OPS_CASE_H
#define LK_TESTS_OPS_CASE_H

#include "device/device.h"

typedef enum op_case_flag {
    OP_NAN_INPUT = 1, /* one element of x is NaN: NaN must come out in the same places */
    OP_INTEGERS = 2,  /* x and residual are small integers: ties and exact zeros, where no derivative exists */
    OP_DISTINCT = 4,  /* no two elements of x are near each other: maxima have derivatives */
    OP_EXTREME = 8,   /* bytes 0 and 255 only */
    OP_MIXED = 16     /* INPUT, LOSS: rows are mixed with partners */
} op_case_flag;

typedef struct op_case {
    const char *name;
    lk_op_desc desc;      /* x: n, c, h, w only; layout, dtypes and like are the runner's to fill */
    int64_t rows;         /* LOSS: valid rows; 0 is all */
    int64_t like_n;       /* first plan this batch size, then plan the case like it; 0: no such plan */
    double offset, scale; /* x = offset + scale * normal; scale 0 is 1 */
    unsigned flags;       /* op_case_flag */
} op_case;

/* Borrowed, static. */
const op_case *op_cases(int *count);

/* Every kind of op has at least this many cases, and every device must run them. */
#define OP_MIN_CASES 8

#endif
