#include "lane.h"

#include <string.h>

#include "buffer.h"
#include "core/memory.h"

#define PARAM_ALIGNMENT 16 /* elements: the plan's rule for offsets into slabs */

typedef enum buffer_kind {
    B_X,
    B_RESIDUAL,
    B_Y,
    B_DY0,
    B_DY1,
    B_DX,
    B_DRESIDUAL,
    B_STASH,
    B_WORKSPACE,
    B_UNFINISHED,
    B_PARAMS,
    B_GRADS,
    B_STATS,
    B_DERIVED,
    B_IMAGES,
    B_LABELS,
    B_PARTNER,
    B_PIXEL_SHARE,
    B_LABEL_SHARE,
    B_COUNT
} buffer_kind;

static const char *const NAMES[B_COUNT] = {"x",      "residual",  "y",           "dy[0]",      "dy[1]",
                                           "dx",     "dresidual", "stash",       "workspace",  "unfinished",
                                           "params", "grads",     "stats",       "derived",    "images",
                                           "labels", "partner",   "pixel_share", "label_share"};

struct op_lane {
    const op_plan *plan;
    op_lane_options options;
    op_buffer buffers[B_COUNT];
    lk_op_buffers bound;
    lk_run run;
    lk_stream *stream;
    lk_call *call;
    void *run_data; /* info.run_bytes of device memory */
};

static char *data_of(const op_lane *l, buffer_kind k) { return op_buffer_data(&l->buffers[k]); }

/* What a device reads from the host: the copy that was sent, so that the one on the device shows whether it changed. */
static char *host_of(const op_lane *l, buffer_kind k) {
    return l->buffers[k].bytes == 0 ? NULL : op_buffer_sent(&l->buffers[k]);
}

static bool has_backward(const op_lane *l) { return lk_op_has_backward(&l->plan->desc); }

/* Offsets as a plan would give them: neither 0 nor adjacent, so that a device that ignores them is seen. */
static int64_t place_params(op_lane *l) {
    const lk_op_info *info = &l->plan->info;
    int64_t next = PARAM_ALIGNMENT;
    for (int i = 0; i < info->param_count; i++) {
        l->bound.param_offset[i] = next;
        int64_t used = (info->params[i].stored_count + PARAM_ALIGNMENT - 1) / PARAM_ALIGNMENT * PARAM_ALIGNMENT;
        next += used + PARAM_ALIGNMENT;
    }
    return info->param_count == 0 ? 0 : next;
}

static lk_status make_buffers(op_lane *l, lk_error *err) {
    const op_plan *p = l->plan;
    const lk_op_desc *d = &p->desc;
    int64_t master = (int64_t)lk_dtype_size(p->device->master), y = lk_act_bytes(&p->info.y);
    int64_t bytes[B_COUNT] = {0}, slab = place_params(l);
    bytes[B_Y] = y;
    if (d->kind == LK_OP_INPUT) bytes[B_IMAGES] = lk_act_bytes(&d->x);
    if (d->kind != LK_OP_INPUT) bytes[B_X] = lk_act_bytes(&d->x);
    if (d->kind == LK_OP_LOSS) bytes[B_LABELS] = d->x.n * (int64_t)sizeof(int32_t);
    if (p->c->flags & OP_MIXED) {
        bytes[B_PARTNER] = d->x.n * (int64_t)sizeof(int32_t);
        bytes[d->kind == LK_OP_LOSS ? B_LABEL_SHARE : B_PIXEL_SHARE] = d->x.n * (int64_t)sizeof(float);
    }
    lk_act_desc second = op_case_second(d, &p->info.y);
    if (op_case_has_residual(d)) bytes[B_RESIDUAL] = lk_act_bytes(&second);
    bytes[B_STASH] = p->info.stash_bytes;
    bytes[B_WORKSPACE] = p->info.workspace_bytes;
    bytes[B_UNFINISHED] = p->info.unfinished_bytes;
    bytes[B_PARAMS] = slab * master;
    l->bound.stats_offset = p->info.stats_count > 0 ? PARAM_ALIGNMENT : 0;
    if (p->info.stats_count > 0) bytes[B_STATS] = (p->info.stats_count + 2 * PARAM_ALIGNMENT) * master;
    l->bound.derived_offset = p->info.derived_bytes > 0 ? OP_GUARD : 0;
    if (p->info.derived_bytes > 0) bytes[B_DERIVED] = p->info.derived_bytes + 2 * OP_GUARD;
    if (has_backward(l)) {
        bytes[B_GRADS] = slab * master;
        if (d->need_dx) bytes[B_DX] = lk_act_bytes(&d->x);
        for (int k = 0; op_case_takes_dy(d) && k < d->dy_count; k++) {
            lk_act_desc dy = lk_op_dy_desc(d, &p->info.y, k);
            bytes[k == 0 ? B_DY0 : B_DY1] = lk_act_bytes(&dy);
        }
        if (op_case_has_residual(d) && !l->options.alias) bytes[B_DRESIDUAL] = lk_act_bytes(&second);
    }
    for (int k = 0; k < B_COUNT; k++)
        LK_RETURN_IF(op_buffer_create(&l->buffers[k], p->device, NAMES[k], bytes[k], err));
    return LK_OK;
}

