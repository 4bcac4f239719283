/* Initial values of parameters and running statistics. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/pool.h"
#include "core/random.h"
#include "nn/normal.h"
#include "nn/plan_internal.h"

/* FNV-1a: a parameter's draws are keyed by its name, so that they do not depend on which other layers there are. */
static uint64_t hash_name(const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name != '\0'; name++) hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash;
}

/* Where a parameter's draws come from: both halves of the name's hash take part. */
typedef struct draws {
    lk_random_key key;
    uint32_t sub;
} draws;

static draws draws_of(const char *name, uint64_t seed) {
    uint64_t hash = hash_name(name);
    return (draws){.key = {.seed = seed, .epoch = (uint32_t)(hash >> 32), .purpose = LK_RANDOM_INIT},
                   .sub = (uint32_t)hash};
}

/* Fixed pieces of a parameter: small enough to stay in a cache, and even, as lk_ziggurat_fill wants. */
#define PIECE 4096

/* Values first .. first + count of a parameter. */
static void fill_uniform(double *values, int64_t first, int64_t count, draws from, double bound) {
    for (int64_t i = 0; i < count; i++)
        values[i] = bound * (2.0 * lk_random_uniform_double(&from.key, (uint64_t)(first + i), from.sub) - 1.0);
}

static void fill_constant(double *values, int64_t count, double value) {
    for (int64_t i = 0; i < count; i++) values[i] = value;
}

/* Product of dims 1.. of the weight: inputs of one output element. */
static int64_t fan_in(const lk_shape *weight) {
    int64_t count = 1;
    for (int i = 1; i < weight->rank; i++) count *= weight->dims[i];
    return count;
}

/* A layer's rule with what it needs to know of the layer. */
typedef struct layer {
    lk_init_rule rule;
    const lk_shape *weight;
    int64_t groups; /* of a convolution, else 1 */
} layer;

/* Standard deviation of a normally distributed weight, 0 where the rule draws another distribution. fan out of PyTorch
 * leaves groups aside, that of TensorFlow does not. */
static double normal_std(const layer *l) {
    const lk_shape *w = l->weight;
    if (l->rule == LK_INIT_KAIMING_NORMAL_FAN_OUT) return sqrt(2.0 / (double)(w->dims[0] * (fan_in(w) / w->dims[1])));
    if (l->rule == LK_INIT_GOOGLE_CONV) return sqrt(2.0 / (double)(w->dims[0] * (fan_in(w) / w->dims[1]) / l->groups));
    return 0;
}

/* Bound of a uniformly distributed parameter, 0 where it is zero. */
static double uniform_bound(const layer *l, lk_param_role role) {
    bool google = l->rule == LK_INIT_GOOGLE_CONV || l->rule == LK_INIT_GOOGLE_LINEAR;
    if (google) return role == LK_PARAM_BIAS ? 0 : 1.0 / sqrt((double)l->weight->dims[0]);
    return 1.0 / sqrt((double)fan_in(l->weight));
}

/* Values first .. first + count of one parameter. from: its draws.
 * Source: torch.nn.init.kaiming_normal_(mode="fan_out", nonlinearity="relu") and the defaults of torch.nn.Linear and
 * torch.nn.Conv2d (kaiming_uniform_(a = sqrt 5), which is U(+-1/sqrt fan_in)); timm's _init_weight_goog. */
static lk_status fill(double *values, int64_t first, int64_t count, const lk_ziggurat *ziggurat, const lk_param *param,
                      const layer *l, draws from, lk_error *err) {
    if (l->rule == LK_INIT_NONE)
        return lk_fail(err, LK_ERR_INTERNAL, "parameter %s has no rule for its first values", param->name);
    double std = param->role == LK_PARAM_WEIGHT ? normal_std(l) : 0;
    if (l->rule == LK_INIT_ONES_ZEROS)
        fill_constant(values, count, param->role == LK_PARAM_GAMMA ? 1.0 : 0.0);
    else if (std > 0)
        lk_ziggurat_fill(ziggurat, &from.key, from.sub, std, first, count, values);
    else if (uniform_bound(l, param->role) == 0)
        fill_constant(values, count, 0);
    else
        fill_uniform(values, first, count, from, uniform_bound(l, param->role));
    return LK_OK;
}

