/* Planted faults: a device that wraps another and breaks one thing. If the cases let one through, they are too weak.
 * The wrapped device must compute in host memory. */
#ifndef LK_TESTS_OPS_FAULT_H
#define LK_TESTS_OPS_FAULT_H

#include "lane.h"

/* One pass of one call, for a hook to spoil. */
typedef struct op_fault_site {
    lk_device *inner;
    const lk_op *op; /* of the inner device */
    lk_op_desc desc; /* as asked for */
    lk_op_info info;
    lk_op_buffers b;
    lk_run run;         /* what the pass is given */
    char *old_y;        /* forward: y before the pass; NULL in backward */
    char *old_dx;       /* backward: dx before the pass, or NULL */
    char *old_grads[2]; /* backward: each parameter's slice before the pass, or NULL */
    char *old_residual; /* backward: dresidual before the pass, or NULL */
    const char *kept_x; /* x of the last forward pass, for kinds whose backward pass may not read x; or NULL */
    int64_t number;     /* of this pass on this device */
} op_fault_site;

/* Ways to break arithmetic over slabs. */
typedef enum op_slab_fault {
    OP_SLAB_RIGHT,
    OP_SLAB_ADD_LAST,
    OP_SLAB_ADD_TWICE,
    OP_SLAB_SGD_LAST,
    OP_SLAB_SGD_UPHILL,
    OP_SLAB_SGD_NO_DECAY,
    OP_SLAB_SGD_DECAY_APART,
    OP_SLAB_SGD_NO_DAMPENING,
    OP_SLAB_SGD_NO_NESTEROV,
    OP_SLAB_SGD_ALWAYS_FIRST,
    OP_SLAB_SGD_NEVER_FIRST,
    OP_SLAB_SGD_NO_SCALE,
    OP_SLAB_SGD_NO_LIMIT,
    OP_SLAB_ADAM_LAST,
    OP_SLAB_ADAM_UPHILL,
    OP_SLAB_ADAM_BETAS_SWAPPED,
    OP_SLAB_ADAM_NO_CORRECTION,
    OP_SLAB_ADAM_COUPLED,
    OP_SLAB_ADAM_DECOUPLED,
    OP_SLAB_ADAM_NO_DECAY,
    OP_SLAB_ADAM_NO_EPS,
    OP_SLAB_ADAM_NO_SCALE,
    OP_SLAB_ADAM_NO_LIMIT,
    OP_SLAB_ADAM_STEP_LATE,
    OP_SLAB_RMSPROP_LAST,
    OP_SLAB_RMSPROP_UPHILL,
    OP_SLAB_RMSPROP_EPS_MOVED,
    OP_SLAB_RMSPROP_NOT_CENTERED,
    OP_SLAB_RMSPROP_NO_MOMENTUM,
    OP_SLAB_RMSPROP_LR_MOVED,
    OP_SLAB_RMSPROP_START,
    OP_SLAB_RMSPROP_ALWAYS_FIRST,
    OP_SLAB_RMSPROP_NEVER_FIRST,
    OP_SLAB_RMSPROP_NO_DECAY,
    OP_SLAB_RMSPROP_NO_SCALE,
    OP_SLAB_RMSPROP_NO_LIMIT,
    OP_SLAB_LERP_LAST,
    OP_SLAB_LERP_REVERSED,
    OP_SLAB_LERP_NEAR_COPY,
    OP_SLAB_BLEND_LAST,
    OP_SLAB_BLEND_NO_SCALE,
    OP_SLAB_BLEND_REVERSED,
    OP_SLAB_NORM_LAST,
    OP_SLAB_NORM_SEGMENTS,
    OP_SLAB_NORM_ROOT,
    OP_SLAB_NORM_FINITE,
    OP_SLAB_NORM_FLOAT32
} op_slab_fault;

