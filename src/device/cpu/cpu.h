/* CPU device: oneDNN for convolution, pooling and matmul; own vectorised code for the rest. */
#ifndef LK_DEVICE_CPU_H
#define LK_DEVICE_CPU_H
#include "device/device.h"
/* See lk_device_create. Master dtype float32. */
LK_MUST_CHECK lk_status lk_device_cpu_create(lk_device **out, int threads, lk_error *err);
#endif