/* Doubles into the master dtype, from element `first` on. */
static void convert(void *master, lk_dtype dtype, int64_t first, const double *values, int64_t count) {
    if (dtype == LK_F64) {
        memcpy((double *)master + first, values, (size_t)count * sizeof *values);
        return;
    }
    float *out = (float *)master + first;
    for (int64_t i = 0; i < count; i++) out[i] = (float)values[i];
}

static lk_status initialise_stats(const lk_plan *plan, void *stats, lk_error *err) {
    int64_t count = plan->totals.stats_count;
    double *values = NULL;
    void *master = NULL;
    size_t size = lk_dtype_size(plan->device->master);
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&values, count, "running statistics", err));
    LK_TRY(lk_alloc(&master, (size_t)count, size, "running statistics", err));
    for (int i = 0; i < plan->stat_count; i++)
        fill_constant(values + plan->stats[i].offset + plan->stats[i].channels, plan->stats[i].channels, 1.0);
    convert(master, plan->device->master, 0, values, count);
    LK_TRY(plan->device->upload(plan->device, stats, master, count * (int64_t)size, err));
out:
    lk_free(values);
    lk_free(master);
    return status;
}

static lk_status initialise_param(const lk_plan *plan, int i, uint64_t seed, const lk_ziggurat *ziggurat, void *params,
                                  lk_error *err) {
    const lk_param *param = &plan->params[i];
    const lk_node *node = &plan->graph->nodes[param->node];
    layer l = {.rule = node->init,
               .weight = &plan->params[plan->nodes[param->node].first_param].shape,
               .groups = node->op.kind == LK_OP_CONV2D ? node->op.conv.groups : 1};
    draws from = draws_of(param->name, seed);
    int64_t count = lk_shape_count(&param->shape);
    double values[PIECE];
    void *master = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&master, (size_t)count, lk_dtype_size(plan->device->master), "first parameters", err));
    for (int64_t first = 0; first < count; first += PIECE) {
        int64_t piece = count - first < PIECE ? count - first : PIECE;
        LK_TRY(fill(values, first, piece, ziggurat, param, &l, from, err));
        convert(master, plan->device->master, first, values, piece);
    }
    LK_TRY(lk_plan_pack(plan, i, master, params, err));
out:
    lk_free(master);
    return status;
}

typedef struct initialisation {
    const lk_plan *plan;
    uint64_t seed;
    lk_ziggurat ziggurat;
    void *params;
    lk_error *errors; /* one per parameter */
} initialisation;

/* From the last parameter to the first: networks grow towards their end, and whoever takes the longest first finishes
 * with the others. */
static void initialise_one(void *context, int index, int worker) {
    initialisation *all = context;
    int i = all->plan->param_count - 1 - index;
    (void)worker;
    all->errors[i].status = initialise_param(all->plan, i, all->seed, &all->ziggurat, all->params, &all->errors[i]);
}

lk_status lk_plan_initialise(const lk_plan *plan, uint64_t seed, int threads, void *params, void *stats,
                             lk_error *err) {
    lk_status status;
    lk_pool *pool = NULL;
    initialisation all = {.plan = plan, .seed = seed, .params = params};
    lk_ziggurat_create(&all.ziggurat);
    LK_TRY(LK_NEW(&all.errors, plan->param_count, "error slots", err));
    LK_TRY(lk_pool_create(&pool, threads, err));
    lk_pool_run(pool, initialise_one, &all, plan->param_count);
    for (int i = 0; i < plan->param_count; i++)
        if (all.errors[i].status != LK_OK) LK_TRY(lk_fail(err, all.errors[i].status, "%s", all.errors[i].message));
    LK_TRY(initialise_stats(plan, stats, err));
out:
    lk_pool_free(pool);
    lk_free(all.errors);
    return status;
}
