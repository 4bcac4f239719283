/* Base64 (RFC 4648, with padding): binary values inside the text fields of safetensors and ONNX. */
#ifndef LK_IO_MODEL_BASE64_H
#define LK_IO_MODEL_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* Owner of *text: the caller, with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_base64_encode(char **text, const void *data, size_t size, lk_error *err);
/* Has the text the length that `size` bytes give? Pure. */
bool lk_base64_check_size(const char *text, size_t size);
/* Decodes exactly `size` bytes. Errors: LK_ERR_DATA for another length or a character outside the alphabet. */
LK_MUST_CHECK lk_status lk_base64_decode(void *data, size_t size, const char *text, lk_error *err);

#endif
