/* The cpu device's own loops: every instruction set gives the same bits, bfloat16 is float32 rounded. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/kernels_isa.h"
#include "tests/unit/unit.h"

#define PLANES 3
#define PIXELS 301 /* more than a chunk of sums, and no multiple of anything */
#define COUNT (PLANES * PIXELS * LK_CPU_LANES)

/* One channel group's tensors in both types. */
typedef struct tensors {
    float x[COUNT], residual[COUNT], dy[2][COUNT], y[COUNT], dx[COUNT], dresidual[COUNT];
    uint16_t x_half[COUNT], residual_half[COUNT], dy_half[2][COUNT], y_half[COUNT], dx_half[COUNT], dres_half[COUNT];
    uint8_t mask[PLANES * PIXELS];
    double mean[LK_CPU_LANES], m2[LK_CPU_LANES], sum[LK_CPU_LANES], dot[LK_CPU_LANES];
} tensors;

static const lk_cpu_group GROUP = {PLANES, PIXELS *LK_CPU_LANES, PIXELS, LK_CPU_LANES};

static lk_cpu_bn_lanes make_lanes(void) {
    lk_cpu_bn_lanes p;
    for (int i = 0; i < LK_CPU_LANES; i++) {
        p.mean[i] = 0.1f * (float)i - 0.3f;
        p.scale[i] = 1.0f + 0.2f * (float)i;
        p.beta[i] = 0.05f * (float)(i - 4);
        p.slope[i] = -0.01f * (float)i;
        p.offset[i] = 0.02f;
    }
    return p;
}

/* Normal values that bfloat16 holds exactly, so that both types start from the same numbers. */
static tensors *make_tensors(void) {
    tensors *t = NULL;
    assert_int_equal(LK_NEW(&t, 1, "test tensors", NULL), LK_OK);
    lk_random_key key = {7, 0, LK_RANDOM_INIT};
    float *f32[] = {t->x, t->residual, t->dy[0], t->dy[1]};
    uint16_t *half[] = {t->x_half, t->residual_half, t->dy_half[0], t->dy_half[1]};
    for (uint32_t k = 0; k < 4; k++)
        for (int64_t i = 0; i < COUNT; i++) {
            half[k][i] = lk_cpu_bf16((float)lk_random_normal(&key, (uint64_t)i, k));
            f32[k][i] = lk_cpu_from_bf16(half[k][i]);
        }
    return t;
}

/* All loops over float32 activations, one after the other. */
static void run_f32(const lk_cpu_kernels *k, tensors *t, bool residual, bool two) {
    lk_cpu_bn_lanes lanes = make_lanes();
    k->bn_statistics(&GROUP, t->x, t->mean, t->m2);
    k->bn_forward(&GROUP, &lanes, t->x, residual ? t->residual : NULL, NULL, t->y, residual ? t->mask : NULL,
                  LK_ACT_RELU);
    lk_cpu_bn_grads g = {.x = t->x,
                         .dy = {t->dy[0], two ? t->dy[1] : NULL},
                         .dx = t->dx,
                         .dresidual = residual ? t->dresidual : NULL,
                         .mask = residual ? t->mask : NULL,
                         .act = LK_ACT_RELU};
    k->bn_backward_sums(&GROUP, &lanes, &g, t->sum, t->dot);
    k->bn_backward_dx(&GROUP, &lanes, &g);
}

static void run_bf16(const lk_cpu_kernels *k, tensors *t, bool residual, bool two) {
    lk_cpu_bn_lanes lanes = make_lanes();
    k->bn_statistics(&GROUP, t->x_half, t->mean, t->m2);
    k->bn_forward(&GROUP, &lanes, t->x_half, residual ? t->residual_half : NULL, NULL, t->y_half,
                  residual ? t->mask : NULL, LK_ACT_RELU);
    lk_cpu_bn_grads g = {.x = t->x_half,
                         .dy = {t->dy_half[0], two ? t->dy_half[1] : NULL},
                         .dx = t->dx_half,
                         .dresidual = residual ? t->dres_half : NULL,
                         .mask = residual ? t->mask : NULL,
                         .act = LK_ACT_RELU};
    k->bn_backward_sums(&GROUP, &lanes, &g, t->sum, t->dot);
    k->bn_backward_dx(&GROUP, &lanes, &g);
}

/* Checks y against sigmoid or silu, or dx against silu's derivative: the error relative to the exact value, or to what
 * the derivative, which crosses zero, is the sum of. Returns the largest. */
