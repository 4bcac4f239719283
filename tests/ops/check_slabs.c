/* Slab arithmetic and the loss's guard against labels, device against reference. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "modes.h"

#define SLABS 2 /* sum or running or average, x or fresh */

typedef enum slab_op { SLAB_ADD, SLAB_BLEND, SLAB_LERP, SLAB_LERP_FAR, SLAB_LERP_WHOLE, SLAB_OP_COUNT } slab_op;

static lk_status apply(lk_device *device, lk_stream *stream, slab_op op, char *const slabs[SLABS], int64_t first,
                       int64_t count, lk_error *err) {
    int64_t at = first * (int64_t)lk_dtype_size(device->master);
    char *sum = slabs[0] + at, *x = slabs[1] + at;
    switch (op) {
        case SLAB_ADD: return device->slab_add(device, stream, sum, x, count, err);
        case SLAB_BLEND: return device->slab_blend(device, stream, sum, x, count, 0.1, 49.0 / 48, err);
        case SLAB_LERP: return device->slab_lerp(device, stream, sum, x, count, 0.01, err);
        case SLAB_LERP_FAR: return device->slab_lerp(device, stream, sum, x, count, 0.75, err);
        default: return device->slab_lerp(device, stream, sum, x, count, 1, err);
    }
}

/* Steps from the same start on one device, whole or in parts that are gathered. out: slab 0 as doubles. */
static lk_status steps(lk_device *device, lk_dtype values_as, slab_op op, int64_t count, int64_t split, double *out,
                       lk_error *err) {
    size_t size = lk_dtype_size(device->master), bytes = (size_t)count * size;
    char *slabs[SLABS] = {0}, *host = NULL;
    lk_stream *stream = NULL;
    lk_random_key key = {.seed = 5, .purpose = LK_RANDOM_INIT};
    lk_status status = LK_OK;
    LK_TRY(lk_alloc((void **)&host, bytes, 1, "a slab", err));
    LK_TRY(device->stream_create(device, &stream, err));
    for (uint32_t s = 0; s < SLABS; s++) {
        LK_TRY(device->alloc(device, (void **)&slabs[s], (int64_t)bytes, "a slab", err));
        for (int64_t i = 0; i < count; i++)
            op_put(device->master, host, i, op_round(values_as, lk_random_normal(&key, (uint64_t)i, s)));
        LK_TRY(device->upload(device, slabs[s], host, (int64_t)bytes, err));
    }
    for (int step = 0; step < (op == SLAB_LERP_WHOLE ? 1 : 3); step++) {
        bool gather = split < count && op != SLAB_ADD;
        if (gather) device->gather_open(device, stream);
        LK_TRY(apply(device, stream, op, slabs, 0, split, err));
        LK_TRY(apply(device, stream, op, slabs, split, count - split, err));
        if (gather) LK_TRY(device->gather_close(device, stream, err));
    }
    LK_TRY(device->synchronize(device, stream, err));
    LK_TRY(device->download(device, host, slabs[0], (int64_t)bytes, err));
    for (int64_t i = 0; i < count; i++) out[i] = op_get(device->master, host, i);
    /* A share of 1 is a copy, to the bit. */
    for (int64_t i = 0; op == SLAB_LERP_WHOLE && i < count; i++)
        if (out[i] != op_round(values_as, lk_random_normal(&key, (uint64_t)i, 1)))
            LK_TRY(lk_fail(err, LK_ERR_NUMERIC, "slab_lerp with share 1 gives %.17g and is no copy", out[i]));
out:
    for (int s = 0; s < SLABS; s++)
        if (slabs[s] != NULL) device->release(device, slabs[s]);
    if (stream != NULL) device->stream_free(device, stream);
    lk_free(host);
    return status;
}

static lk_status check_op(op_context *context, slab_op op, int64_t count, lk_error *err) {
    static const char *const names[] = {"slab_add", "slab_blend", "slab_lerp", "slab_lerp with a large share",
                                        "slab_lerp with share 1"};
    /* Some roundings of sums of a few terms near 1 in three steps. */
    double *seen = NULL, *parts = NULL, *want = NULL, tolerance = context->device->master == LK_F64 ? 1e-14 : 2e-6;
    lk_status status = LK_OK;
    lk_dtype master = context->device->master;
    LK_TRY(LK_NEW(&seen, count, "a slab", err));
    LK_TRY(LK_NEW(&parts, count, "a slab", err));
    LK_TRY(LK_NEW(&want, count, "a slab", err));
    LK_TRY(steps(context->device, master, op, count, count, seen, err));
    LK_TRY(steps(context->device, master, op, count, count / 3, parts, err));
    LK_TRY(steps(context->reference, master, op, count, count, want, err));
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(seen[i] - want[i]) <= tolerance * (1 + fabs(want[i]))))
            LK_TRY(lk_fail(err, LK_ERR_NUMERIC, "%s gives %.9g where the reference has %.9g", names[op], seen[i],
                           want[i]));
        if (seen[i] != parts[i])
            LK_TRY(lk_fail(err, LK_ERR_NUMERIC, "%s gives %.9g whole and %.9g in two parts", names[op], seen[i],
                           parts[i]));
    }
out:
    lk_free(seen), lk_free(parts), lk_free(want);
    return status;
}

#define SEGMENTS 3

