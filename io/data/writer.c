#include "io/data/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/hdf5_file.h"
#include "io/data/index_hash.h"

struct lk_dataset_writer {
    char *path, *temporary;
    lk_writer_config config;
    hid_t file;
    bool finished, created;
    uint8_t *segment; /* the segment being filled */
    size_t segment_capacity;
    int64_t segment_used;
    int32_t segment_count; /* written */
    lk_sample_info *samples;
    size_t samples_capacity;
    int32_t *segments; /* of each sample */
    size_t segments_capacity;
    int64_t count;
    char *sources; /* zero-terminated, one after the other */
    size_t sources_capacity, sources_used;
    size_t source_width; /* longest, in bytes */
};

void lk_bytes_hash(const uint8_t *bytes, int64_t length, uint64_t hash[2]) {
    XXH128_hash_t value = XXH3_128bits(bytes, (size_t)length);
    hash[0] = value.high64;
    hash[1] = value.low64;
}

/* Creates the file by the operating system's call first: its reason for a refusal reads better than HDF5's. */
static lk_status create_temporary(lk_dataset_writer *writer, lk_error *err) {
    struct stat info;
    if (!writer->config.overwrite && lstat(writer->path, &info) == 0)
        return lk_fail(err, LK_ERR_IO, "%s exists: choose another name, or add --force to replace it", writer->path);
    int fd = open(writer->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0) return lk_fail_errno(err, "create", writer->path);
    close(fd);
    writer->created = true;
    return lk_hdf5_create(&writer->file, writer->temporary, writer->path, err);
}

static lk_status check_names(const char *const *names, int count, int limit, const char *what, lk_error *err) {
    if (count > limit)
        return lk_fail(err, LK_ERR_DATA, "%d %s names are more than the %d a data set holds", count, what, limit);
    for (int i = 0; i < count; i++)
        if (names[i][0] == '\0' || strlen(names[i]) > LK_FORMAT_NAME_BYTES_MAX)
            return lk_fail(err, LK_ERR_DATA, "the %s name \"%.80s\" must have 1 to %d bytes: rename it", what, names[i],
                           LK_FORMAT_NAME_BYTES_MAX);
    return LK_OK;
}

lk_status lk_dataset_writer_create(lk_dataset_writer **out, const char *path, const lk_writer_config *config,
                                   lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset_writer *writer = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&writer, 1, "the data set writer", err));
    writer->file = H5I_INVALID_HID;
    writer->config = *config;
    if (config->stored_rule == NULL) writer->config.stored_rule = "";
    LK_TRY(check_names(config->class_names, config->class_count, LK_FORMAT_CLASSES_MAX, "class", err));
    LK_TRY(check_names(config->group_names, config->group_count, LK_FORMAT_GROUPS_MAX, "group", err));
    LK_TRY(lk_strdup(&writer->path, path, err));
    LK_TRY(lk_format(&writer->temporary, err, "%s.tmp.%ld", path, (long)getpid()));
    LK_TRY(create_temporary(writer, err));
    LK_TRY(lk_hdf5_make_group(writer->file, "/data", path, err));
    LK_TRY(lk_hdf5_make_group(writer->file, "/index", path, err));
    *out = writer;
    writer = NULL;
out:
    lk_dataset_writer_free(writer);
    return status;
}

static lk_status close_segment(lk_dataset_writer *writer, lk_error *err) {
    if (writer->segment_used == 0) return LK_OK;
    if (writer->segment_count == LK_FORMAT_SEGMENTS_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s would have more than %d segments: pack it as several data sets",
                       writer->path, LK_FORMAT_SEGMENTS_MAX);
    char name[32];
    snprintf(name, sizeof name, "/data/%05d", (int)writer->segment_count);
    LK_RETURN_IF(lk_hdf5_write(writer->file, name, LK_INDEX_U8, writer->segment_used, 0, writer->segment, NULL, 0,
                               writer->path, err));
    writer->segment_count++;
    writer->segment_used = 0;
    return LK_OK;
}

/* Room for `length` more bytes in the open segment. The buffer grows by doubling, so that a small set takes little. */
static lk_status reserve_segment(lk_dataset_writer *writer, int64_t length, lk_error *err) {
    if (writer->segment_used > 0 && writer->segment_used + length > LK_FORMAT_SEGMENT_BYTES)
        LK_RETURN_IF(close_segment(writer, err));
    return lk_grow((void **)&writer->segment, &writer->segment_capacity, (size_t)(writer->segment_used + length), 1,
                   "a segment of the data set", err);
}

static lk_status add_source(lk_dataset_writer *writer, const char *source, lk_error *err) {
    size_t length = strlen(source);
    if (length > LK_FORMAT_SOURCE_BYTES_MAX)
        return lk_fail(err, LK_ERR_DATA, "the path %.100s... is longer than %d bytes: shorten it", source,
                       LK_FORMAT_SOURCE_BYTES_MAX);
    LK_RETURN_IF(lk_grow((void **)&writer->sources, &writer->sources_capacity, writer->sources_used + length + 1, 1,
                         "source paths", err));
    memcpy(writer->sources + writer->sources_used, source, length + 1);
    writer->sources_used += length + 1;
    if (length > writer->source_width) writer->source_width = length;
    return LK_OK;
}

