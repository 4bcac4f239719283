/* Writes what the device was given and what it made of it, for test_ops_torch.py to recompute with PyTorch. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "modes.h"

#define SGD_STEPS 10
#define SGD_COUNT 64

typedef struct writer {
    FILE *data;     /* data.bin: float64 in this machine's order */
    int64_t offset; /* elements written */
} writer;

static lk_status write_array(writer *w, json_t *tensors, const char *name, const double *values, int64_t count,
                             lk_error *err) {
    if (values == NULL || count == 0) return LK_OK;
    if (fwrite(values, sizeof *values, (size_t)count, w->data) != (size_t)count)
        return lk_fail_errno(err, "write", "data.bin");
    json_object_set_new(tensors, name, json_pack("[I,I]", (json_int_t)w->offset, (json_int_t)count));
    w->offset += count;
    return LK_OK;
}

/* Integers as float64 too: one file, one type. */
static lk_status write_integers(writer *w, json_t *tensors, const op_values *v, int64_t labels, lk_error *err) {
    double *copy = NULL;
    int64_t count = v->images != NULL ? v->x_count : v->labels != NULL ? labels : 0;
    LK_RETURN_IF(LK_NEW(&copy, count, "integers", err));
    for (int64_t i = 0; i < count; i++) copy[i] = v->images != NULL ? v->images[i] : v->labels[i];
    lk_status status = write_array(w, tensors, v->images != NULL ? "images" : "labels", copy, count, err);
    lk_free(copy);
    return status;
}

static lk_status write_shares(writer *w, json_t *tensors, const char *name, const float *shares, double *copy,
                              int64_t rows, lk_error *err) {
    if (shares == NULL) return LK_OK;
    for (int64_t i = 0; i < rows; i++) copy[i] = (double)shares[i];
    return write_array(w, tensors, name, copy, rows, err);
}

static lk_status write_mixing(writer *w, json_t *tensors, const op_values *v, int64_t rows, lk_error *err) {
    if (v->partner == NULL) return LK_OK;
    double *copy = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&copy, rows, "partners", err));
    for (int64_t i = 0; i < rows; i++) copy[i] = v->partner[i];
    LK_TRY(write_array(w, tensors, "in_partner", copy, rows, err));
    LK_TRY(write_shares(w, tensors, "in_pixel_share", v->pixel_share, copy, rows, err));
    LK_TRY(write_shares(w, tensors, "in_label_share", v->label_share, copy, rows, err));
out:
    lk_free(copy);
    return status;
}

