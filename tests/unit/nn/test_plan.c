/* Compiled plans on a fake device whose arithmetic shows every wrong buffer. */
#include <jansson.h>
#include <string.h>

#include "core/random.h"
#include "fake_device.h"
#include "fused.h"
#include "nn/model.h"
#include "nn/plan_internal.h"
#include "tests/unit/unit.h"

#define MAX_NODES 128
#define MAX_PARAMS 256

static const float MEAN[3] = {0.5f, 0.5f, 0.5f}, STD[3] = {0.2f, 0.2f, 0.2f};
static const uint8_t PIXEL[1] = {9};

static int64_t draw(uint64_t index, uint32_t round, int64_t bound) {
    const lk_random_key key = {.seed = 23, .purpose = LK_RANDOM_SPLIT};
    return (int64_t)lk_random_below(&key, index, round, (uint64_t)bound);
}

static lk_batchnorm_spec norm_spec(lk_node_id residual, lk_act act) {
    return (lk_batchnorm_spec){.eps = 1e-5, .momentum = 0.1, .act = act, .residual = residual};
}

/* A graph of values of one shape, 8 x 4 x 4, that read any earlier values; all of them reach the loss. */
static lk_graph *random_graph(uint32_t round) {
    lk_graph *g = NULL;
    lk_conv_spec conv = {.out_channels = 8, .kernel = 3, .stride = 1, .pad = 1, .groups = 1};
    lk_node_id id = -1;
    assert_int_equal(lk_graph_create(&g, 3, 4, 4, MEAN, STD, NULL), LK_OK);
    assert_int_equal(lk_graph_conv2d(g, &id, "stem", 0, conv, LK_INIT_KAIMING_NORMAL_FAN_OUT, NULL), LK_OK);
    int target = 3 + (int)draw(0, round, 60);
    bool used[MAX_NODES] = {true};
    while (g->count < target) {
        char name[32];
        snprintf(name, sizeof name, "n%d", g->count);
        /* Often the same value, so that some get many gradients. */
        lk_node_id x = 1 + (lk_node_id)(draw((uint64_t)g->count, round, 3) == 0
                                            ? 0
                                            : draw((uint64_t)g->count + 100, round, g->count - 1));
        lk_node_id other = 1 + (lk_node_id)draw((uint64_t)g->count + 200, round, g->count - 1);
        int64_t what = draw((uint64_t)g->count + 300, round, 6);
        if (what == 0)
            assert_int_equal(lk_graph_maxpool(g, &id, name, x, 3, 1, 1, NULL), LK_OK);
        else if (what == 5)
            assert_int_equal(lk_graph_activation(g, &id, name, x = g->count - 1, LK_ACT_SILU, NULL), LK_OK);
        else if (what <= 2)
            assert_int_equal(lk_graph_conv2d(g, &id, name, x, conv, LK_INIT_KAIMING_NORMAL_FAN_OUT, NULL), LK_OK);
        else
            assert_int_equal(
                lk_graph_batchnorm(
                    g, &id, name, x,
                    norm_spec(what == 3 ? other : -1, draw((uint64_t)g->count, round, 2) ? LK_ACT_RELU : LK_ACT_NONE),
                    NULL),
                LK_OK);
        used[x] = true;
        if (what == 3) used[other] = true;
    }
    lk_node_id tail = -1;
    for (int i = 1, count = g->count; i < count; i++) {
        if (used[i]) continue;
        char name[32];
        snprintf(name, sizeof name, "join%d", i);
        if (tail < 0)
            tail = i;
        else
            assert_int_equal(lk_graph_batchnorm(g, &tail, name, i, norm_spec(tail, LK_ACT_RELU), NULL), LK_OK);
    }
    assert_int_equal(lk_graph_global_avgpool(g, &id, "pool", tail, NULL), LK_OK);
    assert_int_equal(lk_graph_linear(g, &id, "fc", id, 5, LK_INIT_TORCH_LINEAR, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &id, 0, NULL), LK_OK);
    assert_true(g->count <= MAX_NODES);
    return g;
}

/* The same arithmetic without plan, arena or buffers: one number a value. */
typedef struct expectation {
    double value[MAX_NODES], gradient[MAX_NODES], dparam[MAX_NODES];
    int arrived[MAX_NODES];
} expectation;

