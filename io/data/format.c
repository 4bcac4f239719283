#include "io/data/format.h"

#include <strings.h>

static const lk_index_column columns[LK_INDEX_FIELD_COUNT] = {
    [LK_INDEX_SEGMENT] = {"/index/segment", LK_INDEX_I32},  [LK_INDEX_OFFSET] = {"/index/offset", LK_INDEX_I64},
    [LK_INDEX_LENGTH] = {"/index/length", LK_INDEX_I64},    [LK_INDEX_LABEL] = {"/index/label", LK_INDEX_I32},
    [LK_INDEX_SPLIT] = {"/index/split", LK_INDEX_U8},       [LK_INDEX_GROUP] = {"/index/group", LK_INDEX_I32},
    [LK_INDEX_WIDTH] = {"/index/width", LK_INDEX_I32},      [LK_INDEX_HEIGHT] = {"/index/height", LK_INDEX_I32},
    [LK_INDEX_CHANNELS] = {"/index/channels", LK_INDEX_U8}, [LK_INDEX_ENCODING] = {"/index/encoding", LK_INDEX_U8},
    [LK_INDEX_HASH] = {"/index/hash", LK_INDEX_BYTES16},    [LK_INDEX_SOURCE] = {"/index/source", LK_INDEX_TEXT},
};

const lk_index_column *lk_index_get_column(lk_index_field field) { return &columns[field]; }

size_t lk_index_type_size(lk_index_type type) {
    switch (type) {
        case LK_INDEX_U8: return 1;
        case LK_INDEX_I32: return 4;
        case LK_INDEX_I64: return 8;
        case LK_INDEX_BYTES16: return LK_FORMAT_HASH_BYTES;
        case LK_INDEX_TEXT: return 0;
    }
    return 0;
}

const char *lk_split_name(lk_split split) {
    static const char *const names[LK_SPLIT_COUNT] = {"train", "validation", "test", "predict"};
    return (unsigned)split < LK_SPLIT_COUNT ? names[split] : "unknown";
}

lk_status lk_split_parse(lk_split *out, const char *text, lk_error *err) {
    static const struct {
        const char *text;
        lk_split split;
    } known[] = {{"train", LK_SPLIT_TRAIN},    {"training", LK_SPLIT_TRAIN},   {"validation", LK_SPLIT_VALIDATION},
                 {"val", LK_SPLIT_VALIDATION}, {"valid", LK_SPLIT_VALIDATION}, {"test", LK_SPLIT_TEST},
                 {"testing", LK_SPLIT_TEST},   {"predict", LK_SPLIT_PREDICT}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(text, known[i].text) == 0) {
            *out = known[i].split;
            return LK_OK;
        }
    }
    return lk_fail(err, LK_ERR_DATA, "unknown split \"%.64s\": use train, validation (or val), test or predict", text);
}
