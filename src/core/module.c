#include "core/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/module_libraries.h"

lk_status lk_module_path(char *path, size_t size, const char *name, lk_error *err) {
    char program[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);
    program[bytes < 0 ? 0 : bytes] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL) *slash = '\0';
    int length = snprintf(path, size, "%s/../lib/lockstep/lockstep_%s.so", program, name);
    if (length >= 0 && (size_t)length < size) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED, "the path of the module lockstep_%s.so is too long", name);
}

static lk_status find_path(char *path, size_t size, const char *name, lk_error *err) {
    const char *folder = getenv("LOCKSTEP_MODULES");
    if (folder == NULL) return lk_module_path(path, size, name, err);
    int length = snprintf(path, size, "%s/lockstep_%s.so", folder, name);
    if (length >= 0 && (size_t)length < size) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED, "the path of the module lockstep_%s.so is too long", name);
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

lk_status lk_module_find(void **function, const char *name, const char *symbol, const char *what, const char *cure,
                         lk_error *err) {
    char path[PATH_MAX];
    *function = NULL;
    LK_RETURN_IF(find_path(path, sizeof path, name, err));
    if (access(path, R_OK) != 0)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "%s is not in this build: there is no %s; build where its libraries are, %s", what, path, cure);
    void *module = open_module(path);
    if (module == NULL)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "%s cannot be loaded: %s; install what is missing, name its folder in LOCKSTEP_CUDA_LIBRARIES, "
                       "%s",
                       what, dlerror(), cure);
    *function = dlsym(module, symbol);
    if (*function == NULL) return lk_fail(err, LK_ERR_UNSUPPORTED, "%s is no module of this program", path);
    return LK_OK;
}

bool lk_module_exists(const char *name) {
    char path[PATH_MAX];
    return find_path(path, sizeof path, name, NULL) == LK_OK && access(path, R_OK) == 0;
}
