#include "train/weights_import.h"

#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "train/inference.h"

#define GOLDEN 2 /* images */

static lk_status build(lk_graph **out, const char *architecture, const lk_preprocess *p, int channels, int64_t classes,
                       lk_error *err) {
    const lk_model_entry *entry = lk_model_find(architecture);
    lk_model_spec spec = {.channels = channels, .classes = classes, .std = {1, 1, 1}};
    spec.h = spec.w = entry == NULL ? 224 : entry->native_size;
    if (p != NULL) {
        spec.channels = p->channels;
        spec.h = p->height;
        spec.w = p->width;
        memcpy(spec.mean, p->mean, sizeof spec.mean);
        memcpy(spec.std, p->std, sizeof spec.std);
    }
    return lk_model_build(out, architecture, &spec, err);
}

/* With two classes of no name the classifier never fits, which tells how many it has. */
static lk_status open_nameless(lk_weights *out, const char *path, const char *architecture,
                               const lk_preprocess *preprocess, lk_error *err) {
    char nameless[] = "";
    char *const names[] = {nameless, nameless};
    lk_graph *graph = NULL;
    LK_RETURN_IF(build(&graph, architecture, preprocess, 3, 2, err));
    lk_status status = lk_weights_match(out, path, architecture, graph, names, err);
    lk_graph_free(graph);
    return status;
}

/* Channels that the file's first convolution takes: the first tensor of a model is its weight. */
static int count_channels(const lk_weights *w) {
    if (w->tensor_count == 0 || w->fates[0].fate != LK_WEIGHTS_LOADED) return 3;
    lk_named_tensor first = lk_model_source_get(&w->source, w->fates[0].source);
    return first.tensor.shape.rank == 4 && first.tensor.shape.dims[1] == 1 ? 1 : 3;
}

lk_status lk_weights_graph(lk_graph **out, const char *path, const char *architecture, const lk_preprocess *preprocess,
                           lk_error *err) {
    lk_weights weights;
    *out = NULL;
    LK_RETURN_IF(open_nameless(&weights, path, architecture, preprocess, err));
    int64_t classes = weights.file_classes;
    int channels = count_channels(&weights);
    lk_weights_close(&weights);
    if (classes < 2)
        return lk_fail(err, LK_ERR_DATA,
                       "%s has no classifier for %s, so it is no whole model; it can be the 'init' of a job", path,
                       architecture);
    return build(out, architecture, preprocess, channels, classes, err);
}

lk_status lk_weights_preprocess(lk_preprocess *out, bool *known, const char *path, const char *architecture,
                                lk_error *err) {
    lk_weights weights;
    LK_RETURN_IF(open_nameless(&weights, path, architecture, NULL, err));
    *known = weights.meta.architecture != NULL || lk_weights_published(out, weights.naming, architecture);
    if (weights.meta.architecture != NULL) *out = weights.meta.preprocess;
    lk_weights_close(&weights);
    return LK_OK;
}

static lk_status read_tensors(lk_model_file *file, const lk_weights *w, lk_error *err) {
    LK_RETURN_IF(lk_state_dict_list(&file->tensors, &file->tensor_count, file->graph, err));
    int own = 0; /* both lists are in the graph's order; that of the weights has no counters */
    for (int i = 0; i < file->tensor_count; i++) {
        lk_tensor *t = &file->tensors[i].tensor;
        LK_RETURN_IF(lk_alloc(&t->data, (size_t)lk_shape_count(&t->shape), lk_dtype_size(t->dtype),
                              "the tensors of a model", err));
        if (t->dtype == LK_I64) continue;
        if (w->fates[own].fate != LK_WEIGHTS_LOADED)
            return lk_fail(err, LK_ERR_DATA, "%s has no tensor '%s', which %s needs", w->source.path,
                           file->tensors[i].name, w->architecture);
        LK_RETURN_IF(lk_weights_read(w, own++, t->data, err));
    }
    return LK_OK;
}

