/* lockstep pack: an image folder, a CSV file with images, or IDX files become one data set. */
#include "io/data/pack.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "io/data/describe.h"
#include "jobs/command.h"

typedef struct pack_options {
    double split[LK_OPTION_MAX_LIST];
    int split_count;
    double val;
    int64_t seed, short_side, quality, workers;
    char *path_column, *label_column, *group_column, *split_column, *images, *classes;
    int format, on_bad;
    bool raw, verify, force, json, help;
} pack_options;

static const char *const formats[] = {"auto", "folder", "csv", "idx", NULL};
static const char *const bad_choices[] = {"fail", "skip", NULL};

#define FIELD(name) offsetof(pack_options, name)
static const lk_option options[] = {
    {"split", LK_OPTION_DOUBLES, FIELD(split), FIELD(split_count), "", 0, 1, NULL,
     "parts of train, validation, test, as 0.8,0.1,0.1: stratified by class, groups kept together", 0, false},
    {"val", LK_OPTION_DOUBLE, FIELD(val), 0, "0", 0, 1e9, NULL,
     "training images that become validation: a part below 1, or a number", 0, false},
    {"seed", LK_OPTION_INT, FIELD(seed), 0, "0", 0, 9007199254740991.0, NULL, "of the split", 0, false},
    {"classes", LK_OPTION_STRING, FIELD(classes), 0, NULL, 0, 0, NULL,
     "CSV, IDX: class names in the order of their labels, as a,b,c or a file with one a line", 0, true},
    {"path-col", LK_OPTION_STRING, FIELD(path_column), 0, "path", 0, 0, NULL, "CSV: column of image paths", 0, false},
    {"label-col", LK_OPTION_STRING, FIELD(label_column), 0, "label", 0, 0, NULL,
     "CSV: column of class names; '' when there is none", 0, false},
    {"group-col", LK_OPTION_STRING, FIELD(group_column), 0, NULL, 0, 0, NULL,
     "CSV: column of groups, such as persons, that must not be torn apart", 0, true},
    {"split-col", LK_OPTION_STRING, FIELD(split_column), 0, NULL, 0, 0, NULL,
     "CSV: column of train, validation, test or predict", 0, true},
    {"images", LK_OPTION_STRING, FIELD(images), 0, NULL, 0, 0, NULL,
     "CSV: folder that the paths start from; without it that of the CSV file", 0, true},
    {"short-side", LK_OPTION_INT, FIELD(short_side), 0, "0", 0, LK_IMAGE_MAX_SIDE, NULL,
     "store images made smaller to this short side; 0: bytes untouched", 0, false},
    {"quality", LK_OPTION_INT, FIELD(quality), 0, "95", 1, 100, NULL, "JPEG quality of images made smaller", 0, false},
    {"raw", LK_OPTION_BOOL, FIELD(raw), 0, "false", 0, 0, NULL, "store pixels: larger, but nothing to decode", 0,
     false},
    {"on-bad", LK_OPTION_CHOICE, FIELD(on_bad), 0, "fail", 0, 0, bad_choices,
     "unreadable images: fail at the first, or skip and list them", 0, false},
    {"verify", LK_OPTION_BOOL, FIELD(verify), 0, "true", 0, 0, NULL, "decode every image in full", 0, false},
    {"workers", LK_OPTION_INT, FIELD(workers), 0, "0", 0, 1024, NULL, "threads; 0: one for each core", 0, false},
    {"format", LK_OPTION_CHOICE, FIELD(format), 0, "auto", 0, 0, formats, "what SOURCE is", 0, false},
    {"force", LK_OPTION_BOOL, FIELD(force), 0, "false", 0, 0, NULL, "replace OUT.h5 when it exists", 'f', false},
    {"json", LK_OPTION_BOOL, FIELD(json), 0, "false", 0, 0, NULL, "the result as JSON", 0, false},
    LK_COMMAND_HELP(FIELD(help)),
};

/* A pending signal, since they are blocked while packing: the temporary file is removed before the program ends. */
static bool was_stopped(void *user) {
    const struct timespec now = {0, 0};
    return sigtimedwait(user, NULL, &now) > 0;
}

static lk_status read_class_file(lk_names *classes, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    char line[1024];
    int32_t ignored;
    FILE *file = fopen(path, "re");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    while (status == LK_OK && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0') status = lk_names_add(classes, line, &ignored, err);
    }
    if (status == LK_OK && ferror(file)) status = lk_fail_errno(err, "read", path);
    fclose(file);
    return status;
}

static lk_status read_class_list(lk_names *classes, const char *text, lk_error *err) {
    lk_status status = LK_OK;
    char *copy = NULL;
    LK_TRY(lk_strdup(&copy, text, err));
    char *rest = copy;
    for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
        int32_t index, before = classes->count;
        LK_TRY(lk_names_add(classes, name, &index, err));
        if (classes->count == before) LK_TRY(lk_fail(err, LK_ERR_CONFIG, "--classes names \"%.80s\" twice", name));
    }
out:
    lk_free(copy);
    return status;
}

