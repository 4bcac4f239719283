/* Soft counts of the whole window, for a loss whose F1 is that of all its samples. F1 is no sum over samples: its exact
 * gradient at any of them needs the totals first. So all leaves run forward once, their counts are added in tree order
 * in float64 (the same bits on any number of ranks), and each leaf runs forward again, with the same random draws,
 * before its backward pass; where every leaf has a lane, the lane still holds the first forward pass and no second is
 * run. */
#include <string.h>

#include "core/memory.h"
#include "train/window_internal.h"

bool lk_window_counts_first(const lk_window *window) { return window->loss->f1 > 0 && !window->loss->f1_microbatch; }

/* Numbers of one leaf. */
static int64_t width(const lk_window *window) { return 3 * window->network->graph->classes; }

static int64_t image_bytes(const lk_window *window) {
    const lk_graph *graph = window->network->graph;
    return window->microbatch * graph->in_channels * graph->in_h * graph->in_w;
}

lk_status lk_window_counts_create(lk_window *window, lk_error *err) {
    lk_window_counts *counts = &window->counts;
    lk_device *device = window->network->device;
    int64_t rows = window->microbatch, leaves = window->share.count;
    if (!lk_window_counts_first(window)) return LK_OK;
    LK_RETURN_IF(LK_NEW(&counts->mine, leaves * width(window), "soft counts", err));
    LK_RETURN_IF(LK_NEW(&counts->all, leaves * window->comm->size * width(window), "soft counts", err));
    LK_RETURN_IF(LK_NEW(&counts->kept, leaves, "microbatches", err));
    for (int64_t i = 0; i < leaves; i++) {
        lk_kept_microbatch *kept = &counts->kept[i];
        LK_RETURN_IF(device->host_alloc(device, (void **)&kept->batch.images, image_bytes(window),
                                        "the pixels of a microbatch", err));
        LK_RETURN_IF(LK_NEW(&kept->batch.labels, rows, "the labels of a microbatch", err));
        LK_RETURN_IF(LK_NEW(&kept->partner, rows, "the partners of a microbatch", err));
        LK_RETURN_IF(LK_NEW(&kept->pixel_share, rows, "the shares of a microbatch", err));
        LK_RETURN_IF(LK_NEW(&kept->label_share, rows, "the shares of a microbatch", err));
    }
    return LK_OK;
}

void lk_window_counts_free(lk_window *window) {
    lk_window_counts *counts = &window->counts;
    lk_device *device = window->network->device;
    for (int i = 0; counts->kept != NULL && i < window->share.count; i++) {
        lk_kept_microbatch *kept = &counts->kept[i];
        device->host_release(device, kept->batch.images);
        lk_free(kept->batch.labels);
        lk_free(kept->partner);
        lk_free(kept->pixel_share);
        lk_free(kept->label_share);
    }
    lk_free(counts->kept);
    lk_free(counts->mine);
    lk_free(counts->all);
}

void lk_window_keep(lk_window *window, const lk_microbatch *batch) {
    lk_kept_microbatch *kept = &window->counts.kept[batch->tag - window->share.first];
    uint8_t *images = kept->batch.images;
    int32_t *labels = kept->batch.labels;
    size_t rows = (size_t)window->microbatch;
    kept->batch = *batch;
    kept->batch.owner = NULL;
    kept->batch.images = images;
    kept->batch.labels = labels;
    memcpy(images, batch->images, (size_t)image_bytes(window));
    memcpy(labels, batch->labels, rows * sizeof *labels);
    if (batch->partner == NULL) return;
    kept->batch.partner = memcpy(kept->partner, batch->partner, rows * sizeof *kept->partner);
    kept->batch.pixel_share = memcpy(kept->pixel_share, batch->pixel_share, rows * sizeof *kept->pixel_share);
    kept->batch.label_share = memcpy(kept->label_share, batch->label_share, rows * sizeof *kept->label_share);
}

void lk_window_count(lk_window *window, const lk_microbatch *batch, const double *logits) {
    int64_t classes = window->network->graph->classes;
    double *counts = window->counts.mine + (batch->tag - window->share.first) * width(window);
    memset(counts, 0, (size_t)width(window) * sizeof *counts);
    const lk_run labelled = {.labels = batch->labels, .partner = batch->partner, .label_share = batch->label_share};
    for (int64_t i = 0; i < batch->rows; i++)
        lk_f1_count(classes, logits + i * classes, lk_run_label(&labelled, i), counts);
}

/* The counts of a node come to stand at its first leaf's place. */
static void add_node(lk_window *window, lk_span node) {
    lk_span left = lk_tree_left(node), right = lk_tree_right(node);
    if (node.count == 1) return;
    add_node(window, left);
    if (right.first >= window->present) return;
    add_node(window, right);
    double *sum = window->counts.all + left.first * width(window);
    const double *more = window->counts.all + right.first * width(window);
    for (int64_t i = 0; i < width(window); i++) sum[i] += more[i];
}

lk_status lk_window_add_counts(lk_window *window, lk_error *err) {
    int64_t bytes = window->share.count * width(window) * (int64_t)sizeof(double);
    LK_RETURN_IF(lk_comm_allgather(window->comm, window->counts.mine, window->counts.all, bytes, err));
    add_node(window, (lk_span){0, window->share.count * window->comm->size});
    return LK_OK;
}