static lk_status name_classes(lk_meta *meta, const lk_import_options *options, int64_t classes, const char *path,
                              lk_error *err) {
    if (options->class_count > 0 && options->class_count != classes)
        return lk_fail(err, LK_ERR_DATA, "%d class names were given and the classifier in %s has %lld classes",
                       options->class_count, path, (long long)classes);
    LK_RETURN_IF(LK_NEW(&meta->class_names, classes, "class names", err));
    for (int64_t i = 0; i < classes; i++) {
        if (options->class_count > 0)
            LK_RETURN_IF(lk_strdup(&meta->class_names[i], options->class_names[i], err));
        else
            LK_RETURN_IF(lk_format(&meta->class_names[i], err, "%lld", (long long)i));
        meta->class_count++;
    }
    return LK_OK;
}

static lk_status describe(lk_model_file *file, const lk_import_options *options, const char *path, lk_error *err) {
    lk_meta *meta = &file->meta;
    meta->preprocess = *options->preprocess;
    LK_RETURN_IF(lk_strdup(&meta->architecture, options->architecture, err));
    LK_RETURN_IF(lk_strdup(&meta->stored_rule, "", err));
    LK_RETURN_IF(lk_strdup(&meta->program, "lockstep " LK_VERSION " (converted)", err));
    LK_RETURN_IF(name_classes(meta, options, file->graph->classes, path, err));
    return lk_meta_write(&file->meta_text, meta, err);
}

/* Waves of different lengths under noise: something at every scale. */
static void draw_images(uint8_t *images, int64_t count, int64_t h, int64_t w, int64_t channels) {
    lk_random_key key = {.purpose = LK_RANDOM_GOLDEN};
    for (int64_t i = 0; i < count * h * w * channels; i++) {
        int64_t c = i % channels, x = i / channels % w, y = i / channels / w % h, n = i / channels / w / h;
        int64_t wave = (x * (2 + n) + y * (3 + c)) % 256;
        if (wave > 127) wave = 255 - wave;
        images[i] = (uint8_t)(wave + (int64_t)lk_random_below(&key, (uint64_t)i, 0, 128));
    }
}

static lk_status make_golden(lk_model_file *file, lk_error *err) {
    const lk_graph *g = file->graph;
    lk_inference *inference = NULL;
    double *logits = NULL;
    lk_status status = LK_OK;
    lk_inference_options options = {.device = "cpu", .batch = GOLDEN, .threads = 1};
    LK_TRY(LK_NEW(&file->golden_images, GOLDEN * g->in_h * g->in_w * g->in_channels, "golden images", err));
    LK_TRY(LK_NEW(&file->golden_logits, GOLDEN * g->classes, "golden logits", err));
    LK_TRY(LK_NEW(&file->golden_samples, GOLDEN, "golden samples", err));
    LK_TRY(LK_NEW(&logits, GOLDEN * g->classes, "golden logits", err));
    draw_images(file->golden_images, GOLDEN, g->in_h, g->in_w, g->in_channels);
    LK_TRY(lk_inference_borrow(&inference, file, &options, err));
    LK_TRY(lk_inference_run(inference, file->golden_images, GOLDEN, logits, err));
    for (int64_t i = 0; i < GOLDEN * g->classes; i++) file->golden_logits[i] = (float)logits[i];
    for (int64_t i = 0; i < GOLDEN; i++) file->golden_samples[i] = -1;
    file->golden_count = GOLDEN;
out:
    lk_inference_free(inference);
    lk_free(logits);
    return status;
}

lk_status lk_weights_import(lk_model_file *out, char **summary, const char *path, const lk_import_options *options,
                            lk_error *err) {
    lk_weights weights = {0};
    lk_status status = LK_OK;
    *out = (lk_model_file){0};
    *summary = NULL;
    LK_TRY(lk_weights_graph(&out->graph, path, options->architecture, options->preprocess, err));
    LK_TRY(lk_weights_open(&weights, path, options->architecture, out->graph, NULL, err));
    out->format = weights.source.format;
    LK_TRY(describe(out, options, path, err));
    LK_TRY(read_tensors(out, &weights, err));
    LK_TRY(make_golden(out, err));
    LK_TRY(lk_weights_summary(summary, &weights, err));
out:
    lk_weights_close(&weights);
    if (status != LK_OK) lk_model_file_free(out);
    return status;
}
