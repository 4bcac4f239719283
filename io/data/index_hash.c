#include "io/data/index_hash.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/memory.h"

struct lk_index_hash {
    XXH3_state_t *state;
};

lk_status lk_index_hash_create(lk_index_hash **out, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, 1, "a hash", err));
    (*out)->state = XXH3_createState();
    if ((*out)->state != NULL && XXH3_128bits_reset((*out)->state) == XXH_OK) return LK_OK;
    lk_index_hash_free(*out);
    *out = NULL;
    return lk_fail(err, LK_ERR_MEMORY, "cannot allocate the state of a hash: out of memory");
}

void lk_index_hash_free(lk_index_hash *hash) {
    if (hash == NULL) return;
    XXH3_freeState(hash->state);
    lk_free(hash);
}

void lk_index_hash_add(lk_index_hash *hash, const void *bytes, size_t size) {
    if (size > 0) (void)XXH3_128bits_update(hash->state, bytes, size);
}

void lk_index_hash_get(const lk_index_hash *hash, uint64_t value[2]) {
    XXH128_hash_t digest = XXH3_128bits_digest(hash->state);
    value[0] = digest.high64;
    value[1] = digest.low64;
}

void lk_index_hash_print(const uint64_t value[2], char text[LK_INDEX_HASH_TEXT]) {
    snprintf(text, LK_INDEX_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, value[0], value[1]);
}
