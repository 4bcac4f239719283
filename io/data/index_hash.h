/* The hash over the index of a data set: what identifies the set, and what an opened index is checked against. */
#ifndef LK_IO_DATA_INDEX_HASH_H
#define LK_IO_DATA_INDEX_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "core/error.h"

#define LK_INDEX_HASH_TEXT 33 /* 32 hexadecimal digits and the end */

typedef struct lk_index_hash lk_index_hash;

/* XXH3-128 of all bytes added. Owner: the caller, with lk_index_hash_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_index_hash_create(lk_index_hash **out, lk_error *err);
void lk_index_hash_free(lk_index_hash *hash);
void lk_index_hash_add(lk_index_hash *hash, const void *bytes, size_t size);
void lk_index_hash_get(const lk_index_hash *hash, uint64_t value[2]);
/* 32 hexadecimal digits, as xxh128sum prints them. */
void lk_index_hash_print(const uint64_t value[2], char text[LK_INDEX_HASH_TEXT]);

#endif
