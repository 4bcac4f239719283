/* Parts of the program in shared libraries of their own, loaded when a job asks for them: what they are linked with
 * need not be on a machine that does without. */
#ifndef LK_CORE_MODULE_H
#define LK_CORE_MODULE_H

#include <stddef.h>

#include "core/error.h"

/* Loads lockstep_NAME.so and finds a function of it. It is looked for in the folder LOCKSTEP_MODULES of the
 * environment; else in ../lib/lockstep beside the program's folder. The libraries that it needs are looked for in
 * LOCKSTEP_CUDA_LIBRARIES, then by the system's loader, then as core/module_libraries.h says. A module stays loaded.
 * function: address of a function pointer. what: what the module is for, as the sentence begins ("device cuda"); cure:
 * how it ends ("or use device: cpu"). Errors: LK_ERR_UNSUPPORTED with what is missing. Not Collective. */
LK_MUST_CHECK lk_status lk_module_find(void **function, const char *name, const char *symbol, const char *what,
                                       const char *cure, lk_error *err);

/* Is there such a module, whether it can be loaded or not? Not Collective. */
bool lk_module_exists(const char *name);

/* The place of lockstep_NAME.so beside the program's folder, whatever the environment says. Not Collective.
 * Errors: LK_ERR_UNSUPPORTED where it is too long. */
LK_MUST_CHECK lk_status lk_module_path(char *path, size_t size, const char *name, lk_error *err);

#endif