/* Each hook returns whether it broke something: false where the fault has no meaning for the case. */
typedef struct op_fault {
    const char *name;
    int mode; /* for the hooks: one function often breaks things in several ways */
    bool (*plan)(lk_op_desc *desc, int mode);
    bool (*after_forward)(op_fault_site *site, int mode);
    bool (*after_backward)(op_fault_site *site, int mode);
    bool guards_labels; /* the fault is a missing check: LK_ERR_DATA becomes LK_OK */
    op_slab_fault slab;
} op_fault;

/* Faults of any kind of op, and those of one kind. Borrowed, static. */
const op_fault *op_faults_generic(int *count);
const op_fault *op_faults_of_input(int *count);
const op_fault *op_faults_of_conv2d(int *count);
const op_fault *op_faults_of_batchnorm(int *count);
const op_fault *op_faults_of_activation(int *count);
const op_fault *op_faults_of_add(int *count);
const op_fault *op_faults_of_scale(int *count);
const op_fault *op_faults_of_dropout(int *count);
const op_fault *op_faults_of_maxpool(int *count);
const op_fault *op_faults_of_global_avgpool(int *count);
const op_fault *op_faults_of_linear(int *count);
const op_fault *op_faults_of_loss(int *count);
const op_fault *op_faults_of_slabs(int *count);

/* inner and fault (NULL: nothing broken) are borrowed. Only ops of `kind` are broken.
 * Owner: the caller, with lk_device_free. */
LK_MUST_CHECK lk_status op_fault_device_create(lk_device **out, lk_device *inner, const op_fault *fault,
                                               lk_op_kind kind, lk_error *err);
/* How often something was broken so far. */
int64_t op_fault_device_count(const lk_device *device);

/* The inner device's slab arithmetic, broken. */
lk_status op_fault_slab_add(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *sum, const void *x,
                            int64_t count, lk_error *err);
lk_status op_fault_slab_sgd(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params, const void *grads,
                            void *velocity, int64_t count, const lk_sgd *sgd, lk_error *err);
lk_status op_fault_slab_adam(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params, const void *grads,
                             void *mean, void *square, int64_t count, const lk_adam *adam, lk_error *err);
lk_status op_fault_slab_rmsprop(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params,
                                const void *grads, void *square, void *mean, void *velocity, int64_t count,
                                const lk_rmsprop *rmsprop, lk_error *err);
lk_status op_fault_slab_lerp(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *average, const void *x,
                             int64_t count, double share, lk_error *err);
lk_status op_fault_slab_blend(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *running,
                              const void *fresh, int64_t count, double momentum, double scale, lk_error *err);
lk_status op_fault_slab_sum_squares(lk_device *inner, op_slab_fault fault, lk_stream *stream, const void *x,
                                    const int64_t *ends, int segments, double *out, lk_error *err);

/* Element (n, c, y, x) of an activation in host memory. */
double op_at(const lk_act_desc *d, const void *data, int64_t n, int64_t c, int64_t y, int64_t x);
void op_set(const lk_act_desc *d, void *data, int64_t n, int64_t c, int64_t y, int64_t x, double value);

/* Parameter i in canonical order as doubles, or NULL where memory is short. Owner: the caller, with lk_free. */
double *op_fault_param(const op_fault_site *site, int i);
/* Reads gradient i in canonical order (owner: the caller); writes it. */
double *op_fault_grad(const op_fault_site *site, int i);
bool op_fault_set_grad(const op_fault_site *site, int i, const double *canonical);
/* The gradient that arrives at an element of y. */
double op_fault_dy(const op_fault_site *site, int64_t n, int64_t c, int64_t y, int64_t x);
int64_t op_fault_param_count(const op_fault_site *site, int i);

/* Loops over all elements of an activation. */
#define OP_FOR_EACH(desc, ni, ci, yi, xi)              \
    for (int64_t ni = 0; ni < (desc)->n; ni++)         \
        for (int64_t ci = 0; ci < (desc)->c; ci++)     \
            for (int64_t yi = 0; yi < (desc)->h; yi++) \
                for (int64_t xi = 0; xi < (desc)->w; xi++)

#endif
