#include "train/weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "train/weights_names.h"

#define MIN_SHARE 0.9 /* of the model's names that a file must have */
#define NAME_SIZE 300

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

/* The counters of batches steer nothing here, and older files lack them. */
static bool is_counter(const char *name) { return ends_with(name, "num_batches_tracked"); }

/* Files of other programs may have a text "meta" of their own. */
static lk_status read_meta(lk_weights *w, lk_error *err) {
    const char *text = lk_model_source_text(&w->source, "meta");
    if (text == NULL || strstr(text, "lockstep-meta") == NULL) return LK_OK;
    return lk_meta_parse(&w->meta, text, w->source.path, err);
}

/* Names of the file in order, for finding them. */
typedef struct name_index {
    const char *name;
    int place;
} name_index;

static int compare_index(const void *a, const void *b) {
    return strcmp(((const name_index *)a)->name, ((const name_index *)b)->name);
}

/* Names reach terminals and lists of one line a name. */
static bool has_controls(const char *name) {
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f) return true;
    return false;
}

static lk_status list_names(name_index **out, const lk_model_source *source, lk_error *err) {
    int count = lk_model_source_count(source);
    LK_RETURN_IF(LK_NEW(out, count, "names of tensors", err));
    for (int i = 0; i < count; i++) {
        (*out)[i] = (name_index){lk_model_source_get(source, i).name, i};
        if (has_controls((*out)[i].name))
            return lk_fail(err, LK_ERR_DATA, "%s: the name of its tensor %d holds control characters", source->path, i);
    }
    qsort(*out, (size_t)count, sizeof **out, compare_index);
    return LK_OK;
}

static int find_name(const name_index *names, int count, const char *name) {
    name_index wanted = {name, 0}, *found;
    if (count == 0) return -1;
    found = bsearch(&wanted, names, (size_t)count, sizeof *names, compare_index);
    return found == NULL ? -1 : found->place;
}

/* Wrappers put their name before all others; sorted names all have a prefix when the first and the last have it. */
static void find_prefix(char *prefix, size_t size, const name_index *names, int count) {
    static const char *const wrappers[] = {"module.", "_orig_mod.", "model."};
    prefix[0] = '\0';
    for (bool found = count > 0; found;) {
        found = false;
        for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
            char longer[96];
            int length = snprintf(longer, sizeof longer, "%s%s", prefix, wrappers[i]);
            if ((size_t)length >= size || strncmp(names[0].name, longer, (size_t)length) != 0 ||
                strncmp(names[count - 1].name, longer, (size_t)length) != 0)
                continue;
            memcpy(prefix, longer, (size_t)length + 1);
            found = true;
        }
    }
}

/* Place in the file of a tensor of the model, or -1. */
static int find_tensor(const lk_weights *w, int naming, const lk_naming_context *context, const name_index *names,
                       int count, const char *own) {
    char name[NAME_SIZE];
    size_t used = strlen(w->prefix);
    memcpy(name, w->prefix, used);
    return lk_naming_translate(naming, context, own, name + used, sizeof name - used) ? find_name(names, count, name)
                                                                                      : -1;
}

/* Takes the naming under which most tensors are found. */
static lk_status match_names(lk_weights *w, const name_index *names, lk_error *err) {
    lk_naming_context context;
    int count = lk_model_source_count(&w->source), best = 0, most = -1;
    lk_status status = lk_naming_context_create(&context, w->tensors, w->tensor_count, err);
    find_prefix(w->prefix, sizeof w->prefix, names, count);
    for (int naming = 0; status == LK_OK && naming < lk_naming_count(); naming++) {
        int found = 0;
        for (int i = 0; i < w->tensor_count; i++)
            found += find_tensor(w, naming, &context, names, count, w->tensors[i].name) >= 0;
        if (found > most) best = naming;
        if (found > most) most = found;
    }
    for (int i = 0; status == LK_OK && i < w->tensor_count; i++) {
        int place = find_tensor(w, best, &context, names, count, w->tensors[i].name);
        w->fates[i] = (lk_weights_tensor){place < 0 ? LK_WEIGHTS_MISSING : LK_WEIGHTS_LOADED, place, 0};
        if (place >= 0) w->used[place] = true;
    }
    w->naming = best;
    lk_free(context.blocks);
    return status;
}

/* A linear layer is as good as a 1 x 1 convolution. */
static bool same_shape(const lk_shape *a, const lk_shape *b) {
    const lk_shape *longer = a->rank > b->rank ? a : b, *shorter = a->rank > b->rank ? b : a;
    for (int d = 0; d < longer->rank; d++)
        if (longer->dims[d] != (d < shorter->rank ? shorter->dims[d] : 1)) return false;
    return true;
}

