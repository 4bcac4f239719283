/* The modes of ops_test. Each returns whether all is well and prints what is not. */
#ifndef LK_TESTS_OPS_MODES_H
#define LK_TESTS_OPS_MODES_H

#include "lane.h"

/* What every mode is given. */
typedef struct op_context {
    lk_device *device;    /* under test */
    lk_device *reference; /* the oracle, one thread */
    const char *filter;   /* part of a case's name, or NULL */
    const char *type;     /* the one compute type that compare tries, or NULL */
    bool quiet;           /* print nothing */
    int only_kind;        /* lk_op_kind, or -1 for all */
    bool stop_at_first;
    char first_failure[LK_ERROR_SIZE]; /* out */
} op_context;

/* Forward and backward against the reference; memory rules; the same bits again, in parallel, with shared memory. */
bool op_mode_compare(op_context *context);
/* Compares the loops that are the device's own in bfloat16, also on a processor for which it does not offer the type.
 */
bool op_mode_own(op_context *context);
/* The reference's backward pass against central differences. */
bool op_mode_gradient(op_context *context);
/* Every case is supported or listed with its reason; nonsense is refused; ops take each other's layouts. */
bool op_mode_support(op_context *context);
/* Prints nanoseconds and GFLOP/s of each case. */
bool op_mode_speed(op_context *context);
/* Writes inputs and results to FOLDER/cases.json and FOLDER/data.bin (float64) for another program to recompute. */
bool op_mode_dump(op_context *context, const char *folder);

/* Breaks the device in one way at a time: compare must fail each time, and pass with nothing broken. */
bool op_mode_faults(op_context *context);

/* Arithmetic over slabs against the reference; part of compare. Errors: LK_ERR_NUMERIC. */
LK_MUST_CHECK lk_status op_check_slabs(op_context *context, lk_error *err);
/* Optimizer steps; part of op_check_slabs. Errors: LK_ERR_NUMERIC. */
LK_MUST_CHECK lk_status op_check_optimizers(op_context *context, lk_error *err);
/* Labels outside the classes are LK_ERR_DATA; part of compare. Errors: LK_ERR_NUMERIC. */
LK_MUST_CHECK lk_status op_check_labels(op_context *context, lk_error *err);

/* Channel blocks to try for a case's x, without repeats: planes, blocks, interleaved, interleaved with padding; returns
 * how many. */
#define OP_BLOCKS 5
int op_blocks(const op_case *c, int64_t blocks[OP_BLOCKS]);

/* Is the case's number of dys one that the device takes? */
bool op_case_applies(const lk_device *device, const op_case *c);

/* Why a device need not support a case in a type; NULL: it must. Static. */
const char *op_unsupported_reason(const lk_device *device, const op_case *c, lk_dtype compute);

/* Compute types that the device offers, of the list float32, tf32, bfloat16, float16 (float64 alone for a float64
 * device). */
#define OP_DTYPES 4
int op_dtypes(lk_device *device, lk_dtype dtypes[OP_DTYPES]);

bool op_selected(const op_context *context, const op_case *c);

#endif
