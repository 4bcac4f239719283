/* What is in a data set, for people and for scripts. */
#ifndef LK_IO_DATA_DESCRIBE_H
#define LK_IO_DATA_DESCRIBE_H

#include <stdio.h>

#include "io/data/dataset.h"

/* Is this file a data set by its format attribute? For `lockstep inspect`, which takes any file. false also when it
 * cannot be read. */
bool lk_dataset_is(const char *path);

/* Prints samples by split, class and encoding, image sizes, groups, the stored rule and the hash; json: one object.
 * Errors: LK_ERR_MEMORY; LK_ERR_IO when `out` cannot be written. */
LK_MUST_CHECK lk_status lk_dataset_print(const lk_dataset *dataset, FILE *out, bool json, lk_error *err);

#endif
