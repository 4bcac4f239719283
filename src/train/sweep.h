/* A sweep file: variants of a job, each to be trained with each of several seeds.
 *
 *     base: base.yaml                      a job file, seen from the sweep file; a variant may name another
 *     set: {epochs: 30}                    keys for all variants
 *     seeds: [1, 2, 3]
 *     variants:
 *       plain: {}
 *       focal: {loss: {cross_entropy: 0, focal: 1}}
 *       small: {base: small.yaml, batch: 32}
 */
#ifndef LK_TRAIN_SWEEP_H
#define LK_TRAIN_SWEEP_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { LK_SWEEP_MAX_RUNS = 256 }; /* what one comparison holds */

typedef struct lk_sweep_variant {
    char *name;       /* a file name: letters, digits, '.', '_', '-', '+', not first a '.' or '-' */
    char *job;        /* path of the job file that it changes */
    char **overrides; /* KEY=VALUE, override_count of them: those of `set`, then its own */
    int override_count;
} lk_sweep_variant;

typedef struct lk_sweep {
    lk_sweep_variant *variants;
    int variant_count;
    int64_t *seeds;
    int seed_count;
} lk_sweep;

/* Every key and value is checked as in a job file; what keys cannot tell alone is not (lk_job_read does that). Owner:
 * the caller, with lk_sweep_free, which frees the content, not the struct. Errors: LK_ERR_IO; LK_ERR_CONFIG with path
 * and line; LK_ERR_MEMORY. Not Collective. */
LK_MUST_CHECK lk_status lk_sweep_read(lk_sweep *out, const char *path, lk_error *err);
/* The same from text, called `where` in messages. */
LK_MUST_CHECK lk_status lk_sweep_parse(lk_sweep *out, const char *text, size_t size, const char *where, lk_error *err);
void lk_sweep_free(lk_sweep *sweep);

#endif
