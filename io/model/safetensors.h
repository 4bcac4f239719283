/* safetensors: 8-byte length, JSON header, raw little-endian tensors. */
#ifndef LK_IO_MODEL_SAFETENSORS_H
#define LK_IO_MODEL_SAFETENSORS_H

#include "io/model/checkpoint.h"

/* metadata: name/text pairs for __metadata__. Atomic as lk_checkpoint_write. */
LK_MUST_CHECK lk_status lk_safetensors_write(const char *path, const lk_named_tensor *tensors, int tensor_count,
                                             const lk_named_text *metadata, int metadata_count, lk_error *err);

typedef struct lk_safetensors lk_safetensors;
/* Maps the file and checks the header: offsets inside the file, no overlap, sizes equal to the shapes, known dtypes.
 * Errors: LK_ERR_IO, LK_ERR_DATA. Owner: the caller. */
LK_MUST_CHECK lk_status lk_safetensors_open(lk_safetensors **out, const char *path, lk_error *err);
void lk_safetensors_free(lk_safetensors *file);
int lk_safetensors_count(const lk_safetensors *file);
const lk_named_tensor *lk_safetensors_get(const lk_safetensors *file,
                                          int i); /* data points into the file; borrowed; sorted by name */
const char *lk_safetensors_metadata(const lk_safetensors *file, const char *name); /* NULL when absent */

#endif