static void arrive(expectation *e, lk_node_id id, double gradient) {
    e->gradient[id] = e->arrived[id]++ == 0 ? gradient : fake_sum(e->gradient[id], gradient);
}

static bool has_params_at_or_before(const lk_graph *g, lk_node_id id) {
    if (id < 0) return false;
    const lk_node *node = &g->nodes[id];
    return lk_plan_has_params(node->op.kind) || has_params_at_or_before(g, node->x) ||
           has_params_at_or_before(g, node->residual);
}

static void interpret(const lk_graph *g, const fake_settings *settings, expectation *e) {
    memset(e, 0, sizeof *e);
    for (int i = 0; i < g->count; i++) {
        const lk_node *node = &g->nodes[i];
        double x = node->x >= 0 ? e->value[node->x] : PIXEL[0];
        bool fused = settings->fuses && may_be_fused(g, i);
        double residual = node->residual >= 0 ? e->value[node->residual] : 0;
        e->value[i] = fused ? x : fake_mix(x, residual, node->op.kind);
    }
    for (int i = g->count - 1; i > 0; i--) {
        const lk_node *node = &g->nodes[i];
        lk_op_kind kind = node->op.kind;
        if (!has_params_at_or_before(g, i)) continue;
        double dy = kind == LK_OP_LOSS ? 1 : e->gradient[i];
        if (settings->fuses && (may_be_fused(g, i) || (settings->two_dy && may_hand_on(g, i)))) {
            arrive(e, node->x, dy);
            continue;
        }
        bool keeps_x = kind == LK_OP_CONV2D || kind == LK_OP_LINEAR || kind == LK_OP_BATCHNORM || kind == LK_OP_LOSS;
        bool keeps_y = kind == LK_OP_BATCHNORM && node->op.batchnorm.act == LK_ACT_RELU && !settings->keeps_no_y;
        double stash = kind == LK_OP_CONV2D ? 0 : e->value[i];
        fake_gradient gradient = fake_backward_rule(kind, dy, fake_mix(keeps_x ? e->value[node->x] : 0, stash, 0),
                                                    keeps_y ? e->value[i] : 0);
        e->dparam[i] = gradient.dparam;
        if (node->residual >= 0) arrive(e, node->residual, gradient.dresidual);
        if (has_params_at_or_before(g, node->x)) arrive(e, node->x, gradient.dx);
    }
}

typedef struct fixture {
    fake_settings settings;
    lk_device device;
    lk_plan *plan;
    lk_lane *lane;
    lk_plan_totals totals;
    void *arena, *grads, *stats;
} fixture;

static void compile(fixture *f, const lk_graph *g, const lk_plan_options *options) {
    f->device = fake_device(&f->settings);
    lk_error err = {0};
    if (lk_plan_create(&f->plan, g, &f->device, options, &err) != LK_OK) fail_msg("%s", err.message);
    lk_plan_get_totals(f->plan, &f->totals);
    assert_int_equal(LK_NEW((char **)&f->arena, f->totals.arena_bytes, "arena", NULL), LK_OK);
    assert_int_equal(lk_alloc(&f->grads, (size_t)f->totals.slab_count, 8, "grads", NULL), LK_OK);
    assert_int_equal(lk_alloc(&f->stats, (size_t)f->totals.stats_count, 8, "stats", NULL), LK_OK);
    memset(f->arena, 0xaa, (size_t)f->totals.arena_bytes);
    assert_int_equal(lk_lane_create(&f->lane, f->plan, NULL, f->arena, NULL), LK_OK);
}

static void dispose(fixture *f) {
    lk_lane_free(f->lane);
    lk_plan_free(f->plan);
    lk_free(f->arena);
    lk_free(f->grads);
    lk_free(f->stats);
}

static lk_run run_of(const fixture *f) {
    return (lk_run){.grads = f->grads, .stats = f->stats, .images = PIXEL, .rows = 2, .loss_scale = 1};
}

