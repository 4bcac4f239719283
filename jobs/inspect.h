/* `lockstep inspect` for trained models; shared by jobs/inspect*.c only. */
#ifndef LK_JOBS_INSPECT_H
#define LK_JOBS_INSPECT_H

#include <stdbool.h>

#include "core/error.h"

/* Prints a checkpoint: model, state, tensors. Errors: those of lk_checkpoint_open and lk_meta_parse; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_inspect_checkpoint(const char *path, bool json, lk_error *err);
/* The same for .safetensors and .onnx. */
LK_MUST_CHECK lk_status lk_inspect_export(const char *path, bool json, lk_error *err);
/* Is this a file of weights that do not say which model they are of? Errors: those of lk_safetensors_open. */
LK_MUST_CHECK lk_status lk_inspect_is_weights(bool *out, const char *path, lk_error *err);
/* Weights that do not say which model they are of: names, types, shapes. Errors: those of lk_model_source_open. */
LK_MUST_CHECK lk_status lk_inspect_weights(const char *path, bool json, lk_error *err);
/* What of a file `architecture` would load, tensor by tensor. Errors: those of lk_weights_open. */
LK_MUST_CHECK lk_status lk_inspect_match(const char *path, const char *architecture, lk_error *err);

#endif
