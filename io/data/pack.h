/* Packing: an image folder, a CSV file with images, or IDX files become one data set. */
#ifndef LK_IO_DATA_PACK_H
#define LK_IO_DATA_PACK_H

#include "core/progress.h"
#include "io/data/names.h"
#include "io/data/writer.h"

typedef struct lk_pack_options {
    double fractions[3]; /* of train, validation, test; used when fraction_count > 0 */
    int fraction_count;  /* 0, 2 or 3 */
    double validation;   /* part of the training samples that becomes validation: a fraction below 1, else a count; 0:
                            none */
    bool undivided;      /* labelled samples without a split are train: nothing will be trained on them */
    uint64_t seed;       /* of the split */
    int32_t short_side;  /* 0: encoded bytes untouched; else images are stored with this short side */
    int quality;         /* JPEG, of images that are encoded again */
    bool raw;            /* store pixels instead of JPEG */
    bool skip_bad;       /* leave unreadable images out instead of refusing */
    bool verify;         /* decode every image in full */
    int workers;         /* threads; 0: one for each core */
    bool overwrite;
    const lk_names *classes; /* order of the classes, or NULL: sorted (CSV), numbers (IDX); borrowed */
    const char *images;      /* CSV: folder of the images; NULL: that of the CSV file */
    const char *path_column, *label_column, *group_column, *split_column; /* CSV; the last two may be NULL */
    lk_progress *progress;                                                /* NULL: silent */
    bool (*stop)(void *user); /* asked between samples: leave off? NULL: never */
    void *stop_user;
} lk_pack_options;

/* What a person should hear about. */
typedef struct lk_pack_report {
    char **notes; /* sentences: what was ignored or looks odd */
    size_t notes_capacity;
    int64_t note_count;
    char **bad; /* "PATH: REASON" of every image that was left out (P14) */
    size_t bad_capacity;
    int64_t bad_count;
    int64_t source_bytes; /* read from images */
} lk_pack_report;
void lk_pack_report_free(lk_pack_report *report); /* frees the content, not the struct */
LK_MUST_CHECK lk_status lk_pack_report_note(lk_pack_report *report, lk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef enum lk_pack_source { LK_PACK_FOLDER, LK_PACK_CSV, LK_PACK_IDX } lk_pack_source;
/* Looks at a path. Errors: LK_ERR_IO when there is none; LK_ERR_DATA when it is none of the three. */
LK_MUST_CHECK lk_status lk_pack_detect(lk_pack_source *out, const char *path, lk_error *err);

/* Each writes `out`, or leaves it as it was. Errors: LK_ERR_DATA naming the file and what is wrong with it; LK_ERR_IO;
 * LK_ERR_MEMORY; LK_ERR_CONFIG for options that do not fit the source; LK_STOPPED. */

/* SOURCE/CLASS/image, SOURCE/SPLIT/CLASS/image, or images alone (split predict). Classes are sorted bytewise as
 * torchvision's ImageFolder does (P4). */
LK_MUST_CHECK lk_status lk_pack_folder(const char *source, const char *out, const lk_pack_options *options,
                                       lk_pack_report *report, lk_error *err);
/* A table with a header line (RFC 4180). */
LK_MUST_CHECK lk_status lk_pack_csv(const char *source, const char *out, const lk_pack_options *options,
                                    lk_pack_report *report, lk_error *err);
/* A folder of MNIST's file names: {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz. */
LK_MUST_CHECK lk_status lk_pack_idx(const char *source, const char *out, const lk_pack_options *options,
                                    lk_pack_report *report, lk_error *err);

#endif