/* Returns how many values were computed again. */
static int check_against_interpreter(const lk_graph *g, bool two_dy, bool fuses, lk_recompute recompute) {
    bool keeps_no_y = recompute != LK_RECOMPUTE_NONE;
    fixture f = {.settings = {.two_dy = two_dy, .missing = LK_OP_COUNT, .keeps_no_y = keeps_no_y, .fuses = fuses}};
    compile(&f, g, &(lk_plan_options){.batch = 2, .compute = LK_F32, .training = true, .recompute = recompute});
    int again = 0;
    for (int i = 0; i < f.plan->backward_count; i++) again += f.plan->backward[i].again;
    expectation e;
    interpret(g, &f.settings, &e);
    lk_run run = run_of(&f);
    lk_error err = {0};
    if (lk_lane_forward(f.lane, &run, NULL, NULL, &err) != LK_OK) fail_msg("%s", err.message);
    int kept = 0;
    for (int i = 0; i < g->count; i++) {
        double values[2 * 8 * 16];
        bool inside = false; /* of an op that gives what the activation behind it gives */
        for (int k = i + 1; k < g->count; k++) inside |= fuses && g->nodes[k].x == i && may_be_fused(g, k);
        if (inside) assert_false(lk_lane_keeps(f.lane, i));
        if (!lk_lane_keeps(f.lane, i)) continue;
        kept++;
        assert_int_equal(lk_lane_read_value(f.lane, i, values, NULL), LK_OK);
        assert_true(values[0] == e.value[i]);
    }
    assert_true(kept >= 3);
    if (lk_lane_backward(f.lane, &run, NULL, NULL, &err) != LK_OK) fail_msg("%s", err.message);
    int count = 0;
    const lk_param *params = lk_plan_get_params(f.plan, &count);
    for (int i = 0; i < count; i++) {
        const double *gradient = (const double *)f.grads + params[i].offset;
        assert_int_equal(params[i].offset % 16, 0);
        assert_true(fake_get(gradient, params[i].stored_count) == e.dparam[params[i].node] + params[i].index);
    }
    /* Logits and losses survive the backward pass. */
    double logits[2 * 5], losses[2];
    assert_int_equal(lk_lane_read_logits(f.lane, logits, NULL), LK_OK);
    assert_int_equal(lk_lane_read_losses(f.lane, losses, NULL), LK_OK);
    assert_true(logits[0] == e.value[g->logits] && losses[1] == e.value[g->count - 1]);
    dispose(&f);
    return again;
}

static void random_graphs_compute_what_the_graph_says(void **state) {
    (void)state;
    int many = 0, again = 0, fused = 0, activated = 0;
    for (uint32_t round = 0; round < 200; round++) {
        lk_graph *g = random_graph(round);
        assert_int_equal(check_against_interpreter(g, false, false, LK_RECOMPUTE_NONE), 0);
        check_against_interpreter(g, true, false, LK_RECOMPUTE_NONE);
        check_against_interpreter(g, round % 2 != 0, true, LK_RECOMPUTE_NONE);
        again += check_against_interpreter(g, round % 2 == 0, round % 4 < 2, LK_RECOMPUTE_ALL);
        for (int i = 0; i < g->count; i++) fused += may_be_fused(g, i) && g->nodes[i].op.kind == LK_OP_MAXPOOL;
        for (int i = 0; i < g->count; i++) activated += may_be_fused(g, i) && g->nodes[i].op.kind == LK_OP_ACTIVATION;
        fixture f = {.settings = {.missing = LK_OP_COUNT}};
        compile(&f, g, &(lk_plan_options){.batch = 2, .compute = LK_F32, .training = true});
        assert_true(lk_arena_is_sound(f.plan->live, f.plan->live_count, f.totals.arena_bytes, NULL, NULL));
        for (int i = 0; i < g->count; i++) many += f.plan->nodes[i].contributions >= 3;
        dispose(&f);
        lk_graph_free(g);
    }
    assert_true(many > 100); /* values with three gradients and more were among them */
    assert_true(again > 100);
    assert_true(fused > 20 && activated > 100);
}

static lk_graph *residual_net(const char *name, int64_t size) {
    lk_graph *g = NULL;
    lk_node_id loss = -1;
    lk_model_spec spec = {.channels = 3, .h = size, .w = size, .classes = 5, .std = {1, 1, 1}};
    assert_int_equal(lk_model_build(&g, name, &spec, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &loss, 0.1, NULL), LK_OK);
    return g;
}