lk_status lk_dataset_writer_append(lk_dataset_writer *writer, const lk_sample_info *info, const char *source,
                                   const uint8_t *bytes, lk_error *err) {
    if (info->length < 1 || info->length > LK_FORMAT_SAMPLE_BYTES_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s has %lld bytes: a sample has 1 to %lld", source, (long long)info->length,
                       (long long)LK_FORMAT_SAMPLE_BYTES_MAX);
    LK_RETURN_IF(reserve_segment(writer, info->length, err));
    size_t needed = (size_t)writer->count + 1;
    LK_RETURN_IF(lk_grow((void **)&writer->samples, &writer->samples_capacity, needed, sizeof *writer->samples,
                         "the index", err));
    LK_RETURN_IF(lk_grow((void **)&writer->segments, &writer->segments_capacity, needed, sizeof *writer->segments,
                         "the index", err));
    LK_RETURN_IF(add_source(writer, source, err));
    memcpy(writer->segment + writer->segment_used, bytes, (size_t)info->length);
    writer->samples[writer->count] = *info;
    writer->samples[writer->count].offset = writer->segment_used;
    writer->segments[writer->count] = writer->segment_count;
    writer->segment_used += info->length;
    writer->count++;
    return LK_OK;
}

static void store_hash(uint8_t bytes[LK_FORMAT_HASH_BYTES], const uint64_t hash[2]) {
    XXH128_hash_t value = {.high64 = hash[0], .low64 = hash[1]};
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, value);
    memcpy(bytes, canonical.digest, LK_FORMAT_HASH_BYTES);
}

/* Lays one field of all samples out as the array that the file holds. */
static void gather(const lk_dataset_writer *writer, lk_index_field field, size_t width, void *out) {
    uint8_t *u8 = out;
    int32_t *i32 = out;
    int64_t *i64 = out;
    const char *source = writer->sources;
    for (int64_t i = 0; i < writer->count; i++) {
        const lk_sample_info *info = &writer->samples[i];
        switch (field) {
            case LK_INDEX_SEGMENT: i32[i] = writer->segments[i]; break;
            case LK_INDEX_OFFSET: i64[i] = info->offset; break;
            case LK_INDEX_LENGTH: i64[i] = info->length; break;
            case LK_INDEX_LABEL: i32[i] = info->label; break;
            case LK_INDEX_SPLIT: u8[i] = info->split; break;
            case LK_INDEX_GROUP: i32[i] = info->group; break;
            case LK_INDEX_WIDTH: i32[i] = info->width; break;
            case LK_INDEX_HEIGHT: i32[i] = info->height; break;
            case LK_INDEX_CHANNELS: u8[i] = info->channels; break;
            case LK_INDEX_ENCODING: u8[i] = info->encoding; break;
            case LK_INDEX_HASH: store_hash(u8 + i * LK_FORMAT_HASH_BYTES, info->hash); break;
            case LK_INDEX_SOURCE: {
                size_t length = strlen(source);
                memcpy(u8 + (size_t)i * width, source, length);
                source += length + 1;
                break;
            }
            case LK_INDEX_FIELD_COUNT: break;
        }
    }
}

static lk_status write_field(lk_dataset_writer *writer, lk_index_field field, lk_index_hash *hash, lk_error *err) {
    lk_status status = LK_OK;
    const lk_index_column *column = lk_index_get_column(field);
    size_t width = column->type == LK_INDEX_TEXT ? writer->source_width + (writer->source_width == 0)
                                                 : lk_index_type_size(column->type);
    const char *names[16];
    int name_count = 0;
    if (field == LK_INDEX_SPLIT)
        for (; name_count < LK_SPLIT_COUNT; name_count++) names[name_count] = lk_split_name((lk_split)name_count);
    if (field == LK_INDEX_ENCODING)
        for (; name_count < LK_ENCODING_COUNT; name_count++)
            names[name_count] = lk_encoding_name((lk_encoding)name_count);
    void *array = NULL;
    LK_TRY(lk_alloc(&array, (size_t)writer->count, width, "the index", err));
    gather(writer, field, width, array);
    lk_index_hash_add(hash, array, (size_t)writer->count * width);
    LK_TRY(lk_hdf5_write(writer->file, column->path, column->type, writer->count, width, array,
                         name_count > 0 ? names : NULL, name_count, writer->path, err));
out:
    lk_free(array);
    return status;
}

