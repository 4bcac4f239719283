/* A confusion matrix as a picture, for TensorBoard. */
#ifndef LK_TRAIN_CONFUSION_IMAGE_H
#define LK_TRAIN_CONFUSION_IMAGE_H

#include "io/image/image.h"

enum { LK_CONFUSION_CLASSES = 1000 }; /* at most; more would not be seen */

/* Rows: true classes, columns: predictions; the colour of a cell is its share of the row, white to blue. Counts stand
 * in the cells and class names beside them where there is room (up to 40 classes; letters that are no ASCII are '?').
 * confusion: K x K, row-major. Owner of the pixels: the caller, with lk_image_free. Errors: LK_ERR_CONFIG for more
 * than LK_CONFUSION_CLASSES; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_confusion_draw(lk_image *out, const int64_t *confusion, const char *const *class_names,
                                          int classes, lk_error *err);

#endif
