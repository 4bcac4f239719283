/* The CUDA device: activations NHWC with channels padded to 16 bytes, float32 or bfloat16; master type float32. It is
 * a module of its own (lockstep_cuda.so), since a program linked with the CUDA libraries does not start without them.
 */
#ifndef LK_DEVICE_CUDA_CUDA_H
#define LK_DEVICE_CUDA_CUDA_H

#include "device/device.h"

/* See lk_device_create. threads is not used: a lane's arithmetic runs on the GPU. The only function that the module
 * exports. Errors: LK_ERR_UNSUPPORTED where there is no GPU, driver or cuDNN that serves. */
__attribute__((visibility("default"))) lk_status lk_device_cuda_create(lk_device **out, int threads, lk_error *err);

#endif
