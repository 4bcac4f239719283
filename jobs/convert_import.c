#include "core/memory.h"
#include "jobs/convert.h"
#include "train/weights_import.h"

const char *const lk_convert_interpolations[] = {"published", "bilinear", "bicubic", NULL};

static lk_status take_numbers(lk_preprocess *p, const lk_convert_import *given, lk_error *err) {
    bool valid = given->mean_count == p->channels && given->std_count == p->channels;
    for (int c = 0; valid && c < p->channels; c++) {
        p->mean[c] = (float)given->mean[c];
        p->std[c] = (float)given->std[c];
        valid = p->std[c] > 0;
    }
    return valid ? LK_OK
                 : lk_fail(err, LK_ERR_USAGE, "--mean and --std take %d numbers each, std above 0", p->channels);
}

/* The published preparation of pixels with what the options change. */
static lk_status find_preprocess(lk_preprocess *p, const char *path, const lk_convert_import *given, lk_error *err) {
    bool known, numbers = false;
    for (int c = 0; c < given->std_count; c++) numbers = numbers || given->std[c] != 0;
    LK_RETURN_IF(lk_weights_preprocess(p, &known, path, given->model, err));
    if (!known && (given->size == 0 || !numbers))
        return lk_fail(err, LK_ERR_USAGE,
                       "%s has no published weights that tell how pixels are prepared: give --size, --mean and --std",
                       given->model);
    if (!known) *p = (lk_preprocess){.channels = given->std_count == 1 ? 1 : 3, .resize = LK_RESIZE_SHORT_SIDE};
    if (numbers) LK_RETURN_IF(take_numbers(p, given, err));
    if (given->size != 0) {
        bool published = known && p->resize == LK_RESIZE_SHORT_SIDE;
        p->resize_size =
            (int32_t)lk_weights_resize_size(published ? p->resize_size : 256, published ? p->height : 224, given->size);
        p->height = p->width = (int32_t)given->size;
    }
    if (given->resize_size != 0) p->resize_size = (int32_t)given->resize_size;
    if (p->resize == LK_RESIZE_SHORT_SIDE && p->resize_size < p->height)
        return lk_fail(err, LK_ERR_USAGE, "--resize-size is %d, smaller than the input of %d pixels", p->resize_size,
                       p->height);
    if (given->interpolation != 0) p->interpolation = given->interpolation == 1 ? LK_BILINEAR : LK_BICUBIC;
    return LK_OK;
}

lk_status lk_convert_import_read(lk_model_file *out, char **summary, const char *path, const lk_convert_import *given,
                                 lk_error *err) {
    lk_preprocess preprocess;
    char **names = NULL;
    int count = 0;
    LK_RETURN_IF(find_preprocess(&preprocess, path, given, err));
    if (given->classes != NULL) LK_RETURN_IF(lk_class_names_read(&names, &count, given->classes, err));
    lk_import_options options = {
        .architecture = given->model, .preprocess = &preprocess, .class_names = names, .class_count = count};
    lk_status status = lk_weights_import(out, summary, path, &options, err);
    lk_class_names_free(names, count);
    return status;
}