lk_status op_lane_create(op_lane **out, const op_plan *plan, op_lane_options options, lk_error *err) {
    *out = NULL;
    op_lane *l = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&l, 1, "a lane", err));
    l->plan = plan;
    l->options = options;
    LK_TRY(make_buffers(l, err));
    LK_TRY(plan->device->stream_create(plan->device, &l->stream, err));
    bool alias = options.alias && l->buffers[B_DY0].bytes > 0 && op_case_has_residual(&plan->desc);
    l->bound.x = data_of(l, B_X);
    l->bound.residual = data_of(l, B_RESIDUAL);
    l->bound.y = data_of(l, B_Y);
    l->bound.dy[0] = data_of(l, B_DY0);
    l->bound.dy[1] = data_of(l, B_DY1);
    l->bound.dx = data_of(l, B_DX);
    l->bound.dresidual = data_of(l, alias ? B_DY0 : B_DRESIDUAL);
    l->bound.stash = data_of(l, B_STASH);
    l->bound.workspace = data_of(l, B_WORKSPACE);
    l->bound.unfinished = data_of(l, B_UNFINISHED);
    if (plan->info.run_bytes > 0)
        LK_TRY(plan->device->alloc(plan->device, &l->run_data, plan->info.run_bytes, "run data", err));
    l->bound.run_data = l->run_data;
    LK_TRY(plan->device->bind(plan->device, &l->call, plan->op, &l->bound, err));
    *out = l;
    l = NULL;
out:
    op_lane_free(l);
    return status;
}

void op_lane_free(op_lane *l) {
    if (l == NULL) return;
    lk_device *device = l->plan->device;
    if (l->call != NULL) device->call_free(device, l->call);
    if (l->stream != NULL) device->stream_free(device, l->stream);
    if (l->run_data != NULL) device->release(device, l->run_data);
    for (int k = 0; k < B_COUNT; k++) op_buffer_free(&l->buffers[k], device);
    lk_free(l);
}

static lk_status send(op_lane *l, buffer_kind k, lk_error *err) {
    return op_buffer_send(&l->buffers[k], l->plan->device, err);
}

static lk_status spoil(op_lane *l, buffer_kind k, lk_error *err) {
    return op_buffer_spoil(&l->buffers[k], l->plan->device, l->options.fill, err);
}

static lk_status receive(op_lane *l, buffer_kind k, lk_error *err) {
    return op_buffer_receive(&l->buffers[k], l->plan->device, err);
}

static lk_status receive_unchanged(op_lane *l, buffer_kind k, lk_error *err) {
    return op_buffer_receive_unchanged(&l->buffers[k], l->plan->device, err);
}

/* canonical values -> the master type, packed into the slab on the device. */
static lk_status pack_params(op_lane *l, const op_values *v, lk_error *err) {
    const op_plan *p = l->plan;
    lk_device *device = p->device;
    lk_dtype master = device->master;
    lk_status status = LK_OK;
    void *canonical = NULL;
    for (int i = 0; i < p->info.param_count; i++) {
        LK_TRY(lk_alloc(&canonical, (size_t)v->param_count[i], lk_dtype_size(master), "a parameter", err));
        for (int64_t e = 0; e < v->param_count[i]; e++) op_put(master, canonical, e, v->param[i][e]);
        char *stored = data_of(l, B_PARAMS) + l->bound.param_offset[i] * (int64_t)lk_dtype_size(master);
        LK_TRY(device->param_pack(device, p->desc.like != NULL ? p->desc.like : p->op, i, canonical, stored, err));
        lk_free(canonical);
        canonical = NULL;
    }
    LK_TRY(receive(l, B_PARAMS, err));
    op_buffer_accept(&l->buffers[B_PARAMS]);
out:
    lk_free(canonical);
    return status;
}

