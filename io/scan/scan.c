#include "io/scan/scan.h"

#include <stdatomic.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "io/scan/scan_internal.h"

typedef struct reading {
    lk_scan *scan;
    uint8_t *thumbnails;
    lk_fingerprint_tools *tools; /* one a thread */
    char **reasons;              /* of unreadable images */
    lk_progress *progress;
    atomic_llong done;
    _Atomic int failed; /* lk_status of a failure that is no finding */
    lk_error *errors;   /* one a thread */
} reading;

static void read_one(void *context, int index, int worker) {
    reading *r = context;
    if (atomic_load(&r->failed) != LK_OK) return;
    lk_error reason = {0}, *err = &r->errors[worker];
    lk_status status = lk_fingerprint_take(&r->scan->prints[index], r->thumbnails + (size_t)index * LK_SCAN_PIXELS,
                                           r->scan->source, index, &r->tools[worker], &reason);
    if (status == LK_ERR_DATA || status == LK_ERR_IO) {
        status = lk_strdup(&r->reasons[index], reason.message, err);
    } else if (status != LK_OK) {
        status =
            lk_fail(err, status, "cannot scan %s: %s", lk_scan_source_name(r->scan->source, index), reason.message);
    }
    if (status != LK_OK) atomic_store(&r->failed, (int)status);
    long long done = atomic_fetch_add(&r->done, 1) + 1;
    if (worker == 0 && r->progress != NULL) lk_progress_update(r->progress, done);
}

static lk_status list_unreadable(lk_scan *scan, char **reasons, lk_error *err) {
    for (int64_t i = 0; i < scan->source->count; i++) {
        if (reasons[i] == NULL) continue;
        LK_RETURN_IF(lk_grow((void **)&scan->unreadable, &scan->capacity[LIST_UNREADABLE], scan->unreadable_count + 1,
                             sizeof *scan->unreadable, "the findings of a scan", err));
        scan->unreadable[scan->unreadable_count++] = (lk_scan_problem){(int32_t)i, reasons[i]};
        reasons[i] = NULL;
    }
    return LK_OK;
}

static lk_status read_all(reading *r, lk_pool *pool, lk_error *err) {
    lk_scan *scan = r->scan;
    int count = (int)scan->source->count;
    if (r->progress != NULL) lk_progress_start(r->progress, r->progress->out, "scan", "images", count);
    lk_pool_run(pool, read_one, r, count);
    lk_status status = (lk_status)atomic_load(&r->failed);
    if (r->progress != NULL && status == LK_OK) {
        lk_progress_update(r->progress, count);
        lk_progress_finish(r->progress);
    } else if (r->progress != NULL) {
        lk_progress_clear(r->progress);
    }
    for (int w = 0; status != LK_OK && w < lk_pool_threads(pool); w++)
        if (r->errors[w].status != LK_OK) return lk_fail(err, status, "%s", r->errors[w].message);
    return list_unreadable(scan, r->reasons, err);
}

static lk_status run_steps(lk_scan *scan, const lk_scan_config *config, lk_pool *pool, lk_error *err) {
    lk_status status = LK_OK;
    int threads = lk_pool_threads(pool);
    size_t count = (size_t)scan->source->count;
    reading r = {.scan = scan, .progress = config->progress};
    LK_TRY(LK_NEW(&r.tools, threads, "the threads of a scan", err));
    LK_TRY(LK_NEW(&r.errors, threads, "the threads of a scan", err));
    for (int w = 0; w < threads; w++) LK_TRY(lk_fingerprint_tools_init(&r.tools[w], err));
    LK_TRY(LK_NEW(&scan->prints, count, "the images of a scan", err));
    LK_TRY(LK_NEW(&r.thumbnails, count * LK_SCAN_PIXELS, "the thumbnails of a scan", err));
    LK_TRY(LK_NEW(&r.reasons, count, "the images of a scan", err));
    LK_TRY(read_all(&r, pool, err));
    LK_TRY(lk_scan_find_duplicates(scan, r.thumbnails, config->similarity, pool, r.tools, err));
    LK_TRY(lk_scan_find_oddities(scan, err));
    LK_TRY(lk_scan_count_classes(scan, err));
out:
    for (size_t i = 0; r.reasons != NULL && i < count; i++) lk_free(r.reasons[i]);
    lk_free(r.reasons);
    for (int w = 0; r.tools != NULL && w < threads; w++) lk_fingerprint_tools_free(&r.tools[w]);
    lk_free(r.tools);
    lk_free(r.errors);
    lk_free(r.thumbnails);
    return status;
}

lk_status lk_scan_run(lk_scan **out, const lk_scan_source *source, const lk_scan_config *config, lk_error *err) {
    lk_status status = LK_OK;
    lk_scan *scan = NULL;
    lk_pool *pool = NULL;
    double start = lk_clock_seconds();
    *out = NULL;
    LK_TRY(LK_NEW(&scan, 1, "a scan", err));
    scan->source = source;
    LK_TRY(lk_pool_create(&pool, config->workers, err));
    LK_TRY(run_steps(scan, config, pool, err));
    scan->seconds = lk_clock_seconds() - start;
    *out = scan;
    scan = NULL;
out:
    lk_pool_free(pool);
    lk_scan_free(scan);
    return status;
}

void lk_scan_free(lk_scan *scan) {
    if (scan == NULL) return;
    for (size_t i = 0; i < scan->unreadable_count; i++) lk_free(scan->unreadable[i].reason);
    lk_free(scan->prints);
    lk_free(scan->unreadable);
    lk_free(scan->members);
    lk_free(scan->groups);
    lk_free(scan->blank);
    lk_free(scan->grey);
    lk_free(scan->sizes);
    lk_free(scan->aspects);
    lk_free(scan->classes);
    lk_free(scan);
}

const char *lk_scan_match_name(lk_scan_match match) {
    static const char *const names[] = {"first", "same bytes", "same pixels", "near"};
    return names[match];
}

bool lk_scan_is_imbalanced(const lk_scan *scan) { return scan->imbalance > LK_SCAN_IMBALANCE; }
