#include "io/data/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/hdf5_file.h"
#include "io/data/index_hash.h"
#include "io/data/segments.h"
#include "io/data/utf8.h"
#include "io/data/writer.h"

/* What HDF5 knows, taken while the file is open: from then on only byte ranges are read. */
typedef struct layout {
    lk_hdf5_range fields[LK_INDEX_FIELD_COUNT];
    lk_hdf5_range class_names, group_names; /* count 0: absent */
    lk_segment_table segments;
    int64_t file_bytes;
    uint64_t stored_hash[2];
} layout;

static lk_status check_version(hid_t file, const char *path, lk_error *err) {
    char *format = NULL;
    int64_t version = 0;
    LK_RETURN_IF(lk_hdf5_get_text(&format, file, "format", 64, path, err));
    bool known = strcmp(format, LK_FORMAT_NAME) == 0;
    lk_free(format);
    if (!known)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is not a data set (its format attribute says something else): give a "
                       "file that lockstep pack wrote",
                       path);
    LK_RETURN_IF(lk_hdf5_get_int(&version, file, "version", path, err));
    if (version > LK_FORMAT_VERSION)
        return lk_fail(err, LK_ERR_DATA,
                       "%s has data set format version %" PRId64 ", but lockstep " LK_VERSION
                       " reads up to version %d: use a newer lockstep",
                       path, version, LK_FORMAT_VERSION);
    if (version < 1) return lk_fail(err, LK_ERR_DATA, "%s is damaged: format version %" PRId64, path, version);
    return LK_OK;
}

static lk_status read_stored_hash(uint64_t value[2], hid_t file, const char *path, lk_error *err) {
    char *text = NULL;
    LK_RETURN_IF(lk_hdf5_get_text(&text, file, "index_hash", 64, path, err));
    char canonical[LK_INDEX_HASH_TEXT];
    bool parsed = sscanf(text, "%16" SCNx64 "%16" SCNx64, &value[0], &value[1]) == 2;
    if (parsed) lk_index_hash_print(value, canonical);
    parsed = parsed && strcmp(canonical, text) == 0;
    lk_free(text);
    if (!parsed) return lk_fail(err, LK_ERR_DATA, "%s is damaged: its index hash is not a hash; pack it again", path);
    return LK_OK;
}

static lk_status read_layout(layout *out, lk_dataset *dataset, hid_t file, lk_error *err) {
    const char *path = dataset->path;
    LK_RETURN_IF(check_version(file, path, err));
    LK_RETURN_IF(read_stored_hash(out->stored_hash, file, path, err));
    LK_RETURN_IF(lk_hdf5_get_text(&dataset->stored_rule, file, "stored_rule", LK_FORMAT_RULE_BYTES_MAX, path, err));
    if (!lk_utf8_is_valid(dataset->stored_rule))
        return lk_fail(err, LK_ERR_DATA, "%s is damaged: its stored rule is not text; pack it again", path);
    for (int i = 0; i < LK_INDEX_FIELD_COUNT; i++) {
        const lk_index_column *column = lk_index_get_column((lk_index_field)i);
        LK_RETURN_IF(
            lk_hdf5_locate(&out->fields[i], NULL, file, column->path, column->type, out->file_bytes, path, err));
        if (out->fields[i].count != out->fields[0].count)
            return lk_fail(err, LK_ERR_DATA,
                           "%s is damaged: %s has %" PRId64 " entries for %" PRId64 " samples; pack it again", path,
                           column->path, out->fields[i].count, out->fields[0].count);
    }
    bool exists = false;
    LK_RETURN_IF(
        lk_hdf5_locate(&out->class_names, &exists, file, "/class_names", LK_INDEX_TEXT, out->file_bytes, path, err));
    LK_RETURN_IF(
        lk_hdf5_locate(&out->group_names, &exists, file, "/group_names", LK_INDEX_TEXT, out->file_bytes, path, err));
    return lk_segment_table_read(&out->segments, file, out->file_bytes, path, err);
}

