/* The loss. Labels are checked on the host and go to the GPU through pinned memory; in training the stash keeps them
 * for the backward pass. The settings' arrays have copies on the GPU while the plan lives. */
#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

#define ARRAYS 3 /* class weights, alphas, offsets */
#define COUNTS 3 /* tp, predicted, support */

typedef struct loss_plan {
    double *arrays;               /* device: those of the settings that there are, `classes` each */
    lk_loss_config config;        /* with pointers into `arrays` */
    int64_t counts_at, labels_at; /* bytes into the workspace; before them: totals. Labels: evaluation only */
} loss_plan;

typedef struct loss_bound {
    lk_cuda_staging labels, counts;
} loss_bound;

/* Does the op count its own microbatch? */
static bool counts_microbatch(const lk_op_desc *d) { return d->training && d->loss.f1 > 0 && d->loss.f1_microbatch; }

static lk_status copy_settings(const lk_cuda *cuda, loss_plan *p, const lk_op_desc *d, lk_error *err) {
    lk_status status = LK_OK;
    const double *from[ARRAYS] = {d->loss.class_weights, d->loss.focal_alpha, d->loss.logit_offsets};
    const double **to[ARRAYS] = {&p->config.class_weights, &p->config.focal_alpha, &p->config.logit_offsets};
    size_t bytes = (size_t)d->x.c * sizeof(double);
    p->config = d->loss;
    if (cuda->described != NULL) return LK_OK;
    LK_CUDA(cudaMalloc((void **)&p->arrays, ARRAYS * bytes));
    for (int i = 0; i < ARRAYS; i++) {
        if (from[i] == NULL) continue;
        LK_CUDA(cudaMemcpy(p->arrays + i * d->x.c, from[i], bytes, cudaMemcpyHostToDevice));
        *to[i] = p->arrays + i * d->x.c;
    }
    LK_CUDA(cudaStreamSynchronize(NULL)); /* the host's arrays may go as soon as the plan is made */
out:
    return status;
}

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    loss_plan *p = op->plan;
    lk_op_info *info = &op->info;
    double count = (double)lk_act_count(&d->x);
    int64_t labels = d->x.n * (int64_t)sizeof(lk_cuda_label);
    p->counts_at = (int64_t)lk_round_up((size_t)d->x.n * sizeof(double));
    p->labels_at = p->counts_at + (int64_t)lk_round_up(COUNTS * (size_t)d->x.c * sizeof(double));
    info->y.dtype = LK_F32;
    info->workspace_bytes = d->training ? p->labels_at : p->labels_at + labels;
    info->stash_bytes = d->training ? labels : 0;
    info->keeps_x = d->training;
    info->flops_forward = 4 * count;
    info->bytes_forward = (double)lk_act_bytes(&d->x);
    info->flops_backward = d->training ? 5 * count : 0;
    info->bytes_backward = d->training ? 2 * (double)lk_act_bytes(&d->x) : 0;
    lk_cuda_info_own(op, "double");
    int counting = counts_microbatch(d) ? 2 : 0;
    info->launches_forward += counting;
    info->launches_backward = d->training && d->need_dx ? 1 + counting : 0;
}

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    loss_plan *p = NULL;
    if (d->x.h != 1 || d->x.w != 1) return lk_cuda_unsupported(op, "logits are n x classes", err);
    const char *fault = lk_loss_fault(&d->loss, d->x.c);
    if (fault != NULL) return lk_fail(err, LK_ERR_CONFIG, "the loss of %" PRId64 " classes: %s", d->x.c, fault);
    LK_RETURN_IF(LK_NEW(&p, 1, "a loss", err));
    op->plan = p;
    lk_cuda_info_start(op, 1, 1, 1, 1);
    fill_info(op);
    return copy_settings(cuda, p, d, err);
}

static void drop(lk_op *op) {
    loss_plan *p = op->plan;
    if (p == NULL) return;
    if (p->arrays != NULL) (void)cudaFree(p->arrays);
    lk_free(p);
}

static lk_status bind(lk_cuda *cuda, lk_call *call, lk_error *err) {
    (void)cuda;
    const lk_act_desc *x = &call->op->desc.x;
    loss_bound *bound = NULL;
    LK_RETURN_IF(LK_NEW(&bound, 1, "staging memory of the labels", err));
    call->bound = bound;
    LK_RETURN_IF(lk_cuda_staging_create(&bound->labels, x->n * (int64_t)sizeof(lk_cuda_label), err));
    return lk_cuda_staging_create(&bound->counts, COUNTS * x->c * (int64_t)sizeof(double), err);
}

