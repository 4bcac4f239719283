/* How long work takes on a GPU, predicted under one stated model: a launch costs a fixed time, and then the longer of
 * its bytes at a share of the memory's bandwidth and its operations at a share of the peak. */
#ifndef LK_NN_COST_H
#define LK_NN_COST_H

#include "device/gpu_kinds.h"

#define LK_COST_BANDWIDTH_SHARE 0.85
#define LK_COST_FLOPS_SHARE 0.60
#define LK_COST_LAUNCH_SECONDS 2.5e-6 /* outside a CUDA graph */
#define LK_COST_LINK_SHARE 0.70       /* of the link between GPUs */

/* The rates after the shares. */
typedef struct lk_cost {
    double bytes_per_second, flops_per_second, link_bytes_per_second;
} lk_cost;

/* Pure. */
lk_cost lk_cost_of(const lk_gpu_kind *kind, lk_dtype compute);

/* Seconds of work of `launches` launches. Pure. */
double lk_cost_seconds(const lk_cost *cost, double bytes, double flops, int launches);

/* Seconds that the sum of a slab over ranks adds to an update: slices out and back over the link, as far as they do not
 * hide behind the backward pass; the last bucket never does. Pure. */
double lk_cost_exchange_seconds(const lk_cost *cost, int ranks, double slab_bytes, double last_bucket_bytes,
                                double backward_seconds);

#endif
