#include "train/pixel_memory.h"

static lk_status alloc_pixels(void *context, void **out, int64_t bytes, const char *what, lk_error *err) {
    lk_device *device = context;
    return device->host_alloc(device, out, bytes, what, err);
}

static void release_pixels(void *context, void *p) {
    lk_device *device = context;
    device->host_release(device, p);
}

lk_pixel_memory lk_pixel_memory_of(lk_device *device) {
    return (lk_pixel_memory){.context = device, .alloc = alloc_pixels, .release = release_pixels};
}
