/* `lockstep inspect` for trained models; shared by jobs/inspect*.c only. */
#ifndef LK_JOBS_INSPECT_H
#define LK_JOBS_INSPECT_H

#include <stdbool.h>

#include "core/error.h"

/* Prints a checkpoint: model, state, tensors. Errors: those of lk_checkpoint_open and lk_meta_parse; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_inspect_checkpoint(const char *path, bool json, lk_error *err);
/* The same for .safetensors and .onnx. */
LK_MUST_CHECK lk_status lk_inspect_export(const char *path, bool json, lk_error *err);

#endif
