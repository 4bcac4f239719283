/* The CUDA device: activations NHWC with channels padded to 16 bytes, float32 or bfloat16; master type float32. It is
 * a module of its own (lockstep_cuda.so), since a program linked with the CUDA libraries does not start without them.
 */
#ifndef LK_DEVICE_CUDA_CUDA_H
#define LK_DEVICE_CUDA_CUDA_H

#include "device/device.h"
#include "device/gpu.h"
#include "device/gpu_kinds.h"

/* The functions that the module exports. */
#define LK_CUDA_EXPORT __attribute__((visibility("default")))

/* See lk_device_create_on. threads is not used: a lane's arithmetic runs on the GPU.
 * Errors: LK_ERR_UNSUPPORTED where there is no GPU, driver or cuDNN that serves. */
LK_CUDA_EXPORT lk_status lk_device_cuda_create(lk_device **out, int ordinal, int threads, lk_error *err);

/* See lk_gpu_list; at most `room` GPUs. */
LK_CUDA_EXPORT lk_status lk_device_cuda_list(lk_gpu *gpus, int room, int *count, lk_error *err);

/* A device that plans for a GPU which is not there, with the engines that cuDNN chooses for its description; cuBLASLt
 * cannot be asked, and its workspaces count as none. It runs nothing. kind: borrowed until lk_device_free.
 * Errors: LK_ERR_UNSUPPORTED, LK_ERR_DEVICE where cuDNN takes no description. */
LK_CUDA_EXPORT lk_status lk_device_cuda_describe(lk_device **out, const lk_gpu_kind *kind, lk_error *err);

/* See lk_device_module_identify. Errors: those of lk_device_cuda_create; LK_ERR_MEMORY where `size` bytes do not do. */
LK_CUDA_EXPORT lk_status lk_device_cuda_identify(char *json, size_t size, lk_error *err);

#endif
