/* The GPUs that CUDA shows to this process. */
#ifndef LK_DEVICE_GPU_H
#define LK_DEVICE_GPU_H

#include <stdint.h>

#include "core/error.h"

#define LK_MOST_GPUS 32 /* of one process */
#define LK_GPU_UUID 16  /* bytes */

typedef struct lk_gpu {
    char name[64];             /* "NVIDIA H100 80GB HBM3" */
    uint8_t uuid[LK_GPU_UUID]; /* of the GPU, or of its part where it is divided (MIG) */
    char pci[16];              /* "0000:3b:00.0"; empty: unknown */
} lk_gpu;

/* Lists them in CUDA's order, without using any; *count 0: there is none, or no driver. gpus: LK_MOST_GPUS entries.
 * Not Collective. Errors: LK_ERR_UNSUPPORTED for a build without the module, or a driver that is too old. */
LK_MUST_CHECK lk_status lk_gpu_list(lk_gpu *gpus, int *count, lk_error *err);

#endif
