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
    lk_param_range ranges[] = {{48, 16, true, 1}, {16, 32, true, 1},  {0, 16, true, 1},
                               {80, 16, true, 1}, {96, 16, false, 1}, {112, 16, true, 1}};
    const int wanted[2] = {4, 2};
    for (int all = 0; all < 2; all++) {
        lk_optimizer_config c = config;
        ranges[4].decay = all == 1;
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

/* The rate of a range, and a momentum that a schedule moves. */
static void test_settings_of_a_range_and_of_a_step(void **state) {
    (void)state;
    lk_device *device;
    lk_error err = {0};
    assert_int_equal(lk_device_create(&device, "reference", 1, &err), LK_OK);
    const lk_param_range ranges[] = {{0, 16, true, 1}, {16, 16, false, 0.5}};
    lk_optimizer *optimizer;
    lk_optimizer_config c = {
        .kind = LK_OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.5, .epsilon = 1e-8, .weight_decay = 0.1};
    double params[32], grads[32];
    for (int i = 0; i < 32; i++) params[i] = grads[i] = 1;
    assert_int_equal(lk_optimizer_create(&optimizer, device, &c, ranges, 2, 32, &err), LK_OK);
    lk_step step = {.lr = 0.5, .momentum = -1};
    assert_int_equal(lk_optimizer_step(optimizer, NULL, params, grads, 0, 32, &step, &err), LK_OK);
    for (int i = 0; i < 32; i++) {
        double wanted = i < 16 ? 1 - 0.5 * 0.1 - 0.5 : 1 - 0.25; /* the first step is lr, whatever the gradient */
        if (!(params[i] - wanted <= 1e-7 && wanted - params[i] <= 1e-7)) fail_msg("%.17g", params[i]);
    }
    /* beta1 = 0: the mean is the gradient alone, here 0, so nothing but decay moves. */
    double before[32];
    memcpy(before, params, sizeof params);
    memset(grads, 0, sizeof grads);
    step = (lk_step){.lr = 0.5, .momentum = 0, .update = 1};
    assert_int_equal(lk_optimizer_step(optimizer, NULL, params, grads, 0, 32, &step, &err), LK_OK);
    for (int i = 0; i < 32; i++) assert_true(params[i] == (i < 16 ? before[i] * (1 - 0.5 * 0.1) : before[i]));
    lk_optimizer_free(optimizer);
    lk_device_free(device);
}

static void test_bad_configurations(void **state) {
    (void)state;
    counting_device d;
    start(&d);
    const lk_param_range whole = {0, SLAB, true, 1}, outside = {0, SLAB + 1, true, 1};
    const lk_param_range overlap[] = {{0, 16, true, 1}, {8, 16, true, 1}};
    lk_optimizer *optimizer;
    lk_error err = {0};
    lk_optimizer_config c = {.nesterov = true};
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &c, &whole, 1, SLAB, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "optimizer.nesterov needs momentum"));
    lk_error_clear(&err);
    c = (lk_optimizer_config){.nesterov = true, .momentum = 0.9, .dampening = 0.1};
    assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &c, &whole, 1, SLAB, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "no dampening"));
    const lk_optimizer_config bad[] = {
        {.kind = LK_OPTIMIZER_ADAM, .epsilon = 1e-8, .nesterov = true, .momentum = 0.9},
        {.kind = LK_OPTIMIZER_RMSPROP, .epsilon = 1e-8, .dampening = 0.5},
        {.kind = LK_OPTIMIZER_ADAMW, .epsilon = 1e-8, .centered = true},
        {.kind = LK_OPTIMIZER_RMSPROP_TF, .epsilon = 1e-8, .epsilon_inside_sqrt = true},
        {.kind = LK_OPTIMIZER_ADAM},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lk_error_clear(&err);
        assert_int_equal(lk_optimizer_create(&optimizer, &d.base, &bad[i], &whole, 1, SLAB, &err), LK_ERR_CONFIG);
        assert_non_null(strstr(err.message, "optimizer."));
    }
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
    const lk_param_range whole = {0, SLAB, true, 1};
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
    const lk_param_range ranges[] = {{0, 40, true, 1}, {40, 60, false, 1}, {112, 144, true, 0.25}};
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

/* The value of KEY=VALUE among the arguments, 0 without it. */
static double setting(char **argv, const char *key) {
    size_t length = strlen(key);
    for (; *argv != NULL; argv++)
        if (strncmp(*argv, key, length) == 0 && (*argv)[length] == '=') return atof(*argv + length + 1);
    return 0;
}

static lk_optimizer_config read_config(char **argv) {
    return (lk_optimizer_config){.kind = (lk_optimizer_kind)setting(argv, "kind"),
                                 .weight_decay = setting(argv, "weight_decay"),
                                 .momentum = setting(argv, "momentum"),
                                 .dampening = setting(argv, "dampening"),
                                 .nesterov = setting(argv, "nesterov") != 0,
                                 .beta1 = setting(argv, "beta1"),
                                 .beta2 = setting(argv, "beta2"),
                                 .alpha = setting(argv, "alpha"),
                                 .epsilon = setting(argv, "epsilon"),
                                 .epsilon_inside_sqrt = setting(argv, "epsilon_inside_sqrt") != 0,
                                 .centered = setting(argv, "centered") != 0,
                                 .clip_value = setting(argv, "clip_value")};
}

/* arguments: device, then KEY=VALUE; from stdin n parameters and steps x n gradients, all of them numbers the device
 * holds exactly; prints the parameters after every step. */
static int print_trajectory(char **argv) {
    lk_error err = {0};
    lk_device *device;
    lk_optimizer *optimizer;
    lk_optimizer_config c = read_config(argv + 2);
    int steps = (int)setting(argv + 2, "steps"), count;
    double values[SLAB], params[SLAB], grads[SLAB];
    if (scanf("%d", &count) != 1 || count < 1 || count > SLAB) return 1;
    const lk_param_range range = {0, count, true, 1};
    if (lk_device_create(&device, argv[1], 1, &err) != LK_OK) return 1;
    if (lk_optimizer_create(&optimizer, device, &c, &range, 1, count, &err) != LK_OK) return 1;
    bool is_double = device->master == LK_F64;
    for (int step = -1; step < steps; step++) {
        double *to = step < 0 ? params : grads;
        for (int i = 0; i < count; i++) {
            if (scanf("%lf", &values[i]) != 1) return 1;
            if (is_double)
                to[i] = values[i];
            else
                ((float *)to)[i] = (float)values[i];
        }
        if (step < 0) continue;
        lk_step now = {.lr = setting(argv + 2, "lr"),
                       .momentum = -1,
                       .grad_scale = setting(argv + 2, "grad_scale"),
                       .update = step};
        if (lk_optimizer_step(optimizer, NULL, params, grads, 0, count, &now, &err) != LK_OK) return 1;
        for (int i = 0; i < count; i++) printf("%.17g ", is_double ? params[i] : (double)((float *)params)[i]);
        putchar('\n');
    }
    lk_optimizer_free(optimizer);
    lk_device_free(device);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2) return print_trajectory(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours_are_merged),       cmocka_unit_test(test_settings_of_a_range_and_of_a_step),
        cmocka_unit_test(test_bad_configurations),          cmocka_unit_test(test_state),
        cmocka_unit_test(test_threads_step_disjoint_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
