/* Which GPUs there are. */
#include <stdio.h>
#include <string.h>

#include "device/cuda/cuda.h"
#include "device/cuda/cuda_internal.h"

lk_status lk_cuda_count(int *count, lk_error *err) {
    lk_status status = LK_OK;
    int driver = 0, runtime = 0;
    *count = 0;
    cudaError_t code = cudaGetDeviceCount(count);
    if (code == cudaSuccess) return LK_OK;
    (void)cudaGetLastError();
    *count = 0;
    if (code == cudaErrorNoDevice) return LK_OK;
    if (code != cudaErrorInsufficientDriver)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "device cuda finds no GPU: %s; use device: cpu",
                       cudaGetErrorString(code));
    LK_CUDA(cudaRuntimeGetVersion(&runtime));
    LK_CUDA(cudaDriverGetVersion(&driver));
    if (driver == 0) return lk_fail(err, LK_ERR_UNSUPPORTED, "device cuda finds no NVIDIA driver; use device: cpu");
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "the NVIDIA driver serves CUDA up to %d.%d and this program needs %d.%d; update the driver",
                   driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
out:
    return status;
}

lk_status lk_device_cuda_list(lk_gpu *gpus, int room, int *count, lk_error *err) {
    lk_status status = LK_OK;
    LK_TRY(lk_cuda_count(count, err));
    if (*count > room) *count = room;
    for (int i = 0; i < *count; i++) {
        struct cudaDeviceProp properties;
        LK_CUDA(cudaGetDeviceProperties(&properties, i));
        memset(&gpus[i], 0, sizeof gpus[i]);
        snprintf(gpus[i].name, sizeof gpus[i].name, "%.63s", properties.name);
        memcpy(gpus[i].uuid, properties.uuid.bytes, sizeof gpus[i].uuid);
        snprintf(gpus[i].pci, sizeof gpus[i].pci, "%04x:%02x:%02x.0", (unsigned)properties.pciDomainID & 0xffffU,
                 (unsigned)properties.pciBusID & 0xffU, (unsigned)properties.pciDeviceID & 0xffU);
    }
out:
    return status;
}
