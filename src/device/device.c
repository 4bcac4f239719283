#include "device/device.h"

#include <string.h>

#include "device/cpu/cpu.h"
#include "device/module.h"
#include "device/reference/reference.h"

typedef lk_status (*create_function)(lk_device **out, int threads, lk_error *err);

static const struct {
    const char *name;
    create_function create;
} DEVICES[] = {
    {"cpu", lk_device_cpu_create},
    {"reference", lk_device_reference_create},
};

const char *const *lk_device_names(void) {
    static const char *const names[] = {"cpu", "reference", NULL};
    return names;
}

lk_status lk_device_create(lk_device **out, const char *name, int threads, lk_error *err) {
    return lk_device_create_on(out, name, 0, threads, err);
}

lk_status lk_device_create_on(lk_device **out, const char *name, int gpu, int threads, lk_error *err) {
    *out = NULL;
    for (size_t i = 0; i < sizeof DEVICES / sizeof DEVICES[0]; i++)
        if (strcmp(DEVICES[i].name, name) == 0) return DEVICES[i].create(out, threads, err);
    if (strcmp(name, "auto") == 0) {
        if (lk_device_module_create(out, "cuda", gpu, threads, NULL) == LK_OK) return LK_OK;
        return lk_device_cpu_create(out, threads, err);
    }
    if (strcmp(name, "cuda") == 0) return lk_device_module_create(out, name, gpu, threads, err);
    return lk_fail(err, LK_ERR_UNSUPPORTED, "device '%s' is unknown; there are auto, cpu, cuda and reference", name);
}

void lk_device_free(lk_device *device) {
    if (device != NULL) device->free(device);
}
