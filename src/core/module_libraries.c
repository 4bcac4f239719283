#include "core/module_libraries.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A major version stands behind ".so.", so that a link "libcudart.so.13.0.96" is not loaded a second time. */
static const char *const LIBRARIES[] = {"libcudart.so.[0-9][0-9]", "libcublasLt.so.[0-9][0-9]",
                                        "libnvrtc.so.[0-9][0-9]", "libcudnn.so.[0-9]", "libnccl.so.[0-9]"};
enum { LIBRARY_COUNT = sizeof LIBRARIES / sizeof *LIBRARIES };

/* Loads what is in the folders of a pattern. loaded[LIBRARY_COUNT]: one copy of each library is enough. A library stays
 * loaded: the handle is not needed. */
static bool load_from(const char *folders, bool *loaded) {
    bool any = false;
    for (int i = 0; i < LIBRARY_COUNT; i++) {
        char pattern[PATH_MAX];
        glob_t found;
        int length = snprintf(pattern, sizeof pattern, "%s/%s", folders, LIBRARIES[i]);
        if (loaded[i] || length < 0 || (size_t)length >= sizeof pattern) continue;
        if (glob(pattern, 0, NULL, &found) != 0) continue;
        for (size_t k = 0; k < found.gl_pathc; k++)
            loaded[i] |= dlopen(found.gl_pathv[k], RTLD_LAZY | RTLD_LOCAL) != NULL;
        any |= loaded[i];
        globfree(&found);
    }
    return any;
}

/* load_from the folder "PREFIX/TAIL". */
static bool load_below(const char *prefix, const char *tail, bool *loaded) {
    char folders[PATH_MAX];
    int length = snprintf(folders, sizeof folders, "%s/%s", prefix, tail);
    return length > 0 && (size_t)length < sizeof folders && load_from(folders, loaded);
}

bool lk_module_libraries_given(void) {
    const char *list = getenv("LOCKSTEP_CUDA_LIBRARIES");
    bool loaded[LIBRARY_COUNT] = {false}, any = false;
    while (list != NULL && *list != '\0') {
        char folder[PATH_MAX];
        size_t length = strcspn(list, ":");
        if (length > 0 && length < sizeof folder) {
            snprintf(folder, sizeof folder, "%.*s", (int)length, list);
            any |= load_from(folder, loaded);
            any |= load_below(folder, "lib", loaded);
            any |= load_below(folder, "*/lib", loaded);
        }
        list += length + (list[length] == ':');
    }
    return any;
}

/* Where the packages of a Python below this prefix lie. */
static bool load_python(const char *prefix) {
    static const char *const places[] = {"lib/python3*/site-packages/nvidia/*/lib",
                                         "lib64/python3*/site-packages/nvidia/*/lib",
                                         "local/lib/python3*/dist-packages/nvidia/*/lib"};
    bool loaded[LIBRARY_COUNT] = {false}, any = false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) any |= load_below(prefix, places[i], loaded);
    return any;
}

bool lk_module_libraries_search(void) {
    const char *path = getenv("PATH"), *home = getenv("HOME");
    while (path != NULL && *path != '\0') {
        char folder[PATH_MAX], program[PATH_MAX];
        size_t length = strcspn(path, ":");
        if (length > 0 && length < sizeof folder) {
            snprintf(folder, sizeof folder, "%.*s", (int)length, path);
            int wanted = snprintf(program, sizeof program, "%s/python3", folder);
            char *slash = strrchr(folder, '/'); /* links stay: a virtual environment's python3 is one */
            if (slash != NULL && wanted > 0 && (size_t)wanted < sizeof program && access(program, X_OK) == 0) {
                *slash = '\0';
                if (load_python(folder)) return true;
            }
        }
        path += length + (path[length] == ':');
    }
    char local[PATH_MAX];
    int wanted = snprintf(local, sizeof local, "%s/.local", home == NULL ? "" : home);
    if (home != NULL && wanted > 0 && (size_t)wanted < sizeof local && load_python(local)) return true;
    bool loaded[LIBRARY_COUNT] = {false};
    return load_from("/usr/local/cuda/lib64", loaded);
}
