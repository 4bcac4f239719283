#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "model_tool.h"

lk_status tool_read_job(tool_job *job, hid_t in, lk_error *err) {
    *job = (tool_job){0};
    const struct {
        const char *name;
        int64_t *out;
    } ints[] = {{"channels", &job->channels},
                {"height", &job->height},
                {"width", &job->width},
                {"classes", &job->classes},
                {"batch", &job->batch},
                {"microbatches", &job->microbatches},
                {"steps", &job->steps},
                {"rows", &job->rows},
                {"threads", &job->threads},
                {"seed", &job->seed},
                {"write_grads", &job->write_grads},
                {"write_params", &job->write_params}};
    const struct {
        const char *name;
        double *out;
    } doubles[] = {{"dropout", &job->spec.dropout},
                   {"drop_path", &job->spec.drop_path},
                   {"bn_momentum", &job->spec.bn_momentum},
                   {"smoothing", &job->smoothing},
                   {"lr", &job->sgd.lr},
                   {"momentum", &job->sgd.momentum},
                   {"dampening", &job->sgd.dampening},
                   {"weight_decay", &job->sgd.weight_decay}};
    LK_RETURN_IF(tool_get_text(in, "model", job->model, sizeof job->model, err));
    LK_RETURN_IF(tool_get_text(in, "device", job->device, sizeof job->device, err));
    LK_RETURN_IF(tool_get_text(in, "mode", job->mode, sizeof job->mode, err));
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++)
        LK_RETURN_IF(tool_get_int(in, ints[i].name, ints[i].out, err));
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
        LK_RETURN_IF(tool_get_double(in, doubles[i].name, doubles[i].out, err));
    int64_t nesterov = 0;
    LK_RETURN_IF(tool_get_int(in, "nesterov", &nesterov, err));
    job->sgd.nesterov = nesterov != 0;
    job->spec.channels = job->channels;
    job->spec.h = job->height;
    job->spec.w = job->width;
    job->spec.classes = job->classes;
    LK_RETURN_IF(tool_read(in, "mean", H5T_NATIVE_FLOAT, job->spec.mean, job->channels, err));
    return tool_read(in, "std", H5T_NATIVE_FLOAT, job->spec.std, job->channels, err);
}

static lk_status allocate(tool *t, lk_error *err) {
    lk_device *d = t->device;
    int64_t size = (int64_t)lk_dtype_size(d->master);
    int64_t slab = t->totals.slab_count * size, stats = t->totals.stats_count * size;
    LK_RETURN_IF(d->alloc(d, &t->arena, t->totals.arena_bytes, "the arena", err));
    LK_RETURN_IF(d->alloc(d, &t->params, slab, "parameters", err));
    LK_RETURN_IF(d->alloc(d, &t->stats, stats, "statistics", err));
    LK_RETURN_IF(d->alloc(d, &t->derived, t->totals.derived_bytes, "derived parameters", err));
    if (strcmp(t->job.mode, "train") != 0) return LK_OK;
    LK_RETURN_IF(d->alloc(d, &t->velocity, slab, "momentum", err));
    LK_RETURN_IF(d->alloc(d, &t->fresh, stats, "statistics", err));
    int depth = 1;
    for (int64_t m = 1; m < t->job.microbatches; m *= 2) depth++;
    if (depth > TOOL_MAX_SLABS) return lk_fail(err, LK_ERR_CONFIG, "too many microbatches");
    for (int i = 0; i < depth; i++) LK_RETURN_IF(d->alloc(d, &t->grads[i], slab, "gradients", err));
    return LK_OK;
}

lk_status tool_open(tool *t, hid_t in, lk_error *err) {
    LK_RETURN_IF(tool_read_job(&t->job, in, err));
    const tool_job *job = &t->job;
    bool training = strcmp(job->mode, "train") == 0;
    lk_node_id loss = -1;
    LK_RETURN_IF(lk_device_create(&t->device, job->device, (int)job->threads, err));
    LK_RETURN_IF(lk_model_build(&t->graph, job->model, &job->spec, err));
    LK_RETURN_IF(lk_graph_cross_entropy(t->graph, &loss, job->smoothing, err));
    lk_plan_options options = {.batch = job->batch, .compute = LK_F32, .training = training};
    LK_RETURN_IF(lk_plan_create(&t->plan, t->graph, t->device, &options, err));
    lk_plan_get_totals(t->plan, &t->totals);
    LK_RETURN_IF(allocate(t, err));
    LK_RETURN_IF(t->device->stream_create(t->device, &t->stream, err));
    LK_RETURN_IF(lk_lane_create(&t->lane, t->plan, t->stream, t->arena, err));
    if (strcmp(job->mode, "init") == 0)
        return lk_plan_initialise(t->plan, (uint64_t)job->seed, 1, t->params, t->stats, err);
    int64_t samples = job->steps * job->microbatches * job->batch;
    int64_t pixels = job->height * job->width * job->channels;
    LK_RETURN_IF(LK_NEW(&t->images, samples * pixels, "images", err));
    LK_RETURN_IF(LK_NEW(&t->labels, samples, "labels", err));
    LK_RETURN_IF(tool_read(in, "images", H5T_NATIVE_UINT8, t->images, samples * pixels, err));
    LK_RETURN_IF(tool_read(in, "labels", H5T_NATIVE_INT32, t->labels, samples, err));
    return tool_load_state(t, in, "state", err);
}

