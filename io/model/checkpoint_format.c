#include "io/model/checkpoint_format.h"

#include <string.h>
#include <xxhash.h>

#include "io/model/atomic.h"

static const char MAGIC[8] = {'L', 'K', 'C', 'K', 'P', 'T', '0', '1'};

enum { AT_VERSION = 8, AT_LENGTH = 16, AT_HASH = 24, AT_INDEX = 40, AT_INDEX_LENGTH = 48, AT_CHECK = 56, AT_REST = 64 };

static void put_u64(unsigned char *bytes, uint64_t value) {
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_u64(const unsigned char *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

void lk_checkpoint_block_write(unsigned char bytes[LK_CHECKPOINT_BLOCK], const lk_checkpoint_block *block) {
    memset(bytes, 0, LK_CHECKPOINT_BLOCK);
    memcpy(bytes, MAGIC, sizeof MAGIC);
    put_u64(bytes + AT_VERSION, LK_CHECKPOINT_VERSION);
    put_u64(bytes + AT_LENGTH, (uint64_t)block->length);
    memcpy(bytes + AT_HASH, block->hash, sizeof block->hash);
    put_u64(bytes + AT_INDEX, (uint64_t)block->index_offset);
    put_u64(bytes + AT_INDEX_LENGTH, (uint64_t)block->index_length);
    XXH64_canonical_t check;
    XXH64_canonicalFromHash(&check, XXH3_64bits(bytes, AT_CHECK));
    memcpy(bytes + AT_CHECK, check.digest, sizeof check.digest);
}

static lk_status fail_damaged(const char *path, lk_error *err) {
    return lk_fail(
        err, LK_ERR_DATA,
        "%s is damaged: its first %d bytes do not agree with each other; use an earlier checkpoint or copy it "
        "again",
        path, LK_CHECKPOINT_BLOCK);
}

lk_status lk_checkpoint_block_read(lk_checkpoint_block *out, const unsigned char bytes[LK_CHECKPOINT_BLOCK],
                                   const char *path, lk_error *err) {
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return lk_fail(err, LK_ERR_DATA, "%s is not a checkpoint: it does not begin with %.8s", path, MAGIC);
    uint64_t version = get_u64(bytes + AT_VERSION);
    if (version > LK_CHECKPOINT_VERSION && version < 1000)
        return lk_fail(
            err, LK_ERR_DATA,
            "%s is a checkpoint of format version %llu, this program (%s) reads up to %d; use a newer lockstep", path,
            (unsigned long long)version, LK_VERSION, LK_CHECKPOINT_VERSION);
    XXH64_canonical_t check;
    XXH64_canonicalFromHash(&check, XXH3_64bits(bytes, AT_CHECK));
    if (version != LK_CHECKPOINT_VERSION || memcmp(bytes + AT_CHECK, check.digest, sizeof check.digest) != 0)
        return fail_damaged(path, err);
    for (int i = AT_REST; i < LK_CHECKPOINT_BLOCK; i++)
        if (bytes[i] != 0) return fail_damaged(path, err);
    uint64_t values[3] = {get_u64(bytes + AT_LENGTH), get_u64(bytes + AT_INDEX), get_u64(bytes + AT_INDEX_LENGTH)};
    for (int i = 0; i < 3; i++)
        if (values[i] > (UINT64_C(1) << 62)) return fail_damaged(path, err);
    *out = (lk_checkpoint_block){
        .length = (int64_t)values[0], .index_offset = (int64_t)values[1], .index_length = (int64_t)values[2]};
    memcpy(out->hash, bytes + AT_HASH, sizeof out->hash);
    return LK_OK;
}

lk_status lk_checkpoint_hash(unsigned char hash[16], int fd, int64_t end, const char *path, lk_error *err) {
    const size_t chunk = (size_t)1 << 20;
    unsigned char *buffer = NULL;
    LK_RETURN_IF(LK_NEW(&buffer, chunk, "hashing a checkpoint", err));
    lk_status status = LK_OK;
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL || XXH3_128bits_reset(state) == XXH_ERROR) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot allocate the state of a hash: out of memory");
        goto out;
    }
    for (int64_t at = LK_CHECKPOINT_BLOCK; at < end; at += (int64_t)chunk) {
        size_t size = end - at < (int64_t)chunk ? (size_t)(end - at) : chunk;
        LK_TRY(lk_read_at(fd, buffer, size, at, path, err));
        XXH3_128bits_update(state, buffer, size);
    }
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state));
    memcpy(hash, digest.digest, sizeof digest.digest);
out:
    XXH3_freeState(state);
    lk_free(buffer);
    return status;
}
