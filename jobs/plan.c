/* lockstep plan: what a job will run, before it runs: the cut of the batch, memory by number of ranks, every call. */
#include "nn/plan.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/tree.h"
#include "dist/topology.h"
#include "jobs/command.h"
#include "jobs/usage.h"
#include "train/exchange.h"
#include "train/training_set.h"

enum { MAX_ROWS = 64 }; /* rank counts that work: the powers of two, and a few more for odd trees */

typedef struct plan_flags {
    bool json, evaluate, help;
    int64_t classes, cores;
} plan_flags;

#define AT(field) offsetof(plan_flags, field)
static const lk_option options[] = {
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "as JSON", 0, false},
    {"evaluate", LK_OPTION_BOOL, AT(evaluate), 0, "false", 0, 0, NULL, "list the calls of evaluation", 0, false},
    {"classes", LK_OPTION_INT, AT(classes), 0, "0", 0, 1e6, NULL,
     "0: counted from the job's data set; otherwise the data set is not opened", 0, false},
    {"cores", LK_OPTION_INT, AT(cores), 0, "0", 0, 65536, NULL, "cores of a rank; 0: those of this process", 0, false},
    {"help", LK_OPTION_BOOL, AT(help), 0, "false", 0, 0, NULL, "this text", 'h', false},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

/* A job compiled for its device. */
typedef struct compiled {
    const lk_job *job;
    int64_t classes, samples, tail; /* samples 0: unknown; tail: samples of the epoch's smaller last microbatch */
    int cores;
    lk_device *device;
    lk_graph *graph;
    lk_plan *train, *last, *evaluate; /* last: for the tail, NULL where there is none */
    lk_plan_totals totals;            /* of train */
    int64_t arena, derived;           /* bytes of a lane's arena, of all derived parameters */
} compiled;

/* What one number of ranks needs. */
typedef struct rank_row {
    int ranks, accumulated, lanes, slabs;
    double bytes; /* of one rank */
} rank_row;

static lk_status count_samples(compiled *c, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    lk_training_set set = {0};
    lk_sampler *sampler = NULL;
    LK_TRY(lk_dataset_open(&dataset, c->job->data, err));
    LK_TRY(lk_training_set_read(&set, c->job, dataset, err));
    LK_TRY(lk_training_set_sampler(&sampler, &set, c->job, dataset, err));
    c->classes = dataset->class_count;
    c->samples = sampler->count;
    if (!c->job->drop_last) c->tail = c->samples % c->job->batch % c->job->microbatch;
out:
    lk_sampler_free(sampler);
    lk_training_set_free(&set);
    lk_dataset_free(dataset);
    return status;
}

static lk_status compile_one(compiled *c, lk_plan **out, int64_t batch, bool training, lk_error *err) {
    lk_plan_totals totals;
    lk_plan_options wanted = {.batch = batch,
                              .compute = lk_job_compute(c->job),
                              .training = training,
                              .group = (int)c->job->sync_batchnorm,
                              .like = c->train};
    LK_RETURN_IF(lk_plan_create(out, c->graph, c->device, &wanted, err));
    lk_plan_get_totals(*out, &totals);
    if (totals.arena_bytes > c->arena) c->arena = totals.arena_bytes;
    c->derived += totals.derived_bytes;
    return LK_OK;
}

static lk_status compile(compiled *c, lk_error *err) {
    const lk_job *job = c->job;
    lk_model_spec spec;
    lk_node_id loss;
    LK_RETURN_IF(lk_device_create(&c->device, job->device, (int)job->threads_per_microbatch, err));
    if (c->classes == 0) LK_RETURN_IF(count_samples(c, err));
    if (c->cores == 0) LK_RETURN_IF(lk_topology_cores(&c->cores, err));
    lk_job_model_spec(job, c->classes, &spec);
    LK_RETURN_IF(lk_model_build(&c->graph, job->model, &spec, err));
    LK_RETURN_IF(lk_graph_cross_entropy(c->graph, &loss, job->loss.smoothing, err));
    LK_RETURN_IF(compile_one(c, &c->train, job->microbatch, true, err));
    if (c->tail > 0) LK_RETURN_IF(compile_one(c, &c->last, c->tail, true, err));
    LK_RETURN_IF(compile_one(c, &c->evaluate, job->evaluate.batch, false, err));
    lk_plan_get_totals(c->train, &c->totals);
    return LK_OK;
}

static void release(compiled *c) {
    lk_plan_free(c->train);
    lk_plan_free(c->last);
    lk_plan_free(c->evaluate);
    lk_graph_free(c->graph);
    lk_device_free(c->device);
}

static int rank_rows(const compiled *c, rank_row *rows) {
    int count = 0, leaves = lk_job_leaves(c->job), chain = lk_job_chain(c->job);
    int group = (int)c->job->sync_batchnorm;
    lk_optimizer_config optimizer;
    lk_job_optimizer(c->job, &optimizer);
    double size = (double)lk_dtype_size(c->device->master), slab = (double)c->totals.slab_count * size;
    for (int ranks = 1; ranks <= leaves && count < MAX_ROWS; ranks++) {
        if (!lk_exchange_ranks_ok(leaves, chain, group, ranks)) continue;
        rank_row *row = &rows[count++];
        int64_t lanes = c->cores / c->job->threads_per_microbatch;
        *row = (rank_row){.ranks = ranks, .accumulated = leaves / ranks};
        row->lanes = lanes < 1 ? 1 : lanes > row->accumulated ? row->accumulated : (int)lanes;
        row->lanes = lk_exchange_lanes(row->accumulated, group, row->lanes);
        row->slabs = lk_tree_slabs(lk_tree_share(leaves, ranks, 0), chain, row->lanes);
        /* Parameters, their moving average, the optimizer's state. */
        int state = 1 + (c->job->ema.decay > 0) + lk_optimizer_state_slabs(&optimizer);
        row->bytes = (row->slabs + state) * slab + (double)c->derived + (double)row->lanes * (double)c->arena;
    }
    return count;
}