static double check_against_double(lk_act act, const float *x, const float *y, const float *dx, int count) {
    double worst = 0;
    for (int i = 0; i < count; i++) {
        double v = (double)x[i], s = 1 / (1 + exp(-v)), less = 1 / (1 + exp(v)), exact = act == LK_ACT_SILU ? v * s : s;
        double error = fabs((double)y[i] - exact) / fabs(exact), bound = 3; /* exp's 2, sum and quotient half each */
        if (dx != NULL) {
            error = fabs((double)dx[i] - (s + v * s * less)) / (s + fabs(v) * s * less);
            bound = 6; /* exp comes in twice, and there are more roundings */
        }
        assert_true(error <= (bound + fabs(v) / 40) * 0x1p-23);
        worst = fmax(worst, error);
    }
    return worst;
}

/* Forward where the sigmoid is neither 0 nor 1 yet, backward where the derivative is not yet that of the bound. */
static void check_sigmoid(lk_act act, int64_t block) {
    enum { SAMPLES = 1 << 14, PARTS = 16 };
    const lk_cpu_kernels *k = lk_cpu_kernels_get(LK_F32, block);
    float *x = NULL, *y = NULL, *dy = NULL, *dx = NULL;
    assert_int_equal(LK_NEW(&x, SAMPLES, "x", NULL), LK_OK);
    assert_int_equal(LK_NEW(&y, SAMPLES, "y", NULL), LK_OK);
    assert_int_equal(LK_NEW(&dy, SAMPLES, "dy", NULL), LK_OK);
    assert_int_equal(LK_NEW(&dx, SAMPLES, "dx", NULL), LK_OK);
    for (int i = 0; i < SAMPLES; i++) dy[i] = 1;
    double worst = 0;
    for (int part = 0; part < PARTS; part++) {
        for (int i = 0; i < SAMPLES; i++) x[i] = 160 * (((float)i + ((float)part + 0.5f) / PARTS) / SAMPLES - 0.5f);
        k->add_forward(SAMPLES, x, NULL, y, act);
        worst = fmax(worst, check_against_double(act, x, y, NULL, SAMPLES));
        if (act != LK_ACT_SILU) continue;
        for (int i = 0; i < SAMPLES; i++) x[i] *= 0.49f;
        k->add_forward(SAMPLES, x, NULL, y, act);
        lk_cpu_act_grads g = {.value = x, .dy = {dy}, .dx = dx};
        k->add_backward(SAMPLES, &g, act);
        (void)check_against_double(act, x, y, dx, SAMPLES);
    }
    assert_true(worst > 0x1p-25);
    const float edges[8] = {NAN, INFINITY, 88, 1e30f, -INFINITY, -88, -1e30f, 0};
    bool silu = act == LK_ACT_SILU;
    lk_cpu_act_grads g = {.value = silu ? edges : y, .dy = {dy}, .dx = dx};
    k->add_forward(8, edges, NULL, y, act);
    k->add_backward(8, &g, act);
    assert_true(isnan(y[0]) && isnan(dx[0]));
    for (int i = 1; i < 4; i++) assert_true(silu ? y[i] == edges[i] && dx[i] == 1 : y[i] == 1 && dx[i] == 0);
    for (int i = 4; i < 7; i++) assert_true(fabsf(dx[i]) < 1e-15f && (silu || (y[i] >= 0 && y[i] < 1e-37f)));
    assert_true(y[7] == (silu ? 0.0f : 0.5f) && dx[7] == (silu ? 0.5f : 0.25f));
    lk_free(x), lk_free(y), lk_free(dy), lk_free(dx);
}

static void sigmoid_and_silu_are_within_their_error(void **state) {
    (void)state;
    for (int64_t block = 1; block <= 8; block += 7) {
        check_sigmoid(LK_ACT_SIGMOID, block);
        check_sigmoid(LK_ACT_SILU, block);
    }
}

static void bfloat16_rounds_to_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { /* what it holds, it returns */
        float v = lk_cpu_from_bf16((uint16_t)h);
        if (isnan(v))
            assert_true(isnan(lk_cpu_from_bf16(lk_cpu_bf16(v))));
        else
            assert_int_equal(lk_cpu_bf16(v), h);
    }
    assert_int_equal(lk_cpu_bf16(1.00390625f), 0x3f80); /* halfway between 1 and 1 + 2^-7: to even, down */
    assert_int_equal(lk_cpu_bf16(1.01171875f), 0x3f82); /* halfway above 1 + 2^-7: to even, up */
    assert_int_equal(lk_cpu_bf16(1.00390637f), 0x3f81); /* just over half */
    assert_int_equal(lk_cpu_bf16(3.4e38f), 0x7f80);     /* overflows to infinity */
    assert_int_equal(lk_cpu_bf16(-3.4e38f), 0xff80);
}

