#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/model/torch_internal.h"

#define MAX_NAME 255

static const lk_pickle_value *value_of(const lk_pickle *p, int32_t v) { return v < 0 ? NULL : &p->values[v]; }

static bool read_int(const lk_pickle *p, int32_t v, int64_t *out) {
    const lk_pickle_value *value = value_of(p, v);
    if (value == NULL || value->kind != LK_PICKLE_INT) return false;
    *out = value->integer;
    return true;
}

static bool read_global(const lk_pickle *p, int32_t v, lk_pickle_global *out) {
    const lk_pickle_value *value = value_of(p, v);
    if (value == NULL || value->kind != LK_PICKLE_GLOBAL) return false;
    *out = (lk_pickle_global)value->integer;
    return true;
}

static bool storage_dtype(lk_pickle_global global, lk_dtype *out) {
    switch (global) {
        case LK_GLOBAL_FLOAT_STORAGE: *out = LK_F32; return true;
        case LK_GLOBAL_DOUBLE_STORAGE: *out = LK_F64; return true;
        case LK_GLOBAL_HALF_STORAGE: *out = LK_F16; return true;
        case LK_GLOBAL_BFLOAT16_STORAGE: *out = LK_BF16; return true;
        case LK_GLOBAL_LONG_STORAGE: *out = LK_I64; return true;
        case LK_GLOBAL_INT_STORAGE: *out = LK_I32; return true;
        case LK_GLOBAL_BYTE_STORAGE: *out = LK_U8; return true;
        default: return false;
    }
}

/* Printable ASCII without blanks, so that a name can stand in a message, a file or a terminal. */
static bool is_plain(const lk_pickle_value *text) {
    if (text == NULL || text->kind != LK_PICKLE_TEXT || text->length < 1 || text->length > MAX_NAME) return false;
    for (uint32_t i = 0; i < text->length; i++)
        if (text->text[i] <= 0x20 || text->text[i] > 0x7e) return false;
    return true;
}

/* ('storage', torch.FloatStorage, 'key', 'cpu', elements[, None]): the last is of the older form. */
static lk_status read_storage(lk_torch_storage *out, const lk_pickle *p, int32_t id, const char *path, lk_error *err) {
    const lk_pickle_value *key = value_of(p, lk_pickle_member(p, id, 2)), *view;
    lk_pickle_global type;
    bool valid = lk_pickle_is_text(p, lk_pickle_member(p, id, 0), "storage") &&
                 read_global(p, lk_pickle_member(p, id, 1), &type) && storage_dtype(type, &out->dtype) &&
                 is_plain(key) && read_int(p, lk_pickle_member(p, id, 4), &out->count);
    if (!valid || out->count < 0 || out->count > INT64_MAX / 16)
        return lk_fail(
            err, LK_ERR_DATA,
            "%s: its pickle names a storage in a way that is not PyTorch's, or of a type other than float16, "
            "bfloat16, float32, float64, int32, int64 and uint8",
            path);
    view = value_of(p, lk_pickle_member(p, id, 5));
    if (view != NULL && view->kind != LK_PICKLE_NONE)
        return lk_fail(err, LK_ERR_DATA,
                       "%s: a storage in it is a view of another, as very old PyTorch wrote it; load and save it again "
                       "with a newer PyTorch",
                       path);
    LK_RETURN_IF(LK_NEW(&out->key, key->length + 1, "the name of a storage", err));
    memcpy(out->key, key->text, key->length);
    return LK_OK;
}

static int compare_storages(const void *a, const void *b) {
    return strcmp(((const lk_torch_storage *)a)->key, ((const lk_torch_storage *)b)->key);
}

const lk_torch_storage *lk_torch_find_storage(const lk_torch_storage *storages, int count, const char *key,
                                              size_t key_length) {
    char text[MAX_NAME + 1] = "";
    if (key_length > MAX_NAME) return NULL;
    memcpy(text, key, key_length);
    lk_torch_storage wanted = {.key = text};
    return count == 0 ? NULL : bsearch(&wanted, storages, (size_t)count, sizeof *storages, compare_storages);
}