static bool same_classes(const lk_weights *w, char *const *names, int64_t classes) {
    if (names == NULL || w->meta.class_names == NULL) return true;
    for (int i = 0; i < classes; i++)
        if (i >= w->meta.class_count || strcmp(names[i], w->meta.class_names[i]) != 0) return false;
    return true;
}

static lk_status check_shape(const lk_weights *w, int i, lk_error *err) {
    const lk_named_tensor *own = &w->tensors[i];
    lk_named_tensor theirs = lk_model_source_get(&w->source, w->fates[i].source);
    lk_dtype dtype = theirs.tensor.dtype;
    char has[96], needs[96];
    if (!same_shape(&theirs.tensor.shape, &own->tensor.shape))
        return lk_fail(err, LK_ERR_DATA, "%s: tensor '%.100s' is %s, but '%.100s' of %s is %s", w->source.path,
                       theirs.name, lk_shape_print(&theirs.tensor.shape, has, sizeof has), own->name, w->architecture,
                       lk_shape_print(&own->tensor.shape, needs, sizeof needs));
    if (dtype == LK_F32 || dtype == LK_F64 || dtype == LK_F16 || dtype == LK_BF16) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s: tensor '%.100s' has type %s and must be one of floating point",
                   w->source.path, theirs.name, lk_dtype_name(dtype));
}

/* 1 / sqrt(variance + eps) stays what it was when the difference of two eps goes into the variance. */
static void shift_variance(lk_weights *w, const lk_node *node, double eps) {
    double shift = eps - node->op.batchnorm.eps;
    size_t length = strlen(node->name);
    if (shift < -1e-12) w->other_eps = true;
    if (shift < 1e-12) return;
    for (int i = 0; i < w->tensor_count; i++)
        if (strncmp(w->tensors[i].name, node->name, length) == 0 &&
            strcmp(w->tensors[i].name + length, ".running_var") == 0)
            w->fates[i].shift = shift;
}

static void compare_habits(lk_weights *w, const lk_graph *graph) {
    lk_naming_habits theirs = lk_naming_get_habits(w->naming);
    bool same = false, strided = false;
    for (int i = 0; i < graph->count; i++) {
        const lk_node *node = &graph->nodes[i];
        if (node->op.kind == LK_OP_BATCHNORM && theirs.eps > 0) shift_variance(w, node, theirs.eps);
        if (node->op.kind != LK_OP_CONV2D || node->op.conv.stride == 1 || node->op.conv.kernel_h == 1) continue;
        strided = true;
        same = same || node->op.conv.pad_less_top > 0 || node->op.conv.pad_less_left > 0;
    }
    w->other_padding = theirs.same && strided && !same;
}

static bool is_classifier(const lk_graph *graph, const char *name) {
    const char *layer = graph->nodes[graph->logits].name;
    size_t length = strlen(layer);
    return strncmp(name, layer, length) == 0 && name[length] == '.' && strchr(name + length + 1, '.') == NULL;
}

/* The classifier is replaced as a whole. */
static void replace_classifier(lk_weights *w, const lk_graph *graph, char *const *class_names) {
    bool replace = !same_classes(w, class_names, graph->classes);
    for (int i = 0; i < w->tensor_count; i++) {
        if (!is_classifier(graph, w->tensors[i].name)) continue;
        if (w->fates[i].fate == LK_WEIGHTS_MISSING) {
            replace = true;
            continue;
        }
        lk_named_tensor theirs = lk_model_source_get(&w->source, w->fates[i].source);
        if (theirs.tensor.shape.rank == 0) continue;
        w->file_classes = theirs.tensor.shape.dims[0];
        replace = replace || (class_names != NULL && w->file_classes != graph->classes);
    }
    for (int i = 0; i < w->tensor_count && replace; i++)
        if (is_classifier(graph, w->tensors[i].name)) w->fates[i].fate = LK_WEIGHTS_FRESH;
}

static lk_status check_shapes(const lk_weights *w, lk_error *err) {
    for (int i = 0; i < w->tensor_count; i++)
        if (w->fates[i].fate == LK_WEIGHTS_LOADED) LK_RETURN_IF(check_shape(w, i, err));
    return LK_OK;
}

static const char *first_unused(const lk_weights *w) {
    for (int i = 0; i < lk_model_source_count(&w->source); i++) {
        const char *name = lk_model_source_get(&w->source, i).name;
        if (!w->used[i] && !is_counter(name)) return name;
    }
    return "";
}