static void instruction_sets_give_the_same_bits(void **state) { /* P5 */
    (void)state;
#if LK_CPU_HAVE_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) skip();
    for (int variant = 0; variant < 8; variant++) {
        bool residual = variant & 1, two = variant & 2, half = variant & 4;
        tensors *a = make_tensors(), *b = make_tensors();
        if (half) {
            run_bf16(lk_cpu_kernels_base.bf16, a, residual, two);
            run_bf16(lk_cpu_kernels_avx2.bf16, b, residual, two);
        } else {
            run_f32(lk_cpu_kernels_base.f32, a, residual, two);
            run_f32(lk_cpu_kernels_avx2.f32, b, residual, two);
        }
        assert_memory_equal(a, b, sizeof *a);
        lk_free(a), lk_free(b);
    }
#else
    skip();
#endif
}

static void bfloat16_is_float32_rounded(void **state) {
    (void)state;
    const lk_cpu_kernels *k16 = lk_cpu_kernels_get(LK_BF16, 8), *k32 = lk_cpu_kernels_get(LK_F32, 8);
    for (int variant = 0; variant < 4; variant++) {
        bool residual = variant & 1, two = variant & 2;
        tensors *t = make_tensors(), *u = make_tensors();
        run_f32(k32, t, residual, two);
        run_bf16(k16, u, residual, two);
        assert_memory_equal(t->mean, u->mean, sizeof t->mean);
        assert_memory_equal(t->m2, u->m2, sizeof t->m2);
        assert_memory_equal(t->sum, u->sum, sizeof t->sum);
        for (int i = 0; i < COUNT; i++) assert_int_equal(lk_cpu_bf16(t->y[i]), u->y_half[i]);
        /* with a residual the second pass reads the gradient back in bfloat16, and rounds once more */
        for (int i = 0; i < COUNT && !residual; i++) assert_int_equal(lk_cpu_bf16(t->dx[i]), u->dx_half[i]);
        for (int i = 0; i < COUNT && residual; i++) {
            assert_int_equal(lk_cpu_bf16(t->dresidual[i]), u->dres_half[i]);
            float got = lk_cpu_from_bf16(u->dx_half[i]);
            assert_true(fabsf(got - t->dx[i]) <= 0.01f * fabsf(t->dx[i]) + 0.01f);
        }
        lk_free(t), lk_free(u);
    }
}

static void pointwise_and_pools_in_bfloat16(void **state) {
    (void)state;
    const lk_cpu_kernels *k16 = lk_cpu_kernels_get(LK_BF16, 8), *k32 = lk_cpu_kernels_get(LK_F32, 8);
    tensors *t = make_tensors();
    k32->add_forward(COUNT, t->x, t->residual, t->y, true);
    k16->add_forward(COUNT, t->x_half, t->residual_half, t->y_half, true);
    for (int i = 0; i < COUNT; i++) assert_int_equal(lk_cpu_bf16(t->y[i]), t->y_half[i]);
    lk_cpu_pool p = {7, 43, 4, 22, 3, 2, 1, 8}; /* 7 x 43 = PIXELS */
    uint8_t index[4 * 22 * 8], index_half[4 * 22 * 8];
    static float sums[PIXELS * 8];
    k32->maxpool_forward(&p, t->x, t->y, index);
    k16->maxpool_forward(&p, t->x_half, t->y_half, index_half);
    assert_memory_equal(index, index_half, sizeof index);
    for (int i = 0; i < 4 * 22 * 8; i++) assert_int_equal(lk_cpu_bf16(t->y[i]), t->y_half[i]);
    const void *dy[2] = {t->dy[0], t->dy[1]}, *dy_half[2] = {t->dy_half[0], t->dy_half[1]};
    k32->maxpool_backward(&p, dy, index, NULL, t->dx);
    k16->maxpool_backward(&p, dy_half, index, sums, t->dx_half);
    for (int i = 0; i < PIXELS * 8; i++) assert_int_equal(lk_cpu_bf16(t->dx[i]), t->dx_half[i]);
    float mean[8], mean_half[8];
    k32->avgpool_forward(PIXELS, 8, t->x, mean);
    k16->avgpool_forward(PIXELS, 8, t->x_half, mean_half);
    assert_memory_equal(mean, mean_half, sizeof mean);
    lk_free(t);
}

