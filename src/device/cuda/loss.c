/* The loss. Factors, labels (checked on the host) and, for an F1 term over the window, its counts are run_data. The
 * settings' arrays have copies on the GPU while the plan lives. */
#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

#define ARRAYS 3 /* class weights, alphas, offsets */
#define COUNTS 3 /* tp, predicted, support */

typedef struct loss_plan {
    double *arrays;               /* device: those of the settings that there are, `classes` each */
    lk_loss_config config;        /* with pointers into `arrays` */
    int64_t counts_at;            /* bytes into the workspace; before it: totals. Own counts only */
    int64_t labels_at, window_at; /* bytes into run_data; before them: scales. window: the window's counts */
} loss_plan;

/* Does the op count its own microbatch? */
static bool counts_microbatch(const lk_op_desc *d) { return d->training && d->loss.f1 > 0 && d->loss.f1_microbatch; }
/* Is it told the window's? */
static bool takes_counts(const lk_op_desc *d) { return d->training && d->loss.f1 > 0 && !d->loss.f1_microbatch; }

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
    p->labels_at = (int64_t)lk_round_up(sizeof(lk_cuda_loss_scales));
    p->window_at = p->labels_at + (int64_t)lk_round_up((size_t)labels);
    int64_t counts = COUNTS * d->x.c * (int64_t)sizeof(double);
    info->y.dtype = LK_F32;
    info->workspace_bytes = counts_microbatch(d) ? p->counts_at + counts : 0;
    info->run_bytes = p->window_at + (takes_counts(d) ? counts : 0);
    info->keeps_x = d->training;
    double bytes = (double)lk_act_bytes(&d->x);
    lk_cuda_info_own(op, "double");
    info->launches_forward = info->launches_backward = 0; /* listed */
    for (int backward = 0; backward < (d->training && d->need_dx ? 2 : 1); backward++) {
        if (counts_microbatch(d)) lk_op_info_launch(info, backward, "sums of rows", bytes, count);
        if (counts_microbatch(d)) lk_op_info_launch(info, backward, "soft counts", bytes, count);
        lk_op_info_launch(info, backward, "loss", backward ? 2 * bytes : bytes, (backward ? 5 : 4) * count);
    }
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

static lk_cuda_loss loss_of(const lk_call *call, const lk_run *run) {
    const lk_op_desc *d = &call->op->desc;
    const loss_plan *p = call->op->plan;
    const char *data = call->buffers.run_data;
    lk_cuda_loss loss = {.type = lk_cuda_type_of(d->x.dtype),
                         .n = d->x.n,
                         .rows = run->rows,
                         .classes = (int)d->x.c,
                         .block = (int)d->x.block,
                         .config = p->config,
                         .labels = (const lk_cuda_label *)(data + p->labels_at),
                         .scales = (const lk_cuda_loss_scales *)data,
                         .totals = call->buffers.workspace};
    return loss;
}

/* Of the microbatch. */
static double *own_counts(const lk_call *call) {
    const loss_plan *p = call->op->plan;
    return (double *)((char *)call->buffers.workspace + p->counts_at);
}

static lk_status prepare(const lk_call *call, const lk_run *run, void *host, lk_error *err) {
    const lk_op_desc *d = &call->op->desc;
    const loss_plan *p = call->op->plan;
    lk_cuda_label *labels = (lk_cuda_label *)((char *)host + p->labels_at);
    LK_RETURN_IF(lk_run_check_labels(run, &d->x, err));
    double counted = (double)(counts_microbatch(d) ? run->rows : run->f1_samples);
    *(lk_cuda_loss_scales *)host =
        (lk_cuda_loss_scales){.weight = run->weight_scale, .loss = run->loss_scale, .f1 = d->loss.f1 * counted};
    for (int64_t n = 0; n < run->rows; n++) {
        labels[n] = (lk_cuda_label){run->labels[n], run->labels[n], 1};
        if (run->label_share != NULL)
            labels[n] = (lk_cuda_label){run->labels[n], run->labels[run->partner[n]], run->label_share[n]};
    }
    if (takes_counts(d) && run->f1_counts != NULL)
        memcpy((char *)host + p->window_at, run->f1_counts, COUNTS * (size_t)d->x.c * sizeof(double));
    return LK_OK;
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    lk_cuda_loss loss = loss_of(call, run);
    if (counts_microbatch(&call->op->desc)) {
        LK_CUDA(lk_cuda_loss_count(stream->cuda, &loss, call->buffers.x, own_counts(call)));
        loss.counts = own_counts(call);
    }
    LK_CUDA(lk_cuda_loss_forward(stream->cuda, &loss, call->buffers.x, call->buffers.y));
out:
    return status;
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_desc *d = &call->op->desc;
    const loss_plan *p = call->op->plan;
    lk_cuda_loss loss = loss_of(call, run);
    if (!d->need_dx) return LK_OK;
    if (takes_counts(d) && run->f1_counts == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "the loss was run backward without the window's soft counts");
    if (takes_counts(d)) loss.counts = (const double *)((const char *)call->buffers.run_data + p->window_at);
    if (counts_microbatch(d)) {
        LK_CUDA(lk_cuda_loss_count(stream->cuda, &loss, call->buffers.x, own_counts(call)));
        loss.counts = own_counts(call);
    }
    LK_CUDA(lk_cuda_loss_backward(stream->cuda, &loss, call->buffers.x, call->buffers.dx));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_loss = {
    .one_dy = true, .plan = plan, .drop = drop, .prepare = prepare, .forward = forward, .backward = backward};