static lk_status check_limits(const layout *layout, const char *path, lk_error *err) {
    const lk_hdf5_range *classes = &layout->class_names, *groups = &layout->group_names;
    if (layout->fields[LK_INDEX_SOURCE].size > LK_FORMAT_SOURCE_BYTES_MAX || classes->size > LK_FORMAT_NAME_BYTES_MAX ||
        groups->size > LK_FORMAT_NAME_BYTES_MAX || classes->count > LK_FORMAT_CLASSES_MAX ||
        groups->count > LK_FORMAT_GROUPS_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s is damaged: its names are beyond the limits of the format; pack it again",
                       path);
    return LK_OK;
}

static lk_status read_exactly(int fd, void *buffer, int64_t length, int64_t offset, const char *path, lk_error *err) {
    uint8_t *next = buffer;
    while (length > 0) {
        ssize_t got = pread(fd, next, (size_t)length, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lk_fail_errno(err, "read", path);
        if (got == 0)
            return lk_fail(err, LK_ERR_DATA, "%s is truncated: it ends before byte %" PRId64 "; copy it again", path,
                           offset + length);
        next += got;
        length -= got;
        offset += got;
    }
    return LK_OK;
}

/* Spreads one array over the samples. Segment and offset are resolved to absolute offsets by the caller's table. */
static void scatter(lk_dataset *dataset, lk_index_field field, const void *array) {
    const uint8_t *u8 = array;
    const int32_t *i32 = array;
    const int64_t *i64 = array;
    for (int64_t i = 0; i < dataset->count; i++) {
        lk_sample_info *info = &dataset->samples[i];
        switch (field) {
            case LK_INDEX_OFFSET: info->offset = i64[i]; break;
            case LK_INDEX_LENGTH: info->length = i64[i]; break;
            case LK_INDEX_LABEL: info->label = i32[i]; break;
            case LK_INDEX_SPLIT: info->split = u8[i]; break;
            case LK_INDEX_GROUP: info->group = i32[i]; break;
            case LK_INDEX_WIDTH: info->width = i32[i]; break;
            case LK_INDEX_HEIGHT: info->height = i32[i]; break;
            case LK_INDEX_CHANNELS: info->channels = u8[i]; break;
            case LK_INDEX_ENCODING: info->encoding = u8[i]; break;
            case LK_INDEX_HASH: {
                XXH128_canonical_t canonical;
                memcpy(canonical.digest, u8 + i * LK_FORMAT_HASH_BYTES, LK_FORMAT_HASH_BYTES);
                XXH128_hash_t value = XXH128_hashFromCanonical(&canonical);
                info->hash[0] = value.high64;
                info->hash[1] = value.low64;
                break;
            }
            case LK_INDEX_SEGMENT:
            case LK_INDEX_SOURCE:
            case LK_INDEX_FIELD_COUNT: break;
        }
    }
}

/* Copies fixed-width texts into zero-terminated ones at *text, which moves on. */
static void take_texts(char **out, char **text, const char *table, const lk_hdf5_range *range) {
    for (int64_t i = 0; i < range->count; i++) {
        const char *entry = table + i * range->size;
        size_t length = strnlen(entry, (size_t)range->size);
        out[i] = *text;
        memcpy(*text, entry, length);
        (*text)[length] = '\0';
        *text += length + 1;
    }
}

/* Reads one array of the file, adds it to the hash. Owner of *array: the caller. */
static lk_status read_array(void **array, const lk_dataset *dataset, const lk_hdf5_range *range, lk_index_hash *hash,
                            lk_error *err) {
    LK_RETURN_IF(lk_alloc(array, (size_t)range->count, (size_t)range->size, "the index of a data set", err));
    LK_RETURN_IF(read_exactly(dataset->fd, *array, range->count * range->size, range->offset, dataset->path, err));
    lk_index_hash_add(hash, *array, (size_t)(range->count * range->size));
    return LK_OK;
}

static int64_t text_bytes(const lk_hdf5_range *range) { return range->count * (range->size + 1); }

static lk_status read_names(char ***out, char **text, const lk_dataset *dataset, const lk_hdf5_range *range,
                            lk_index_hash *hash, lk_error *err) {
    lk_status status = LK_OK;
    void *table = NULL;
    LK_TRY(LK_NEW(out, range->count, "names", err));
    if (range->count == 0) goto out;
    LK_TRY(read_array(&table, dataset, range, hash, err));
    take_texts(*out, text, table, range);
out:
    lk_free(table);
    return status;
}

/* Reads all arrays in the order of the hash and compares it. *segments: of each sample; owner: the caller. */
static lk_status read_index(lk_dataset *dataset, const layout *layout, int32_t **segments, lk_error *err) {
    lk_status status = LK_OK;
    lk_index_hash *hash = NULL;
    void *array = NULL;
    const lk_hdf5_range *source = &layout->fields[LK_INDEX_SOURCE];
    LK_TRY(lk_index_hash_create(&hash, err));
    int64_t bytes = text_bytes(source) + text_bytes(&layout->class_names) + text_bytes(&layout->group_names);
    LK_TRY(LK_NEW(&dataset->text, bytes, "the names of a data set", err));
    char *text = dataset->text;
    LK_TRY(LK_NEW(&dataset->samples, dataset->count, "the index of a data set", err));
    for (int field = 0; field < LK_INDEX_SOURCE; field++) {
        LK_TRY(read_array(&array, dataset, &layout->fields[field], hash, err));
        scatter(dataset, (lk_index_field)field, array);
        if (field == LK_INDEX_SEGMENT) {
            *segments = array;
        } else {
            lk_free(array);
        }
        array = NULL;
    }
    LK_TRY(read_names(&dataset->sources, &text, dataset, source, hash, err));
    LK_TRY(read_names(&dataset->class_names, &text, dataset, &layout->class_names, hash, err));
    LK_TRY(read_names(&dataset->group_names, &text, dataset, &layout->group_names, hash, err));
    lk_index_hash_add(hash, dataset->stored_rule, strlen(dataset->stored_rule));
    lk_index_hash_get(hash, dataset->hash);
    if (memcmp(dataset->hash, layout->stored_hash, sizeof dataset->hash) != 0)
        status =
            lk_fail(err, LK_ERR_DATA, "%s is damaged: its index does not have the stored hash; copy or pack it again",
                    dataset->path);
out:
    lk_free(array);
    lk_index_hash_free(hash);
    return status;
}

/* What is wrong with sample i, or NULL. */
static const char *find_problem(const lk_dataset *dataset, const lk_sample_info *info) {
    if (info->split >= LK_SPLIT_COUNT) return "has an unknown split";
    if (info->encoding >= LK_ENCODING_COUNT) return "has an unknown encoding";
    if (info->channels != 1 && info->channels != 3) return "has neither 1 nor 3 channels";
    if (info->width < 1 || info->width > LK_IMAGE_MAX_SIDE || info->height < 1 || info->height > LK_IMAGE_MAX_SIDE ||
        (int64_t)info->width * info->height > LK_IMAGE_MAX_PIXELS)
        return "has an impossible size";
    if (info->label < -1 || info->label >= dataset->class_count) return "has a label that is no class";
    if (info->label == -1 && info->split != LK_SPLIT_PREDICT) return "has no label outside the predict split";
    if (info->group < -1 || info->group >= dataset->group_count) return "has a group that does not exist";
    if (info->encoding == LK_ENCODING_RAW && info->length != (int64_t)info->width * info->height * info->channels)
        return "has another number of raw bytes than pixels";
    return NULL;
}

static lk_status check_samples(lk_dataset *dataset, const lk_segment_table *table, const int32_t *segments,
                               lk_error *err) {
    for (int64_t i = 0; i < dataset->count; i++) {
        lk_sample_info *info = &dataset->samples[i];
        const char *problem = lk_segment_resolve(table, segments[i], info);
        if (problem == NULL) problem = find_problem(dataset, info);
        if (problem != NULL)
            return lk_fail(err, LK_ERR_DATA, "%s is damaged: sample %" PRId64 " (%s) %s; pack it again", dataset->path,
                           i, dataset->sources[i], problem);
        dataset->split_count[info->split]++;
    }
    for (int k = 0; k < dataset->class_count; k++)
        if (dataset->class_names[k][0] == '\0' || !lk_utf8_is_valid(dataset->class_names[k]))
            return lk_fail(err, LK_ERR_DATA, "%s is damaged: the name of class %d is not text; pack it again",
                           dataset->path, k);
    return LK_OK;
}

lk_status lk_dataset_open(lk_dataset **out, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    layout layout = {0};
    int32_t *segments = NULL;
    hid_t file = H5I_INVALID_HID;
    *out = NULL;
    LK_TRY(LK_NEW(&dataset, 1, "a data set", err));
    dataset->fd = -1;
    LK_TRY(lk_strdup(&dataset->path, path, err));
    LK_TRY(lk_hdf5_open(&file, &dataset->fd, &layout.file_bytes, path, err));
    LK_TRY(read_layout(&layout, dataset, file, err));
    LK_TRY(check_limits(&layout, path, err));
    H5Fclose(file);
    file = H5I_INVALID_HID;
    dataset->count = layout.fields[0].count;
    dataset->class_count = (int)layout.class_names.count;
    dataset->group_count = (int)layout.group_names.count;
    LK_TRY(read_index(dataset, &layout, &segments, err));
    LK_TRY(check_samples(dataset, &layout.segments, segments, err));
    *out = dataset;
    dataset = NULL;
out:
    if (file >= 0) H5Fclose(file);
    lk_segment_table_free(&layout.segments);
    lk_free(segments);
    lk_dataset_free(dataset);
    return status;
}

void lk_dataset_free(lk_dataset *dataset) {
    if (dataset == NULL) return;
    if (dataset->fd >= 0) close(dataset->fd);
    lk_free(dataset->path);
    lk_free(dataset->samples);
    lk_free(dataset->class_names);
    lk_free(dataset->group_names);
    lk_free(dataset->sources);
    lk_free(dataset->stored_rule);
    lk_free(dataset->text);
    lk_free(dataset);
}

lk_status lk_dataset_read(const lk_dataset *dataset, int64_t i, uint8_t *buffer, lk_error *err) {
    if (i < 0 || i >= dataset->count)
        return lk_fail(err, LK_ERR_DATA, "%s has no sample %" PRId64 ": it holds %" PRId64, dataset->path, i,
                       dataset->count);
    const lk_sample_info *info = &dataset->samples[i];
    LK_RETURN_IF(read_exactly(dataset->fd, buffer, info->length, info->offset, dataset->path, err));
    uint64_t hash[2];
    lk_bytes_hash(buffer, info->length, hash);
    if (hash[0] != info->hash[0] || hash[1] != info->hash[1])
        return lk_fail(err, LK_ERR_DATA,
                       "%s: the bytes of sample %" PRId64
                       " (%s) do not have the stored hash: the "
                       "file is damaged, copy or pack it again",
                       dataset->path, i, dataset->sources[i]);
    return LK_OK;
}

lk_status lk_dataset_split(const lk_dataset *dataset, lk_split split, int64_t **indices, int64_t *count,
                           lk_error *err) {
    *count = 0;
    LK_RETURN_IF(LK_NEW(indices, dataset->split_count[split], "the samples of a split", err));
    for (int64_t i = 0; i < dataset->count; i++)
        if (dataset->samples[i].split == split) (*indices)[(*count)++] = i;
    return LK_OK;
}
