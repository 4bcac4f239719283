/* Gradients that backward leaves unfinished: where they lie until finish_gradients, and when they are reported. */
#include <string.h>

#include "fake_device.h"
#include "nn/model.h"
#include "nn/plan_internal.h"
#include "tests/unit/unit.h"

#define MAX_PARAMS 256

static const uint8_t PIXEL[1] = {9};

typedef struct fixture {
    fake_settings settings;
    lk_device device;
    lk_plan *plan;
    lk_lane *lane;
    lk_plan_totals totals;
    void *arena, *stats;
    double *grads;
    const lk_param *params;
    int param_count;
    /* What reports are held to. */
    const double *expected; /* NULL: nothing */
    int reported, polls, stop_at_poll;
} fixture;

static void setup(fixture *f, const lk_graph *g, bool unfinished) {
    lk_error err = {0};
    *f = (fixture){.settings = {.two_dy = true, .missing = LK_OP_COUNT, .leaves_unfinished = unfinished}};
    f->device = fake_device(&f->settings);
    lk_plan_options options = {.batch = 2, .training = true};
    if (lk_plan_create(&f->plan, g, &f->device, &options, &err) != LK_OK) fail_msg("%s", err.message);
    lk_plan_get_totals(f->plan, &f->totals);
    f->params = lk_plan_get_params(f->plan, &f->param_count);
    assert_true(f->param_count <= MAX_PARAMS);
    assert_int_equal(LK_NEW((char **)&f->arena, f->totals.arena_bytes, "arena", NULL), LK_OK);
    assert_int_equal(LK_NEW(&f->grads, f->totals.slab_count, "grads", NULL), LK_OK);
    assert_int_equal(lk_alloc(&f->stats, (size_t)f->totals.stats_count, 8, "stats", NULL), LK_OK);
    assert_int_equal(lk_lane_create(&f->lane, f->plan, NULL, f->arena, NULL), LK_OK);
    assert_true(lk_arena_is_sound(f->plan->live, f->plan->live_count, f->totals.arena_bytes, NULL, NULL));
}

static void dispose(fixture *f) {
    lk_lane_free(f->lane);
    lk_plan_free(f->plan);
    lk_free(f->arena);
    lk_free(f->grads);
    lk_free(f->stats);
}

static lk_status on_report(void *context, int param, lk_error *err) {
    fixture *f = context;
    if (param < 0) return f->polls++ == f->stop_at_poll ? lk_fail(err, LK_STOPPED, "stopped") : LK_OK;
    const lk_param *p = &f->params[param];
    f->reported++;
    if (f->expected != NULL)
        assert_memory_equal(f->grads + p->offset, f->expected + p->offset, (size_t)p->stored_count * sizeof(double));
    return LK_OK;
}

static lk_status run(fixture *f, int stop_at_poll) {
    lk_run run = {.grads = f->grads, .stats = f->stats, .images = PIXEL, .rows = 2, .loss_scale = 1};
    lk_error err = {0};
    memset(f->grads, 0, (size_t)f->totals.slab_count * sizeof(double));
    f->reported = f->polls = 0;
    f->stop_at_poll = stop_at_poll;
    if (lk_lane_forward(f->lane, &run, NULL, NULL, &err) != LK_OK) fail_msg("%s", err.message);
    return lk_lane_backward(f->lane, &run, on_report, f, &err);
}

/* every: a cut at each so many-th parameter; 0: none. */
static void check(const lk_graph *g, const double *expected, int every) {
    fixture f;
    bool cuts[MAX_PARAMS] = {false};
    setup(&f, g, true);
    f.expected = expected;
    for (int i = 0; every > 0 && i < f.param_count; i += every) cuts[i] = true;
    if (every > 0) lk_lane_cut(f.lane, cuts);
    for (int stop = 0; stop < 40; stop++) { /* a pass that is given up leaves nothing to the next */
        assert_int_equal(run(&f, stop), LK_STOPPED);
        assert_int_equal(f.settings.left_count, 0);
    }
    assert_int_equal(run(&f, -1), LK_OK);
    assert_int_equal(f.settings.left_count, 0);
    assert_int_equal(f.reported, f.param_count);
    dispose(&f);
}

static lk_graph *network(void) {
    lk_graph *g = NULL;
    lk_node_id loss = -1;
    lk_model_spec spec = {.channels = 3, .h = 64, .w = 64, .classes = 5, .std = {1, 1, 1}};
    assert_int_equal(lk_model_build(&g, "resnet50", &spec, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &loss, 0.1, NULL), LK_OK);
    return g;
}

static void they_are_whole_when_they_are_reported(void **state) {
    (void)state;
    lk_graph *g = network();
    fixture f;
    setup(&f, g, false);
    assert_int_equal(run(&f, -1), LK_OK);
    const int every[] = {0, 1, 7, 40};
    for (int i = 0; i < 4; i++) check(g, f.grads, every[i]);
    dispose(&f);
    lk_graph_free(g);
}

static void the_plan_counts_what_finishes_them(void **state) {
    (void)state;
    lk_graph *g = network();
    fixture f;
    lk_plan_call call;
    setup(&f, g, true);
    int convolutions = 0;
    for (int i = 0; i < g->count; i++) convolutions += g->nodes[i].op.kind == LK_OP_CONV2D;
    assert_true(lk_plan_get_call(f.plan, lk_plan_call_numbers(f.plan) - 1, &call));
    assert_string_equal(call.op, "finish gradients");
    assert_int_equal(call.launches, (convolutions + 3) / 4); /* the device takes four at once */
    assert_int_equal(f.totals.launches, call.launches);
    assert_true(call.bytes == convolutions * 2.0 * FAKE_STASH);
    dispose(&f);
    lk_graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_whole_when_they_are_reported),
        cmocka_unit_test(the_plan_counts_what_finishes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