typedef struct ready_log {
    int params[MAX_PARAMS], count, polls, fail_at;
} ready_log;

static lk_status log_ready(void *context, int param, lk_error *err) {
    ready_log *log = context;
    if (param < 0) return log->polls++ == log->fail_at ? lk_fail(err, LK_STOPPED, "stopped") : LK_OK;
    log->params[log->count++] = param;
    return LK_OK;
}

/* Gradients of all parameters, and the bytes of the arena. */
static double *gradients_of(const lk_graph *g, lk_recompute recompute, lk_plan_totals *totals) {
    fixture f = {.settings = {.two_dy = true, .missing = LK_OP_COUNT, .keeps_no_y = true}};
    lk_error err = {0};
    compile(&f, g, &(lk_plan_options){.batch = 2, .training = true, .recompute = recompute});
    assert_true(lk_arena_is_sound(f.plan->live, f.plan->live_count, f.totals.arena_bytes, NULL, NULL));
    lk_run run = run_of(&f);
    ready_log log = {.fail_at = -1};
    int count;
    (void)lk_plan_get_params(f.plan, &count);
    if (lk_lane_forward(f.lane, &run, NULL, NULL, &err) != LK_OK) fail_msg("%s", err.message);
    if (lk_lane_backward(f.lane, &run, log_ready, &log, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_equal(log.count, count); /* a value that is computed again completes no gradient */
    double *gradients = f.grads;
    *totals = f.totals;
    f.grads = NULL;
    dispose(&f);
    return gradients;
}

static void what_is_computed_again_is_the_same_and_takes_less_memory(void **state) {
    (void)state;
    const char *const names[] = {"resnet50", "efficientnet_b0"};
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        lk_graph *g = residual_net(names[m], 64);
        lk_plan_totals first, totals;
        double *expected = gradients_of(g, LK_RECOMPUTE_NONE, &first);
        int64_t arena = first.arena_bytes;
        int calls = first.calls;
        for (lk_recompute level = LK_RECOMPUTE_CONVS; level < LK_RECOMPUTE_COUNT; level++) {
            double *gradients = gradients_of(g, level, &totals);
            assert_memory_equal(gradients, expected, (size_t)first.slab_count * sizeof *expected);
            assert_true(totals.arena_bytes < arena && totals.calls > calls);
            arena = totals.arena_bytes;
            calls = totals.calls;
            lk_free(gradients);
        }
        lk_free(expected);
        lk_graph_free(g);
    }
}

/* Nothing that can learn lies before the first convolution: nobody asks for the gradient of the pixels. */
static void no_gradient_goes_to_the_pixels(void **state) {
    (void)state;
    lk_graph *g = random_graph(3);
    fixture f = {.settings = {.missing = LK_OP_COUNT}};
    compile(&f, g, &(lk_plan_options){.batch = 2, .training = true});
    assert_false(f.plan->nodes[0].has_backward || f.plan->nodes[0].desc.training);
    assert_false(f.plan->nodes[1].desc.need_dx);
    assert_int_equal(f.plan->nodes[1].dx, -1);
    assert_true(f.plan->nodes[1].has_backward);
    for (int i = 2; i < g->count; i++) assert_true(f.plan->nodes[i].desc.need_dx);
    dispose(&f);
    lk_graph_free(g);
}

static void models_are_sound_and_near_the_lower_bound(void **state) {
    (void)state;
    int count = 0;
    const lk_model_entry *models = lk_models(&count);
    for (int m = 0; m < count; m++) {
        lk_graph *g = residual_net(models[m].name, models[m].native_size);
        for (int training = 0; training < 2; training++) {
            fake_settings settings = {.two_dy = true, .missing = LK_OP_COUNT};
            lk_device device = fake_device(&settings);
            lk_plan *plan = NULL;
            lk_plan_options options = {.batch = 16, .training = training != 0};
            assert_int_equal(lk_plan_create(&plan, g, &device, &options, NULL), LK_OK);
            int64_t bytes = plan->totals.arena_bytes, bound = lk_arena_lower_bound(plan->live, plan->live_count);
            assert_true(lk_arena_is_sound(plan->live, plan->live_count, bytes, NULL, NULL));
            assert_true((double)bytes <= 1.03 * (double)bound);
            lk_plan_free(plan);
        }
        lk_graph_free(g);
    }
}

static void gradients_are_reported_once_and_polls_after_each_op(void **state) {
    (void)state;
    lk_graph *g = residual_net("cifar_resnet8", 32);
    fixture f = {.settings = {.missing = LK_OP_COUNT}};
    compile(&f, g, &(lk_plan_options){.batch = 2, .training = true});
    lk_run run = run_of(&f);
    ready_log log = {.fail_at = -1};
    assert_int_equal(lk_lane_forward(f.lane, &run, log_ready, &log, NULL), LK_OK);
    assert_int_equal(log.polls, g->count);
    assert_int_equal(log.count, 0);
    assert_int_equal(lk_lane_backward(f.lane, &run, log_ready, &log, NULL), LK_OK);
    assert_int_equal(log.polls, f.totals.calls);
    int count = 0;
    const lk_param *params = lk_plan_get_params(f.plan, &count);
    assert_int_equal(log.count, count);
    bool seen[MAX_PARAMS] = {false};
    for (int i = 0; i < count; i++) {
        assert_false(seen[log.params[i]]);
        seen[log.params[i]] = true;
        if (i > 0) assert_true(params[log.params[i]].node <= params[log.params[i - 1]].node);
    }
    ready_log stop = {.fail_at = 4};
    lk_error err = {0};
    assert_int_equal(lk_lane_backward(f.lane, &run, log_ready, &stop, &err), LK_STOPPED);
    assert_int_equal(stop.polls, 5);
    dispose(&f);
    lk_graph_free(g);
}

static void plans_that_are_like_another_keep_its_offsets(void **state) {
    (void)state;
    lk_graph *g = residual_net("resnet18", 64);
    fake_settings settings = {.missing = LK_OP_COUNT, .batch_changes_layout = true};
    lk_device device = fake_device(&settings);
    lk_plan *train = NULL, *other[2] = {NULL};
    lk_plan_options options = {.batch = 8, .training = true};
    assert_int_equal(lk_plan_create(&train, g, &device, &options, NULL), LK_OK);
    const lk_plan_options more[2] = {{.batch = 3, .training = true, .like = train}, {.batch = 8, .like = train}};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(lk_plan_create(&other[k], g, &device, &more[k], NULL), LK_OK);
        assert_int_equal(other[k]->totals.slab_count, train->totals.slab_count);
        assert_int_equal(other[k]->totals.stats_count, train->totals.stats_count);
        for (int i = 0; i < train->param_count; i++)
            assert_int_equal(other[k]->params[i].offset, train->params[i].offset);
        for (int i = 0; i < train->stat_count; i++) {
            assert_int_equal(other[k]->stats[i].offset, train->stats[i].offset);
            assert_int_equal(other[k]->stats[i].values * 8, train->stats[i].values * more[k].batch);
        }
        assert_true(other[k]->totals.arena_bytes < train->totals.arena_bytes);
        lk_plan_free(other[k]);
    }
    settings.ignores_like = true;
    lk_error err = {0};
    assert_int_equal(lk_plan_create(&other[0], g, &device, &more[0], &err), LK_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "lays out the parameters"));
    lk_plan_free(train);
    lk_graph_free(g);
}