static void print_head(const compiled *c) {
    const lk_job *job = c->job;
    rank_row rows[MAX_ROWS];
    int count = rank_rows(c, rows);
    char chains[64] = "";
    if (lk_job_chain(job) > 1) snprintf(chains, sizeof chains, " (gradients added in chains of %d)", lk_job_chain(job));
    printf("%s: batch %" PRId64 " = %d x %" PRId64 "%s, evaluation %" PRId64 " at a time\n", job->model, job->batch,
           lk_job_leaves(job), job->microbatch, chains, job->evaluate.batch);
    if (c->samples > 0) {
        int64_t rest = job->drop_last ? 0 : c->samples % job->batch;
        printf("epoch of %" PRId64 " samples: %" PRId64 " updates", c->samples,
               c->samples / job->batch + (rest > 0 ? 1 : 0));
        if (rest > 0)
            printf(", the last of %" PRId64 " = %" PRId64 " x %" PRId64 " + %" PRId64, rest, rest / job->microbatch,
                   job->microbatch, c->tail);
        putchar('\n');
    }
    printf("\nranks that work, at %d core%s each (the result is the same bits):\n", c->cores, c->cores == 1 ? "" : "s");
    puts(" ranks  accumulated  side by side  gradient slabs  MB of a rank");
    for (int i = 0; i < count; i++)
        printf("%6d  %11d  %12d  %14d  %12.1f\n", rows[i].ranks, rows[i].accumulated, rows[i].lanes, rows[i].slabs,
               rows[i].bytes / 1e6);
    printf("one slab %.1f MB, one arena %.1f MB, derived parameters of all plans %.1f MB; images come on top\n\n",
           (double)c->totals.slab_count * (double)lk_dtype_size(c->device->master) / 1e6, (double)c->arena / 1e6,
           (double)c->derived / 1e6);
}

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

static lk_status print_json(const compiled *c, const lk_plan *plan, lk_error *err) {
    rank_row rows[MAX_ROWS];
    int count = rank_rows(c, rows);
    json_t *list = json_array(), *object = plan_object(plan, err);
    for (int i = 0; i < count; i++)
        json_array_append_new(
            list, json_pack("{s:i, s:i, s:i, s:i, s:f}", "ranks", rows[i].ranks, "accumulated", rows[i].accumulated,
                            "lanes", rows[i].lanes, "gradient_slabs", rows[i].slabs, "bytes", rows[i].bytes));
    json_t *root = json_pack("{s:s, s:I, s:i, s:i, s:I, s:I, s:i, s:I, s:I, s:o, s:o}", "model", c->job->model, "batch",
                             (json_int_t)c->job->batch, "microbatches", lk_job_leaves(c->job), "chain",
                             lk_job_chain(c->job), "microbatch", (json_int_t)c->job->microbatch, "tail",
                             (json_int_t)c->tail, "cores", c->cores, "arena_bytes", (json_int_t)c->arena,
                             "derived_bytes", (json_int_t)c->derived, "ranks", list, "plan", object);
    if (root == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot build the JSON text of a plan: out of memory");
    int failed = json_dumpf(root, stdout, JSON_INDENT(1));
    json_decref(root);
    putchar('\n');
    return failed == 0 ? LK_OK : lk_fail(err, LK_ERR_IO, "cannot write the JSON text of a plan");
}

static lk_status run(const plan_flags *flags, const char *path, char *const *overrides, int count, lk_error *err) {
    lk_status status;
    lk_job job = {0};
    compiled c = {.job = &job, .classes = flags->classes, .cores = (int)flags->cores};
    LK_TRY(lk_job_read(&job, path, overrides, count, err));
    LK_TRY(compile(&c, err));
    const lk_plan *listed = flags->evaluate ? c.evaluate : c.train;
    if (flags->json) {
        LK_TRY(print_json(&c, listed, err));
    } else {
        print_head(&c);
        LK_TRY(lk_plan_print(listed, stdout, false, err));
    }
out:
    release(&c);
    lk_job_free(&job);
    return status;
}

lk_status lk_command_plan(int argc, char **argv, lk_error *err) {
    lk_status status;
    plan_flags flags = {0};
    int arguments = 0;
    LK_TRY(lk_options_defaults(options, OPTION_COUNT, &flags, err));
    LK_TRY(lk_options_read_argv(options, OPTION_COUNT, &flags, argc, argv, &arguments, err));
    if (flags.help) {
        lk_usage_print("plan JOB.yaml [KEY=VALUE ...] [options]",
                       "Compiles a job without running it: how the batch is cut, which numbers of ranks work and what\n"
                       "memory a rank needs, and every call with its implementation, layout, bytes and flops.",
                       options, OPTION_COUNT, stdout);
    } else if (arguments < 1) {
        status = lk_fail(err, LK_ERR_USAGE, "plan needs a job file: lockstep plan JOB.yaml [KEY=VALUE ...]");
    } else {
        LK_TRY(run(&flags, argv[1], argv + 2, arguments - 1, err));
    }
out:
    lk_options_free(options, OPTION_COUNT, &flags);
    return status;
}
