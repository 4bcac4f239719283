/* What was loaded, for people. */
#include <string.h>

#include "core/memory.h"
#include "train/weights.h"
#include "train/weights_names.h"

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
    const char *caution =
        w->other_padding ? "; CAUTION: they were trained with TensorFlow's padding, which this model has not, and give "
                           "other logits in it"
        : w->other_eps
            ? "; CAUTION: they were trained with a smaller eps of BatchNorm and give other logits in this model"
            : "";
    return lk_format(text, err, "%s: %d of %d tensors of %s loaded (names: %s%s%s)%s%s; %d of the file not used%s",
                     w->source.path, w->loaded, w->tensor_count, w->architecture, lk_naming_name(w->naming), prefix,
                     key, fresh, missing, w->unused, caution);
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