static json_t *list_of(const double *values, int64_t count) {
    if (values == NULL) return json_null();
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *describe_loss(const lk_op_desc *d, const op_values *v) {
    const lk_loss_config *l = &d->loss;
    return json_pack("{s:f,s:f,s:f,s:f,s:b,s:f,s:f,s:b,s:o,s:o,s:o,s:f,s:I}", "cross_entropy", l->cross_entropy,
                     "focal", l->focal, "f1", l->f1, "smoothing", l->smoothing, "others",
                     (int)(l->smoothing_rule == LK_SMOOTHING_OTHERS), "gamma", l->focal_gamma, "epsilon", l->f1_epsilon,
                     "f1_microbatch", (int)l->f1_microbatch, "class_weights", list_of(l->class_weights, d->x.c),
                     "alpha", list_of(l->focal_alpha, d->x.c), "logit_offsets", list_of(l->logit_offsets, d->x.c),
                     "weight_scale", v->weight_scale, "f1_samples", (json_int_t)v->f1_samples);
}

static json_t *describe(const op_case *c, const op_values *v) {
    const lk_op_desc *d = &c->desc;
    json_t *j = json_pack("{s:s,s:s,s:b,s:b,s:b,s:b,s:i,s:[I,I,I,I],s:I,s:f,s:s,s:b}", "name", c->name, "kind",
                          lk_op_kind_name(d->kind), "training", (int)d->training, "backward",
                          (int)lk_op_has_backward(d), "frozen", (int)d->frozen, "need_dx", (int)d->need_dx, "dy_count",
                          d->dy_count, "shape", (json_int_t)d->x.n, (json_int_t)d->x.c, (json_int_t)d->x.h,
                          (json_int_t)d->x.w, "rows", (json_int_t)v->rows, "loss_scale", v->loss_scale, "act",
                          lk_act_name(op_case_act(d)), "residual", (int)op_case_has_residual(d));
    json_t *more = NULL;
    if (d->kind == LK_OP_CONV2D)
        more = json_pack("{s:I,s:[I,I],s:I,s:I,s:[I,I],s:I,s:I,s:b}", "out_channels", (json_int_t)d->conv.out_channels,
                         "kernel", (json_int_t)d->conv.kernel_h, (json_int_t)d->conv.kernel_w, "stride",
                         (json_int_t)d->conv.stride, "pad", (json_int_t)d->conv.pad, "pad_less",
                         (json_int_t)d->conv.pad_less_top, (json_int_t)d->conv.pad_less_left, "dilation",
                         (json_int_t)d->conv.dilation, "groups", (json_int_t)d->conv.groups, "bias", (int)d->conv.bias);
    if (d->kind == LK_OP_BATCHNORM)
        more = json_pack("{s:f,s:b,s:[I,I,I]}", "eps", d->batchnorm.eps, "fixed", (int)d->batchnorm.fixed, "pool",
                         (json_int_t)d->batchnorm.pool.kernel, (json_int_t)d->batchnorm.pool.stride,
                         (json_int_t)d->batchnorm.pool.pad);
    if (d->kind == LK_OP_DROPOUT) more = json_pack("{s:f}", "rate", d->dropout.rate);
    if (d->kind == LK_OP_MAXPOOL)
        more = json_pack("{s:I,s:I,s:I}", "kernel", (json_int_t)d->maxpool.kernel, "stride",
                         (json_int_t)d->maxpool.stride, "pad", (json_int_t)d->maxpool.pad);
    if (d->kind == LK_OP_LINEAR) more = json_pack("{s:I}", "out_features", (json_int_t)d->linear.out_features);
    if (d->kind == LK_OP_LOSS) more = describe_loss(d, v);
    if (d->kind == LK_OP_INPUT) {
        json_t *mean = json_array(), *std = json_array();
        for (int i = 0; i < d->x.c; i++) {
            json_array_append_new(mean, json_real((double)d->input.mean[i]));
            json_array_append_new(std, json_real((double)d->input.std[i]));
        }
        more = json_pack("{s:o,s:o}", "mean", mean, "std", std);
    }
    if (more != NULL) json_object_update(j, more);
    json_decref(more);
    return j;
}

/* What elements, or the normalised values of samples, are multiplied by: 0 or 1 / (1 - rate). */
static lk_status write_keep(writer *w, json_t *tensors, const op_case *c, const op_values *v, lk_error *err) {
    const lk_op_desc *d = &c->desc;
    bool dropout = d->kind == LK_OP_DROPOUT;
    double *keep = NULL, rate = dropout ? d->dropout.rate : d->kind == LK_OP_BATCHNORM ? d->batchnorm.drop_path : 0;
    int64_t each = dropout ? v->x_count / d->x.n : 1;
    lk_run run = op_values_run(v);
    if (!dropout && !(rate > 0)) return LK_OK;
    LK_RETURN_IF(LK_NEW(&keep, d->x.n * each, "factors", err));
    for (int64_t i = 0; i < d->x.n * each; i++) {
        bool dropped = d->training && lk_run_drops(&run, d->layer, i / each, each, i % each, rate);
        keep[i] = dropped ? 0 : d->training ? 1 / (1 - rate) : 1;
    }
    lk_status status = write_array(w, tensors, "in_keep", keep, d->x.n * each, err);
    lk_free(keep);
    return status;
}

static lk_status dump_case(op_context *context, const op_case *c, writer *w, json_t *list, lk_error *err) {
    op_values *v = NULL;
    op_results *r = NULL;
    json_t *tensors = json_object(), *j = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_values_create(&v, context->reference, c, LK_F64, 4, err));
    LK_TRY(op_results_create(&r, c, v, err));
    LK_TRY(op_run_case(context->device, c, LK_F64, 1, v, r, err));
    LK_TRY(write_array(w, tensors, "in_x", v->x, v->x_count, err));
    LK_TRY(write_array(w, tensors, "in_residual", v->residual, v->residual_count, err));
    LK_TRY(write_array(w, tensors, "in_dy0", v->dy[0], v->y_count, err));
    LK_TRY(write_array(w, tensors, "in_dy1", v->dy[1], v->y_count, err));
    LK_TRY(write_array(w, tensors, "in_param0", v->param[0], v->param_count[0], err));
    LK_TRY(write_array(w, tensors, "in_param1", v->param[1], v->param_count[1], err));
    LK_TRY(write_array(w, tensors, "in_stats", v->stats, v->stats_count, err));
    LK_TRY(write_keep(w, tensors, c, v, err));
    LK_TRY(write_integers(w, tensors, v, c->desc.x.n, err));
    LK_TRY(write_mixing(w, tensors, v, c->desc.x.n, err));
    LK_TRY(write_array(w, tensors, "in_f1_others", v->f1_others, 3 * c->desc.x.c, err));
    for (int k = 0; k < OP_RESULT_COUNT; k++)
        LK_TRY(write_array(w, tensors, op_result_name(k), r->data[k], r->count[k], err));
    j = describe(c, v);
    if (j == NULL) LK_TRY(lk_fail(err, LK_ERR_INTERNAL, "cannot describe %s", c->name));
    json_object_set(j, "tensors", tensors);
    json_array_append_new(list, j);
out:
    json_decref(tensors);
    op_results_free(r);
    op_values_free(v);
    return status;
}

