/* Pixels where a device copies them from by itself. */
#ifndef LK_TRAIN_PIXEL_MEMORY_H
#define LK_TRAIN_PIXEL_MEMORY_H

#include "device/device.h"
#include "io/data/loader.h"

/* Memory of the device's host_alloc, for a loader. The device is borrowed until the loader is freed. */
lk_pixel_memory lk_pixel_memory_of(lk_device *device);

#endif