static void refused(const lk_graph *g, fake_settings settings, lk_plan_options options, lk_status expected,
                    const char *text) {
    lk_device device = fake_device(&settings);
    lk_plan *plan = NULL;
    lk_error err = {0};
    assert_int_equal(lk_plan_create(&plan, g, &device, &options, &err), expected);
    assert_null(plan);
    if (strstr(err.message, text) == NULL) fail_msg("'%s' lacks '%s'", err.message, text);
}

static void printed(const lk_plan *plan, bool json, char **text) {
    size_t size = 0;
    FILE *out = open_memstream(text, &size);
    assert_non_null(out);
    assert_int_equal(lk_plan_print(plan, out, json, NULL), LK_OK);
    fclose(out);
}

/* stem -> pool -> gate; stem * gate -> dropout -> BatchNorm with stochastic depth -> pool -> dropout -> fc. */
static lk_graph *gated_net(void) {
    lk_graph *g = NULL;
    lk_node_id stem = -1, gate = -1, id = -1;
    lk_conv_spec conv = {.out_channels = 8, .kernel = 3, .stride = 1, .pad = 1, .groups = 1};
    lk_conv_spec pointwise = {.out_channels = 8, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    assert_int_equal(lk_graph_create(&g, 3, 4, 4, MEAN, STD, NULL), LK_OK);
    assert_int_equal(lk_graph_conv2d(g, &stem, "stem", 0, conv, LK_INIT_KAIMING_NORMAL_FAN_OUT, NULL), LK_OK);
    lk_node_id first = stem;
    assert_int_equal(lk_graph_batchnorm(g, &stem, "stem_bn", stem, norm_spec(-1, LK_ACT_NONE), NULL), LK_OK);
    assert_int_equal(lk_graph_global_avgpool(g, &gate, "squeeze", stem, NULL), LK_OK);
    assert_int_equal(lk_graph_conv2d(g, &gate, "expand", gate, pointwise, LK_INIT_KAIMING_NORMAL_FAN_OUT, NULL), LK_OK);
    assert_int_equal(lk_graph_maxpool(g, &id, "scale", stem, 3, 1, 1, NULL), LK_OK);
    g->nodes[id].op = (lk_op_desc){.kind = LK_OP_SCALE};
    g->nodes[id].residual = gate;
    assert_int_equal(lk_graph_maxpool(g, &id, "drop1", id, 3, 1, 1, NULL), LK_OK);
    g->nodes[id].op = (lk_op_desc){.kind = LK_OP_DROPOUT, .dropout = {.rate = 0.5}};
    lk_batchnorm_spec norm = {.residual = first, .act = LK_ACT_NONE, .eps = 1e-5, .momentum = 0.1};
    assert_int_equal(lk_graph_batchnorm(g, &id, "bn", id, norm, NULL), LK_OK);
    g->nodes[id].op.batchnorm.drop_path = 0.2;
    assert_int_equal(lk_graph_global_avgpool(g, &id, "pool", id, NULL), LK_OK);
    assert_int_equal(lk_graph_global_avgpool(g, &id, "drop2", id, NULL), LK_OK);
    g->nodes[id].op = (lk_op_desc){.kind = LK_OP_DROPOUT, .dropout = {.rate = 0.5}};
    assert_int_equal(lk_graph_linear(g, &id, "fc", id, 5, LK_INIT_TORCH_LINEAR, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &id, 0, NULL), LK_OK);
    return g;
}

static const lk_plan_node *planned(const lk_plan *plan, const char *name) {
    for (int i = 0; i < plan->graph->count; i++)
        if (strcmp(plan->graph->nodes[i].name, name) == 0) return &plan->nodes[i];
    fail_msg("no layer %s", name);
    return NULL;
}

/* P5: a draw is keyed by which of the layers that draw it is for. */
static void layers_that_draw_are_numbered_and_gates_get_their_gradient(void **state) {
    (void)state;
    lk_graph *g = gated_net();
    check_against_interpreter(g, false, false, LK_RECOMPUTE_NONE);
    check_against_interpreter(g, true, false, LK_RECOMPUTE_NONE);
    check_against_interpreter(g, true, true, LK_RECOMPUTE_NONE);
    check_against_interpreter(g, true, true, LK_RECOMPUTE_ALL);
    fixture fused = {.settings = {.missing = LK_OP_COUNT, .two_dy = true, .fuses = true}};
    compile(&fused, g, &(lk_plan_options){.batch = 2, .training = true});
    assert_true(planned(fused.plan, "squeeze")->hands_on && !planned(fused.plan, "pool")->hands_on);
    dispose(&fused);
    fixture f = {.settings = {.missing = LK_OP_COUNT}};
    compile(&f, g, &(lk_plan_options){.batch = 2, .training = true});
    assert_int_equal(planned(f.plan, "drop1")->desc.layer, 0);
    assert_int_equal(planned(f.plan, "bn")->desc.layer, 1);
    assert_int_equal(planned(f.plan, "drop2")->desc.layer, 2);
    const lk_plan_node *scale = planned(f.plan, "scale"), *expand = planned(f.plan, "expand");
    assert_memory_equal(&scale->desc.scale.gate, &expand->info.y, sizeof scale->desc.scale.gate);
    assert_int_not_equal(scale->dresidual, scale->dy[0]);
    assert_int_equal(f.plan->live[scale->dresidual].bytes, lk_act_bytes(&expand->info.y));
    assert_int_equal(expand->dy[0], scale->dresidual);
    assert_true(lk_arena_is_sound(f.plan->live, f.plan->live_count, f.totals.arena_bytes, NULL, NULL));
    dispose(&f);
    lk_graph_free(g);
}

/* Evaluation has no call for dropout: what follows reads what went into it. */
static void evaluation_skips_dropout(void **state) {
    (void)state;
    lk_graph *g = gated_net();
    fixture f = {.settings = {.missing = LK_OP_DROPOUT}};
    compile(&f, g, &(lk_plan_options){.batch = 2});
    assert_int_equal(planned(f.plan, "drop1")->y, planned(f.plan, "scale")->y);
    assert_int_equal(f.totals.calls, g->count - 2);
    lk_run run = run_of(&f);
    assert_int_equal(lk_lane_forward(f.lane, &run, NULL, NULL, NULL), LK_OK);
    char *text = NULL;
    printed(f.plan, false, &text);
    assert_null(strstr(text, "drop1"));
    assert_non_null(strstr(text, "bn"));
    free(text);
    dispose(&f);
    lk_graph_free(g);
}

static void what_cannot_be_compiled_is_a_sentence(void **state) {
    (void)state;
    const fake_settings all = {.missing = LK_OP_COUNT};
    const lk_plan_options train = {.batch = 2, .training = true};
    lk_graph *g = residual_net("cifar_resnet8", 32);
    fake_settings lacks = {.missing = LK_OP_BATCHNORM}, one = {.missing = LK_OP_LINEAR};
    refused(g, lacks, train, LK_ERR_UNSUPPORTED, "layer bn1 cannot run (and 8 more layers): batchnorm on device fake");
    refused(g, one, train, LK_ERR_UNSUPPORTED, "layer fc cannot run: linear on device fake");
    fake_settings mixed = {.missing = LK_OP_COUNT, .batchnorm_block = 8};
    refused(g, mixed, train, LK_ERR_UNSUPPORTED,
            "gave layer layer2.0.bn2 the layout nChw8c float64 and its residual layer2.0.downsample.1 the layout NCHW");
    refused(g, all, (lk_plan_options){.batch = 0}, LK_ERR_CONFIG, "microbatch of 0");
    refused(g, all, (lk_plan_options){.batch = 2, .compute = LK_BF16}, LK_ERR_UNSUPPORTED, "no bfloat16");
    lk_graph_free(g);
    lk_model_spec spec = {.channels = 3, .h = 32, .w = 32, .classes = 5, .std = {1, 1, 1}};
    assert_int_equal(lk_model_build(&g, "cifar_resnet8", &spec, NULL), LK_OK);
    refused(g, all, train, LK_ERR_CONFIG, "needs a loss");
    lk_graph_free(g);
    g = residual_net("resnet18", 32);
    refused(g, all, (lk_plan_options){.batch = 1, .training = true}, LK_ERR_CONFIG, "drop_last");
    refused(g, all, (lk_plan_options){.batch = 1, .training = true}, LK_ERR_CONFIG, "layer4.0.downsample.1");
    lk_graph_free(g);
}

static void a_layer_without_a_way_to_the_loss_is_named(void **state) {
    (void)state;
    lk_graph *g = NULL;
    lk_node_id id = -1, dead = -1;
    lk_conv_spec conv = {.out_channels = 8, .kernel = 3, .stride = 1, .pad = 1, .groups = 1};
    assert_int_equal(lk_graph_create(&g, 3, 4, 4, MEAN, STD, NULL), LK_OK);
    assert_int_equal(lk_graph_conv2d(g, &dead, "dead", 0, conv, LK_INIT_KAIMING_NORMAL_FAN_OUT, NULL), LK_OK);
    assert_int_equal(lk_graph_global_avgpool(g, &id, "pool", 0, NULL), LK_OK);
    assert_int_equal(lk_graph_linear(g, &id, "fc", id, 5, LK_INIT_TORCH_LINEAR, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &id, 0, NULL), LK_OK);
    fake_settings all = {.missing = LK_OP_COUNT};
    refused(g, all, (lk_plan_options){.batch = 2, .training = true}, LK_ERR_CONFIG, "layer dead has no way");
    lk_graph_free(g);
}

static void derived_parameters_are_refreshed_in_their_places(void **state) {
    (void)state;
    lk_graph *g = residual_net("cifar_resnet8", 32);
    fixture f = {.settings = {.missing = LK_OP_COUNT}};
    compile(&f, g, &(lk_plan_options){.batch = 2, .training = true});
    double *params = NULL;
    char *derived = NULL;
    assert_int_equal(LK_NEW(&params, f.totals.slab_count, "params", NULL), LK_OK);
    assert_int_equal(LK_NEW(&derived, f.totals.derived_bytes, "derived", NULL), LK_OK);
    for (int64_t i = 0; i < f.totals.slab_count; i++) params[i] = (double)i;
    assert_int_equal(lk_plan_refresh(f.plan, NULL, params, derived, NULL), LK_OK);
    int convolutions = 0;
    for (int i = 0; i < g->count; i++) {
        if (g->nodes[i].op.kind != LK_OP_CONV2D) continue;
        const lk_plan_node *node = &f.plan->nodes[i];
        assert_int_equal(node->derived_offset, convolutions++ * 128);
        double first = 0;
        memcpy(&first, derived + node->derived_offset, sizeof first);
        assert_true(first == (double)f.plan->params[node->first_param].offset);
    }
    assert_int_equal(f.totals.derived_bytes, convolutions * 128);
    lk_free(params);
    lk_free(derived);
    dispose(&f);
    lk_graph_free(g);
}

static void the_printed_plan_lists_every_call(void **state) {
    (void)state;
    lk_graph *g = residual_net("cifar_resnet8", 32);
    fixture f = {.settings = {.missing = LK_OP_COUNT}};
    compile(&f, g, &(lk_plan_options){.batch = 4, .training = true});
    char *text = NULL;
    printed(f.plan, false, &text);
    assert_non_null(strstr(text, "training plan: microbatch of 4, 3 x 32 x 32, 5 classes"));
    assert_non_null(strstr(text, "layer2.0.downsample.0"));
    assert_non_null(strstr(text, "4x16x32x32"));
    assert_non_null(strstr(text, "add gradients"));
    int lines = 0;
    for (const char *p = text; *p != '\0'; p++) lines += *p == '\n';
    assert_int_equal(lines, 2 + f.totals.calls + 7);
    free(text);
    printed(f.plan, true, &text);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "calls")), f.totals.calls);
    assert_int_equal(json_integer_value(json_object_get(root, "parameters")), f.totals.params);
    assert_int_equal(json_integer_value(json_object_get(root, "arena_bytes")), f.totals.arena_bytes);
    json_decref(root);
    free(text);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    lk_error err = {0};
    assert_int_equal(lk_plan_print(f.plan, full, false, &err), LK_ERR_IO);
    fclose(full);
    dispose(&f);
    lk_graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_compute_what_the_graph_says),
        cmocka_unit_test(what_is_computed_again_is_the_same_and_takes_less_memory),
        cmocka_unit_test(no_gradient_goes_to_the_pixels),
        cmocka_unit_test(models_are_sound_and_near_the_lower_bound),
        cmocka_unit_test(gradients_are_reported_once_and_polls_after_each_op),
        cmocka_unit_test(plans_that_are_like_another_keep_its_offsets),
        cmocka_unit_test(layers_that_draw_are_numbered_and_gates_get_their_gradient),
        cmocka_unit_test(evaluation_skips_dropout),
        cmocka_unit_test(what_cannot_be_compiled_is_a_sentence),
        cmocka_unit_test(a_layer_without_a_way_to_the_loss_is_named),
        cmocka_unit_test(derived_parameters_are_refreshed_in_their_places),
        cmocka_unit_test(the_printed_plan_lists_every_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
