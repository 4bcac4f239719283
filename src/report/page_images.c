/* The images that a recipe got wrong, most confident first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/dataset.h"
#include "report/calibration.h"
#include "report/html.h"
#include "report/page_internal.h"
#include "report/picture.h"

typedef struct mistake {
    int64_t sample;
    int label, predicted;
    double confidence;
} mistake;

static int compare_mistakes(const void *a, const void *b) {
    const mistake *x = a, *y = b;
    if (x->confidence != y->confidence) return x->confidence < y->confidence ? 1 : -1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

/* Of one run, sorted. Owner of *out: the caller. */
static lk_status find_mistakes(const lk_prediction_set *set, mistake **out, int64_t *count, lk_error *err) {
    double *probability;
    *count = 0;
    LK_RETURN_IF(LK_NEW(out, set->count, "mistakes", err));
    lk_status status = LK_NEW(&probability, set->classes, "probabilities", err);
    if (status != LK_OK) {
        lk_free(*out);
        return status;
    }
    for (int64_t i = 0; i < set->count; i++) {
        int predicted = lk_softmax(set->logits + i * set->classes, set->classes, probability);
        if (predicted != set->labels[i])
            (*out)[(*count)++] = (mistake){set->samples[i], set->labels[i], predicted, probability[predicted]};
    }
    lk_free(probability);
    qsort(*out, (size_t)*count, sizeof **out, compare_mistakes);
    return LK_OK;
}

/* Pixels of a sample: decoded, or as they are stored. */
static lk_status load_sample(const lk_dataset *dataset, int64_t sample, lk_decoder *decoder, lk_image *image,
                             lk_error *err) {
    const lk_sample_info *info = &dataset->samples[sample];
    uint8_t *bytes;
    LK_RETURN_IF(LK_NEW(&bytes, info->length, "an image", err));
    lk_status status = lk_dataset_read(dataset, sample, bytes, err);
    if (status == LK_OK && info->encoding == LK_ENCODING_RAW) {
        status = lk_image_reserve(image, info->width, info->height, info->channels, err);
        if (status == LK_OK) memcpy(image->pixels, bytes, (size_t)info->length);
    } else if (status == LK_OK) {
        status = lk_image_decode(decoder, image, bytes, (size_t)info->length, 3, LK_PICTURE_SIDE, LK_PICTURE_SIDE, err);
    }
    lk_free(bytes);
    return status;
}

static lk_status write_mistake(FILE *out, const lk_dataset *dataset, const lk_run_record_final *names, const mistake *m,
                               lk_decoder *decoder, lk_image *image, lk_error *err) {
    const char *label = names->classes[m->label].name, *predicted = names->classes[m->predicted].name;
    char alt[256];
    fputs("<figure>", out);
    if (dataset != NULL && m->sample >= 0 && m->sample < dataset->count) {
        snprintf(alt, sizeof alt, "%.100s taken for %.100s", label, predicted);
        LK_RETURN_IF(load_sample(dataset, m->sample, decoder, image, err));
        LK_RETURN_IF(lk_picture_write(out, image, alt, NULL, err));
    }
    fputs("<div><b>", out);
    lk_html_text(out, predicted);
    fprintf(out, "</b> %.0f%%, is <b>", 100 * m->confidence);
    lk_html_text(out, label);
    fputs("</b>", out);
    if (dataset != NULL && m->sample >= 0 && m->sample < dataset->count) {
        fputs("<br><small>", out);
        lk_html_text(out, dataset->sources[m->sample]);
        fputs("</small>", out);
    }
    fputs("</div></figure>\n", out);
    return LK_OK;
}

static lk_status write_recipe(FILE *out, const lk_comparison *c, const lk_recipe *recipe, int most, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    lk_decoder *decoder = NULL;
    lk_image image = {0};
    lk_error problem = {0};
    mistake *mistakes = NULL;
    int64_t count = 0;
    const lk_run_record *run = c->runs[recipe->members[0]];
    const lk_run_record_final *names = lk_comparison_final(c, recipe->members[0]);
    const lk_prediction_set *set = lk_comparison_predictions(c, recipe->members[0]);
    if (names->class_count != set->classes) return LK_OK;
    fputs("<h3>", out);
    lk_html_text(out, run->name);
    fputs("</h3>\n", out);
    if (lk_dataset_open(&dataset, run->job.data, &problem) != LK_OK) {
        fputs("<p class=\"note\">Without pictures: ", out);
        lk_html_text(out, problem.message);
        fputs("</p>\n", out);
    }
    LK_TRY(lk_decoder_create(&decoder, err));
    LK_TRY(find_mistakes(set, &mistakes, &count, err));
    fprintf(out, "<p>%lld of %lld images were wrong; the most confident:</p>\n<div class=\"thumbs\">\n",
            (long long)count, (long long)set->count);
    for (int64_t i = 0; i < count && i < most; i++)
        LK_TRY(write_mistake(out, dataset, names, &mistakes[i], decoder, &image, err));
    fputs("</div>\n", out);
out:
    lk_free(mistakes);
    lk_image_free(&image);
    lk_decoder_free(decoder);
    lk_dataset_free(dataset);
    return status;
}

lk_status lk_page_images(FILE *out, const lk_comparison *c, int count, lk_error *err) {
    fprintf(out, "<h2>Wrong, most confident first (%s)</h2>\n", lk_final_split_name(c->split));
    for (int i = 0; i < c->recipe_count; i++)
        if (c->recipes[i].predicted > 0) LK_RETURN_IF(write_recipe(out, c, &c->recipes[i], count, err));
    return LK_OK;
}
