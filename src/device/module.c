#include "device/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "device/module_libraries.h"

typedef lk_status (*create_function)(lk_device **out, int threads, lk_error *err);
typedef lk_status (*describe_function)(lk_device **out, const lk_gpu_kind *kind, lk_error *err);
typedef lk_status (*identify_function)(char *json, size_t size, lk_error *err);

/* The module's path, or LK_ERR_UNSUPPORTED where it is too long. */
static lk_status find(char *path, size_t size, const char *name, lk_error *err) {
    char program[PATH_MAX];
    const char *folder = getenv("LOCKSTEP_MODULES");
    int length;
    if (folder != NULL) {
        length = snprintf(path, size, "%s/lockstep_%s.so", folder, name);
    } else {
        ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);
        program[bytes < 0 ? 0 : bytes] = '\0';
        char *slash = strrchr(program, '/');
        if (slash != NULL) *slash = '\0';
        length = snprintf(path, size, "%s/../lib/lockstep/lockstep_%s.so", program, name);
    }
    if (length >= 0 && (size_t)length < size) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED, "the path of the module of device %s is too long", name);
}

/* The libraries that it needs come from where they were named, else from where the system's loader finds them, else
 * from where they usually lie. NULL: dlerror() says what is missing. */
static void *open_module(const char *path) {
    const int flags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
    void *module = dlopen(path, flags | RTLD_NOLOAD);
    if (module != NULL) return module;
    (void)lk_module_libraries_given();
    module = dlopen(path, flags);
    if (module == NULL && lk_module_libraries_search()) module = dlopen(path, flags);
    return module;
}

/* *function: lk_device_NAME_VERB of the module. */
static lk_status load(void **function, const char *name, const char *verb, lk_error *err) {
    char path[PATH_MAX], symbol[128];
    LK_RETURN_IF(find(path, sizeof path, name, err));
    if (access(path, R_OK) != 0)
        return lk_fail(
            err, LK_ERR_UNSUPPORTED,
            "device %s is not in this build: there is no %s; build where its libraries are, or use device: cpu", name,
            path);
    void *module = open_module(path);
    if (module == NULL)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "device %s cannot be loaded: %s; install what is missing, name its folder in "
                       "LOCKSTEP_CUDA_LIBRARIES, or use device: cpu",
                       name, dlerror());
    snprintf(symbol, sizeof symbol, "lk_device_%s_%s", name, verb);
    *function = dlsym(module, symbol);
    if (*function == NULL) return lk_fail(err, LK_ERR_UNSUPPORTED, "%s is no module of this program", path);
    return LK_OK;
}

lk_status lk_device_module_create(lk_device **out, const char *name, int threads, lk_error *err) {
    create_function create;
    *out = NULL;
    LK_RETURN_IF(load((void **)&create, name, "create", err)); /* POSIX's way round the missing cast in ISO C */
    return create(out, threads, err);
}

lk_status lk_device_module_describe(lk_device **out, const char *name, const lk_gpu_kind *kind, lk_error *err) {
    describe_function describe;
    *out = NULL;
    LK_RETURN_IF(load((void **)&describe, name, "describe", err));
    return describe(out, kind, err);
}

bool lk_device_module_exists(const char *name) {
    char path[PATH_MAX];
    return find(path, sizeof path, name, NULL) == LK_OK && access(path, R_OK) == 0;
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