lk_status op_lane_load(op_lane *l, const op_values *v, lk_error *err) {
    const op_plan *p = l->plan;
    lk_device *device = p->device;
    for (int k = 0; k < B_COUNT; k++) LK_RETURN_IF(spoil(l, k, err));
    lk_act_desc second = op_case_second(&p->desc, &p->info.y);
    const lk_act_desc dy[2] = {lk_op_dy_desc(&p->desc, &p->info.y, 0), lk_op_dy_desc(&p->desc, &p->info.y, 1)};
    const struct {
        buffer_kind kind;
        const lk_act_desc *desc;
        const double *values;
    } activations[] = {{B_X, &p->desc.x, v->x},
                       {B_RESIDUAL, &second, v->residual},
                       {B_DY0, &dy[0], v->mean_dy[0] != NULL ? v->mean_dy[0] : v->dy[0]},
                       {B_DY1, &dy[1], v->mean_dy[1] != NULL ? v->mean_dy[1] : v->dy[1]}};
    for (int i = 0; i < 4; i++) {
        buffer_kind k = activations[i].kind;
        if (l->buffers[k].bytes == 0) continue;
        op_encode(activations[i].desc, activations[i].values, op_buffer_sent(&l->buffers[k]));
        LK_RETURN_IF(send(l, k, err));
    }
    if (v->images != NULL) memcpy(op_buffer_sent(&l->buffers[B_IMAGES]), v->images, (size_t)v->x_count);
    if (v->labels != NULL)
        memcpy(op_buffer_sent(&l->buffers[B_LABELS]), v->labels, (size_t)p->desc.x.n * sizeof *v->labels);
    size_t rows = (size_t)p->desc.x.n;
    if (v->partner != NULL) memcpy(op_buffer_sent(&l->buffers[B_PARTNER]), v->partner, rows * sizeof *v->partner);
    if (v->pixel_share != NULL)
        memcpy(op_buffer_sent(&l->buffers[B_PIXEL_SHARE]), v->pixel_share, rows * sizeof *v->pixel_share);
    if (v->label_share != NULL)
        memcpy(op_buffer_sent(&l->buffers[B_LABEL_SHARE]), v->label_share, rows * sizeof *v->label_share);
    if (v->stats != NULL)
        for (int64_t i = 0; i < v->stats_count; i++)
            op_put(device->master, op_buffer_sent(&l->buffers[B_STATS]), l->bound.stats_offset + i, v->stats[i]);
    LK_RETURN_IF(send(l, B_IMAGES, err));
    LK_RETURN_IF(send(l, B_LABELS, err));
    LK_RETURN_IF(send(l, B_PARTNER, err));
    LK_RETURN_IF(send(l, B_PIXEL_SHARE, err));
    LK_RETURN_IF(send(l, B_LABEL_SHARE, err));
    LK_RETURN_IF(send(l, B_STATS, err));
    LK_RETURN_IF(pack_params(l, v, err));
    l->run = op_values_run(v);
    l->run.params = data_of(l, B_PARAMS);
    l->run.derived = data_of(l, B_DERIVED);
    l->run.grads = data_of(l, B_GRADS);
    bool fixed = p->desc.kind == LK_OP_BATCHNORM && p->desc.training && p->desc.batchnorm.fixed;
    l->run.stats = fixed ? NULL : data_of(l, B_STATS);
    l->run.running = fixed ? data_of(l, B_STATS) : NULL;
    l->run.images = (const uint8_t *)host_of(l, B_IMAGES);
    l->run.labels = (const int32_t *)host_of(l, B_LABELS);
    l->run.partner = (const int32_t *)host_of(l, B_PARTNER);
    l->run.pixel_share = (const float *)host_of(l, B_PIXEL_SHARE);
    l->run.label_share = (const float *)host_of(l, B_LABEL_SHARE);
    return device->op_refresh(device, p->op, l->stream, &l->bound, l->run.params, data_of(l, B_DERIVED), err);
}

/* What the passes are told of the run. */
static lk_status prepare(op_lane *l, lk_error *err) {
    lk_device *device = l->plan->device;
    lk_status status = LK_OK;
    void *host = NULL;
    int64_t bytes = l->plan->info.run_bytes;
    if (bytes == 0) return LK_OK;
    LK_TRY(lk_alloc(&host, (size_t)bytes, 1, "run data", err));
    LK_TRY(device->prepare(device, l->call, &l->run, host, err));
    LK_TRY(device->upload(device, l->run_data, host, bytes, err));
out:
    lk_free(host);
    return status;
}

