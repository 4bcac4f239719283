/* A launch in two phases: the second needs what the whole first found (batch normalisation: the statistics, then the
 * values). The first takes sums over the rows (kernel_reduce.cuh); its items are pairs of a group of channels and a
 * chunk of rows, and the second phase's are the same pairs.
 *
 * Blocks take items by tickets from a counter, those of the first phase before those of the second, and wait before
 * their first of the second. By then every item of the first phase is done or in the hands of a block that is running
 * and waits for nobody: so the launch ends however many blocks run at a time, in whatever order they start. It needs no
 * cooperative launch, which would stay out until the whole GPU is free, that is behind NCCL's kernels beside it, and
 * which not every shared GPU offers. How many blocks there are is a matter of speed: items, and the order in which a
 * group's chunks are merged, follow from the shape alone.
 *
 * Items are taken along memory, groups before chunks, so that neighbouring blocks read whole rows; all groups are then
 * complete at about the same time, and there is one flag for all. The first phase goes from the end of a tensor to its
 * beginning and the second from the beginning to the end: what was written last by the kernel before, and what was read
 * last by the first phase, is still in the cache (50 MB on an H100). */
#ifndef LK_DEVICE_CUDA_KERNEL_PHASES_CUH
#define LK_DEVICE_CUDA_KERNEL_PHASES_CUH

#include "device/cuda/kernel_reduce.cuh"

/* Places among the counters, all of which are zero before and after a launch. */
#define LK_TICKETS 0                      /* items taken */
#define LK_MERGED 1                       /* groups whose results are written */
#define LK_GONE 2                         /* blocks that are through */
#define LK_ARRIVED LK_CUDA_COUNTERS_AHEAD /* one for each group: chunks that are done */

/* What thread 0 tells the others, in shared memory. */
struct lk_turn {
    unsigned ticket;
    bool last;
};

/* Blocks for items of this shape, where `fit` of them run on a multiprocessor at a time. */
static inline int lk_phase_blocks(const lk_reduce_shape &r, int multiprocessors, int fit) {
    const int64_t items = (int64_t)r.groups * r.chunks, room = (int64_t)multiprocessors * fit;
    return (int)(items < room ? items : room);
}

static __device__ inline bool lk_is_first_thread() { return threadIdx.x == 0 && threadIdx.y == 0; }

/* The block's next ticket, for all threads. */
static __device__ inline unsigned lk_take(unsigned *counters, lk_turn &turn) {
    __syncthreads(); /* all have read the last one */
    if (lk_is_first_thread()) turn.ticket = atomicAdd(&counters[LK_TICKETS], 1u);
    __syncthreads();
    return turn.ticket;
}

/* As lk_last_to_arrive, but leaves setting the counter back to lk_leave, and takes the next ticket meanwhile. A barrier
 * and then a fence of thread 0 pass on what the block's other threads wrote; a fence of thread 0 and then a barrier let
 * them all read what others did. */
static __device__ inline bool lk_arrive(unsigned *counters, int group, int chunks, lk_turn &turn) {
    __syncthreads();
    if (lk_is_first_thread()) {
        __threadfence();
        turn.last = atomicAdd(&counters[LK_ARRIVED + group], 1u) == (unsigned)chunks - 1;
        turn.ticket = atomicAdd(&counters[LK_TICKETS], 1u);
        __threadfence();
    }
    __syncthreads();
    return turn.last;
}

/* What this block wrote of a group may be read. */
static __device__ inline void lk_publish(unsigned *counters) {
    __syncthreads();
    if (!lk_is_first_thread()) return;
    __threadfence();
    (void)atomicAdd(&counters[LK_MERGED], 1u);
}

/* Until all groups are published; what their blocks wrote is then visible. */
static __device__ inline void lk_await(const unsigned *counters, int groups) {
    if (lk_is_first_thread()) {
        lk_wait_for(&counters[LK_MERGED], (unsigned)groups);
        __threadfence();
    }
    __syncthreads();
}

/* The last block sets the counters back: nobody looks at them any more. */
static __device__ inline void lk_leave(unsigned *counters, int groups) {
    if (!lk_is_first_thread()) return;
    __threadfence();
    if (atomicAdd(&counters[LK_GONE], 1u) != gridDim.x - 1) return;
    for (int g = 0; g < groups; g++) counters[LK_ARRIVED + g] = 0;
    counters[LK_TICKETS] = counters[LK_MERGED] = counters[LK_GONE] = 0;
}

/* first(group, chunk) stores a partial result, merge(group) merges a group's in order and writes what follows, called
 * by the block that came last; second(group, chunk) reads it. All are called by all threads of a block of r.across x
 * r.down; `first` and `merge` may wait at barriers. With `once` there is no second phase. */
template <typename First, typename Merge, typename Second>
static __device__ inline void lk_run_phases(const lk_reduce_shape &r, bool once, unsigned *counters, lk_turn &turn,
                                            First first, Merge merge, Second second) {
    const unsigned groups = (unsigned)r.groups, items = groups * (unsigned)r.chunks, end = once ? items : 2 * items;
    unsigned ticket = lk_take(counters, turn);
    while (ticket < items) {
        const unsigned item = items - 1 - ticket;
        const int group = (int)(item % groups);
        first(group, (int)(item / groups));
        const bool last = lk_arrive(counters, group, r.chunks, turn);
        ticket = turn.ticket;
        if (!last) continue;
        merge(group);
        lk_publish(counters);
    }
    if (ticket < end) lk_await(counters, r.groups);
    while (ticket < end) {
        const unsigned item = ticket - items;
        second((int)(item % groups), (int)(item / groups));
        ticket = lk_take(counters, turn);
    }
    lk_leave(counters, r.groups);
}

#endif
