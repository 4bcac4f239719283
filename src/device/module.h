/* A device in a shared library of its own, loaded when a job asks for it. */
#ifndef LK_DEVICE_MODULE_H
#define LK_DEVICE_MODULE_H

#include "device/device.h"

/* Loads lockstep_NAME.so and lets its lk_device_NAME_create make the device. It is looked for in the folder
 * LOCKSTEP_MODULES of the environment; else in ../lib/lockstep beside the program's folder. A module stays loaded.
 * Errors: LK_ERR_UNSUPPORTED with what is missing. */
LK_MUST_CHECK lk_status lk_device_module_create(lk_device **out, const char *name, int threads, lk_error *err);

#endif
