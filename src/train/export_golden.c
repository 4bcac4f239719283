/* Golden samples as text, for the formats whose metadata are texts. */
#include <jansson.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/model/base64.h"
#include "train/export.h"

#define MAX_GOLDEN 4096

static int64_t image_bytes(const lk_model_file *file) {
    return file->golden_count * file->graph->in_h * file->graph->in_w * file->graph->in_channels;
}

lk_status lk_golden_print(char **text, const lk_model_file *file, lk_error *err) {
    *text = NULL;
    if (file->golden_count == 0) return LK_OK;
    lk_status status = LK_OK;
    char *images = NULL, *logits = NULL, *dump = NULL;
    json_t *json = NULL, *samples = json_array();
    LK_TRY(lk_base64_encode(&images, file->golden_images, (size_t)image_bytes(file), err));
    LK_TRY(lk_base64_encode(&logits, file->golden_logits,
                            (size_t)(file->golden_count * file->graph->classes) * sizeof(float), err));
    for (int64_t i = 0; i < file->golden_count; i++)
        json_array_append_new(samples, json_integer(file->golden_samples[i]));
    json = json_pack("{s:I, s:O, s:s, s:s}", "count", (json_int_t)file->golden_count, "samples", samples, "images",
                     images, "logits", logits);
    dump = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    if (dump == NULL)
        status = lk_fail(err, LK_ERR_MEMORY, "cannot write the golden samples as text: out of memory");
    else
        status = lk_strdup(text, dump, err);
out:
    free(dump);
    json_decref(json);
    json_decref(samples);
    lk_free(images);
    lk_free(logits);
    return status;
}

static lk_status parse_object(lk_model_file *file, const json_t *json, const char *where, lk_error *err) {
    const json_t *count = json_object_get(json, "count"), *samples = json_object_get(json, "samples");
    const char *images = json_string_value(json_object_get(json, "images"));
    const char *logits = json_string_value(json_object_get(json, "logits"));
    int64_t n = json_integer_value(count);
    if (!json_is_integer(count) || n < 1 || n > MAX_GOLDEN || images == NULL || logits == NULL ||
        json_array_size(samples) != (size_t)n)
        return lk_fail(err, LK_ERR_DATA, "%s: its golden samples lack a count, pixels, logits or sample numbers",
                       where);
    file->golden_count = n;
    int64_t values = n * file->graph->classes;
    /* The texts that are there bound what is allocated. */
    if (lk_base64_check_size(images, (size_t)image_bytes(file)) && lk_base64_check_size(logits, (size_t)values * 4)) {
        LK_RETURN_IF(LK_NEW(&file->golden_images, image_bytes(file), "golden samples", err));
        LK_RETURN_IF(LK_NEW(&file->golden_logits, values, "golden logits", err));
        LK_RETURN_IF(LK_NEW(&file->golden_samples, n, "golden samples", err));
        for (int64_t i = 0; i < n; i++)
            file->golden_samples[i] = json_integer_value(json_array_get(samples, (size_t)i));
        if (lk_base64_decode(file->golden_images, (size_t)image_bytes(file), images, NULL) == LK_OK &&
            lk_base64_decode(file->golden_logits, (size_t)values * 4, logits, NULL) == LK_OK)
            return LK_OK;
    }
    return lk_fail(err, LK_ERR_DATA, "%s: its golden pixels or logits are not base64 of the size that the model has",
                   where);
}

lk_status lk_golden_parse(lk_model_file *file, const char *text, const char *where, lk_error *err) {
    json_error_t reason;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &reason);
    if (json == NULL) return lk_fail(err, LK_ERR_DATA, "%s: its golden samples do not parse: %s", where, reason.text);
    lk_status status = parse_object(file, json, where, err);
    json_decref(json);
    return status;
}
