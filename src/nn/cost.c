#include "nn/cost.h"

lk_cost lk_cost_of(const lk_gpu_kind *kind, lk_dtype compute) {
    double peak = lk_gpu_kind_peak(kind, compute);
    return (lk_cost){.bytes_per_second = kind->bandwidth * LK_COST_BANDWIDTH_SHARE,
                     .flops_per_second = peak * LK_COST_FLOPS_SHARE,
                     .link_bytes_per_second = kind->link * LK_COST_LINK_SHARE};
}

double lk_cost_seconds(const lk_cost *cost, double bytes, double flops, int launches) {
    double memory = bytes / cost->bytes_per_second, arithmetic = flops / cost->flops_per_second;
    return launches * LK_COST_LAUNCH_SECONDS + (memory > arithmetic ? memory : arithmetic);
}

double lk_cost_exchange_seconds(const lk_cost *cost, int ranks, double slab_bytes, double last_bucket_bytes,
                                double backward_seconds) {
    if (ranks < 2) return 0;
    double trips = 2.0 * (ranks - 1) / ranks / cost->link_bytes_per_second;
    double hidden = (slab_bytes - last_bucket_bytes) * trips;
    double exposed = hidden > backward_seconds ? hidden - backward_seconds : 0;
    return exposed + last_bucket_bytes * trips;
}
