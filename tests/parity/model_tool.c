/* model_tool IN.h5 OUT.h5: runs a model on a device as the input file says and writes what it computed, in double, for
 * a comparison with PyTorch. mode "init": first parameters and statistics. "eval": logits and losses. "train": SGD
 * steps of `microbatches` leaves each, summed by the tree; logits, losses, gradients, parameters, statistics. */
#include "model_tool.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/tree.h"

static lk_status save_outputs(tool *t, hid_t out, int64_t leaf, lk_error *err) {
    const tool_job *job = &t->job;
    double *values = NULL;
    lk_status status = LK_OK;
    char name[64];
    lk_shape logits = lk_shape_of(2, job->batch, job->classes), losses = lk_shape_of(1, job->batch);
    LK_TRY(LK_NEW(&values, job->batch * job->classes, "logits", err));
    LK_TRY(lk_lane_read_logits(t->lane, values, err));
    snprintf(name, sizeof name, "logits/%lld", (long long)leaf);
    LK_TRY(tool_write(out, name, &logits, values, err));
    LK_TRY(lk_lane_read_losses(t->lane, values, err));
    snprintf(name, sizeof name, "losses/%lld", (long long)leaf);
    LK_TRY(tool_write(out, name, &losses, values, err));
out:
    lk_free(values);
    return status;
}

/* running = (1 - momentum) running + momentum new, the variance unbiased: PyTorch's rule, once per microbatch. */
static lk_status update_statistics(tool *t, lk_error *err) {
    int count = 0;
    const lk_stat *stats = lk_plan_get_stats(t->plan, &count);
    lk_device *d = t->device;
    int64_t size = (int64_t)lk_dtype_size(d->master);
    for (int i = 0; i < count; i++) {
        double values = (double)stats[i].values;
        int64_t channels = stats[i].channels;
        char *running = (char *)t->stats + stats[i].offset * size, *fresh = (char *)t->fresh + stats[i].offset * size;
        LK_RETURN_IF(d->slab_blend(d, t->stream, running, fresh, channels, stats[i].momentum, 1.0, err));
        LK_RETURN_IF(d->slab_blend(d, t->stream, running + channels * size, fresh + channels * size, channels,
                                   stats[i].momentum, values / (values - 1), err));
    }
    return LK_OK;
}

static lk_run run_of(tool *t, int64_t leaf, void *grads) {
    const tool_job *job = &t->job;
    bool training = strcmp(job->mode, "train") == 0;
    return (lk_run){.params = t->params,
                    .derived = t->derived,
                    .grads = grads,
                    .stats = training ? t->fresh : t->stats,
                    .images = t->images + leaf * job->batch * job->height * job->width * job->channels,
                    .labels = t->labels + leaf * job->batch,
                    .rows = job->rows,
                    .seed = (uint64_t)job->seed,
                    .first_position = leaf * job->batch,
                    .loss_scale = 1.0 / (double)(job->batch * job->microbatches)};
}

/* Gradient of the leaves of `node` into grads[level]. */
static lk_status run_subtree(tool *t, hid_t out, int64_t first_leaf, lk_span node, int level, lk_error *err) {
    lk_device *d = t->device;
    if (node.count == 1) {
        int64_t leaf = first_leaf + node.first;
        lk_run run = run_of(t, leaf, t->grads[level]);
        LK_RETURN_IF(lk_lane_forward(t->lane, &run, NULL, NULL, err));
        LK_RETURN_IF(lk_lane_backward(t->lane, &run, NULL, NULL, err));
        LK_RETURN_IF(update_statistics(t, err));
        return save_outputs(t, out, leaf, err);
    }
    LK_RETURN_IF(run_subtree(t, out, first_leaf, lk_tree_left(node), level, err));
    LK_RETURN_IF(run_subtree(t, out, first_leaf, lk_tree_right(node), level + 1, err));
    return d->slab_add(d, t->stream, t->grads[level], t->grads[level + 1], t->totals.slab_count, err);
}

static lk_status train_step(tool *t, hid_t out, int64_t step, lk_error *err) {
    lk_device *d = t->device;
    char prefix[64];
    LK_RETURN_IF(lk_plan_refresh(t->plan, t->stream, t->params, t->derived, err));
    LK_RETURN_IF(run_subtree(t, out, step * t->job.microbatches, (lk_span){0, (int)t->job.microbatches}, 0, err));
    LK_RETURN_IF(d->synchronize(d, t->stream, err));
    if (t->job.write_grads) {
        snprintf(prefix, sizeof prefix, "grads/%lld", (long long)step);
        LK_RETURN_IF(tool_save_params(t, out, prefix, t->grads[0], err));
    }
    lk_sgd sgd = t->job.sgd;
    sgd.first_step = step == 0;
    void *velocity = sgd.momentum != 0 ? t->velocity : NULL;
    LK_RETURN_IF(d->slab_sgd(d, t->stream, t->params, t->grads[0], velocity, t->totals.slab_count, &sgd, err));
    LK_RETURN_IF(d->synchronize(d, t->stream, err));
    snprintf(prefix, sizeof prefix, "stats/%lld", (long long)step);
    LK_RETURN_IF(tool_save_stats(t, out, prefix, err));
    if (t->job.write_params == 0 || (step + 1) % t->job.write_params != 0) return LK_OK;
    snprintf(prefix, sizeof prefix, "params/%lld", (long long)step);
    return tool_save_params(t, out, prefix, t->params, err);
}

static lk_status evaluate(tool *t, hid_t out, lk_error *err) {
    LK_RETURN_IF(lk_plan_refresh(t->plan, t->stream, t->params, t->derived, err));
    for (int64_t leaf = 0; leaf < t->job.steps * t->job.microbatches; leaf++) {
        lk_run run = run_of(t, leaf, NULL);
        LK_RETURN_IF(lk_lane_forward(t->lane, &run, NULL, NULL, err));
        LK_RETURN_IF(save_outputs(t, out, leaf, err));
    }
    return LK_OK;
}

static lk_status run_tool(tool *t, hid_t in, hid_t out, lk_error *err) {
    LK_RETURN_IF(tool_open(t, in, err));
    if (strcmp(t->job.mode, "init") == 0) {
        LK_RETURN_IF(tool_save_params(t, out, "params/0", t->params, err));
        return tool_save_stats(t, out, "stats/0", err);
    }
    if (strcmp(t->job.mode, "eval") == 0) return evaluate(t, out, err);
    for (int64_t step = 0; step < t->job.steps; step++) LK_RETURN_IF(train_step(t, out, step, err));
    return LK_OK;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: model_tool IN.h5 OUT.h5\n");
        return 2;
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t out = H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    lk_error err = {0};
    tool t = {0};
    lk_status status = in < 0 || out < 0 ? lk_fail(&err, LK_ERR_IO, "cannot open %s or create %s", argv[1], argv[2])
                                         : run_tool(&t, in, out, &err);
    tool_close(&t);
    if (in >= 0) H5Fclose(in);
    if (out >= 0) H5Fclose(out);
    if (status != LK_OK) fprintf(stderr, "model_tool: %s\n", err.message);
    return lk_exit_status(status);
}
