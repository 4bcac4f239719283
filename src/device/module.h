/* A device in a shared library of its own, loaded when a job asks for it (core/module.h). */
#ifndef LK_DEVICE_MODULE_H
#define LK_DEVICE_MODULE_H

#include "device/device.h"
#include "device/gpu.h"
#include "device/gpu_kinds.h"

/* Lets the module of device NAME (lockstep_NAME.so, core/module.h) make it: lk_device_NAME_create. gpu: place in
 * lk_gpu_list. Errors: LK_ERR_UNSUPPORTED with what is missing. */
LK_MUST_CHECK lk_status lk_device_module_create(lk_device **out, const char *name, int gpu, int threads, lk_error *err);

/* The same for a device that plans for a GPU of this kind, which need not be there (lk_device_NAME_describe). */
LK_MUST_CHECK lk_status lk_device_module_describe(lk_device **out, const char *name, const lk_gpu_kind *kind,
                                                  lk_error *err);

/* Is there such a module, whether it can be loaded or not? */
bool lk_device_module_exists(const char *name);

/* See lk_gpu_list (lk_device_NAME_list). Errors: as lk_device_module_create. */
LK_MUST_CHECK lk_status lk_device_module_list(const char *name, lk_gpu *gpus, int room, int *count, lk_error *err);

/* What the module finds on this machine, as a JSON object: the device, versions, where the libraries come from
 * (lk_device_NAME_identify). Owner of *json: the caller, with lk_free. Errors: as lk_device_module_create;
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_device_module_identify(char **json, const char *name, lk_error *err);

#endif
