/* Freezing by name: what is marked, what the plan leaves out, and what it costs. */
#include <string.h>

#include "core/memory.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "nn/plan_internal.h"
#include "tests/unit/unit.h"

static lk_graph *net(const char *model, int64_t size) {
    lk_graph *g = NULL;
    lk_error err = {0};
    lk_model_spec spec = {.channels = 3, .h = size, .w = size, .classes = 5, .std = {1, 1, 1}};
    if (lk_model_build(&g, model, &spec, &err) != LK_OK) fail_msg("%s", err.message);
    return g;
}

static lk_plan *plan_of(lk_graph *g, lk_device *device, int64_t batch) {
    lk_plan *plan = NULL;
    lk_node_id loss = -1;
    lk_error err = {0};
    lk_plan_options options = {.batch = batch, .compute = LK_F32, .training = true};
    assert_int_equal(lk_graph_cross_entropy(g, &loss, 0, &err), LK_OK);
    if (lk_plan_create(&plan, g, device, &options, &err) != LK_OK) fail_msg("%s", err.message);
    return plan;
}

static const lk_node *node_of(const lk_graph *g, const char *name) {
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->nodes[i].name, name) == 0) return &g->nodes[i];
    fail_msg("no layer %s", name);
    return NULL;
}

static void names_are_marked(void **state) {
    (void)state;
    lk_graph *g = net("cifar_resnet8", 16);
    int64_t trained, all, multiply_adds;
    lk_graph_count(g, &all, &multiply_adds);
    assert_int_equal(lk_graph_freeze(g, NULL, false, &trained, NULL), LK_OK);
    assert_true(trained == all);
    assert_int_equal(lk_graph_freeze(g, "conv1, bn1, layer?.0.bn2.weight, fc.weight", true, &trained, NULL), LK_OK);
    assert_true(node_of(g, "conv1")->op.frozen && node_of(g, "bn1")->op.frozen);
    assert_true(node_of(g, "bn1")->op.batchnorm.fixed);
    const lk_node *half = node_of(g, "layer1.0.bn2"), *fc = node_of(g, "fc");
    assert_true(half->frozen[0] && !half->frozen[1] && !half->op.frozen && !half->op.batchnorm.fixed);
    assert_true(fc->frozen[0] && !fc->frozen[1] && !fc->op.frozen);
    /* 3 x 16 x 3 x 3 weights, 2 x 16 of bn1, gammas of 16, 32 and 64 channels, 64 x 5 of fc. */
    assert_true(trained == all - 432 - 32 - 112 - 320);
    lk_graph_free(g);
}

static void refuse(const char *names, bool batchnorm, const char *words) {
    lk_graph *g = net("cifar_resnet8", 16);
    lk_error err = {0};
    int64_t trained;
    assert_int_equal(lk_graph_freeze(g, names, batchnorm, &trained, &err), LK_ERR_CONFIG);
    if (strstr(err.message, words) == NULL) fail_msg("'%s' lacks '%s'", err.message, words);
    lk_graph_free(g);
}

static void what_cannot_be_is_said(void **state) {
    (void)state;
    refuse("conv1, bn7", false, "the pattern 'bn7' matches no parameter");
    refuse("*", false, "freezes every parameter");
    refuse("conv*, bn1, layer*, fc", false, "freezes every parameter");
    refuse("conv1, layer1.0.bn1.weight", true, "freezes no whole BatchNorm layer");
    refuse(",", false, "none of them empty");
}

