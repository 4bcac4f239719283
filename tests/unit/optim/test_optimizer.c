/* The optimizer: which elements are stepped with which settings, and the bits whoever steps which part.
 * With arguments it prints a trajectory for tests/parity/test_optim.py. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "optim/optimizer.h"
#include "tests/unit/unit.h"

enum { SLAB = 256 };

/* Counts what reaches the device, then lets the reference device do it. */
typedef struct counting_device {
    lk_device base;
    lk_device *real;
    int calls, live;
} counting_device;

static lk_status count_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    counting_device *d = device->impl;
    d->live++;
    return d->real->alloc(d->real, out, bytes, what, err);
}

static void count_release(lk_device *device, void *p) {
    counting_device *d = device->impl;
    d->live--;
    d->real->release(d->real, p);
}

static lk_status count_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                           int64_t count, const lk_sgd *sgd, lk_error *err) {
    counting_device *d = device->impl;
    d->calls++;
    assert_true(count > 0);
    return d->real->slab_sgd(d->real, stream, params, grads, velocity, count, sgd, err);
}

static void start(counting_device *d) {
    lk_error err = {0};
    *d = (counting_device){0};
    assert_int_equal(lk_device_create(&d->real, "reference", 1, &err), LK_OK);
    d->base.name = "counting";
    d->base.master = d->real->master;
    d->base.impl = d;
    d->base.alloc = count_alloc;
    d->base.release = count_release;
    d->base.slab_sgd = count_sgd;
}

static void fill(double *values, int count, int sub) {
    const lk_random_key key = {.seed = 7, .purpose = LK_RANDOM_INIT};
    for (int i = 0; i < count; i++) values[i] = lk_random_normal(&key, (uint64_t)i, (uint32_t)sub);
}

static const lk_step first = {.lr = 0.5, .momentum = -1};
static const lk_optimizer_config config = {.momentum = 0.9, .weight_decay = 0.1};

static void test_neighbours_are_merged(void **state) {
    (void)state;
    counting_device d;
    start(&d);
    lk_error err = {0};
    /* Out of order; the first three touch, one gap, one without decay. */
    const lk_param_range ranges[] = {{48, 16, true}, {16, 32, true},  {0, 16, true},
                                     {80, 16, true}, {96, 16, false}, {112, 16, true}};
    const int wanted[2] = {4, 2};
    for (int all = 0; all < 2; all++) {
        lk_optimizer_config c = config;
        c.decay_norm_and_bias = all == 1;
        lk_optimizer *optimizer;
        assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &c, ranges, 6, SLAB, &err), LK_OK);
        double params[SLAB], grads[SLAB], before[SLAB];
        fill(params, SLAB, 0);
        fill(grads, SLAB, 1);
        memcpy(before, params, sizeof params);
        d.calls = 0;
        assert_int_equal(lk_optimizer_step(optimizer, NULL, params, grads, 0, SLAB, &first, &err), LK_OK);
        assert_int_equal(d.calls, wanted[all]);
        for (int i = 0; i < SLAB; i++) {
            bool inside = i < 64 || (i >= 80 && i < 128), decays = all == 1 || i < 96 || i >= 112;
            double g = grads[i] + (decays ? 0.1 * before[i] : 0);
            assert_true(params[i] == (inside ? before[i] - 0.5 * g : before[i]));
        }
        lk_optimizer_free(optimizer);
        assert_int_equal(d.live, 0);
    }
    lk_device_free(d.real);
}

static void test_bad_configurations(void **state) {
    (void)state;
    counting_device d;
    start(&d);
    const lk_param_range whole = {0, SLAB, true}, outside = {0, SLAB + 1, true};
    const lk_param_range overlap[] = {{0, 16, true}, {8, 16, true}};
    lk_optimizer *optimizer;
    lk_error err = {0};
    lk_optimizer_config c = {.nesterov = true};
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &c, &whole, 1, SLAB, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "optimizer.nesterov needs momentum"));
    lk_error_clear(&err);
    c = (lk_optimizer_config){.nesterov = true, .momentum = 0.9, .dampening = 0.1};
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &c, &whole, 1, SLAB, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "no dampening"));
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &config, &outside, 1, SLAB, NULL), LK_ERR_INTERNAL);
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &config, overlap, 2, SLAB, NULL), LK_ERR_INTERNAL);
    assert_null(optimizer);
    assert_int_equal(d.live, 0);
    lk_optimizer_free(NULL);
    lk_device_free(d.real);
}