/* A storage that several tensors view is named once for each. */
static lk_status remove_repeats(lk_torch_storage *storages, int *count, const char *path, lk_error *err) {
    int kept = 0;
    lk_status status = LK_OK;
    qsort(storages, (size_t)*count, sizeof *storages, compare_storages);
    for (int i = 0; i < *count; i++) {
        lk_torch_storage *last = kept > 0 ? &storages[kept - 1] : NULL;
        if (last == NULL || strcmp(last->key, storages[i].key) != 0) {
            lk_torch_storage moved = storages[i];
            storages[i].key = NULL;
            storages[kept++] = moved;
            continue;
        }
        if (status == LK_OK && (last->dtype != storages[i].dtype || last->count != storages[i].count))
            status = lk_fail(err, LK_ERR_DATA, "%s: storage '%s' is given two types or sizes", path, last->key);
        lk_free(storages[i].key);
        storages[i].key = NULL;
    }
    *count = kept;
    return status;
}

lk_status lk_torch_list_storages(lk_torch_storage **out, int *count, const lk_pickle *p, const char *path,
                                 lk_error *err) {
    size_t capacity = 0;
    *out = NULL;
    *count = 0;
    for (size_t v = 0; v < p->value_count; v++) {
        if (p->values[v].kind != LK_PICKLE_PERSISTENT) continue;
        if (*count == LK_TORCH_MAX_STORAGES) return lk_fail(err, LK_ERR_DATA, "%s names too many storages", path);
        LK_RETURN_IF(lk_grow((void **)out, &capacity, (size_t)*count + 1, sizeof **out, "the storages of a file", err));
        LK_RETURN_IF(read_storage(&(*out)[*count], p, p->values[v].head, path, err));
        ++*count;
    }
    return *count == 0 ? LK_OK : remove_repeats(*out, count, path, err);
}

static lk_status fail_view(const lk_torch_view *view, const char *path, const char *reason, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s: tensor '%s' %s", path, view->tensor.name, reason);
}

static bool read_dims(const lk_pickle *p, int32_t v, int *rank, int64_t dims[LK_MAX_DIMS]) {
    const lk_pickle_value *tuple = value_of(p, v);
    if (tuple == NULL || tuple->kind != LK_PICKLE_TUPLE || tuple->count > LK_MAX_DIMS) return false;
    *rank = tuple->count;
    for (int d = 0; d < *rank; d++)
        if (!read_int(p, lk_pickle_member(p, v, d), &dims[d]) || dims[d] < 0) return false;
    return true;
}

/* No element may lie outside the storage, and none may stand for many (stride 0), which would let a small file ask for
 * any amount of memory. */
static lk_status check_bounds(const lk_torch_view *view, const lk_torch_storage *storage, const char *path,
                              lk_error *err) {
    const lk_shape *shape = &view->tensor.tensor.shape;
    int64_t elements, last = view->offset;
    if (lk_shape_count_checked(&elements, shape, NULL) != LK_OK || elements > storage->count)
        return fail_view(view, path, "has a shape with more elements than its storage", err);
    if (view->offset < 0 || view->offset > storage->count)
        return fail_view(view, path, "begins outside its storage", err);
    for (int d = 0; d < shape->rank && elements > 0; d++) {
        int64_t steps = shape->dims[d] - 1, stride = view->strides[d], reach;
        if (__builtin_mul_overflow(steps, stride, &reach) || __builtin_add_overflow(last, reach, &last))
            return fail_view(view, path, "reaches outside its storage", err);
    }
    if (elements > 0 && last >= storage->count) return fail_view(view, path, "reaches outside its storage", err);
    return LK_OK;
}

