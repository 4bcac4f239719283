#include "io/scan/source.h"

#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/data/sample_file.h"

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_csv(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".csv") == 0;
}

static lk_status list_files(lk_scan_source *s, const lk_pack_options *options, lk_error *err) {
    lk_pack_source kind;
    LK_RETURN_IF(lk_pack_detect(&kind, s->path, err));
    if (kind == LK_PACK_IDX)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "%s holds IDX files: pack them with lockstep pack, then scan the data set", s->path);
    if (kind == LK_PACK_CSV) {
        LK_RETURN_IF(lk_pack_csv_list(&s->items, &s->root, s->path, options, err));
    } else {
        LK_RETURN_IF(lk_strdup(&s->root, s->path, err));
        LK_RETURN_IF(lk_pack_folder_list(&s->items, s->path, options, &s->report, err));
    }
    s->count = s->items.count;
    s->class_count = s->items.classes.count;
    s->class_names = s->items.classes.names;
    return LK_OK;
}

lk_status lk_scan_source_open(lk_scan_source *out, const char *path, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    *out = (lk_scan_source){0};
    LK_TRY(lk_strdup(&out->path, path, err));
    if (is_folder(path) || is_csv(path)) {
        LK_TRY(list_files(out, options, err));
    } else {
        LK_TRY(lk_dataset_open(&out->dataset, path, err));
        out->count = out->dataset->count;
        out->class_count = out->dataset->class_count;
        out->class_names = out->dataset->class_names;
    }
    if (out->count > INT32_MAX)
        status = lk_fail(err, LK_ERR_DATA, "%s has %lld samples, more than can be scanned: scan parts of it", path,
                         (long long)out->count);
out:
    if (status != LK_OK) lk_scan_source_close(out);
    return status;
}

void lk_scan_source_close(lk_scan_source *source) {
    lk_dataset_free(source->dataset);
    lk_pack_items_free(&source->items);
    lk_pack_report_free(&source->report);
    lk_free(source->root);
    lk_free(source->path);
    *source = (lk_scan_source){0};
}

const char *lk_scan_source_name(const lk_scan_source *source, int64_t i) {
    return source->dataset != NULL ? source->dataset->sources[i] : source->items.items[i].source;
}

int32_t lk_scan_source_label(const lk_scan_source *source, int64_t i) {
    return source->dataset != NULL ? source->dataset->samples[i].label : source->items.items[i].label;
}

lk_split lk_scan_source_split(const lk_scan_source *source, int64_t i) {
    return source->dataset != NULL ? (lk_split)source->dataset->samples[i].split : source->items.items[i].split;
}

const char *lk_scan_source_class(const lk_scan_source *source, int32_t k) {
    return k < 0 || k >= source->class_count ? "no label" : source->class_names[k];
}

lk_status lk_scan_reader_init(lk_scan_reader *reader, lk_error *err) {
    *reader = (lk_scan_reader){0};
    return lk_decoder_create(&reader->decoder, err);
}

void lk_scan_reader_free(lk_scan_reader *reader) {
    lk_decoder_free(reader->decoder);
    lk_free(reader->bytes);
    lk_image_free(&reader->image);
    *reader = (lk_scan_reader){0};
}

/* Pixels that are stored as they are. */
static lk_status take_raw(const lk_sample_info *sample, lk_scan_reader *reader, lk_image_info *info, lk_error *err) {
    *info = (lk_image_info){LK_ENCODING_RAW, sample->width, sample->height, sample->channels, 1};
    LK_RETURN_IF(lk_image_reserve(&reader->image, sample->width, sample->height, sample->channels, err));
    memcpy(reader->image.pixels, reader->bytes, (size_t)reader->length);
    return LK_OK;
}

lk_status lk_scan_source_decode(const lk_scan_source *source, int64_t i, int32_t least, lk_scan_reader *reader,
                                lk_image_info *info, lk_error *err) {
    lk_image_info found;
    if (info == NULL) info = &found;
    if (source->dataset == NULL) {
        LK_RETURN_IF(lk_sample_file_read(&reader->bytes, &reader->capacity, &reader->length, source->root,
                                         source->items.items[i].source, err));
    } else {
        const lk_sample_info *sample = &source->dataset->samples[i];
        reader->length = sample->length;
        LK_RETURN_IF(lk_grow((void **)&reader->bytes, &reader->capacity, (size_t)sample->length, 1, "a sample", err));
        LK_RETURN_IF(lk_dataset_read(source->dataset, i, reader->bytes, err));
        if (sample->encoding == LK_ENCODING_RAW) return take_raw(sample, reader, info, err);
    }
    LK_RETURN_IF(lk_image_probe(info, reader->bytes, (size_t)reader->length, err));
    return lk_image_decode(reader->decoder, &reader->image, reader->bytes, (size_t)reader->length, info->channels,
                           least, least, err);
}