lk_status op_lane_forward(op_lane *l, lk_error *err) {
    lk_device *device = l->plan->device;
    LK_RETURN_IF(prepare(l, err));
    LK_RETURN_IF(device->forward(device, l->stream, l->call, &l->run, err));
    return device->synchronize(device, l->stream, err);
}

lk_status op_lane_backward(op_lane *l, lk_error *err) {
    lk_device *device = l->plan->device;
    LK_RETURN_IF(prepare(l, err)); /* the window's counts are known by now */
    LK_RETURN_IF(device->backward(device, l->stream, l->call, &l->run, err));
    if (device->finish_gradients != NULL) LK_RETURN_IF(device->finish_gradients(device, l->stream, err));
    return device->synchronize(device, l->stream, err);
}

/* NaN times the zero padding of weights is NaN: padding is only promised for finite values. */
static lk_status read_activation(op_lane *l, buffer_kind k, const lk_act_desc *d, double *canonical, lk_error *err) {
    LK_RETURN_IF(receive(l, k, err));
    if (op_decode(d, op_buffer_seen(&l->buffers[k]), canonical) || (l->plan->c->flags & OP_NAN_INPUT)) return LK_OK;
    return lk_fail(err, LK_ERR_NUMERIC, "the channel padding of %s is not zero", NAMES[k]);
}

/* Everything in the slab outside [offset, offset + count) of its slices must be as it was sent. */
static lk_status check_gaps(op_lane *l, buffer_kind k, const int64_t *offsets, const int64_t *counts, int slices,
                            lk_error *err) {
    const op_buffer *b = &l->buffers[k];
    int64_t size = (int64_t)lk_dtype_size(l->plan->device->master);
    for (int64_t i = 0; i < b->bytes; i++) {
        bool inside = false;
        for (int s = 0; s < slices; s++) inside |= i / size >= offsets[s] && i / size < offsets[s] + counts[s];
        if (!inside && op_buffer_seen(b)[i] != op_buffer_sent(b)[i])
            return lk_fail(err, LK_ERR_NUMERIC, "it writes outside its slice of the slab %s", NAMES[k]);
    }
    return LK_OK;
}

/* The padding inside a stored parameter is where a packed array of ones holds zero. */
static lk_status read_grad(op_lane *l, int i, double *out, int64_t count, lk_error *err) {
    lk_device *device = l->plan->device;
    lk_dtype master = device->master;
    int64_t size = (int64_t)lk_dtype_size(master), stored_count = l->plan->info.params[i].stored_count;
    char *slice = data_of(l, B_GRADS) + l->bound.param_offset[i] * size;
    const char *seen = op_buffer_seen(&l->buffers[B_GRADS]) + l->bound.param_offset[i] * size;
    void *canonical = NULL, *ones = NULL, *mask = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&canonical, (size_t)count, (size_t)size, "a gradient", err));
    LK_TRY(lk_alloc(&mask, (size_t)stored_count, (size_t)size, "a mask", err));
    LK_TRY(device->param_unpack(device, l->plan->op, i, slice, canonical, err));
    for (int64_t e = 0; e < count; e++) out[e] = op_get(master, canonical, e);
    for (int64_t e = 0; e < count; e++) op_put(master, canonical, e, 1);
    LK_TRY(device->alloc(device, &ones, stored_count * size, "a mask", err));
    LK_TRY(device->param_pack(device, l->plan->op, i, canonical, ones, err));
    LK_TRY(device->download(device, mask, ones, stored_count * size, err));
    bool finite = !(l->plan->c->flags & OP_NAN_INPUT);
    for (int64_t e = 0; e < stored_count && finite; e++)
        if (op_get(master, mask, e) == 0 && op_get(master, seen, e) != 0) {
            status = lk_fail(err, LK_ERR_NUMERIC, "the padding of gradient %d is not zero", i);
            break;
        }
out:
    if (ones != NULL) device->release(device, ones);
    lk_free(canonical);
    lk_free(mask);
    return status;
}

static lk_status read_stats(op_lane *l, op_results *r, lk_error *err) {
    const lk_op_info *info = &l->plan->info;
    if (r->count[OP_MEAN] == 0) return receive_unchanged(l, B_STATS, err);
    LK_RETURN_IF(receive(l, B_STATS, err));
    LK_RETURN_IF(check_gaps(l, B_STATS, &l->bound.stats_offset, &info->stats_count, 1, err));
    const char *seen = op_buffer_seen(&l->buffers[B_STATS]);
    for (int64_t c = 0; c < info->stats_count / 2; c++) {
        r->data[OP_MEAN][c] = op_get(l->plan->device->master, seen, l->bound.stats_offset + c);
        r->data[OP_VARIANCE][c] =
            op_get(l->plan->device->master, seen, l->bound.stats_offset + info->stats_count / 2 + c);
    }
    return LK_OK;
}