/* The arguments of a rebuild function. */
static lk_status read_view(lk_torch_view *view, const lk_pickle *p, int32_t call, const lk_torch_storage *storages,
                           int storage_count, const char *path, lk_error *err) {
    lk_pickle_global global;
    if (read_global(p, p->values[call].head, &global) && global == LK_GLOBAL_REBUILD_PARAMETER) {
        call = lk_pickle_member(p, p->values[call].tail, 0);
        if (call < 0 || p->values[call].kind != LK_PICKLE_CALL)
            return fail_view(view, path, "is a parameter of something other than a tensor", err);
    }
    int32_t arguments = p->values[call].tail;
    const lk_pickle_value *id = value_of(p, lk_pickle_member(p, arguments, 0));
    if (id == NULL || id->kind != LK_PICKLE_PERSISTENT) return fail_view(view, path, "has no storage", err);
    const lk_pickle_value *key = value_of(p, lk_pickle_member(p, id->head, 2)); /* was checked with the storages */
    const lk_torch_storage *storage = lk_torch_find_storage(storages, storage_count, key->text, key->length);
    lk_shape *shape = &view->tensor.tensor.shape;
    int rank;
    if (storage == NULL || !read_int(p, lk_pickle_member(p, arguments, 1), &view->offset) ||
        !read_dims(p, lk_pickle_member(p, arguments, 2), &shape->rank, shape->dims) ||
        !read_dims(p, lk_pickle_member(p, arguments, 3), &rank, view->strides) || rank != shape->rank)
        return fail_view(view, path, "has no valid offset, shape of at most 6 dimensions and strides", err);
    view->storage = (int)(storage - storages);
    view->tensor.tensor.dtype = storage->dtype;
    return check_bounds(view, storage, path, err);
}

static bool holds_tensors(const lk_pickle *p, int32_t v) {
    if (v < 0 || p->values[v].kind != LK_PICKLE_DICT) return false;
    for (int32_t item = p->values[v].head; item >= 0; item = p->items[item].next)
        if (p->values[p->items[item].value].kind == LK_PICKLE_CALL) return true;
    return false;
}

static int32_t find_state(const lk_pickle *p, const char **key) {
    static const char *const keys[] = {"state_dict", "model", "model_state_dict"};
    *key = "";
    if (holds_tensors(p, p->root)) return p->root;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int32_t found = lk_pickle_lookup(p, p->root, keys[i]);
        if (!holds_tensors(p, found)) continue;
        *key = keys[i];
        return found;
    }
    return -1;
}

static int compare_views(const void *a, const void *b) {
    return strcmp(((const lk_torch_view *)a)->tensor.name, ((const lk_torch_view *)b)->tensor.name);
}

static lk_status add_view(lk_torch_view *view, const lk_pickle *p, const lk_pickle_item *item,
                          const lk_torch_storage *storages, int storage_count, const char *path, lk_error *err) {
    const lk_pickle_value *key = value_of(p, item->key);
    if (!is_plain(key))
        return lk_fail(err, LK_ERR_DATA, "%s: a tensor has a name that is not 1 to %d printable ASCII characters", path,
                       MAX_NAME);
    char *name;
    LK_RETURN_IF(LK_NEW(&name, key->length + 1, "the name of a tensor", err));
    memcpy(name, key->text, key->length);
    view->tensor.name = name;
    return read_view(view, p, item->value, storages, storage_count, path, err);
}

lk_status lk_torch_list_views(lk_torch_view **out, int *count, const char **key, const lk_pickle *p,
                              const lk_torch_storage *storages, int storage_count, const char *path, lk_error *err) {
    *out = NULL;
    *count = 0;
    int32_t state = find_state(p, key);
    if (state < 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s holds no state dict, neither as a whole nor under 'state_dict', 'model' or "
                       "'model_state_dict': save 'model.state_dict()'",
                       path);
    LK_RETURN_IF(LK_NEW(out, p->values[state].count, "the tensors of a file", err));
    for (int32_t item = p->values[state].head; item >= 0; item = p->items[item].next) {
        if (p->values[p->items[item].value].kind != LK_PICKLE_CALL) continue; /* extra state of a layer */
        lk_torch_view *view = &(*out)[(*count)++];
        LK_RETURN_IF(add_view(view, p, &p->items[item], storages, storage_count, path, err));
    }
    qsort(*out, (size_t)*count, sizeof **out, compare_views);
    for (int i = 1; i < *count; i++)
        if (compare_views(&(*out)[i - 1], &(*out)[i]) == 0) return fail_view(&(*out)[i], path, "is there twice", err);
    return LK_OK;
}