/* Nothing below the lowest trained parameter goes back; what is frozen above it makes no gradient of its own. */
static void backward_ends_at_the_lowest_trained_layer(void **state) {
    (void)state;
    lk_device *device = NULL;
    int64_t trained;
    assert_int_equal(lk_device_create(&device, "reference", 1, NULL), LK_OK);
    lk_graph *g = net("cifar_resnet8", 16);
    assert_int_equal(lk_graph_freeze(g, "conv1, bn1, layer1, layer3.0.conv1, fc.bias", true, &trained, NULL), LK_OK);
    lk_plan *plan = plan_of(g, device, 4);
    for (int i = 0; i < g->count; i++) {
        const char *name = g->nodes[i].name;
        const lk_plan_node *node = &plan->nodes[i];
        bool below = strcmp(name, "input") == 0 || strcmp(name, "conv1") == 0 || strcmp(name, "bn1") == 0 ||
                     strncmp(name, "layer1", 6) == 0;
        assert_int_equal(node->has_backward, !below);
        assert_int_equal(node->desc.frozen, g->nodes[i].op.frozen);
        if (below) assert_true(node->dx < 0 && node->dy[0] < 0 && node->contributions == 0);
        /* What reads the frozen part only goes no further. */
        if (node->has_backward && plan->nodes[g->nodes[i].x].has_backward == false) assert_false(node->desc.need_dx);
    }
    for (int i = 0; i < plan->backward_count; i++) assert_true(plan->nodes[plan->backward[i].node].has_backward);
    int count, frozen = 0, stats;
    const lk_param *params = lk_plan_get_params(plan, &count);
    for (int i = 0; i < count; i++) frozen += params[i].frozen;
    assert_int_equal(frozen, 1 + 2 + 2 * 3 + 1 + 1);
    const lk_stat *list = lk_plan_get_stats(plan, &stats);
    for (int i = 0; i < stats; i++)
        assert_int_equal(list[i].fixed, strcmp(list[i].name, "bn1") == 0 || strncmp(list[i].name, "layer1", 6) == 0);
    lk_plan_free(plan);
    lk_graph_free(g);
    lk_device_free(device);
}

static lk_plan_totals totals_of(lk_device *device, const char *model, const char *names, bool batchnorm) {
    lk_plan_totals totals;
    int64_t trained;
    lk_graph *g = net(model, 64);
    assert_int_equal(lk_graph_freeze(g, names, batchnorm, &trained, NULL), LK_OK);
    lk_plan *plan = plan_of(g, device, 8);
    lk_plan_get_totals(plan, &totals);
    lk_plan_free(plan);
    lk_graph_free(g);
    return totals;
}

/* On the cpu device: a third of the work and a fraction of the memory are left where the classifier alone is trained.
 */
static void freezing_saves_work_and_memory(void **state) {
    (void)state;
    static const char *const ALL_BUT[][2] = {{"resnet18", "conv1, bn1, layer*"},
                                             {"efficientnet_b0", "conv_stem, bn1, blocks*, conv_head, bn2"}};
    lk_device *device = NULL;
    assert_int_equal(lk_device_create(&device, "cpu", 1, NULL), LK_OK);
    for (int m = 0; m < 2; m++) {
        const char *model = ALL_BUT[m][0];
        lk_plan_totals all = totals_of(device, model, NULL, false);
        for (int fixed = 0; fixed < 2; fixed++) {
            lk_plan_totals some = totals_of(device, model, ALL_BUT[m][1], fixed != 0);
            assert_true(some.params == all.params && some.stats_count == all.stats_count);
            assert_true(some.flops < 0.36 * all.flops);
            assert_true((double)some.arena_bytes < 0.4 * (double)all.arena_bytes);
        }
        /* Frozen in the middle: the gradient still passes, the weights' are spared. */
        lk_plan_totals middle = totals_of(device, model, m == 0 ? "layer2, layer3" : "blocks.2*, blocks.3*", true);
        assert_true(middle.flops < 0.95 * all.flops && middle.flops > 0.5 * all.flops);
        assert_true(middle.arena_bytes < all.arena_bytes);
    }
    lk_device_free(device);
}

static void nothing_to_train_is_refused(void **state) {
    (void)state;
    lk_device *device = NULL;
    lk_plan *plan = NULL;
    lk_node_id loss = -1;
    lk_error err = {0};
    lk_graph *g = net("cifar_resnet8", 16);
    assert_int_equal(lk_device_create(&device, "reference", 1, NULL), LK_OK);
    assert_int_equal(lk_graph_cross_entropy(g, &loss, 0, NULL), LK_OK);
    for (int i = 0; i < g->count; i++) g->nodes[i].op.frozen = true;
    lk_plan_options options = {.batch = 2, .compute = LK_F32, .training = true};
    assert_int_equal(lk_plan_create(&plan, g, device, &options, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "nothing is left to train"));
    lk_graph_free(g);
    lk_device_free(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_marked),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(backward_ends_at_the_lowest_trained_layer),
        cmocka_unit_test(freezing_saves_work_and_memory),
        cmocka_unit_test(nothing_to_train_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
