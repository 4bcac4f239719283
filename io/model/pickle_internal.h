/* The machine that reads a pickle; shared by io/model/pickle*.c only. */
#ifndef LK_IO_MODEL_PICKLE_INTERNAL_H
#define LK_IO_MODEL_PICKLE_INTERNAL_H

#include "io/model/pickle.h"

#define LK_PICKLE_MAX_VALUES (1 << 22)

typedef struct lk_pickle_machine {
    lk_pickle *pickle;
    const uint8_t *bytes;
    size_t size, at; /* at: behind the opcode under work */
    int32_t *stack, *memo;
    size_t depth, stack_capacity, memo_count, memo_capacity;
    bool stopped;
    const char *where;
    lk_error *err;
} lk_pickle_machine;

/* "FILE: its pickle is not valid at byte N: REASON". */
LK_MUST_CHECK lk_status lk_pickle_fail(const lk_pickle_machine *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Makes a value and pushes it; *out (may be NULL) is valid until the next value is made. */
LK_MUST_CHECK lk_status lk_pickle_push_new(lk_pickle_machine *m, lk_pickle_kind kind, lk_pickle_value **out);
LK_MUST_CHECK lk_status lk_pickle_push(lk_pickle_machine *m, int32_t value);
/* Errors: an empty stack, or a MARK where a value is needed. */
LK_MUST_CHECK lk_status lk_pickle_pop(lk_pickle_machine *m, int32_t *out);
/* The value on top, which stays. */
LK_MUST_CHECK lk_status lk_pickle_top(lk_pickle_machine *m, int32_t *out);
/* Depth of the topmost MARK on the stack. */
LK_MUST_CHECK lk_status lk_pickle_find_mark(const lk_pickle_machine *m, size_t *out);
/* Appends to a tuple, list or dictionary (key -1 but for a dictionary). */
LK_MUST_CHECK lk_status lk_pickle_append(lk_pickle_machine *m, int32_t to, int32_t key, int32_t value);

LK_MUST_CHECK lk_status lk_pickle_memoize(lk_pickle_machine *m, uint64_t index);
LK_MUST_CHECK lk_status lk_pickle_recall(lk_pickle_machine *m, uint64_t index);

/* pickle_opcodes.c: runs the opcode at m->at. */
LK_MUST_CHECK lk_status lk_pickle_step(lk_pickle_machine *m);
/* pickle_names.c: pushes the global called MODULE NAME; REDUCE; BUILD. */
LK_MUST_CHECK lk_status lk_pickle_push_global(lk_pickle_machine *m, const char *module, size_t module_length,
                                              const char *name, size_t name_length);
LK_MUST_CHECK lk_status lk_pickle_reduce(lk_pickle_machine *m);
LK_MUST_CHECK lk_status lk_pickle_build(lk_pickle_machine *m);

#endif
