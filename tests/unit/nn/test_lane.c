/* Lanes on the devices of this build: tails, evaluation, lanes side by side, whatever the arena held before. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/memory.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "tests/unit/unit.h"

#define SIZE 16
#define FULL 8
#define CLASSES 5

typedef struct network {
    lk_device *device;
    lk_graph *graph;
    lk_plan *train, *tail, *evaluate;
    lk_plan_totals totals;
    size_t size; /* bytes of an element of a slab */
    void *params, *stats;
    uint8_t images[FULL * SIZE * SIZE * 3];
    int32_t labels[FULL];
} network;

static void ok(lk_status status, const lk_error *err) {
    if (status != LK_OK) fail_msg("%s", err->message);
}

static lk_plan *compile(network *net, int64_t batch, bool training, const lk_plan *like) {
    lk_plan *plan = NULL;
    lk_error err = {0};
    lk_plan_options options = {.batch = batch, .compute = LK_F32, .training = training, .like = like};
    ok(lk_plan_create(&plan, net->graph, net->device, &options, &err), &err);
    return plan;
}

static void open_network(network *net, const char *device, const char *model) {
    lk_error err = {0};
    lk_node_id loss = -1;
    lk_model_spec spec = {.channels = 3,
                          .h = SIZE,
                          .w = SIZE,
                          .classes = CLASSES,
                          .mean = {0.4f, 0.5f, 0.6f},
                          .std = {0.2f, 0.25f, 0.3f}};
    memset(net, 0, sizeof *net);
    ok(lk_device_create(&net->device, device, 1, &err), &err);
    ok(lk_model_build(&net->graph, model, &spec, &err), &err);
    ok(lk_graph_cross_entropy(net->graph, &loss, 0.1, &err), &err);
    net->train = compile(net, FULL, true, NULL);
    net->tail = compile(net, 3, true, net->train);
    net->evaluate = compile(net, FULL, false, net->train);
    lk_plan_get_totals(net->train, &net->totals);
    net->size = lk_dtype_size(net->device->master);
    ok(lk_alloc(&net->params, (size_t)net->totals.slab_count, net->size, "params", &err), &err);
    ok(lk_alloc(&net->stats, (size_t)net->totals.stats_count, net->size, "stats", &err), &err);
    ok(lk_plan_initialise(net->train, 7, 1, net->params, net->stats, &err), &err);
    for (size_t i = 0; i < sizeof net->images; i++) net->images[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = 0; i < FULL; i++) net->labels[i] = i % CLASSES;
}

static void close_network(network *net) {
    lk_plan_free(net->train);
    lk_plan_free(net->tail);
    lk_plan_free(net->evaluate);
    lk_graph_free(net->graph);
    lk_device_free(net->device);
    lk_free(net->params);
    lk_free(net->stats);
}

/* One pass of a plan on a lane of its own; the arena is filled with `fill` first. */
typedef struct pass {
    network *net;
    const lk_plan *plan;
    int64_t first, rows; /* samples */
    int fill;
    bool training;
    double logits[FULL * CLASSES], losses[FULL];
    void *grads, *stats;
    lk_status status;
    lk_error err;
} pass;

static lk_status run_pass(pass *p) {
    network *net = p->net;
    lk_plan_totals totals;
    lk_plan_get_totals(p->plan, &totals);
    lk_stream *stream = NULL;
    lk_lane *lane = NULL;
    char *arena = NULL, *derived = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&p->grads, (size_t)totals.slab_count, net->size, "grads", &p->err));
    LK_TRY(lk_alloc(&p->stats, (size_t)totals.stats_count, net->size, "stats", &p->err));
    LK_TRY(LK_NEW(&arena, totals.arena_bytes, "arena", &p->err));
    LK_TRY(LK_NEW(&derived, totals.derived_bytes, "derived", &p->err));
    memset(arena, p->fill, (size_t)totals.arena_bytes);
    if (!p->training) memcpy(p->stats, net->stats, (size_t)totals.stats_count * net->size);
    LK_TRY(net->device->stream_create(net->device, &stream, &p->err));
    LK_TRY(lk_plan_refresh(p->plan, stream, net->params, derived, &p->err));
    LK_TRY(lk_lane_create(&lane, p->plan, stream, arena, &p->err));
    lk_run run = {.params = net->params,
                  .derived = derived,
                  .grads = p->grads,
                  .stats = p->stats,
                  .images = net->images + p->first * SIZE * SIZE * 3,
                  .labels = net->labels + p->first,
                  .rows = p->rows,
                  .loss_scale = 0.125};
    /* Twice where the arena was dirty: the second pass finds it as the first left it. */
    for (int i = 0; i < (p->fill == 0 ? 1 : 2); i++) {
        LK_TRY(lk_lane_forward(lane, &run, NULL, NULL, &p->err));
        if (p->training) LK_TRY(lk_lane_backward(lane, &run, NULL, NULL, &p->err));
    }
    LK_TRY(lk_lane_read_logits(lane, p->logits, &p->err));
    LK_TRY(lk_lane_read_losses(lane, p->losses, &p->err));
