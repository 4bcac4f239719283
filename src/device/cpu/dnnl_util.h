/* oneDNN's C interface in this project's terms: statuses, layouts, primitives with their reorders. */
#ifndef LK_DEVICE_CPU_DNNL_UTIL_H
#define LK_DEVICE_CPU_DNNL_UTIL_H

#include <dnnl.h>

#include "core/error.h"
#include "device/ops.h"

/* Turns a status of oneDNN into ours, naming the call.
 * Errors: LK_ERR_MEMORY, LK_ERR_UNSUPPORTED (no implementation), LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_dnnl_check(dnnl_status_t code, const char *call, lk_error *err);

/* Inside a function with `status`, `err` and a label `out`. */
#define LK_DNNL(call) LK_TRY(lk_dnnl_check((call), #call, err))

dnnl_data_type_t lk_dnnl_dtype(lk_dtype dtype);

/* Descriptor of an activation. Owner: the caller, with dnnl_memory_desc_destroy. */
LK_MUST_CHECK lk_status lk_dnnl_act_md(dnnl_memory_desc_t *out, const lk_act_desc *d, lk_error *err);
/* The same with the layout left to oneDNN. */
LK_MUST_CHECK lk_status lk_dnnl_act_any(dnnl_memory_desc_t *out, const lk_act_desc *d, lk_error *err);
/* The block of an activation layout that oneDNN chose, or 0 where lk_act_desc cannot say it. */
int64_t lk_dnnl_act_block(const_dnnl_memory_desc_t md);

/* Implementation's name, e.g. "jit:avx2"; static. */
const char *lk_dnnl_impl(const_dnnl_primitive_desc_t pd);

/* How good an implementation is, by its name: 0 reference, 1 for an older instruction set, 2 general matrix product,
 * 3 made for this processor. */
int lk_dnnl_rank(const char *impl);

/* Attributes with a caller's scratchpad. Owner: the caller, with dnnl_primitive_attr_destroy. */
LK_MUST_CHECK lk_status lk_dnnl_attr(dnnl_primitive_attr_t *out, lk_error *err);

#define LK_DNNL_OPERANDS 4

/* One tensor of a pass. Where the primitive wants another layout than the tensor has, a reorder stands between. */
typedef struct lk_dnnl_operand {
    int arg;                    /* DNNL_ARG_* of the primitive */
    bool written;               /* an output */
    dnnl_memory_desc_t inner;   /* what the primitive takes */
    dnnl_memory_desc_t outer;   /* what the tensor has */
    dnnl_primitive_t reorder;   /* NULL where they are equal */
    dnnl_memory_desc_t scratch; /* of the reorder */
    int64_t scratch_at;         /* bytes into the workspace */
    int64_t copy_at;            /* bytes into the workspace: the reordered copy */
} lk_dnnl_operand;

/* A planned primitive with its operands. Zeroed memory is a valid, empty pass. Read-only once planned. */
typedef struct lk_dnnl_pass {
    dnnl_primitive_t primitive; /* NULL: the pass does not exist */
    lk_dnnl_operand operands[LK_DNNL_OPERANDS];
    int count;
    dnnl_memory_desc_t scratch;
    int64_t scratch_at;      /* bytes into the workspace */
    int64_t workspace_bytes; /* of all of it */
    int64_t reorder_bytes;   /* read and written by the reorders */
    char impl[48];
} lk_dnnl_pass;

/* Creates the primitive of `pd`. */
LK_MUST_CHECK lk_status lk_dnnl_pass_start(lk_dnnl_pass *pass, const_dnnl_primitive_desc_t pd, lk_error *err);
/* Adds an operand. outer: the tensor's layout, or NULL where the primitive's own is used. */
LK_MUST_CHECK lk_status lk_dnnl_pass_operand(lk_dnnl_pass *pass, dnnl_engine_t engine, const_dnnl_primitive_desc_t pd,
                                             int arg, bool written, const_dnnl_memory_desc_t outer, lk_error *err);
void lk_dnnl_pass_free(lk_dnnl_pass *pass);

/* A pass bound to one lane. */
typedef struct lk_dnnl_bound {
    const lk_dnnl_pass *pass;
    dnnl_memory_t outer[LK_DNNL_OPERANDS], inner[LK_DNNL_OPERANDS]; /* the same handle where there is no reorder */
    dnnl_memory_t scratch, reorder_scratch[LK_DNNL_OPERANDS];
    dnnl_exec_arg_t args[LK_DNNL_OPERANDS + 1];
} lk_dnnl_bound;

/* handles: one address per operand, NULL for those set at run time. */
LK_MUST_CHECK lk_status lk_dnnl_bind(lk_dnnl_bound *bound, const lk_dnnl_pass *pass, dnnl_engine_t engine,
                                     void *const *handles, void *workspace, lk_error *err);
void lk_dnnl_unbind(lk_dnnl_bound *bound);
/* Sets operand i's address. */
LK_MUST_CHECK lk_status lk_dnnl_set(lk_dnnl_bound *bound, int i, const void *handle, lk_error *err);
/* Runs reorders of inputs, the primitive, reorders of outputs. Blocks. */
LK_MUST_CHECK lk_status lk_dnnl_run(const lk_dnnl_bound *bound, dnnl_stream_t stream, lk_error *err);

/* A copy of stored float32 weights in another layout or type, in the derived slab. Zeroed memory is "no copy". */
typedef struct lk_dnnl_weight_copy {
    dnnl_primitive_t reorder; /* NULL: the stored weights are used as they are */
    dnnl_memory_desc_t stored, md;
    int64_t at; /* bytes from derived_offset */
} lk_dnnl_weight_copy;

/* Plans the copy where `wanted` differs from `stored`, at *derived_bytes, which grows by the copy's size. */
LK_MUST_CHECK lk_status lk_dnnl_weight_copy_plan(lk_dnnl_weight_copy *copy, dnnl_engine_t engine,
                                                 const_dnnl_memory_desc_t stored, const_dnnl_memory_desc_t wanted,
                                                 int64_t *derived_bytes, lk_error *err);
void lk_dnnl_weight_copy_free(lk_dnnl_weight_copy *copy);
/* Writes the copy, if there is one. derived: the op's part of the slab. Blocks. */
LK_MUST_CHECK lk_status lk_dnnl_weight_copy_write(const lk_dnnl_weight_copy *copy, dnnl_engine_t engine,
                                                  dnnl_stream_t stream, const float *stored, char *derived,
                                                  lk_error *err);

/* Where each logical index lies: the offset of element (i0, i1, ...) is the sum of offsets[d][i_d]. */
typedef struct lk_dnnl_map {
    int ndims;
    int64_t dims[DNNL_MAX_NDIMS];
    int64_t *offsets[DNNL_MAX_NDIMS];
} lk_dnnl_map;

LK_MUST_CHECK lk_status lk_dnnl_map_create(lk_dnnl_map *map, const_dnnl_memory_desc_t md, lk_error *err);
void lk_dnnl_map_free(lk_dnnl_map *map);
/* Row-major to stored (padding zero, `stored_count` elements), and back. */
void lk_dnnl_map_pack(const lk_dnnl_map *map, const float *canonical, float *stored, int64_t stored_count);
void lk_dnnl_map_unpack(const lk_dnnl_map *map, const float *stored, float *canonical);

#endif