static void test_state(void **state) {
    (void)state;
    counting_device d;
    start(&d);
    const lk_param_range whole = {0, SLAB, true};
    lk_error err = {0};
    const char *const *names;
    int count;
    lk_optimizer *optimizer;
    lk_optimizer_config plain = {0};
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &plain, &whole, 1, SLAB, &err), LK_OK);
    lk_optimizer_get_state(optimizer, &names, &count);
    assert_int_equal(count, 0);
    lk_optimizer_free(optimizer);
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &config, &whole, 1, SLAB, &err), LK_OK);
    void *const *slabs = lk_optimizer_get_state(optimizer, &names, &count);
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "momentum");
    double params[SLAB], grads[SLAB];
    fill(params, SLAB, 0);
    memset(params, 0, sizeof params);
    fill(grads, SLAB, 1);
    assert_int_equal(lk_optimizer_step(optimizer, NULL, params, grads, 0, SLAB, &first, &err), LK_OK);
    assert_memory_equal(slabs[0], grads, sizeof grads);
    lk_optimizer_free(optimizer);
    lk_device_free(d.real);
}

typedef struct part {
    lk_optimizer *optimizer;
    double *params;
    const double *grads;
    int64_t begin, end, update;
} part;

static void *step_part(void *argument) {
    part *p = argument;
    lk_error err = {0};
    lk_step step = {.lr = 0.1, .momentum = -1, .update = p->update};
    return (void *)(intptr_t)lk_optimizer_step(p->optimizer, NULL, p->params, p->grads, p->begin, p->end, &step, &err);
}

/* P5: the cut of the slab among threads leaves no trace in the bits. */
static void test_threads_step_disjoint_parts(void **state) {
    (void)state;
    lk_device *device;
    lk_error err = {0};
    assert_int_equal(lk_device_create(&device, "reference", 1, &err), LK_OK);
    const lk_param_range ranges[] = {{0, 40, true}, {40, 60, false}, {112, 144, true}};
    lk_optimizer *whole, *parts;
    lk_optimizer_config c = config;
    c.nesterov = true;
    assert_int_equal(lk_optimizer_create(&whole, device, &c, ranges, 3, SLAB, &err), LK_OK);
    assert_int_equal(lk_optimizer_create(&parts, device, &c, ranges, 3, SLAB, &err), LK_OK);
    double a[SLAB], b[SLAB], grads[SLAB];
    fill(a, SLAB, 0);
    memcpy(b, a, sizeof a);
    for (int update = 0; update < 5; update++) {
        fill(grads, SLAB, update + 1);
        lk_step step = {.lr = 0.1, .momentum = -1, .update = update};
        assert_int_equal(lk_optimizer_step(whole, NULL, a, grads, 0, SLAB, &step, &err), LK_OK);
        const int64_t cuts[] = {0, 39, 41, 105, 200 + update, SLAB};
        part todo[5];
        pthread_t threads[5];
        for (int i = 0; i < 5; i++) {
            todo[i] = (part){parts, b, grads, cuts[i], cuts[i + 1], update};
            assert_int_equal(pthread_create(&threads[i], NULL, step_part, &todo[i]), 0);
        }
        for (int i = 0; i < 5; i++) {
            void *result;
            pthread_join(threads[i], &result);
            assert_null(result);
        }
        assert_memory_equal(a, b, sizeof a);
    }
    lk_optimizer_free(whole);
    lk_optimizer_free(parts);
    lk_device_free(device);
}

/* arguments: momentum dampening weight_decay nesterov steps lr, then from stdin n parameters and steps x n gradients;
 * prints the parameters after every step. */
static int print_trajectory(char **argv) {
    lk_error err = {0};
    lk_device *device;
    lk_optimizer *optimizer;
    lk_optimizer_config c = {.momentum = atof(argv[1]), .dampening = atof(argv[2]), .weight_decay = atof(argv[3])};
    c.nesterov = atoi(argv[4]) != 0;
    int steps = atoi(argv[5]), count;
    double lr = atof(argv[6]), params[SLAB], grads[SLAB];
    if (scanf("%d", &count) != 1 || count < 1 || count > SLAB) return 1;
    const lk_param_range range = {0, count, true};
    if (lk_device_create(&device, "reference", 1, &err) != LK_OK) return 1;
    if (lk_optimizer_create(&optimizer, device, &c, &range, 1, count, &err) != LK_OK) return 1;
    for (int i = 0; i < count; i++)
        if (scanf("%lf", &params[i]) != 1) return 1;
    for (int step = 0; step < steps; step++) {
        for (int i = 0; i < count; i++)
            if (scanf("%lf", &grads[i]) != 1) return 1;
        lk_step now = {.lr = lr, .momentum = -1, .update = step};
        if (lk_optimizer_step(optimizer, NULL, params, grads, 0, count, &now, &err) != LK_OK) return 1;
        for (int i = 0; i < count; i++) printf("%.17g ", params[i]);
        putchar('\n');
    }
    lk_optimizer_free(optimizer);
    lk_device_free(device);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 7) return print_trajectory(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours_are_merged),
        cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_threads_step_disjoint_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
