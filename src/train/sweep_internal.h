/* Reading a sweep file; shared by src/train/sweep*.c only. */
#ifndef LK_TRAIN_SWEEP_INTERNAL_H
#define LK_TRAIN_SWEEP_INTERNAL_H

#include <yaml.h>

#include "train/job_internal.h"
#include "train/sweep.h"

typedef struct lk_sweep_reader {
    const char *where;
    yaml_document_t document;
    bool has_document, has_probe;
    bool *met;    /* nodes that were visited: a second visit is an alias */
    lk_job probe; /* takes the values to check them */
    lk_error *err;
} lk_sweep_reader;

/* A text of one document. Errors: LK_ERR_CONFIG for what is no YAML or too large; LK_ERR_MEMORY. lk_sweep_close always
 * follows. */
LK_MUST_CHECK lk_status lk_sweep_open(lk_sweep_reader *r, const char *text, size_t size);
void lk_sweep_close(lk_sweep_reader *r);

/* "WHERE line N: ...". node gives the line. */
LK_MUST_CHECK lk_status lk_sweep_fail(lk_sweep_reader *r, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Node by number, once. Borrowed. Errors: LK_ERR_CONFIG for an alias or a tag. */
LK_MUST_CHECK lk_status lk_sweep_node(lk_sweep_reader *r, int index, const yaml_node_t **out);
/* Text of a scalar. Borrowed. Errors: LK_ERR_CONFIG for what is none, naming `what`. */
LK_MUST_CHECK lk_status lk_sweep_text(lk_sweep_reader *r, const yaml_node_t *node, const char *what, const char **out);
/* The name of a job file. Borrowed. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_sweep_base(lk_sweep_reader *r, const yaml_node_t *node, const char **out);
/* Nothing behind the colon. */
bool lk_sweep_is_null(const yaml_node_t *node);
/* Is this a value of that key of a job? Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_sweep_check_value(lk_sweep_reader *r, const yaml_node_t *node, const char *key,
                                             const char *value);
/* Appends the keys of a mapping, nested as in a job file, to the variant's overrides. node: NULL for none. *base: what
 * its key `base` says, borrowed; base NULL: that key is refused. */
LK_MUST_CHECK lk_status lk_sweep_changes(lk_sweep_reader *r, lk_sweep_variant *variant, const yaml_node_t *node,
                                         const char **base);

#endif
