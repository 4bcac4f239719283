#include "train/buckets.h"

#include <string.h>

#include "core/memory.h"

static void swap(int64_t *a, int64_t *b) {
    int64_t old = *a;
    *a = *b;
    *b = old;
}

/* Cuts from the end, so that the last parameters come into bucket 0. */
static void cut(lk_buckets *out, const lk_param *params, int64_t slab_count, int64_t least) {
    bool open = false;
    for (int i = out->param_count - 1; i >= 0; i--) {
        int64_t *begin = &out->begins[out->count], *end = &out->ends[out->count];
        out->of_param[i] = -1;
        if (params[i].frozen) {
            /* A few frozen parameters between others travel with them; many end the bucket. */
            if (open && *begin - params[i].offset >= least) open = false, out->count++;
            continue;
        }
        if (!open) *end = i + 1 < out->param_count ? params[i + 1].offset : slab_count;
        open = true;
        *begin = params[i].offset;
        out->of_param[i] = out->count;
        out->params_in[out->count]++;
        if (*end - *begin >= least) open = false, out->count++;
    }
    if (open) out->count++;
}

lk_status lk_buckets_create(lk_buckets *out, const lk_param *params, int param_count, int64_t slab_count, int64_t least,
                            lk_error *err) {
    lk_status status;
    memset(out, 0, sizeof *out);
    LK_TRY(LK_NEW(&out->begins, param_count + 1, "buckets", err));
    LK_TRY(LK_NEW(&out->ends, param_count + 1, "buckets", err));
    LK_TRY(LK_NEW(&out->params_in, param_count + 1, "buckets", err));
    LK_TRY(LK_NEW(&out->of_param, param_count, "buckets", err));
    out->param_count = param_count;
    cut(out, params, slab_count, least);
    for (int i = 0; i < param_count; i++)
        if (out->of_param[i] >= 0) out->of_param[i] = out->count - 1 - out->of_param[i];
    for (int a = 0, b = out->count - 1; a < b; a++, b--) {
        swap(&out->begins[a], &out->begins[b]);
        swap(&out->ends[a], &out->ends[b]);
        int in_a = out->params_in[a];
        out->params_in[a] = out->params_in[b];
        out->params_in[b] = in_a;
    }
    return LK_OK;
out:
    lk_buckets_free(out);
    return status;
}

void lk_buckets_free(lk_buckets *buckets) {
    if (buckets == NULL) return;
    lk_free(buckets->begins);
    lk_free(buckets->ends);
    lk_free(buckets->params_in);
    lk_free(buckets->of_param);
    memset(buckets, 0, sizeof *buckets);
}
