/* A GPU that is only described: plans the ops as the CUDA device does and runs none. It needs no CUDA library, so that
 * it knows neither the engines of cuDNN and cuBLASLt nor the workspaces that they ask for, which count as none.
 * tests/gpu holds its figures to those of the CUDA device. */
#ifndef LK_DEVICE_DESCRIBED_DESCRIBED_H
#define LK_DEVICE_DESCRIBED_DESCRIBED_H

#include "device/device.h"
#include "device/gpu_kinds.h"

/* Owner: the caller, with lk_device_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_device_described_create(lk_device **out, const lk_gpu_kind *kind, lk_error *err);

#endif