out:
    lk_lane_free(lane);
    if (stream != NULL) net->device->stream_free(net->device, stream);
    lk_free(arena);
    lk_free(derived);
    return p->status = status;
}

static void free_pass(pass *p) {
    lk_free(p->grads);
    lk_free(p->stats);
}

static void assert_same_bits(const pass *a, const pass *b) {
    assert_memory_equal(a->logits, b->logits, sizeof a->logits);
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    size_t slab = (size_t)a->net->totals.slab_count * a->net->size;
    assert_memory_equal(a->grads, b->grads, slab);
    assert_memory_equal(a->stats, b->stats, (size_t)a->net->totals.stats_count * a->net->size);
}

static const char *device_of(void **state) { return *state; }

/* All bits of NaN, or numbers, in the arena: every op writes what it and later ops read, padding included. */
static void an_arena_may_hold_anything(void **state) {
    static const char *const models[] = {"cifar_resnet8", "resnet18", "resnet50"};
    /* The reference device, slow, has no layouts with padding. */
    int count = strcmp(device_of(state), "reference") == 0 ? 1 : 3;
    for (int m = 0; m < count; m++) {
        network net;
        open_network(&net, device_of(state), models[m]);
        pass clean = {.net = &net, .plan = net.train, .rows = FULL, .training = true}, dirty = clean, odd = clean;
        dirty.fill = 0xff;
        odd.fill = 0x3f;
        ok(run_pass(&clean), &clean.err);
        ok(run_pass(&dirty), &dirty.err);
        ok(run_pass(&odd), &odd.err);
        for (int i = 0; i < FULL; i++) assert_true(isfinite(clean.losses[i]) && clean.losses[i] > 0);
        assert_same_bits(&clean, &dirty);
        assert_same_bits(&clean, &odd);
        free_pass(&clean);
        free_pass(&dirty);
        free_pass(&odd);
        close_network(&net);
    }
}

static void assert_near(const double *a, const double *b, int count, double tolerance) {
    for (int i = 0; i < count; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance)) fail_msg("%.17g and %.17g differ", a[i], b[i]);
}

/* The slabs of the main plan serve the other plans. A sample's result does not depend on its neighbours: to the last
 * bit at the same batch (padded), within rounding at another, where a library may choose another order of sums. */
static void evaluation_does_not_depend_on_the_batch(void **state) {
    network net;
    open_network(&net, device_of(state), "cifar_resnet8");
    lk_plan *small = compile(&net, 3, false, net.train);
    pass whole = {.net = &net, .plan = net.evaluate, .rows = FULL}, part = whole, padded = whole;
    part.plan = small;
    part.first = 4;
    part.rows = 3;
    padded.rows = 5;
    ok(run_pass(&whole), &whole.err);
    ok(run_pass(&part), &part.err);
    ok(run_pass(&padded), &padded.err);
    double tolerance = net.size == 8 ? 0 : 1e-5;
    assert_near(part.logits, whole.logits + 4 * CLASSES, 3 * CLASSES, tolerance);
    assert_near(part.losses, whole.losses + 4, 3, tolerance);
    assert_memory_equal(padded.logits, whole.logits, 5 * CLASSES * sizeof *padded.logits);
    assert_memory_equal(padded.losses, whole.losses, 5 * sizeof *padded.losses);
    for (int i = 5; i < FULL; i++) assert_true(padded.losses[i] == 0);
    free_pass(&whole);
    free_pass(&part);
    free_pass(&padded);
    lk_plan_free(small);
    close_network(&net);
}