/* Counts, and refuses a file that is for another model: one that lacks many tensors, or has many more. */
static lk_status count_fates(lk_weights *w, lk_error *err) {
    int counts[3] = {0}, first = -1;
    for (int i = 0; i < w->tensor_count; i++) {
        counts[w->fates[i].fate]++;
        if (first < 0 && w->fates[i].fate == LK_WEIGHTS_MISSING) first = i;
    }
    w->loaded = counts[LK_WEIGHTS_LOADED];
    w->fresh = counts[LK_WEIGHTS_FRESH];
    w->missing = counts[LK_WEIGHTS_MISSING];
    for (int i = 0; i < lk_model_source_count(&w->source); i++)
        w->unused += !w->used[i] && !is_counter(lk_model_source_get(&w->source, i).name);
    int named = w->loaded + w->missing, held = w->loaded + w->unused;
    if ((double)w->loaded >= MIN_SHARE * (double)named && (double)w->loaded >= MIN_SHARE * (double)held) return LK_OK;
    if ((double)w->loaded >= MIN_SHARE * (double)named)
        return lk_fail(err, LK_ERR_DATA,
                       "%s has %d tensors and only %d of them are in %s, fewer than 90%%; the first that is not is "
                       "'%.100s': is it of another model?",
                       w->source.path, held, w->loaded, w->architecture, first_unused(w));
    return lk_fail(
        err, LK_ERR_DATA,
        "%s has %d of the %d tensors of %s (names as %s), fewer than 90%%; the first it lacks is '%s': is it "
        "of another model? 'lockstep inspect' lists its tensors",
        w->source.path, w->loaded, named, w->architecture, lk_naming_name(w->naming), w->tensors[first].name);
}

/* The model's tensors without the counters. */
static lk_status list_own(lk_weights *w, const lk_graph *graph, lk_error *err) {
    LK_RETURN_IF(lk_state_dict_list(&w->tensors, &w->tensor_count, graph, err));
    int kept = 0;
    for (int i = 0; i < w->tensor_count; i++) {
        if (is_counter(w->tensors[i].name))
            lk_free((char *)w->tensors[i].name);
        else
            w->tensors[kept++] = w->tensors[i];
    }
    w->tensor_count = kept;
    return LK_NEW(&w->fates, kept, "the tensors of a model", err);
}

lk_status lk_weights_match(lk_weights *w, const char *path, const char *architecture, const lk_graph *graph,
                           char *const *class_names, lk_error *err) {
    name_index *names = NULL;
    lk_status status = LK_OK;
    *w = (lk_weights){0};
    LK_TRY(lk_strdup(&w->architecture, architecture, err));
    LK_TRY(lk_model_source_open(&w->source, path, err));
    LK_TRY(read_meta(w, err));
    LK_TRY(list_own(w, graph, err));
    LK_TRY(LK_NEW(&w->used, lk_model_source_count(&w->source), "the tensors of a file", err));
    LK_TRY(list_names(&names, &w->source, err));
    LK_TRY(match_names(w, names, err));
    compare_habits(w, graph);
    replace_classifier(w, graph, class_names);
    LK_TRY(count_fates(w, err));
out:
    lk_free(names);
    if (status != LK_OK) lk_weights_close(w);
    return status;
}

lk_status lk_weights_open(lk_weights *w, const char *path, const char *architecture, const lk_graph *graph,
                          char *const *class_names, lk_error *err) {
    LK_RETURN_IF(lk_weights_match(w, path, architecture, graph, class_names, err));
    lk_status status = check_shapes(w, err);
    if (status != LK_OK) lk_weights_close(w);
    return status;
}

void lk_weights_close(lk_weights *w) {
    lk_model_source_close(&w->source);
    lk_meta_free(&w->meta);
    lk_free(w->architecture);
    lk_state_dict_free(w->tensors, w->tensor_count);
    lk_free(w->fates);
    lk_free(w->used);
    *w = (lk_weights){0};
}

lk_status lk_weights_read(const lk_weights *w, int i, float *into, lk_error *err) {
    lk_named_tensor theirs = lk_model_source_get(&w->source, w->fates[i].source);
    lk_tensor wanted = {LK_F32, theirs.tensor.shape, into}; /* the file's own, which has as many elements */
    LK_RETURN_IF(lk_model_source_read(&w->source, theirs.name, &wanted, err));
    int64_t count = w->fates[i].shift == 0 ? 0 : lk_shape_count(&wanted.shape);
    for (int64_t k = 0; k < count; k++) into[k] = (float)((double)into[k] + w->fates[i].shift);
    return LK_OK;
}
