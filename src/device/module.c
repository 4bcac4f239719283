#include "device/module.h"

#include <stdio.h>

#include "core/memory.h"
#include "core/module.h"

typedef lk_status (*create_function)(lk_device **out, int ordinal, int threads, lk_error *err);
typedef lk_status (*describe_function)(lk_device **out, const lk_gpu_kind *kind, lk_error *err);
typedef lk_status (*identify_function)(char *json, size_t size, lk_error *err);
typedef lk_status (*list_function)(lk_gpu *gpus, int room, int *count, lk_error *err);

/* *function: lk_device_NAME_VERB of the module. */
static lk_status load(void **function, const char *name, const char *verb, lk_error *err) {
    char what[64], symbol[128];
    snprintf(what, sizeof what, "device %s", name);
    snprintf(symbol, sizeof symbol, "lk_device_%s_%s", name, verb);
    return lk_module_find(function, name, symbol, what, "or use device: cpu", err);
}

lk_status lk_device_module_create(lk_device **out, const char *name, int gpu, int threads, lk_error *err) {
    create_function create;
    *out = NULL;
    LK_RETURN_IF(load((void **)&create, name, "create", err)); /* POSIX's way round the missing cast in ISO C */
    return create(out, gpu, threads, err);
}

lk_status lk_device_module_describe(lk_device **out, const char *name, const lk_gpu_kind *kind, lk_error *err) {
    describe_function describe;
    *out = NULL;
    LK_RETURN_IF(load((void **)&describe, name, "describe", err));
    return describe(out, kind, err);
}

bool lk_device_module_exists(const char *name) { return lk_module_exists(name); }

lk_status lk_device_module_list(const char *name, lk_gpu *gpus, int room, int *count, lk_error *err) {
    list_function list;
    *count = 0;
    LK_RETURN_IF(load((void **)&list, name, "list", err));
    return list(gpus, room, count, err);
}

lk_status lk_device_module_identify(char **json, const char *name, lk_error *err) {
    enum { SIZE = 64 << 10 };
    identify_function identify;
    char *text = NULL;
    lk_status status = LK_OK;
    LK_TRY(load((void **)&identify, name, "identify", err));
    LK_TRY(LK_NEW(&text, SIZE, "a device's description", err));
    LK_TRY(identify(text, SIZE, err));
    *json = text;
    text = NULL;
out:
    lk_free(text);
    return status;
}
