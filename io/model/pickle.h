/* Python's pickle format as far as a PyTorch state dict needs it, read without executing anything: the opcodes that
 * build plain values, and names from a closed list in place of imports. Any other opcode or name is refused by name.
 * Source: Python's pickletools (protocols 0 to 5). */
#ifndef LK_IO_MODEL_PICKLE_H
#define LK_IO_MODEL_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum lk_pickle_kind {
    LK_PICKLE_NONE,
    LK_PICKLE_BOOL,
    LK_PICKLE_INT,
    LK_PICKLE_FLOAT,
    LK_PICKLE_TEXT,
    LK_PICKLE_GLOBAL, /* "module.name", one of the closed list */
    LK_PICKLE_TUPLE,
    LK_PICKLE_LIST,
    LK_PICKLE_DICT,
    LK_PICKLE_CALL,       /* head: the global, tail: the tuple of arguments; nothing was called */
    LK_PICKLE_PERSISTENT, /* head: the tuple that names something outside the pickle */
    LK_PICKLE_MARK        /* on the stack only */
} lk_pickle_kind;

/* Values refer to each other by index, so that a pickle that contains itself is no trap. */
typedef struct lk_pickle_value {
    lk_pickle_kind kind;
    int32_t head, tail, count; /* TUPLE, LIST, DICT: first and last item (-1: none) and how many */
    union {
        int64_t integer;  /* INT, BOOL, GLOBAL: its number */
        double real;      /* FLOAT */
        const char *text; /* TEXT: `length` bytes of the pickle, not terminated */
    };
    uint32_t length;
} lk_pickle_value;

typedef struct lk_pickle_item {
    int32_t key, value, next; /* key: DICT only; next: -1 at the end */
} lk_pickle_item;

typedef struct lk_pickle {
    lk_pickle_value *values;
    lk_pickle_item *items;
    size_t value_count, value_capacity, item_count, item_capacity;
    int32_t root;
    size_t size; /* bytes of the pickle that were read: another may follow */
} lk_pickle;

/* The names that may stand in a pickle. */
typedef enum lk_pickle_global {
    LK_GLOBAL_ORDERED_DICT,
    LK_GLOBAL_REBUILD_TENSOR,    /* (storage, offset, size, stride) */
    LK_GLOBAL_REBUILD_TENSOR_V2, /* (storage, offset, size, stride, requires_grad, backward_hooks[, metadata]) */
    LK_GLOBAL_REBUILD_PARAMETER, /* (tensor, requires_grad, backward_hooks) */
    LK_GLOBAL_FLOAT_STORAGE,
    LK_GLOBAL_DOUBLE_STORAGE,
    LK_GLOBAL_HALF_STORAGE,
    LK_GLOBAL_BFLOAT16_STORAGE,
    LK_GLOBAL_LONG_STORAGE,
    LK_GLOBAL_INT_STORAGE,
    LK_GLOBAL_BYTE_STORAGE,
    LK_GLOBAL_COUNT
} lk_pickle_global;

/* Reads one pickle from the front of bytes[0..size), which must outlive the result. where: path, for messages. Owner:
 * the caller, with lk_pickle_free, on failure too. Errors: LK_ERR_DATA naming the opcode or global that is refused, or
 * what is malformed; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_pickle_parse(lk_pickle *out, const uint8_t *bytes, size_t size, const char *where,
                                        lk_error *err);
void lk_pickle_free(lk_pickle *pickle); /* the content, not the struct */

/* Is value v this text? */
bool lk_pickle_is_text(const lk_pickle *pickle, int32_t v, const char *text);
/* Member i of a tuple or list as a value's index; -1 where there is none. */
int32_t lk_pickle_member(const lk_pickle *pickle, int32_t v, int i);
/* The value under a key of a dictionary, the last one given; -1 where there is none or v is no dictionary. */
int32_t lk_pickle_lookup(const lk_pickle *pickle, int32_t v, const char *key);

#endif