static void unbind(lk_call *call) {
    loss_bound *bound = call->bound;
    if (bound == NULL) return;
    lk_cuda_staging_free(&bound->labels);
    lk_cuda_staging_free(&bound->counts);
    lk_free(bound);
}

static lk_cuda_loss loss_of(const lk_call *call, const lk_run *run) {
    const lk_op_desc *d = &call->op->desc;
    const loss_plan *p = call->op->plan;
    char *workspace = call->buffers.workspace;
    lk_cuda_loss loss = {.type = lk_cuda_type_of(d->x.dtype),
                         .n = d->x.n,
                         .rows = run->rows,
                         .classes = (int)d->x.c,
                         .block = (int)d->x.block,
                         .config = p->config,
                         .weight_scale = run->weight_scale,
                         .scale = run->loss_scale,
                         .totals = (double *)workspace};
    loss.labels = (const lk_cuda_label *)(d->training ? (char *)call->buffers.stash : workspace + p->labels_at);
    return loss;
}

static double *counts_of(const lk_call *call) {
    const loss_plan *p = call->op->plan;
    return (double *)((char *)call->buffers.workspace + p->counts_at);
}

static lk_status send_labels(lk_stream *stream, const lk_call *call, const lk_run *run, void *to, lk_error *err) {
    loss_bound *bound = call->bound;
    lk_cuda_label *labels;
    if (run->rows == 0) return LK_OK;
    LK_RETURN_IF(lk_cuda_staging_open(&bound->labels, (void **)&labels, err));
    for (int64_t n = 0; n < run->rows; n++) {
        labels[n] = (lk_cuda_label){run->labels[n], run->labels[n], 1};
        if (run->label_share != NULL)
            labels[n] = (lk_cuda_label){run->labels[n], run->labels[run->partner[n]], run->label_share[n]};
    }
    return lk_cuda_staging_send(&bound->labels, stream, to, run->rows * (int64_t)sizeof *labels, err);
}

/* The window's counts, from the host. */
static lk_status send_counts(lk_stream *stream, const lk_call *call, const lk_run *run, lk_error *err) {
    loss_bound *bound = call->bound;
    int64_t bytes = COUNTS * call->op->desc.x.c * (int64_t)sizeof(double);
    void *host;
    if (run->f1_counts == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "the loss was run backward without the window's soft counts");
    LK_RETURN_IF(lk_cuda_staging_open(&bound->counts, &host, err));
    memcpy(host, run->f1_counts, (size_t)bytes);
    return lk_cuda_staging_send(&bound->counts, stream, counts_of(call), bytes, err);
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    lk_cuda_loss loss = loss_of(call, run);
    LK_TRY(lk_run_check_labels(run, &call->op->desc.x, err));
    LK_TRY(send_labels(stream, call, run, (void *)loss.labels, err));
    if (counts_microbatch(&call->op->desc)) {
        LK_CUDA(lk_cuda_loss_count(stream->cuda, &loss, call->buffers.x, counts_of(call)));
        loss.counts = counts_of(call);
    }
    LK_CUDA(lk_cuda_loss_forward(stream->cuda, &loss, call->buffers.x, call->buffers.y));
out:
    return status;
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_desc *d = &call->op->desc;
    lk_cuda_loss loss = loss_of(call, run);
    bool own = counts_microbatch(d);
    if (!d->need_dx) return LK_OK;
    if (own)
        LK_CUDA(lk_cuda_loss_count(stream->cuda, &loss, call->buffers.x, counts_of(call)));
    else if (d->loss.f1 > 0)
        LK_TRY(send_counts(stream, call, run, err));
    if (d->loss.f1 > 0) loss.counts = counts_of(call);
    loss.f1_scale = d->loss.f1 * (double)(own ? run->rows : run->f1_samples);
    LK_CUDA(lk_cuda_loss_backward(stream->cuda, &loss, call->buffers.x, call->buffers.dx));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_loss = {.one_dy = true,
                                             .plan = plan,
                                             .drop = drop,
                                             .bind = bind,
                                             .unbind = unbind,
                                             .forward = forward,
                                             .backward = backward};