static lk_status write_names(lk_dataset_writer *writer, const char *path, const char *const *names, int count,
                             lk_index_hash *hash, lk_error *err) {
    lk_status status = LK_OK;
    size_t width = 1;
    char *table = NULL;
    if (count == 0) return LK_OK;
    for (int i = 0; i < count; i++)
        if (strlen(names[i]) > width) width = strlen(names[i]);
    LK_TRY(lk_alloc((void **)&table, (size_t)count, width, "names", err));
    for (int i = 0; i < count; i++) memcpy(table + (size_t)i * width, names[i], strlen(names[i]));
    lk_index_hash_add(hash, table, (size_t)count * width);
    LK_TRY(lk_hdf5_write(writer->file, path, LK_INDEX_TEXT, count, width, table, NULL, 0, writer->path, err));
out:
    lk_free(table);
    return status;
}

static lk_status write_index(lk_dataset_writer *writer, lk_error *err) {
    lk_status status = LK_OK;
    lk_index_hash *hash = NULL;
    char text[LK_INDEX_HASH_TEXT];
    uint64_t value[2];
    LK_TRY(lk_index_hash_create(&hash, err));
    for (int field = 0; field < LK_INDEX_FIELD_COUNT; field++)
        LK_TRY(write_field(writer, (lk_index_field)field, hash, err));
    LK_TRY(write_names(writer, "/class_names", writer->config.class_names, writer->config.class_count, hash, err));
    LK_TRY(write_names(writer, "/group_names", writer->config.group_names, writer->config.group_count, hash, err));
    lk_index_hash_add(hash, writer->config.stored_rule, strlen(writer->config.stored_rule));
    lk_index_hash_get(hash, value);
    lk_index_hash_print(value, text);
    LK_TRY(lk_hdf5_put_text(writer->file, "format", LK_FORMAT_NAME, writer->path, err));
    LK_TRY(lk_hdf5_put_int(writer->file, "version", LK_FORMAT_VERSION, writer->path, err));
    LK_TRY(lk_hdf5_put_text(writer->file, "program", "lockstep " LK_VERSION, writer->path, err));
    LK_TRY(lk_hdf5_put_text(writer->file, "stored_rule", writer->config.stored_rule, writer->path, err));
    LK_TRY(lk_hdf5_put_text(writer->file, "index_hash", text, writer->path, err));
out:
    lk_index_hash_free(hash);
    return status;
}

static lk_status sync_path(const char *path, int flags, const char *shown, lk_error *err) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return lk_fail_errno(err, "open", shown);
    lk_status status = fsync(fd) != 0 ? lk_fail_errno(err, "write", shown) : LK_OK;
    close(fd);
    return status;
}

static lk_status sync_folder(const char *path, lk_error *err) {
    char *folder = NULL;
    LK_RETURN_IF(lk_strdup(&folder, path, err));
    char *slash = strrchr(folder, '/');
    if (slash != NULL) slash[slash == folder ? 1 : 0] = '\0';
    lk_status status = sync_path(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY, path, err);
    lk_free(folder);
    return status;
}

/* Renames without a moment in which a file that appeared meanwhile could be replaced unasked. */
static lk_status move_into_place(lk_dataset_writer *writer, lk_error *err) {
    int failed = -1;
    errno = EINVAL;
    if (!writer->config.overwrite)
        failed = renameat2(AT_FDCWD, writer->temporary, AT_FDCWD, writer->path, RENAME_NOREPLACE);
    bool plain = writer->config.overwrite || (failed != 0 && (errno == EINVAL || errno == ENOSYS));
    if (plain) failed = rename(writer->temporary, writer->path);
    return failed != 0 ? lk_fail_errno(err, "rename the finished data set to", writer->path) : LK_OK;
}

lk_status lk_dataset_writer_finish(lk_dataset_writer *writer, lk_error *err) {
    if (writer->count == 0)
        return lk_fail(err, LK_ERR_DATA, "%s would have no sample: give a source with images", writer->path);
    LK_RETURN_IF(close_segment(writer, err));
    LK_RETURN_IF(write_index(writer, err));
    hid_t file = writer->file;
    writer->file = H5I_INVALID_HID;
    if (H5Fclose(file) < 0) return lk_hdf5_fail("write", writer->path, err);
    LK_RETURN_IF(sync_path(writer->temporary, O_RDONLY, writer->path, err));
    lk_dataset *check = NULL;
    LK_RETURN_IF(lk_dataset_open(&check, writer->temporary, err));
    lk_dataset_free(check);
    LK_RETURN_IF(move_into_place(writer, err));
    writer->finished = true;
    return sync_folder(writer->path, err);
}

void lk_dataset_writer_free(lk_dataset_writer *writer) {
    if (writer == NULL) return;
    if (writer->file >= 0) {
        H5Fclose(writer->file);
        H5Eclear2(H5E_DEFAULT);
    }
    if (writer->created && !writer->finished) unlink(writer->temporary);
    lk_free(writer->path);
    lk_free(writer->temporary);
    lk_free(writer->segment);
    lk_free(writer->samples);
    lk_free(writer->segments);
    lk_free(writer->sources);
    lk_free(writer);
}
