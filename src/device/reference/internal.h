/* What the files of the reference device share: one row of functions per kind of op. */
#ifndef LK_DEVICE_REFERENCE_INTERNAL_H
#define LK_DEVICE_REFERENCE_INTERNAL_H

#include "device/device.h"

/* One kind of op. An op is one file that defines its row; the table is made from LK_OP_LIST. */
typedef struct lk_reference_op {
    /* Checks op->desc and fills op->info (zero on entry). Errors: LK_ERR_CONFIG, LK_ERR_UNSUPPORTED. */
    lk_status (*plan)(lk_op *op, lk_error *err);
    lk_status (*forward)(const lk_call *call, const lk_run *run, lk_error *err);
    lk_status (*backward)(const lk_call *call, const lk_run *run, lk_error *err); /* NULL: has no gradient */
} lk_reference_op;

#define X(name, text, inputs, help) extern const lk_reference_op lk_reference_##name;
LK_OP_LIST(X)
#undef X

struct lk_op {
    lk_op_desc desc;
    lk_op_info info;
    const lk_reference_op *kind;
    int threads;
};

struct lk_call {
    const lk_op *op;
    lk_op_buffers buffers; /* dy[1] is NULL unless desc.dy_count is 2 */
};

/* The gradient that arrives at element i of y: one tensor, or the sum of two. */
static inline double lk_reference_dy(const lk_call *call, int64_t i) {
    const double *first = call->buffers.dy[0], *second = call->buffers.dy[1];
    return second == NULL ? first[i] : first[i] + second[i];
}

/* act(z). NaN passes through, as in PyTorch. */
double lk_reference_act(lk_act act, double z);

/* dy act'(z), from value: z, or act(z) where lk_act_invertible(act). At a kink as PyTorch has it. */
double lk_reference_act_gradient(lk_act act, double value, double dy);

/* Index in an h x w plane (of d->x) of the maximum of the window (d->maxpool) at (oy, ox). */
int64_t lk_reference_find_maximum(const lk_op_desc *d, const double *plane, int64_t oy, int64_t ox);

static inline int64_t lk_reference_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Parameter i of the op inside the slab, and its gradient. */
static inline const double *lk_reference_param(const lk_call *call, const lk_run *run, int i) {
    return (const double *)run->params + call->buffers.param_offset[i];
}
static inline double *lk_reference_grad(const lk_call *call, const lk_run *run, int i) {
    return (double *)run->grads + call->buffers.param_offset[i];
}

/* Fails a plan: "conv2d of 8 x 3 x 32 x 32 on device reference: REASON". */
LK_MUST_CHECK lk_status lk_reference_refuse(const lk_op *op, lk_status status, lk_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sets info.y to float64 NCHW of this shape. Errors: LK_ERR_CONFIG where the shape is empty or overflows. */
LK_MUST_CHECK lk_status lk_reference_set_y(lk_op *op, int64_t c, int64_t h, int64_t w, lk_error *err);

/* Adds a parameter to op->info. */
void lk_reference_add_param(lk_op *op, lk_param_role role, lk_shape shape);

/* Output size of a sliding window, 0 where the window does not fit: floor((size + 2 pad - pad_less -
 * dilation (kernel-1) - 1) / stride) + 1. Takes any numbers. */
int64_t lk_reference_window(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t pad_less,
                            int64_t dilation);

/* Checks that hold for every kind: input shape, type and layout, counts of gradients. */
LK_MUST_CHECK lk_status lk_reference_check_common(const lk_op *op, lk_error *err);

/* Is `like` (or NULL) a plan of the same layer? Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_reference_check_like(const lk_op *op, const lk_op *like, lk_error *err);

/* Every buffer that the op touches must be there. Errors: LK_ERR_INTERNAL. */
LK_MUST_CHECK lk_status lk_reference_check_buffers(const lk_op *op, const lk_op_buffers *buffers, lk_error *err);

/* Fills bytes_* and the implementation names from the rest of the info. */
void lk_reference_fill_costs(lk_op *op);

/* Slab arithmetic of the device table. */
lk_status lk_reference_slab_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                                lk_error *err);
lk_status lk_reference_slab_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                                int64_t count, const lk_sgd *sgd, lk_error *err);
lk_status lk_reference_slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                                 void *square, int64_t count, const lk_adam *adam, lk_error *err);
lk_status lk_reference_slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                                    void *mean, void *velocity, int64_t count, const lk_rmsprop *rmsprop,
                                    lk_error *err);
lk_status lk_reference_slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                                 double share, lk_error *err);
lk_status lk_reference_slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                                  double momentum, double scale, lk_error *err);
lk_status lk_reference_slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                        int segments, double *out, lk_error *err);

#endif
