#include "train/evaluate.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "train/loss.h"

/* Batches are dealt to the ranks in turn: batch j is slot j / size of rank j % size. */
typedef struct shard {
    lk_network *network;
    lk_loader *loader;
    const lk_evaluation_config *config;
    int rank, size, classes;
    int64_t batches;    /* of all ranks */
    int64_t slots;      /* batches of the rank that has most */
    double *losses;     /* slots x batch */
    double *counts;     /* slots x 3 classes: soft counts of each batch; NULL without an F1 term */
    float *logits;      /* slots x batch x classes */
    int64_t *confusion; /* K x K of this rank's samples */
    double *scratch;    /* lanes x batch x classes */
} shard;

static lk_status run_batch(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    shard *s = context;
    lk_microbatch batch;
    (void)index;
    LK_RETURN_IF(lk_loader_next(s->loader, &batch, err));
    int64_t at = batch.tag / s->size;
    int64_t size = s->config->batch;
    double *logits = s->scratch + (int64_t)worker * size * s->classes;
    double *losses = s->losses + at * size;
    lk_lane *lane = slot->lanes[LK_NETWORK_EVALUATE];
    lk_run run = {.params = s->network->eval_params,
                  .derived = s->network->derived[LK_NETWORK_EVALUATE],
                  .stats = s->network->eval_stats,
                  .images = batch.images,
                  .labels = batch.labels,
                  .rows = batch.rows,
                  .loss_scale = 1.0,
                  .weight_scale = 1};
    lk_status status = lk_lane_forward(lane, &run, NULL, NULL, err);
    if (status == LK_OK) status = lk_lane_read_losses(lane, losses, err);
    if (status == LK_OK) status = lk_lane_read_logits(lane, logits, err);
    for (int64_t i = 0; status == LK_OK && i < batch.rows * s->classes; i++)
        s->logits[at * size * s->classes + i] = (float)logits[i];
    for (int64_t i = 0; status == LK_OK && i < batch.rows; i++) {
        /* The prediction is that of the stored float32 logits, so that anybody can count again from the file. */
        for (int c = 0; c < s->classes; c++) logits[i * s->classes + c] = (float)logits[i * s->classes + c];
        int predicted = lk_argmax(logits + i * s->classes, s->classes);
        if (s->counts != NULL)
            lk_f1_count(s->classes, logits + i * s->classes, (lk_loss_label){batch.labels[i], batch.labels[i], 1},
                        s->counts + at * 3 * s->classes);
        __atomic_fetch_add(&s->confusion[(int64_t)batch.labels[i] * s->classes + predicted], 1, __ATOMIC_RELAXED);
    }
    lk_loader_release(s->loader, &batch);
    return status;
}

static lk_status create_shard(shard *s, lk_lanes *lanes, lk_error *err) {
    int64_t samples = s->slots * s->config->batch;
    LK_RETURN_IF(LK_NEW(&s->losses, samples, "losses", err));
    LK_RETURN_IF(LK_NEW(&s->logits, samples * s->classes, "logits", err));
    if (lk_network_loss(s->network)->f1 > 0)
        LK_RETURN_IF(LK_NEW(&s->counts, s->slots * 3 * s->classes, "soft counts", err));
    LK_RETURN_IF(LK_NEW(&s->scratch, (int64_t)lanes->count * s->config->batch * s->classes, "logits", err));
    return LK_NEW(&s->confusion, (int64_t)s->classes * s->classes, "the confusion matrix", err);
}

static void free_shard(shard *s) {
    lk_free(s->losses);
    lk_free(s->logits);
    lk_free(s->scratch);
    lk_free(s->counts);
    lk_free(s->confusion);
}

/* Queues and runs this rank's batches. */
static lk_status run_shard(shard *s, lk_lanes *lanes, lk_error *err) {
    lk_stream *stream;
    int mine = 0;
    LK_RETURN_IF(lk_lanes_main_stream(lanes, &stream, err));
    LK_RETURN_IF(lk_network_refresh(s->network, LK_NETWORK_EVALUATE, stream, err));
    for (int64_t j = s->rank; j < s->batches; j += s->size) {
        int64_t first = j * s->config->batch;
        int64_t rows = s->config->count - first < s->config->batch ? s->config->count - first : s->config->batch;
        lk_load_request request = {
            .tag = j, .rows = rows, .samples = s->config->samples + first, .first_position = first};
        LK_RETURN_IF(lk_loader_submit(s->loader, &request, 1, NULL, 0, err));
        mine++;
    }
    lk_status status = lk_lanes_run(lanes, run_batch, s, mine, err);
    if (status != LK_OK) lk_loader_cancel(s->loader);
    return status;
}

/* Rank-major slots back to sample order: element size bytes per sample. */
static void unpack(const shard *s, const char *packed, char *ordered, size_t bytes) {
    int64_t size = s->config->batch;
    for (int64_t j = 0; j < s->batches; j++) {
        int64_t first = j * size;
        int64_t rows = s->config->count - first < size ? s->config->count - first : size;
        int64_t from = ((j % s->size) * s->slots + j / s->size) * size;
        memcpy(ordered + (size_t)first * bytes, packed + (size_t)from * bytes, (size_t)rows * bytes);
    }
}

