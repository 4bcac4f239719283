/* The device of each rank, and what connects them. */
#include <string.h>

#include "core/memory.h"
#include "dist/near_cores.h"
#include "train/trainer_internal.h"

/* "auto" computes on GPUs where every rank sees one. */
static lk_status use_gpus(bool *use, lk_trainer *t, lk_gpu_view *view, lk_error *err) {
    bool automatic = strcmp(t->job->device, "auto") == 0;
    *use = automatic || strcmp(t->job->device, "cuda") == 0;
    if (!*use) return LK_OK;
    lk_status status = lk_gpu_list(view->gpus, &view->count, automatic ? NULL : err);
    if (!automatic) return lk_comm_agree(t->comm, status, err);
    int64_t blind = status != LK_OK || view->count == 0;
    LK_RETURN_IF(lk_comm_max(t->comm, &blind, err));
    *use = blind == 0;
    return LK_OK;
}

static lk_status check_ring(const lk_trainer *t, lk_error *err) {
    if (t->job->reduce != LK_REDUCE_RING || !t->device->host_memory) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "reduce: ring is for GPUs, and this run is on device %s: leave it out, gradients are then summed in "
                   "the tree's order",
                   t->device->name);
}

static lk_status create(lk_trainer *t, int gpu, lk_error *err) {
    LK_RETURN_IF(lk_device_create_on(&t->device, t->job->device, gpu, (int)t->job->threads_per_microbatch, err));
    LK_RETURN_IF(check_ring(t, err));
    return t->device->supports_dtype(t->device, lk_job_compute(t->job), err);
}

/* Before the loader starts its threads, which decode into memory that the GPU reads. */
static lk_status keep_near(lk_trainer *t, lk_error *err) {
    const char **pci = NULL;
    int ranks = 0, self = 0;
    if (t->gpus.choices == NULL) return LK_OK;
    LK_RETURN_IF(LK_NEW(&pci, t->comm->size, "the GPUs of a node", err));
    for (int rank = 0; rank < t->comm->size; rank++) {
        if (strcmp(t->comm->hosts[rank], t->comm->hosts[t->comm->rank]) != 0) continue;
        if (rank == t->comm->rank) self = ranks;
        pci[ranks++] = t->gpus.choices[rank].gpu.pci;
    }
    t->near_cores = lk_near_cores_bind(pci, ranks, self, t->cores);
    lk_free(pci);
    return LK_OK;
}

lk_status lk_trainer_open_device(lk_trainer *t, lk_error *err) {
    lk_gpu_view view = {0};
    bool gpus;
    int ordinal = 0;
    LK_RETURN_IF(use_gpus(&gpus, t, &view, err));
    if (gpus) {
        lk_gpu_view_locate(&view);
        LK_RETURN_IF(lk_gpu_binding_create(&t->gpus, t->comm, &view, t->options->share_gpus, err));
        ordinal = t->gpus.choices[t->comm->rank].ordinal;
    }
    LK_RETURN_IF(lk_comm_agree(t->comm, create(t, ordinal, err), err));
    if (t->device->host_memory) lk_gpu_binding_free(&t->gpus); /* auto: none of them serves */
    return lk_comm_agree(t->comm, keep_near(t, err), err);
}

lk_status lk_trainer_connect_devices(lk_trainer *t, lk_error *err) {
    if (t->device->host_memory || t->comm->size == 1) return LK_OK;
    return lk_device_comm_create(&t->device_comm, t->comm, t->device, t->gpus.shared, err);
}
