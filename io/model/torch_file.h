/* PyTorch's files of torch.save (.pth, .pt): the tensors of a state dict, read without executing anything. Both forms
 * are read: the zip archive (data.pkl and data/N, stored without compression) and the older stream of pickles. */
#ifndef LK_IO_MODEL_TORCH_FILE_H
#define LK_IO_MODEL_TORCH_FILE_H

#include "io/model/checkpoint.h"

typedef struct lk_torch_file lk_torch_file;

#define LK_TORCH_HEAD 32 /* bytes that tell */

/* Do these first bytes of a file, LK_TORCH_HEAD where it has them, begin either form? */
bool lk_torch_is_file(const uint8_t *head, size_t size);

/* Reads names, types and shapes. The state dict is what the file holds, or what it has under "state_dict", "model" or
 * "model_state_dict". Owner: the caller, with lk_torch_file_free. Errors: LK_ERR_IO; LK_ERR_DATA: damaged, code in it
 * (naming the opcode or global), shapes or strides that reach outside their storage; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_torch_file_open(lk_torch_file **out, const char *path, lk_error *err);
void lk_torch_file_free(lk_torch_file *file);

int lk_torch_file_count(const lk_torch_file *file);
/* Name, dtype and shape of tensor i; data is NULL. Borrowed. Sorted by name. */
const lk_named_tensor *lk_torch_file_get(const lk_torch_file *file, int i);
/* Key that the state dict was found under; "" for the file's own value. Borrowed. */
const char *lk_torch_file_key(const lk_torch_file *file);

/* Tensor i in row-major order, whatever its strides. into: its elements in its dtype. One thread at a time.
 * Errors: LK_ERR_IO; LK_ERR_DATA for a storage whose checksum is wrong; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_torch_file_read(const lk_torch_file *file, int i, void *into, lk_error *err);

#endif