static lk_status combine_logits(shard *s, lk_comm *comm, lk_evaluation *out, lk_error *err) {
    lk_status status;
    float *packed = NULL;
    int64_t *counts = NULL;
    int64_t bytes = s->slots * s->config->batch * s->classes * (int64_t)sizeof(float);
    LK_TRY(LK_NEW(&counts, comm->size, "byte counts", err));
    for (int i = 0; i < comm->size; i++) counts[i] = bytes;
    LK_TRY(lk_alloc((void **)&packed, comm->rank == 0 ? (size_t)comm->size : 0, (size_t)bytes, "logits", err));
    LK_TRY(lk_comm_gather(comm, s->logits, counts, packed, 0, err));
    if (comm->rank == 0) {
        LK_TRY(LK_NEW(&out->logits, s->config->count * s->classes, "logits", err));
        unpack(s, (const char *)packed, (char *)out->logits, (size_t)s->classes * sizeof(float));
    }
    status = LK_OK;
out:
    lk_free(packed);
    lk_free(counts);
    return status;
}

/* Soft counts of all samples: those of the batches in order. */
static lk_status combine_counts(shard *s, lk_comm *comm, double *total, lk_error *err) {
    int64_t width = 3 * (int64_t)s->classes;
    double *all = NULL;
    LK_RETURN_IF(LK_NEW(&all, s->slots * width * comm->size, "soft counts", err));
    lk_status status = lk_comm_allgather(comm, s->counts, all, s->slots * width * (int64_t)sizeof(double), err);
    for (int64_t j = 0; status == LK_OK && j < s->batches; j++)
        for (int64_t i = 0; i < width; i++) total[i] += all[((j % s->size) * s->slots + j / s->size) * width + i];
    lk_free(all);
    return status;
}

/* Turns the mean of the samples' losses into the loss of them all. */
static lk_status finish_loss(shard *s, lk_comm *comm, lk_metrics *metrics, lk_error *err) {
    double *total = NULL;
    if (s->counts != NULL) LK_RETURN_IF(LK_NEW(&total, 3 * (int64_t)s->classes, "soft counts", err));
    lk_status status = s->counts == NULL ? LK_OK : combine_counts(s, comm, total, err);
    if (status == LK_OK) metrics->loss = lk_loss_of_split(lk_network_loss(s->network), metrics, total);
    lk_free(total);
    return status;
}

static lk_status combine(shard *s, lk_comm *comm, lk_evaluation *out, lk_error *err) {
    lk_status status;
    double *packed = NULL, *ordered = NULL;
    int64_t slot_samples = s->slots * s->config->batch;
    int64_t cells = (int64_t)s->classes * s->classes;
    LK_TRY(lk_comm_allreduce_i64(comm, s->confusion, cells, err));
    int64_t counted = 0;
    for (int64_t i = 0; i < cells; i++) counted += s->confusion[i];
    if (counted != s->config->count) {
        status = lk_fail(err, LK_ERR_INTERNAL,
                         "evaluation counted %" PRId64 " samples of %" PRId64 ": this is a bug, please report it",
                         counted, s->config->count);
        goto out;
    }
    LK_TRY(LK_NEW(&packed, slot_samples * comm->size, "losses", err));
    LK_TRY(LK_NEW(&ordered, s->config->count, "losses", err));
    LK_TRY(lk_comm_allgather(comm, s->losses, packed, slot_samples * (int64_t)sizeof(double), err));
    unpack(s, (const char *)packed, (char *)ordered, sizeof(double));
    LK_TRY(lk_metrics_compute(&out->metrics, s->confusion, s->classes, ordered, s->config->count, err));
    LK_TRY(finish_loss(s, comm, &out->metrics, err));
    if (s->config->keep_logits) LK_TRY(combine_logits(s, comm, out, err));
    out->confusion = s->confusion;
    s->confusion = NULL;
out:
    lk_free(packed);
    lk_free(ordered);
    return status;
}

lk_status lk_evaluate(lk_evaluation *out, lk_network *network, lk_lanes *lanes, lk_comm *comm, lk_loader *loader,
                      const lk_evaluation_config *config, lk_error *err) {
    lk_status status;
    memset(out, 0, sizeof *out);
    int64_t batches = (config->count + config->batch - 1) / config->batch;
    shard s = {.network = network,
               .loader = loader,
               .config = config,
               .rank = comm->rank,
               .size = comm->size,
               .classes = (int)network->graph->classes,
               .batches = batches,
               .slots = (batches + comm->size - 1) / comm->size};
    status = create_shard(&s, lanes, err);
    if (status == LK_OK) status = run_shard(&s, lanes, err);
    LK_TRY(lk_comm_agree(comm, status, err));
    LK_TRY(combine(&s, comm, out, err));
out:
    free_shard(&s);
    if (status != LK_OK) lk_evaluation_free(out);
    return status;
}

void lk_evaluation_free(lk_evaluation *evaluation) {
    if (evaluation == NULL) return;
    lk_metrics_free(&evaluation->metrics);
    lk_free(evaluation->confusion);
    lk_free(evaluation->logits);
    memset(evaluation, 0, sizeof *evaluation);
}