/* A tail of 3 samples trains as a main plan of 3 samples with its own layout would. */
static void a_tail_gives_the_gradients_of_a_plan_of_its_own(void **state) {
    network net, own;
    open_network(&net, device_of(state), "cifar_resnet8");
    open_network(&own, device_of(state), "cifar_resnet8");
    lk_plan_free(own.train);
    own.train = compile(&own, 3, true, NULL);
    lk_error err = {0};
    ok(lk_plan_initialise(own.train, 7, 3, own.params, own.stats, &err), &err);
    pass tail = {.net = &net, .plan = net.tail, .rows = 3, .training = true};
    pass alone = {.net = &own, .plan = own.train, .rows = 3, .training = true};
    ok(run_pass(&tail), &tail.err);
    ok(run_pass(&alone), &alone.err);
    int count = 0;
    const lk_param *params = lk_plan_get_params(net.tail, &count);
    double worst = 0;
    for (int i = 0; i < count; i++) {
        int64_t elements = lk_shape_count(&params[i].shape);
        char *a = NULL, *b = NULL;
        ok(LK_NEW(&a, elements * 8, "gradient", &err), &err);
        ok(LK_NEW(&b, elements * 8, "gradient", &err), &err);
        ok(lk_plan_unpack(net.tail, i, tail.grads, a, &err), &err);
        ok(lk_plan_unpack(own.train, i, alone.grads, b, &err), &err);
        double difference = 0, norm = 0;
        for (int64_t k = 0; k < elements; k++) {
            double x = net.size == 8 ? ((double *)a)[k] : (double)((float *)a)[k];
            double y = net.size == 8 ? ((double *)b)[k] : (double)((float *)b)[k];
            difference += (x - y) * (x - y);
            norm += y * y;
        }
        assert_true(norm > 0);
        if (!(sqrt(difference / norm) <= worst)) worst = sqrt(difference / norm);
        lk_free(a);
        lk_free(b);
    }
    assert_true(worst <= (net.size == 8 ? 1e-12 : 1e-4));
    free_pass(&tail);
    free_pass(&alone);
    close_network(&net);
    close_network(&own);
}

static void *pass_thread(void *context) {
    lk_status status = run_pass(context);
    return status == LK_OK ? context : NULL;
}

/* Lanes share a plan and parameters and nothing else (P5). */
static void lanes_side_by_side_give_the_bits_of_one(void **state) {
    network net;
    open_network(&net, device_of(state), "cifar_resnet8");
    pass alone = {.net = &net, .plan = net.train, .rows = FULL, .training = true};
    ok(run_pass(&alone), &alone.err);
    for (int round = 0; round < 3; round++) {
        pass beside[2] = {{.net = &net, .plan = net.train, .rows = FULL, .training = true}};
        beside[1] = beside[0];
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, pass_thread, &beside[i]), 0);
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < 2; i++) {
            ok(beside[i].status, &beside[i].err);
            assert_same_bits(&alone, &beside[i]);
            free_pass(&beside[i]);
        }
    }
    free_pass(&alone);
    close_network(&net);
}

/* The first values are a function of seed, parameter and element, not of how many threads filled them. */
static void threads_share_the_initialisation(void **state) {
    network net;
    lk_error err = {0};
    open_network(&net, device_of(state), "cifar_resnet20");
    size_t bytes = (size_t)net.totals.slab_count * net.size;
    for (int threads = 2; threads < 6; threads += 3) {
        char *shared = NULL;
        ok(lk_alloc((void **)&shared, bytes, 1, "params", &err), &err);
        ok(lk_plan_initialise(net.train, 7, threads, shared, net.stats, &err), &err);
        assert_memory_equal(shared, net.params, bytes);
        lk_free(shared);
    }
    close_network(&net);
}

static void parameters_pack_and_unpack(void **state) {
    network net;
    open_network(&net, device_of(state), "resnet18");
    int count = 0;
    const lk_param *params = lk_plan_get_params(net.train, &count);
    char *again = NULL, *values = NULL;
    lk_error err = {0};
    ok(LK_NEW(&again, net.totals.slab_count * (int64_t)net.size, "slab", &err), &err);
    ok(LK_NEW(&values, net.totals.slab_count * (int64_t)net.size, "values", &err), &err);
    int64_t total = 0;
    for (int i = 0; i < count; i++) {
        ok(lk_plan_unpack(net.train, i, net.params, values, &err), &err);
        ok(lk_plan_pack(net.train, i, values, again, &err), &err);
        total += lk_shape_count(&params[i].shape);
        if (i > 0) assert_true(params[i].offset >= params[i - 1].offset + params[i - 1].stored_count);
    }
    assert_memory_equal(again, net.params, (size_t)net.totals.slab_count * net.size);
    assert_int_equal(total, net.totals.params);
    /* ResNet-18 with 1,000 classes has 11,689,512 parameters; the classifier shrinks to 5. */
    assert_int_equal(total, 11689512 - 995 * 513);
    lk_free(again);
    lk_free(values);
    close_network(&net);
}

int main(void) {
    int failed = 0;
    for (const char *const *name = lk_device_names(); *name != NULL; name++) {
#define ON(function) \
    { #function, function, NULL, NULL, (void *)*name }
        const struct CMUnitTest tests[] = {
            ON(an_arena_may_hold_anything),
            ON(evaluation_does_not_depend_on_the_batch),
            ON(a_tail_gives_the_gradients_of_a_plan_of_its_own),
            ON(lanes_side_by_side_give_the_bits_of_one),
            ON(threads_share_the_initialisation),
            ON(parameters_pack_and_unpack),
        };
        failed += cmocka_run_group_tests_name(*name, tests, NULL, NULL);
    }
    return failed;
}
