/* Finding the libraries that a module (core/module.h) is linked with, where the system's loader does not. */
#ifndef LK_CORE_MODULE_LIBRARIES_H
#define LK_CORE_MODULE_LIBRARIES_H

#include <stdbool.h>

/* Loads the CUDA libraries (CUDA runtime, cuBLASLt, cuDNN, NVRTC, NCCL; a module that is loaded later is bound to them
 * by their names) out of the folders that LOCKSTEP_CUDA_LIBRARIES of the environment lists between colons: FOLDER,
 * FOLDER/lib and each FOLDER/.../lib below it, so that site-packages/nvidia serves as well. Returns whether any was
 * loaded. */
bool lk_module_libraries_given(void);
/* The same out of where pip puts them (nvidia-*-cu13, nvidia-*-cu12), for each python3 in PATH and the user, and out of
 * /usr/local/cuda: the first place that has any. */
bool lk_module_libraries_search(void);

#endif
