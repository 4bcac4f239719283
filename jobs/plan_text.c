/* The plan for people. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "jobs/plan.h"
#include "train/update_rows.h"

/* What rows are added up under. */
typedef struct group {
    const char *kind;
    int calls;
    int64_t launches;
    double bytes, flops, forward, backward; /* of an update; seconds */
} group;

static lk_status print_ranks(const lk_compiled *c, lk_error *err) {
    lk_rank_row rows[LK_PLAN_MAX_ROWS];
    int count;
    double slab = (double)c->totals.slab_count * (double)lk_dtype_size(c->device->master);
    LK_RETURN_IF(lk_plan_rank_rows(c, rows, &count, err));
    fprintf(c->out, "\nranks that work, at %d core%s each (the result is the same bits):\n", c->cores,
            c->cores == 1 ? "" : "s");
    fprintf(c->out, " ranks  accumulated  side by side  gradient slabs  MB of a rank%s\n",
            c->kind != NULL ? "  predicted images/s" : "");
    for (int i = 0; i < count; i++) {
        fprintf(c->out, "%6d  %11d  %12d  %14d  %12.1f", rows[i].ranks, rows[i].accumulated, rows[i].lanes,
                rows[i].slabs, rows[i].bytes / 1e6);
        if (c->kind != NULL) fprintf(c->out, "  %18.0f", rows[i].rate);
        putc('\n', c->out);
    }
    fprintf(c->out,
            "one slab %.1f MB, one arena %.1f MB, derived parameters of all plans %.1f MB; images come on top\n",
            slab / 1e6, (double)c->arena / 1e6, (double)c->derived / 1e6);
    return LK_OK;
}

static void print_head(const lk_compiled *c) {
    const lk_job *job = c->job;
    char chains[64] = "";
    if (lk_job_chain(job) > 1) snprintf(chains, sizeof chains, " (gradients added in chains of %d)", lk_job_chain(job));
    fprintf(c->out, "%s: batch %" PRId64 " = %d x %" PRId64 "%s, evaluation %" PRId64 " at a time\n", job->model,
            job->batch, lk_job_leaves(job), job->microbatch, chains, job->evaluate.batch);
    if (c->trained < c->totals.params)
        fprintf(c->out, "trained: %.4g M of %.2f M parameters\n", (double)c->trained / 1e6,
                (double)c->totals.params / 1e6);
    if (c->samples == 0) return;
    int64_t rest = job->drop_last ? 0 : c->samples % job->batch;
    fprintf(c->out, "epoch of %" PRId64 " samples: %" PRId64 " updates", c->samples,
            c->samples / job->batch + (rest > 0 ? 1 : 0));
    if (rest > 0)
        fprintf(c->out, ", the last of %" PRId64 " = %" PRId64 " x %" PRId64 " + %" PRId64, rest,
                rest / job->microbatch, job->microbatch, c->tail);
    putc('\n', c->out);
}

static int by_work(const void *left, const void *right) {
    const group *a = left, *b = right;
    double x = a->forward + a->backward, y = b->forward + b->backward;
    if (x != y) return x < y ? 1 : -1;
    return a->bytes < b->bytes ? 1 : a->bytes > b->bytes ? -1 : strcmp(a->kind, b->kind);
}

static void add_row(group *groups, int *count, const lk_update_row *row) {
    int i = 0;
    while (i < *count && strcmp(groups[i].kind, row->call.kind) != 0) i++;
    if (i == *count) groups[(*count)++] = (group){.kind = row->call.kind};
    group *g = &groups[i];
    double times = (double)row->times;
    g->calls += !row->continues;
    g->launches += row->times * row->call.launches;
    g->bytes += times * row->call.bytes;
    g->flops += times * row->call.flops;
    *(row->stage == LK_STAGE_FORWARD ? &g->forward : &g->backward) += row->seconds;
}

static void print_group(const lk_compiled *c, const group *g, double seconds) {
    fprintf(c->out, "%-26s %6d %9" PRId64 " %10.3f %10.3f", g->kind, g->calls, g->launches, g->bytes / 1e9,
            g->flops / 1e12);
    if (c->kind != NULL)
        fprintf(c->out, " %12.3f %12.3f %6.1f", g->forward * 1e3, g->backward * 1e3,
                100 * (g->forward + g->backward) / seconds);
    putc('\n', c->out);
}