/* Sums of a whole slab (the last of `sums`) and of its segments, one of them empty, on one device. */
static lk_status sum_squares(lk_device *device, lk_dtype values_as, int64_t count, double unlike,
                             double sums[SEGMENTS + 1], lk_error *err) {
    lk_random_key key = {.seed = 6, .purpose = LK_RANDOM_INIT};
    lk_status status = LK_OK;
    size_t bytes = (size_t)count * lk_dtype_size(device->master);
    const int64_t ends[SEGMENTS] = {count / 3, count / 3, count};
    void *host = NULL, *slab = NULL;
    lk_stream *stream = NULL;
    LK_TRY(lk_alloc(&host, bytes, 1, "a slab", err));
    LK_TRY(device->alloc(device, &slab, (int64_t)bytes, "a slab", err));
    LK_TRY(device->stream_create(device, &stream, err));
    for (int64_t i = 0; i < count; i++)
        op_put(device->master, host, i,
               op_round(values_as, i == count / 2 ? unlike : lk_random_normal(&key, (uint64_t)i, 0)));
    LK_TRY(device->upload(device, slab, host, (int64_t)bytes, err));
    LK_TRY(device->slab_sum_squares(device, stream, slab, ends, SEGMENTS, sums, err));
    LK_TRY(device->slab_sum_squares(device, stream, slab, &count, 1, &sums[SEGMENTS], err));
out:
    if (stream != NULL) device->stream_free(device, stream);
    if (slab != NULL) device->release(device, slab);
    lk_free(host);
    return status;
}

/* The sum's order is part of the interface: chunks of 4096 in double. One unlike element is put into a slab of ones. */
static lk_status check_sum_squares(op_context *context, int64_t count, double unlike, lk_error *err) {
    double seen[SEGMENTS + 1], want[SEGMENTS + 1];
    lk_dtype values_as = context->device->master;
    LK_RETURN_IF(sum_squares(context->device, values_as, count, unlike, seen, err));
    LK_RETURN_IF(sum_squares(context->reference, values_as, count, unlike, want, err));
    for (int i = 0; i <= SEGMENTS; i++) {
        bool same = isnan(want[i]) ? isnan(seen[i]) : fabs(seen[i] - want[i]) <= 1e-12 * want[i] || seen[i] == want[i];
        if (!same)
            return lk_fail(err, LK_ERR_NUMERIC,
                           "slab_sum_squares of %lld elements, segment %d of %d, gives %.17g where the reference has "
                           "%.17g",
                           (long long)count, i, SEGMENTS, seen[i], want[i]);
    }
    return LK_OK;
}

lk_status op_check_slabs(op_context *context, lk_error *err) {
    const int64_t counts[] = {1, 7, 4096, 10001};
    for (int i = 0; i < 4; i++) {
        for (slab_op op = 0; op < SLAB_OP_COUNT; op++) LK_RETURN_IF(check_op(context, op, counts[i], err));
        LK_RETURN_IF(check_sum_squares(context, counts[i], 0.5, err));
    }
    LK_RETURN_IF(op_check_optimizers(context, err));
    LK_RETURN_IF(check_sum_squares(context, 5000, NAN, err));
    return check_sum_squares(context, 5000, INFINITY, err);
}

/* Runs the case with one label replaced. Returns the device's status; the sentence is dropped. */
static lk_status run_with_label(op_context *context, const op_case *c, int row, int32_t label, lk_error *err) {
    op_values *values = NULL;
    op_results *results = NULL;
    lk_status status = LK_OK;
    lk_dtype dtypes[OP_DTYPES];
    if (op_dtypes(context->device, dtypes) == 0) return lk_fail(err, LK_ERR_UNSUPPORTED, "no compute type");
    LK_TRY(op_values_create(&values, context->reference, c, dtypes[0], 1, err));
    LK_TRY(op_results_create(&results, c, values, err));
    values->labels[row] = label;
    int64_t blocks[OP_BLOCKS];
    int layouts = op_blocks(c, blocks);
    for (int i = 0; i < layouts; i++) { /* the first layout that the device takes */
        lk_error_clear(err);
        status = op_run_case(context->device, c, dtypes[0], blocks[i], values, results, err);
        if (status != LK_ERR_UNSUPPORTED) break;
    }
out:
    op_results_free(results);
    op_values_free(values);
    return status;
}

lk_status op_check_labels(op_context *context, lk_error *err) {
    const op_case c = {.name = "labels",
                       .desc = {.kind = LK_OP_LOSS,
                                .training = true,
                                .need_dx = true,
                                .dy_count = 1,
                                .x = {.n = 4, .c = 10, .h = 1, .w = 1},
                                .loss = {.cross_entropy = 1}},
                       .rows = 3};
    const struct {
        int row;
        int32_t label;
        lk_status want;
    } tries[] = {{0, 10, LK_ERR_DATA},
                 {2, -1, LK_ERR_DATA},
                 {1, INT32_MAX, LK_ERR_DATA},
                 {1, INT32_MIN, LK_ERR_DATA},
                 {3, 1000, LK_OK},
                 {2, 9, LK_OK},
                 {0, 0, LK_OK}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        lk_error reason = {0};
        lk_status seen = run_with_label(context, &c, tries[i].row, tries[i].label, &reason);
        if (seen == tries[i].want && (seen == LK_OK || reason.message[0] != '\0')) continue;
        return lk_fail(err, LK_ERR_NUMERIC, "label %d in row %d of 3 among 10 classes gives status %s, not %s (%s)",
                       (int)tries[i].label, tries[i].row, lk_status_name(seen), lk_status_name(tries[i].want),
                       reason.message);
    }
    return LK_OK;
}
