/* `lockstep convert --model`: weights of other programs; shared by jobs/convert*.c only. */
#ifndef LK_JOBS_CONVERT_H
#define LK_JOBS_CONVERT_H

#include "core/options.h"
#include "train/inference_file.h"

/* The options that say what the weights do not. */
typedef struct lk_convert_import {
    char *model, *classes; /* NULL: not given */
    int64_t size, resize_size;
    int interpolation; /* index of lk_convert_interpolations */
    double mean[LK_OPTION_MAX_LIST], std[LK_OPTION_MAX_LIST];
    int mean_count, std_count;
} lk_convert_import;

extern const char *const lk_convert_interpolations[]; /* "published", "bilinear", "bicubic", NULL */

/* Owner: the caller, *out with lk_model_file_free and *summary with lk_free. Errors: those of lk_weights_import;
 * LK_ERR_USAGE where neither the options nor the model say how pixels are prepared. */
LK_MUST_CHECK lk_status lk_convert_import_read(lk_model_file *out, char **summary, const char *path,
                                               const lk_convert_import *given, lk_error *err);

#endif
