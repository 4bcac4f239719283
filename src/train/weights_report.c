/* What was loaded, for people; and what the weights were made for. */
#include <string.h>

#include "core/memory.h"
#include "train/weights.h"

lk_status lk_weights_summary(char **text, const lk_weights *w, lk_error *err) {
    char fresh[160] = "", missing[64] = "", prefix[128] = "", key[64] = "";
    if (w->fresh > 0 && w->file_classes > 0)
        snprintf(fresh, sizeof fresh, "; classifier of %lld classes replaced (%d tensors start fresh)",
                 (long long)w->file_classes, w->fresh);
    else if (w->fresh > 0)
        snprintf(fresh, sizeof fresh, "; no classifier in the file (%d tensors start fresh)", w->fresh);
    if (w->missing > 0) snprintf(missing, sizeof missing, "; %d missing, which start fresh", w->missing);
    if (w->prefix[0] != '\0') snprintf(prefix, sizeof prefix, ", prefix '%s' removed", w->prefix);
    if (w->source.torch != NULL && lk_torch_file_key(w->source.torch)[0] != '\0')
        snprintf(key, sizeof key, ", under '%s'", lk_torch_file_key(w->source.torch));
    return lk_format(text, err, "%s: %d of %d tensors of %s loaded (names: %s%s%s)%s%s; %d of the file not used",
                     w->source.path, w->loaded, w->tensor_count, w->architecture, w->naming, prefix, key, fresh,
                     missing, w->unused);
}

void lk_weights_list(const lk_weights *w, FILE *out) {
    for (int i = 0; i < w->tensor_count; i++) {
        const char *own = w->tensors[i].name;
        switch (w->fates[i].fate) {
            case LK_WEIGHTS_LOADED:
                fprintf(out, "loaded   %s <- %s\n", own, lk_model_source_get(&w->source, w->fates[i].source).name);
                break;
            case LK_WEIGHTS_FRESH: fprintf(out, "fresh    %s (classifier for other classes)\n", own); break;
            case LK_WEIGHTS_MISSING: fprintf(out, "missing  %s\n", own); break;
        }
    }
    for (int i = 0; i < lk_model_source_count(&w->source); i++)
        if (!w->used[i]) fprintf(out, "unused   %s\n", lk_model_source_get(&w->source, i).name);
}

int64_t lk_weights_resize_size(int64_t resize_size, int64_t size, int64_t other_size) {
    return resize_size * other_size / size;
}

static void take_published(lk_preprocess *out, const lk_model_weights *published) {
    *out = (lk_preprocess){.channels = 3,
                           .height = (int32_t)published->size,
                           .width = (int32_t)published->size,
                           .resize = LK_RESIZE_SHORT_SIDE,
                           .resize_size = (int32_t)lk_model_resize_size(published, published->size),
                           .interpolation = published->bicubic ? LK_BICUBIC : LK_BILINEAR};
    memcpy(out->mean, published->mean, sizeof published->mean);
    memcpy(out->std, published->std, sizeof published->std);
}

lk_status lk_weights_preprocess(lk_preprocess *out, bool *known, const char *path, const char *architecture,
                                lk_error *err) {
    lk_model_source source;
    lk_meta meta = {0};
    lk_status status = LK_OK;
    const lk_model_entry *entry = lk_model_find(architecture);
    *known = false;
    LK_TRY(lk_model_source_open(&source, path, err));
    const char *text = lk_model_source_text(&source, "meta");
    if (text != NULL && strstr(text, "lockstep-meta") != NULL) {
        LK_TRY(lk_meta_parse(&meta, text, path, err));
        *out = meta.preprocess;
        *known = true;
    } else if (entry != NULL && entry->weights.name != NULL) {
        take_published(out, &entry->weights);
        *known = true;
    }
out:
    lk_model_source_close(&source);
    lk_meta_free(&meta);
    return status;
}
