/* The calls of dist/comm.h that need MPI, for a program that is not linked with it. */
#include <dlfcn.h>
#include <limits.h>

#include "core/module.h"
#include "dist/comm.h"

/* *function: a function of the module, which stays loaded. Its symbols are global: Open MPI's own plug-ins look for
 * those of the library there. */
static lk_status find(void **function, const char *symbol, lk_error *err) {
    char path[PATH_MAX];
    LK_RETURN_IF(lk_module_path(path, sizeof path, "mpi", err));
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    if (module == NULL)
        return lk_fail(
            err, LK_ERR_UNSUPPORTED,
            "MPI cannot be loaded: %s; install the MPI that this program was built with, or start one process",
            dlerror());
    *function = dlsym(module, symbol);
    if (*function == NULL) return lk_fail(err, LK_ERR_UNSUPPORTED, "%s is no module of this program", path);
    return LK_OK;
}

lk_status lk_comm_mpi_create(lk_comm **out, lk_error *err) {
    lk_status (*create)(lk_comm * *out, lk_error * err);
    *out = NULL;
    LK_RETURN_IF(find((void **)&create, "lk_mpi_create", err));
    return create(out, err);
}

lk_status lk_comm_mpi_library(char *text, size_t size, lk_error *err) {
    lk_status (*library)(char *text, size_t size, lk_error *err);
    LK_RETURN_IF(find((void **)&library, "lk_mpi_library", err));
    return library(text, size, err);
}
