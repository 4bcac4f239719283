#include "device/gpu.h"

#include "device/module.h"

lk_status lk_gpu_list(lk_gpu *gpus, int *count, lk_error *err) {
    return lk_device_module_list("cuda", gpus, LK_MOST_GPUS, count, err);
}
