#include "train/buckets.h"

#include <string.h>

#include "core/memory.h"

lk_status lk_buckets_create(lk_buckets *out, const lk_param *params, int param_count, int64_t slab_count, int64_t least,
                            lk_error *err) {
    lk_status status;
    memset(out, 0, sizeof *out);
    LK_TRY(LK_NEW(&out->ends, param_count, "buckets", err));
    LK_TRY(LK_NEW(&out->params_in, param_count, "buckets", err));
    LK_TRY(LK_NEW(&out->of_param, param_count, "buckets", err));
    out->param_count = param_count;
    /* From the end: a bucket is closed when it is large enough. Numbered from the end first, then turned round. */
    int64_t end = slab_count;
    for (int i = param_count - 1; i >= 0; i--) {
        out->of_param[i] = out->count;
        out->params_in[out->count]++;
        if (end - params[i].offset < least && i > 0) continue;
        out->ends[out->count++] = end;
        end = params[i].offset;
    }
    for (int i = 0; i < param_count; i++) out->of_param[i] = out->count - 1 - out->of_param[i];
    for (int a = 0, b = out->count - 1; a < b; a++, b--) {
        int64_t end_a = out->ends[a];
        out->ends[a] = out->ends[b];
        out->ends[b] = end_a;
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
    lk_free(buckets->ends);
    lk_free(buckets->params_in);
    lk_free(buckets->of_param);
    memset(buckets, 0, sizeof *buckets);
}