void tool_close(tool *t) {
    lk_lane_free(t->lane);
    lk_device *d = t->device;
    if (d != NULL) {
        void *memory[] = {t->arena, t->params, t->velocity, t->stats, t->fresh, t->derived};
        for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
            if (memory[i] != NULL) d->release(d, memory[i]);
        for (int i = 0; i < TOOL_MAX_SLABS; i++)
            if (t->grads[i] != NULL) d->release(d, t->grads[i]);
        if (t->stream != NULL) d->stream_free(d, t->stream);
    }
    lk_plan_free(t->plan);
    lk_graph_free(t->graph);
    lk_device_free(d);
    lk_free(t->images);
    lk_free(t->labels);
}

/* Between doubles and the master dtype. */
static void to_master(lk_dtype master, const double *values, void *out, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (master == LK_F64)
            ((double *)out)[i] = values[i];
        else
            ((float *)out)[i] = (float)values[i];
}

static void from_master(lk_dtype master, const void *in, double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        values[i] = master == LK_F64 ? ((const double *)in)[i] : (double)((const float *)in)[i];
}

static int64_t largest_param(const tool *t) {
    int count = 0;
    const lk_param *params = lk_plan_get_params(t->plan, &count);
    int64_t most = t->totals.stats_count;
    for (int i = 0; i < count; i++)
        if (lk_shape_count(&params[i].shape) > most) most = lk_shape_count(&params[i].shape);
    return most;
}

static lk_status load_stats(tool *t, hid_t in, const char *prefix, double *values, void *master, lk_error *err) {
    int count = 0;
    const lk_stat *stats = lk_plan_get_stats(t->plan, &count);
    int64_t size = (int64_t)lk_dtype_size(t->device->master);
    for (int i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s.running_mean", prefix, stats[i].name);
        LK_RETURN_IF(tool_read(in, name, H5T_NATIVE_DOUBLE, values, stats[i].channels, err));
        snprintf(name, sizeof name, "%s/%s.running_var", prefix, stats[i].name);
        LK_RETURN_IF(tool_read(in, name, H5T_NATIVE_DOUBLE, values + stats[i].channels, stats[i].channels, err));
        to_master(t->device->master, values, master, 2 * stats[i].channels);
        LK_RETURN_IF(t->device->upload(t->device, (char *)t->stats + stats[i].offset * size, master,
                                       2 * stats[i].channels * size, err));
    }
    return LK_OK;
}

lk_status tool_load_state(tool *t, hid_t in, const char *prefix, lk_error *err) {
    int count = 0;
    const lk_param *params = lk_plan_get_params(t->plan, &count);
    double *values = NULL, *master = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&values, largest_param(t), "a parameter", err));
    LK_TRY(LK_NEW(&master, largest_param(t), "a parameter", err));
    for (int i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", prefix, params[i].name);
        int64_t elements = lk_shape_count(&params[i].shape);
        LK_TRY(tool_read(in, name, H5T_NATIVE_DOUBLE, values, elements, err));
        to_master(t->device->master, values, master, elements);
        LK_TRY(lk_plan_pack(t->plan, i, master, t->params, err));
    }
    LK_TRY(load_stats(t, in, prefix, values, master, err));
out:
    lk_free(values);
    lk_free(master);
    return status;
}

lk_status tool_save_params(tool *t, hid_t out, const char *prefix, const void *slab, lk_error *err) {
    int count = 0;
    const lk_param *params = lk_plan_get_params(t->plan, &count);
    double *values = NULL, *master = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&values, largest_param(t), "a parameter", err));
    LK_TRY(LK_NEW(&master, largest_param(t), "a parameter", err));
    for (int i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", prefix, params[i].name);
        LK_TRY(lk_plan_unpack(t->plan, i, slab, master, err));
        from_master(t->device->master, master, values, lk_shape_count(&params[i].shape));
        LK_TRY(tool_write(out, name, &params[i].shape, values, err));
    }
out:
    lk_free(values);
    lk_free(master);
    return status;
}

lk_status tool_save_stats(tool *t, hid_t out, const char *prefix, lk_error *err) {
    int count = 0;
    const lk_stat *stats = lk_plan_get_stats(t->plan, &count);
    int64_t size = (int64_t)lk_dtype_size(t->device->master);
    double *values = NULL, *master = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&values, t->totals.stats_count, "statistics", err));
    LK_TRY(LK_NEW(&master, t->totals.stats_count, "statistics", err));
    LK_TRY(t->device->download(t->device, master, t->stats, t->totals.stats_count * size, err));
    from_master(t->device->master, master, values, t->totals.stats_count);
    for (int i = 0; i < count; i++) {
        char name[256];
        lk_shape shape = lk_shape_of(1, stats[i].channels);
        const double *mean = values + stats[i].offset;
        snprintf(name, sizeof name, "%s/%s.running_mean", prefix, stats[i].name);
        LK_TRY(tool_write(out, name, &shape, mean, err));
        snprintf(name, sizeof name, "%s/%s.running_var", prefix, stats[i].name);
        LK_TRY(tool_write(out, name, &shape, mean + stats[i].channels, err));
    }
out:
    lk_free(values);
    lk_free(master);
    return status;
}
