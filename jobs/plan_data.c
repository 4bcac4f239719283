/* The plan for programs: JSON and CSV. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "core/text.h"
#include "jobs/plan.h"
#include "train/update_rows.h"

/* The plan's own JSON as an object; NULL when there is no memory. */
static json_t *plan_object(const lk_plan *plan, lk_error *err) {
    char *text = NULL;
    size_t size = 0;
    json_t *object = NULL;
    FILE *memory = open_memstream(&text, &size);
    if (memory == NULL) return NULL;
    lk_status status = lk_plan_print(plan, memory, true, err);
    fclose(memory);
    if (status == LK_OK) object = json_loads(text, 0, NULL);
    free(text);
    return object;
}

static lk_status rank_list(const lk_compiled *c, json_t *list, lk_error *err) {
    lk_rank_row rows[LK_PLAN_MAX_ROWS];
    int count;
    LK_RETURN_IF(lk_plan_rank_rows(c, rows, &count, err));
    for (int i = 0; i < count; i++) {
        json_t *row = json_pack("{s:i, s:i, s:i, s:i, s:f}", "ranks", rows[i].ranks, "accumulated", rows[i].accumulated,
                                "lanes", rows[i].lanes, "gradient_slabs", rows[i].slabs, "bytes", rows[i].bytes);
        if (c->kind != NULL) json_object_set_new(row, "predicted_images_per_second", json_real(rows[i].rate));
        json_array_append_new(list, row);
    }
    return LK_OK;
}

static json_t *stage_list(const lk_compiled *c, const lk_update_rows *rows) {
    json_t *list = json_array();
    for (lk_update_stage stage = 0; stage < LK_STAGE_COUNT; stage++) {
        int64_t launches = 0;
        double bytes = 0, flops = 0;
        for (int i = 0; i < rows->count; i++) {
            const lk_update_row *row = &rows->rows[i];
            if (row->stage != stage) continue;
            launches += row->times * row->call.launches;
            bytes += (double)row->times * row->call.bytes;
            flops += (double)row->times * row->call.flops;
        }
        json_t *item = json_pack("{s:s, s:I, s:f, s:f}", "stage", lk_update_stage_name(stage), "launches",
                                 (json_int_t)launches, "bytes", bytes, "flops", flops);
        if (c->kind != NULL) json_object_set_new(item, "predicted_seconds", json_real(lk_update_seconds(rows, stage)));
        json_array_append_new(list, item);
    }
    return list;
}

static lk_status predicted_object(const lk_compiled *c, const lk_update_rows *rows, json_t *root, lk_error *err) {
    lk_size_row sizes[LK_PLAN_MAX_SIZES];
    int count;
    double seconds = lk_update_seconds(rows, LK_STAGE_COUNT), rate = (double)c->job->batch / seconds;
    lk_bound b = lk_plan_bound(c, rate);
    LK_RETURN_IF(lk_plan_sizes(c, sizes, &count, err));
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:I, s:f, s:f}", "microbatch", (json_int_t)sizes[i].microbatch, "bytes",
                                              sizes[i].bytes, "predicted_images_per_second", sizes[i].rate));
    json_t *predicted = json_pack(
        "{s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:f, s:I, s:o}", "gpu", c->kind->title,
        "engines_of_cudnn", !c->without_cudnn, "launch_seconds", LK_COST_LAUNCH_SECONDS, "bytes_per_second",
        c->cost.bytes_per_second, "flops_per_second", c->cost.flops_per_second, "update_seconds", seconds,
        "gpu_images_per_second", b.gpu, "loader_images_per_second", b.loader, "storage_images_per_second", b.storage,
        "images_per_second", b.rate, "bound", b.name, "cores_needed", b.cores_needed, "largest_microbatch",
        (json_int_t)(count > 0 ? sizes[count - 1].microbatch : 0), "microbatches", list);
    return json_object_set_new(root, "predicted", predicted) == 0
               ? LK_OK
               : lk_fail(err, LK_ERR_MEMORY, "cannot build the JSON text of a plan: out of memory");
}

static lk_status write_root(const lk_compiled *c, json_t *root, lk_error *err) {
    int failed = json_dumpf(root, c->out, JSON_INDENT(1));
    return failed == 0 && putc('\n', c->out) != EOF ? LK_OK
                                                    : lk_fail(err, LK_ERR_IO, "cannot write the JSON text of a plan");
}

lk_status lk_plan_write_json(const lk_compiled *c, lk_error *err) {
    lk_status status;
    lk_update_rows rows = {0};
    lk_update_config config = {.job = c->job, .plan = c->train, .leaves = lk_job_leaves(c->job), .ranks = 1};
    json_t *root = NULL, *list = json_array();
    if (c->kind != NULL) config.cost = &c->cost;
    LK_TRY(rank_list(c, list, err));
    LK_TRY(lk_update_rows_create(&rows, &config, err));
    root =
        json_pack("{s:s, s:I, s:i, s:i, s:I, s:I, s:i, s:I, s:I, s:O, s:o, s:o}", "model", c->job->model, "batch",
                  (json_int_t)c->job->batch, "microbatches", lk_job_leaves(c->job), "chain", lk_job_chain(c->job),
                  "microbatch", (json_int_t)c->job->microbatch, "tail", (json_int_t)c->tail, "cores", c->cores,
                  "arena_bytes", (json_int_t)c->arena, "derived_bytes", (json_int_t)c->derived, "ranks", list, "update",
                  stage_list(c, &rows), "plan", plan_object(c->flags->evaluate ? c->evaluate : c->train, err));
    if (root == NULL) LK_TRY(lk_fail(err, LK_ERR_MEMORY, "cannot build the JSON text of a plan: out of memory"));
    if (c->kind != NULL) LK_TRY(predicted_object(c, &rows, root, err));
    LK_TRY(write_root(c, root, err));
out:
    lk_update_rows_free(&rows);
    json_decref(root);
    json_decref(list);
    return status;
}

static void write_row(const lk_compiled *c, const lk_update_row *row) {
    const lk_plan_call *call = &row->call;
    const char *const texts[] = {lk_update_stage_name(row->stage),         call->layer, call->op,
                                 call->launch == NULL ? "" : call->launch, call->kind,  call->implementation};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        lk_text_write_csv(texts[i], c->out);
        putc(',', c->out);
    }
    fprintf(c->out, "%" PRId64 ",%d,%.0f,%.0f,%.0f,", row->times, call->launches, call->bytes, call->operand_bytes,
            call->flops);
    if (c->kind != NULL) fprintf(c->out, "%.3f", row->seconds * 1e6);
    putc('\n', c->out);
}

lk_status lk_plan_write_csv(const lk_compiled *c, lk_error *err) {
    lk_update_rows rows;
    lk_update_config config = {.job = c->job, .plan = c->train, .leaves = lk_job_leaves(c->job), .ranks = 1};
    if (c->kind != NULL) config.cost = &c->cost;
    LK_RETURN_IF(lk_update_rows_create(&rows, &config, err));
    fputs(
        "stage,layer,op,launch,kind,implementation,times,launches,bytes,operand_bytes,flops,predicted_us_of_all_"
        "times\n",
        c->out);
    for (int i = 0; i < rows.count; i++) write_row(c, &rows.rows[i]);
    lk_update_rows_free(&rows);
    return ferror(c->out) ? lk_fail_errno(err, "write", "the plan") : LK_OK;
}