static lk_status after_forward(op_lane *l, op_results *r, lk_error *err) {
    LK_RETURN_IF(read_activation(l, B_Y, &l->plan->info.y, r->data[OP_Y], err));
    LK_RETURN_IF(read_stats(l, r, err));
    for (buffer_kind k = 0; k < B_COUNT; k++) {
        bool written =
            k == B_Y || k == B_STASH || k == B_WORKSPACE || k == B_DERIVED || (k == B_STATS && r->count[OP_MEAN] > 0);
        LK_RETURN_IF(written ? receive(l, k, err) : receive_unchanged(l, k, err));
    }
    return LK_OK;
}

/* Between the passes a plan reuses all memory that the info does not ask it to keep. */
static lk_status between_passes(op_lane *l, lk_error *err) {
    if (!l->plan->info.keeps_x) LK_RETURN_IF(spoil(l, B_X, err));
    if (!l->plan->info.keeps_y) LK_RETURN_IF(spoil(l, B_Y, err));
    if (l->plan->info.keeps_y) op_buffer_accept(&l->buffers[B_Y]);
    if (!l->plan->info.keeps_residual) LK_RETURN_IF(spoil(l, B_RESIDUAL, err));
    return spoil(l, B_WORKSPACE, err);
}

static lk_status after_backward(op_lane *l, op_results *r, lk_error *err) {
    const op_plan *p = l->plan;
    if (r->count[OP_DX] > 0) LK_RETURN_IF(read_activation(l, B_DX, &p->desc.x, r->data[OP_DX], err));
    buffer_kind dresidual = l->options.alias ? B_DY0 : B_DRESIDUAL;
    lk_act_desc second = op_case_second(&p->desc, &p->info.y);
    if (r->count[OP_DRESIDUAL] > 0) LK_RETURN_IF(read_activation(l, dresidual, &second, r->data[OP_DRESIDUAL], err));
    LK_RETURN_IF(receive(l, B_GRADS, err));
    int64_t counts[LK_OP_MAX_PARAMS] = {0};
    int gradients = p->desc.frozen ? 0 : p->info.param_count;
    for (int i = 0; i < gradients; i++) counts[i] = p->info.params[i].stored_count;
    LK_RETURN_IF(check_gaps(l, B_GRADS, l->bound.param_offset, counts, gradients, err));
    for (int i = 0; i < gradients; i++)
        LK_RETURN_IF(read_grad(l, i, r->data[OP_GRAD0 + i], r->count[OP_GRAD0 + i], err));
    bool aliased = l->options.alias && op_case_has_residual(&p->desc);
    for (buffer_kind k = 0; k < B_COUNT; k++) {
        bool written = k == B_DX || k == B_DRESIDUAL || k == B_GRADS || k == B_STASH || k == B_WORKSPACE ||
                       k == B_UNFINISHED || k == B_DERIVED || (k == B_STATS && r->count[OP_MEAN] > 0) ||
                       (k == B_DY0 && aliased);
        LK_RETURN_IF(written ? receive(l, k, err) : receive_unchanged(l, k, err));
    }
    return LK_OK;
}

lk_status op_lane_run(op_lane *l, const op_values *v, op_results *r, lk_error *err) {
    LK_RETURN_IF(op_lane_load(l, v, err));
    LK_RETURN_IF(op_lane_forward(l, err));
    LK_RETURN_IF(after_forward(l, r, err));
    if (!has_backward(l)) return LK_OK;
    LK_RETURN_IF(between_passes(l, err));
    LK_RETURN_IF(op_lane_backward(l, err));
    return after_backward(l, r, err);
}

lk_status op_run_case(lk_device *device, const op_case *c, lk_dtype compute, int64_t block, const op_values *v,
                      op_results *results, lk_error *err) {
    op_plan *plan = NULL;
    op_lane *lane = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_plan_create(&plan, device, c, compute, block, NULL, err));
    LK_TRY(op_lane_create(&lane, plan, (op_lane_options){.fill = 0xff}, err));
    LK_TRY(op_lane_run(lane, v, results, err));
out:
    op_lane_free(lane);
    op_plan_free(plan);
    return status;
}