/* One lane of eight is one lane alone, up to the order of its sums. */
static void one_lane_agrees_with_eight(void **state) {
    (void)state;
    tensors *t = make_tensors(), *u = make_tensors();
    lk_cpu_bn_lanes lanes = make_lanes(), one;
    const lk_cpu_kernels *k8 = lk_cpu_kernels_get(LK_F32, 8), *k1 = lk_cpu_kernels_get(LK_F32, 1);
    assert_int_equal(k8->lanes, 8);
    assert_int_equal(k1->lanes, 1);
    run_f32(k8, t, true, true);
    for (int lane = 0; lane < 8; lane++) {
        double mean, m2;
        one = (lk_cpu_bn_lanes){.mean = {lanes.mean[lane]}, .scale = {lanes.scale[lane]}, .beta = {lanes.beta[lane]}};
        k1->bn_statistics(&GROUP, u->x + lane, &mean, &m2);
        assert_true(fabs(mean - t->mean[lane]) <= 1e-12 && fabs(m2 - t->m2[lane]) <= 1e-9 * m2);
        k1->bn_forward(&GROUP, &one, u->x + lane, u->residual + lane, NULL, u->y + lane, u->mask, LK_ACT_RELU);
        for (int i = 0; i < PLANES * PIXELS; i++) {
            assert_memory_equal(&u->y[i * 8 + lane], &t->y[i * 8 + lane], sizeof(float));
            assert_int_equal(u->mask[i], t->mask[i] >> lane & 1);
        }
    }
    lk_free(t), lk_free(u);
}

/* A mean that dwarfs the deviation costs no digits: values 1e6 + 0, 1, ..., 6 repeated have variance 4. */
static void statistics_survive_a_large_mean(void **state) {
    (void)state;
    tensors *t = make_tensors();
    for (int64_t i = 0; i < COUNT; i++) t->x[i] = 1e6f + (float)(i / 8 % 7); /* 903 pixels are 129 rounds of 7 */
    const lk_cpu_kernels *k = lk_cpu_kernels_get(LK_F32, 8);
    k->bn_statistics(&GROUP, t->x, t->mean, t->m2);
    for (int lane = 0; lane < 8; lane++) {
        assert_true(fabs(t->mean[lane] - 1000003) <= 1e-6);
        assert_true(fabs(t->m2[lane] / (PLANES * PIXELS) - 4) <= 1e-6);
    }
    lk_free(t);
}

static void slab_loops_give_the_same_bits(void **state) { /* P5 */
    (void)state;
#if LK_CPU_HAVE_AVX2
    if (!__builtin_cpu_supports("avx2")) skip();
    const lk_cpu_slab_kernels *sets[] = {&lk_cpu_kernels_base.slab, &lk_cpu_kernels_avx2.slab};
    for (int variant = 0; variant < 4; variant++) {
        const lk_float_sgd sgd = {0.7f, 0.9f, 0.1f, 0.9f, 0.8f, 5e-4f, variant & 1, variant & 2};
        const lk_float_adam adam = {0.7f, 0.9f, 0.999f, 1e-3f, 0.1f, 0.01f, 0.02f, 3.0f, 1e-6f, variant & 1};
        const lk_float_rmsprop rms = {0.7f, 0.9f, 1e-3f, 0.1f, 1e-6f, 1e-6f, 0.9f, 0.5f, 0.02f, 1.0f, variant & 1};
        tensors *t[2] = {make_tensors(), make_tensors()};
        double squares[2];
        for (int i = 0; i < 2; i++) {
            sets[i]->sgd(t[i]->x, t[i]->dy[0], t[i]->dy[1], 1001, &sgd);
            sets[i]->add(t[i]->y, t[i]->x, 1001);
            sets[i]->lerp(t[i]->y, t[i]->dy[1], 1001, variant & 2 ? 0.01f : 0.8f);
            for (int64_t k = 0; k < 1001; k++) t[i]->dy[1][k] = fabsf(t[i]->dy[1][k]); /* a mean square */
            sets[i]->adam(t[i]->x, t[i]->dy[0], t[i]->y, t[i]->dy[1], 1001, &adam);
            sets[i]->rmsprop(t[i]->x, t[i]->dy[0], t[i]->dy[1], variant & 1 ? t[i]->y : NULL,
                             variant & 2 ? t[i]->residual : NULL, 1001, &rms);
            sets[i]->blend(t[i]->dx, t[i]->y, 1001, 0.9f, 0.1f);
            squares[i] = sets[i]->sum_squares(t[i]->x, 1001);
        }
        assert_memory_equal(t[0], t[1], sizeof *t[0]);
        assert_memory_equal(&squares[0], &squares[1], sizeof squares[0]);
        lk_free(t[0]), lk_free(t[1]);
    }
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sigmoid_and_silu_are_within_their_error), cmocka_unit_test(bfloat16_rounds_to_even),
        cmocka_unit_test(instruction_sets_give_the_same_bits),     cmocka_unit_test(bfloat16_is_float32_rounded),
        cmocka_unit_test(pointwise_and_pools_in_bfloat16),         cmocka_unit_test(one_lane_agrees_with_eight),
        cmocka_unit_test(statistics_survive_a_large_mean),         cmocka_unit_test(slab_loops_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
