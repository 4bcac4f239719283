/* Which rank computes on which GPU (P21). GPUs are told apart by node and UUID: their numbers depend on what each
 * process is shown (CUDA_VISIBLE_DEVICES, Slurm's --gpus-per-task). */
#ifndef LK_DIST_GPU_BINDING_H
#define LK_DIST_GPU_BINDING_H

#include <stdio.h>

#include "device/gpu.h"
#include "dist/comm.h"

/* What one rank sees. */
typedef struct lk_gpu_view {
    int32_t count;
    uint8_t near[LK_MOST_GPUS]; /* not 0: beside cores that the rank is bound to, or nobody knows */
    lk_gpu gpus[LK_MOST_GPUS];
} lk_gpu_view;

/* Fills `near` from the GPUs' places on the PCI bus and the cores of this process. Not Collective. */
void lk_gpu_view_locate(lk_gpu_view *view);

typedef struct lk_gpu_choice {
    int32_t ordinal; /* among those that the rank sees */
    int32_t seen;    /* how many these are */
    lk_gpu gpu;
} lk_gpu_choice;

/* Chooses for all ranks: the one GPU that a rank sees; else, rank after rank of a node, the first that nobody has,
 * those near its cores before others. share: where all are taken, the one with the fewest ranks, those near first.
 * views, nodes, hosts and choices: `ranks` entries. Pure. Errors: LK_ERR_CONFIG where a rank sees none, two would share
 * one and must not, there are too few, or their kinds differ. */
LK_MUST_CHECK lk_status lk_gpu_choose(lk_gpu_choice *choices, const lk_gpu_view *views, const int *nodes,
                                      const char *const *hosts, int ranks, bool share, lk_error *err);

typedef struct lk_gpu_binding {
    const lk_comm *comm;    /* borrowed */
    lk_gpu_choice *choices; /* one per rank; NULL: ranks compute without GPUs */
    bool shared;            /* some GPU has several ranks */
} lk_gpu_binding;

/* Gathers what all ranks see, and chooses. Owner of *binding: the caller, with lk_gpu_binding_free. Collective.
 * Errors: those of lk_gpu_choose, on all ranks; LK_ERR_MEMORY, LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_gpu_binding_create(lk_gpu_binding *binding, lk_comm *comm, const lk_gpu_view *mine,
                                              bool share, lk_error *err);
void lk_gpu_binding_free(lk_gpu_binding *binding);

/* Prints rank, host and GPU, one line per rank; more than 16 ranks: one line per node. Not Collective. */
void lk_gpu_binding_print(const lk_gpu_binding *binding, FILE *out);

#endif