static lk_status print_groups(const lk_compiled *c, const lk_update_rows *rows, lk_error *err) {
    int count = 0;
    group *groups = NULL, all = {.kind = "all"};
    double seconds = lk_update_seconds(rows, LK_STAGE_COUNT);
    LK_RETURN_IF(LK_NEW(&groups, rows->count, "kinds of layers", err));
    for (int i = 0; i < rows->count; i++) add_row(groups, &count, &rows->rows[i]);
    qsort(groups, (size_t)count, sizeof *groups, by_work);
    fprintf(c->out, "\none update on one rank, by kind of layer:\n%-26s %6s %9s %10s %10s%s\n", "layers", "calls",
            "launches", "GB", "TFLOP", c->kind != NULL ? " predicted ms: fwd          bwd share %" : "");
    for (int i = 0; i < count; i++) {
        print_group(c, &groups[i], seconds);
        all.calls += groups[i].calls;
        all.launches += groups[i].launches;
        all.bytes += groups[i].bytes;
        all.flops += groups[i].flops;
        all.forward += groups[i].forward;
        all.backward += groups[i].backward;
    }
    print_group(c, &all, seconds);
    lk_free(groups);
    if (c->kind != NULL) fputs("what follows the microbatches stands under bwd\n", c->out);
    return LK_OK;
}

static void print_model(const lk_compiled *c) {
    const lk_gpu_kind *kind = c->kind;
    double peak = lk_gpu_kind_peak(kind, lk_job_compute(c->job));
    fprintf(c->out,
            "\npredicted, not measured, for %s: a launch takes %.1f us, then the longer of its bytes at %.0f%% of %.2f "
            "TB/s and its operations at %.0f%% of %.1f TFLOP/s; between GPUs %.0f%% of %.0f GB/s, hidden behind the "
            "backward pass but for the last bucket\n",
            kind->title, LK_COST_LAUNCH_SECONDS * 1e6, 100 * LK_COST_BANDWIDTH_SHARE, kind->bandwidth / 1e12,
            100 * LK_COST_FLOPS_SHARE, peak / 1e12, 100 * LK_COST_LINK_SHARE, kind->link / 1e9);
    fprintf(c->out, "planned on: %s\n", c->device->identity(c->device));
    if (c->without_cudnn)
        fputs("cuDNN was not asked: the CUDA module is not here, cannot be loaded or refuses a layer\n", c->out);
}

static void print_bound(const lk_compiled *c, double rate) {
    lk_bound b = lk_plan_bound(c, rate);
    fprintf(c->out,
            "predicted rate of one rank %.0f images/s, bound by the %s: GPU %.0f, loader %.0f (%d core%s x %.0f "
            "images/s)",
            b.rate, b.name, b.gpu, b.loader, c->cores, c->cores == 1 ? "" : "s", c->flags->loader_rate);
    if (b.storage > 0) fprintf(c->out, ", storage %.0f", b.storage);
    fprintf(c->out, "\nto keep the GPU busy: %.1f cores for the loader", b.cores_needed);
    if (b.storage_needed > 0) fprintf(c->out, ", %.1f MB/s of storage", b.storage_needed / 1e6);
    putc('\n', c->out);
}

static lk_status print_sizes(const lk_compiled *c, lk_error *err) {
    lk_size_row rows[LK_PLAN_MAX_SIZES];
    int count;
    LK_RETURN_IF(lk_plan_sizes(c, rows, &count, err));
    fprintf(c->out, "\nmicrobatches on one GPU with %.1f of %.1f GB for them:\n", lk_plan_gpu_room(c->kind) / 1e9,
            (double)c->kind->memory / 1e9);
    if (count == 0 || rows[0].microbatch < c->job->microbatch)
        fprintf(c->out, "a microbatch of %" PRId64 " does not fit\n", c->job->microbatch);
    if (count == 0) return LK_OK;
    fputs("microbatch  MB of a rank  predicted images/s\n", c->out);
    for (int i = 0; i < count; i++)
        fprintf(c->out, "%10" PRId64 "  %12.1f  %18.0f\n", rows[i].microbatch, rows[i].bytes / 1e6, rows[i].rate);
    fprintf(c->out, "the largest microbatch that fits is %" PRId64 "\n", rows[count - 1].microbatch);
    return LK_OK;
}

static lk_status print_update(const lk_compiled *c, lk_error *err) {
    lk_status status;
    lk_update_rows rows = {0};
    lk_update_config config = {.job = c->job, .plan = c->train, .leaves = lk_job_leaves(c->job), .ranks = 1};
    if (c->kind != NULL) config.cost = &c->cost;
    LK_TRY(lk_update_rows_create(&rows, &config, err));
    LK_TRY(print_groups(c, &rows, err));
    if (c->kind == NULL) goto out;
    print_bound(c, (double)c->job->batch / lk_update_seconds(&rows, LK_STAGE_COUNT));
    LK_TRY(print_sizes(c, err));
out:
    lk_update_rows_free(&rows);
    return status;
}

lk_status lk_plan_write_text(const lk_compiled *c, lk_error *err) {
    print_head(c);
    if (c->kind != NULL) print_model(c);
    LK_RETURN_IF(print_ranks(c, err));
    if (!c->flags->evaluate) LK_RETURN_IF(print_update(c, err));
    if (!c->flags->launches && !c->flags->evaluate) return LK_OK;
    putc('\n', c->out);
    return lk_plan_print(c->flags->evaluate ? c->evaluate : c->train, c->out, false, err);
}