static lk_status read_classes(lk_names *classes, const char *text, lk_error *err) {
    struct stat info;
    bool is_file = strchr(text, ',') == NULL && stat(text, &info) == 0 && S_ISREG(info.st_mode);
    return is_file ? read_class_file(classes, text, err) : read_class_list(classes, text, err);
}

static lk_status check_options(const pack_options *given, lk_error *err) {
    if (given->split_count == 1 || given->split_count > 3)
        return lk_fail(err, LK_ERR_USAGE,
                       "--split takes parts for train, validation and test, as in --split 0.8,0.1,0.1");
    if (given->split_count > 0 && given->val > 0)
        return lk_fail(err, LK_ERR_USAGE, "--split and --val both divide: give one of them");
    return LK_OK;
}

static lk_pack_options translate(const pack_options *given, const lk_names *classes, lk_progress *progress,
                                 sigset_t *stop) {
    lk_pack_options out = {
        .fraction_count = given->split_count,
        .validation = given->val,
        .seed = (uint64_t)given->seed,
        .short_side = (int32_t)given->short_side,
        .quality = (int)given->quality,
        .raw = given->raw,
        .skip_bad = given->on_bad == 1,
        .verify = given->verify,
        .workers = (int)given->workers,
        .overwrite = given->force,
        .classes = given->classes == NULL ? NULL : classes,
        .images = given->images,
        .path_column = given->path_column,
        .label_column = given->label_column,
        .group_column = given->group_column,
        .split_column = given->split_column,
        .progress = progress,
        .stop = was_stopped,
        .stop_user = stop,
    };
    for (int i = 0; i < given->split_count && i < 3; i++) out.fractions[i] = given->split[i];
    return out;
}

static lk_status pack(const char *source, const char *out, int format, const lk_pack_options *options,
                      lk_pack_report *report, lk_error *err) {
    lk_pack_source kind = LK_PACK_FOLDER;
    LK_RETURN_IF(lk_pack_detect(&kind, source, err));
    if (format > 0) kind = (lk_pack_source)(format - 1);
    switch (kind) {
        case LK_PACK_FOLDER: return lk_pack_folder(source, out, options, report, err);
        case LK_PACK_CSV: return lk_pack_csv(source, out, options, report, err);
        case LK_PACK_IDX: return lk_pack_idx(source, out, options, report, err);
    }
    return lk_fail(err, LK_ERR_INTERNAL, "unknown kind of source");
}

static void print_report(const lk_pack_report *report, const lk_log *log) {
    for (int64_t i = 0; i < report->note_count; i++) lk_log_write(log, LK_LOG_INFO, "note: %s", report->notes[i]);
    for (int64_t i = 0; i < report->bad_count; i++) lk_log_write(log, LK_LOG_WARNING, "left out %s", report->bad[i]);
    if (report->bad_count > 0)
        lk_log_write(log, LK_LOG_WARNING, "%lld unreadable images were left out", (long long)report->bad_count);
}

static lk_status print_result(const char *path, bool json, double seconds, const lk_pack_report *report,
                              lk_error *err) {
    lk_dataset *dataset = NULL;
    LK_RETURN_IF(lk_dataset_open(&dataset, path, err));
    lk_status status = lk_dataset_print(dataset, stdout, json, err);
    if (status == LK_OK && !json)
        printf("packed %lld images, %lld bytes read, in %.2f s: %.0f images/s\n", (long long)dataset->count,
               (long long)report->source_bytes, seconds, (double)dataset->count / (seconds > 0 ? seconds : 1e-9));
    lk_dataset_free(dataset);
    return status;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    lk_status status = LK_OK;
    const pack_options *given = flags;
    const char *source = arguments[0], *out = arguments[1];
    (void)count;
    lk_names classes = {0};
    lk_pack_report report = {0};
    const lk_log log = lk_log_create(stderr, 0, 1);
    lk_progress progress = {.out = stderr};
    sigset_t stop, before;
    double start = lk_clock_seconds();
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, &before);
    LK_TRY(check_options(given, err));
    if (given->classes != NULL) LK_TRY(read_classes(&classes, given->classes, err));
    lk_pack_options translated = translate(given, &classes, &progress, &stop);
    status = pack(source, out, given->format, &translated, &report, err);
    print_report(&report, &log);
    if (status == LK_OK) status = print_result(out, given->json, lk_clock_seconds() - start, &report, err);
out:
    sigprocmask(SIG_SETMASK, &before, NULL);
    lk_pack_report_free(&report);
    lk_names_free(&classes);
    return status;
}

const lk_command lk_command_pack = {
    .synopsis = "pack SOURCE OUT.h5 [options]",
    .about =
        "Packs images into one data set, which is never written over another without --force. SOURCE is\n"
        "a folder (SPLIT/CLASS/image, CLASS/image, or images without labels), a .csv file that names\n"
        "images and labels, or a folder of IDX files as MNIST's.",
    LK_COMMAND_OPTIONS(options, pack_options),
    .least = 2,
    .most = 2,
    .wrong = "pack takes a source and the data set to write: lockstep pack SOURCE OUT.h5",
    .run = run};
