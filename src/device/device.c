#include "device/device.h"

#include <string.h>

#include "core/random.h"
#include "device/cpu/cpu.h"
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
    *out = NULL;
    for (size_t i = 0; i < sizeof DEVICES / sizeof DEVICES[0]; i++)
        if (strcmp(DEVICES[i].name, name) == 0) return DEVICES[i].create(out, threads, err);
    return lk_fail(err, LK_ERR_UNSUPPORTED, "device '%s' is not in this build; it has cpu and reference", name);
}

void lk_device_free(lk_device *device) {
    if (device != NULL) device->free(device);
}

const char *lk_op_kind_name(lk_op_kind kind) {
    static const char *const names[] = {
#define X(name, text, inputs, help) text,
        LK_OP_LIST(X)
#undef X
    };
    return kind >= 0 && kind < LK_OP_COUNT ? names[kind] : "unknown";
}

const char *lk_act_name(lk_act act) {
    static const char *const names[] = {
#define X(name, text, help) text,
        LK_ACT_LIST(X)
#undef X
    };
    return (int)act >= 0 && act < LK_ACT_COUNT ? names[act] : "unknown";
}

bool lk_run_drops(const lk_run *run, uint32_t layer, int64_t row, int64_t elements, int64_t element, double rate) {
    lk_random_key key = {.seed = run->seed, .epoch = run->epoch, .purpose = LK_RANDOM_DROPOUT};
    uint64_t index = (uint64_t)(run->first_position + row) * (uint64_t)elements + (uint64_t)element;
    return (double)lk_random_uniform(&key, index, layer) < rate;
}