/* Ten steps over one slab with drawn gradients: start, gradients and parameters after every step. */
static lk_status dump_sgd(op_context *context, const lk_sgd *sgd, writer *w, json_t *list, lk_error *err) {
    lk_device *device = context->device;
    double p[SGD_COUNT], velocity[SGD_COUNT], grads[SGD_STEPS * SGD_COUNT], trace[SGD_STEPS * SGD_COUNT];
    lk_random_key key = {.seed = 8, .purpose = LK_RANDOM_INIT};
    lk_stream *stream = NULL;
    json_t *tensors = json_object();
    lk_status status = LK_OK;
    for (int i = 0; i < SGD_COUNT; i++) p[i] = lk_random_normal(&key, (uint64_t)i, 0);
    for (int i = 0; i < SGD_STEPS * SGD_COUNT; i++) grads[i] = lk_random_normal(&key, (uint64_t)i, 1);
    LK_TRY(write_array(w, tensors, "start", p, SGD_COUNT, err));
    LK_TRY(write_array(w, tensors, "grads", grads, SGD_STEPS * SGD_COUNT, err));
    LK_TRY(device->stream_create(device, &stream, err));
    for (int step = 0; step < SGD_STEPS; step++) {
        lk_sgd now = *sgd;
        now.first_step = step == 0;
        LK_TRY(device->slab_sgd(device, stream, p, grads + (ptrdiff_t)step * SGD_COUNT,
                                sgd->momentum != 0 ? velocity : NULL, SGD_COUNT, &now, err));
        memcpy(trace + (ptrdiff_t)step * SGD_COUNT, p, sizeof p);
    }
    LK_TRY(write_array(w, tensors, "trace", trace, SGD_STEPS * SGD_COUNT, err));
    json_array_append_new(list, json_pack("{s:f,s:f,s:f,s:f,s:b,s:O}", "lr", sgd->lr, "momentum", sgd->momentum,
                                          "dampening", sgd->dampening, "weight_decay", sgd->weight_decay, "nesterov",
                                          (int)sgd->nesterov, "tensors", tensors));
out:
    if (stream != NULL) device->stream_free(device, stream);
    json_decref(tensors);
    return status;
}

static lk_status dump_all(op_context *context, writer *w, json_t *root, lk_error *err) {
    static const lk_sgd SETTINGS[] = {
        {.lr = 0.1},
        {.lr = 0.1, .weight_decay = 0.05},
        {.lr = 0.05, .momentum = 0.9},
        {.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4},
        {.lr = 0.05, .momentum = 0.9, .dampening = 0.5, .weight_decay = 1e-2},
        {.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-2, .nesterov = true},
    };
    json_t *cases = json_array(), *sgd = json_array();
    json_object_set_new(root, "cases", cases);
    json_object_set_new(root, "sgd", sgd);
    int count;
    const op_case *list = op_cases(&count);
    for (int i = 0; i < count; i++)
        if (op_selected(context, &list[i])) LK_RETURN_IF(dump_case(context, &list[i], w, cases, err));
    for (size_t i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++)
        LK_RETURN_IF(dump_sgd(context, &SETTINGS[i], w, sgd, err));
    return LK_OK;
}

bool op_mode_dump(op_context *context, const char *folder) {
    char path[4096];
    lk_error err = {0};
    lk_status status = LK_OK;
    json_t *root = json_object();
    writer w = {0};
    if (context->device->master != LK_F64)
        LK_TRY(lk_fail(&err, LK_ERR_USAGE, "dump writes float64: use the reference device"));
    snprintf(path, sizeof path, "%s/data.bin", folder);
    w.data = fopen(path, "wb");
    if (w.data == NULL) LK_TRY(lk_fail_errno(&err, "create", path));
    LK_TRY(dump_all(context, &w, root, &err));
    snprintf(path, sizeof path, "%s/cases.json", folder);
    if (json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) != 0)
        LK_TRY(lk_fail(&err, LK_ERR_IO, "cannot write %s", path));
out:
    if (w.data != NULL && fclose(w.data) != 0 && status == LK_OK) status = lk_fail_errno(&err, "write", folder);
    json_decref(root);
    if (status != LK_OK) printf("FAIL dump: %s\n", err.message);
    return status == LK_OK;
}
