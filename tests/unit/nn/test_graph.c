/* Graph builders: shapes, and sentences where they do not fit. */
#include <string.h>

#include "nn/model.h"
#include "tests/unit/unit.h"

static const float MEAN[3] = {0.5f, 0.5f, 0.5f}, STD[3] = {0.2f, 0.2f, 0.2f};

static lk_graph *new_graph(int64_t h, int64_t w) {
    lk_graph *g = NULL;
    assert_int_equal(lk_graph_create(&g, 3, h, w, MEAN, STD, NULL), LK_OK);
    return g;
}

static lk_model_spec spec_of(int64_t size) {
    return (lk_model_spec){
        .channels = 3, .h = size, .w = size, .classes = 7, .mean = {0.5f, 0.5f, 0.5f}, .std = {1, 1, 1}};
}

static const lk_node *find(const lk_graph *g, const char *name) {
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->nodes[i].name, name) == 0) return &g->nodes[i];
    fail_msg("no layer %s", name);
    return NULL;
}

static void assert_shape(const lk_graph *g, const char *name, int64_t c, int64_t h, int64_t w) {
    const lk_node *node = find(g, name);
    assert_int_equal(node->c, c);
    assert_int_equal(node->h, h);
    assert_int_equal(node->w, w);
}

/* Sizes as torchvision's ResNet prints them at 224 and at 97 pixels. */
static void shapes_of_resnet(void **state) {
    (void)state;
    lk_graph *g = NULL;
    lk_model_spec spec = spec_of(224);
    assert_int_equal(lk_model_build(&g, "resnet50", &spec, NULL), LK_OK);
    assert_shape(g, "conv1", 64, 112, 112);
    assert_shape(g, "maxpool", 64, 56, 56);
    assert_shape(g, "layer1.2.bn3", 256, 56, 56);
    assert_shape(g, "layer2.0.conv1", 128, 56, 56);
    assert_shape(g, "layer2.0.conv2", 128, 28, 28);
    assert_shape(g, "layer4.2.bn3", 2048, 7, 7);
    assert_shape(g, "fc", 7, 1, 1);
    assert_int_equal(g->classes, 7);
    assert_int_equal(g->logits, g->count - 1);
    lk_graph_free(g);
    spec = spec_of(97);
    assert_int_equal(lk_model_build(&g, "resnet18", &spec, NULL), LK_OK);
    assert_shape(g, "conv1", 64, 49, 49);
    assert_shape(g, "maxpool", 64, 25, 25);
    assert_shape(g, "layer2.1.bn2", 128, 13, 13);
    assert_shape(g, "layer4.1.bn2", 512, 4, 4);
    lk_graph_free(g);
}

static void every_model_builds_and_is_named_once(void **state) {
    (void)state;
    int count = 0;
    const lk_model_entry *models = lk_models(&count);
    assert_true(count >= 11);
    for (int i = 0; i < count; i++) {
        lk_graph *g = NULL;
        lk_model_spec spec = spec_of(models[i].native_size);
        lk_node_id loss = -1;
        assert_int_equal(lk_model_build(&g, models[i].name, &spec, NULL), LK_OK);
        assert_int_equal(lk_graph_cross_entropy(g, &loss, 0.1, NULL), LK_OK);
        assert_int_equal(loss, g->count - 1);
        for (int k = 0; k < g->count; k++) {
            assert_true(g->nodes[k].x < k);
            assert_true(g->nodes[k].residual < k);
        }
        lk_graph_free(g);
        for (int k = 0; k < i; k++) assert_string_not_equal(models[i].name, models[k].name);
    }
}

/* Counts as torchvision's weights state them: 25557032 parameters, 4.089 GMAC; 11689512, 1.814. */
static void costs_are_torchvisions(void **state) {
    (void)state;
    const struct {
        const char *name;
        int64_t params;
        double gmac;
    } models[] = {{"resnet50", 25557032, 4.089}, {"resnet18", 11689512, 1.814}};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        lk_graph *g = NULL;
        lk_model_spec spec = spec_of(224);
        spec.classes = 1000;
        int64_t params = 0, work = 0;
        assert_int_equal(lk_model_build(&g, models[i].name, &spec, NULL), LK_OK);
        lk_graph_count(g, &params, &work);
        assert_int_equal(params, models[i].params);
        assert_true(work > (models[i].gmac - 0.0005) * 1e9 && work < (models[i].gmac + 0.0005) * 1e9);
        lk_graph_free(g);
    }
}

static void momentum_is_the_models_unless_given(void **state) {
    (void)state;
    const double given[] = {0, 0.25}, wanted[] = {0.1, 0.25}, bad[] = {-0.1, 1.5};
    for (int i = 0; i < 2; i++) {
        lk_graph *g = NULL;
        lk_model_spec spec = spec_of(32);
        spec.bn_momentum = given[i];
        assert_int_equal(lk_model_build(&g, "cifar_resnet8", &spec, NULL), LK_OK);
        for (int k = 0; k < g->count; k++)
            assert_true(g->nodes[k].op.kind != LK_OP_BATCHNORM || g->nodes[k].momentum == wanted[i]);
        lk_graph_free(g);
        spec.bn_momentum = bad[i];
        lk_error err = {0};
        assert_int_equal(lk_model_build(&g, "cifar_resnet8", &spec, &err), LK_ERR_CONFIG);
        assert_non_null(strstr(err.message, "momentum"));
    }
}

static void published_weights_say_their_resize(void **state) {
    (void)state;
    assert_int_equal(lk_model_resize_size(&lk_model_find("resnet50")->weights, 224), 232);
    assert_int_equal(lk_model_resize_size(&lk_model_find("resnet18")->weights, 224), 256);
    assert_int_equal(lk_model_resize_size(&lk_model_find("resnet18")->weights, 97), 110);
    assert_int_equal(lk_model_resize_size(&lk_model_find("tf_efficientnet_lite3")->weights, 300), 331);
    assert_null(lk_model_find("cifar_resnet8")->weights.name);
    assert_null(lk_model_find("resnet"));
}

/* Sizes that timm's models print: TensorFlow's padding rounds up, PyTorch's with a padding of kernel / 2 does too. */
static void shapes_of_mobile_families(void **state) {
    (void)state;
    static const char *const names[] = {"efficientnet_b0", "tf_efficientnet_lite0"};
    for (int i = 0; i < 2; i++) {
        lk_graph *g = NULL;
        lk_model_spec spec = spec_of(97);
        assert_int_equal(lk_model_build(&g, names[i], &spec, NULL), LK_OK);
        assert_shape(g, "conv_stem", 32, 49, 49);
        assert_shape(g, "blocks.1.0.conv_dw", 96, 25, 25);
        assert_shape(g, "blocks.2.1.bn3", 40, 13, 13);
        assert_shape(g, "blocks.5.3.conv_pwl", 192, 4, 4);
        assert_shape(g, "conv_head", 1280, 4, 4);
        assert_shape(g, "classifier", 7, 1, 1);
        lk_graph_free(g);
    }
}

/* Rows of TensorFlow's 'SAME' padding, as its documentation has them: all of them, and how many of them on top. */
static void same_padding(void **state) {
    (void)state;
    const struct {
        int64_t side, kernel, stride, all, top;
    } cases[] = {{8, 3, 1, 2, 1}, {8, 3, 2, 1, 0}, {9, 3, 2, 2, 1}, {8, 5, 2, 3, 1},
                 {9, 5, 2, 4, 2}, {1, 5, 2, 4, 2}, {8, 1, 2, 0, 0}, {2, 5, 1, 4, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_graph *g = new_graph(cases[i].side, cases[i].side);
        lk_node_id id = -1;
        lk_conv_spec spec = {
            .out_channels = 3, .kernel = cases[i].kernel, .stride = cases[i].stride, .groups = 3, .same = true};
        assert_int_equal(lk_graph_conv2d(g, &id, "a", 0, spec, LK_INIT_GOOGLE_CONV, NULL), LK_OK);
        const lk_node *node = &g->nodes[id];
        int64_t bottom = node->op.conv.pad, top = bottom - node->op.conv.pad_less_top;
        assert_int_equal(top + bottom, cases[i].all);
        assert_int_equal(top, cases[i].top);
        assert_int_equal(node->op.conv.pad_less_left, node->op.conv.pad_less_top);
        assert_int_equal(node->h, (cases[i].side + cases[i].stride - 1) / cases[i].stride);
        assert_int_equal(node->op.conv.groups, 3);
        lk_graph_free(g);
    }
}

/* Stochastic depth grows from block to block; rates below 0 are the model's published ones; 0 leaves no layer. */
static void rates_of_dropout(void **state) {
    (void)state;
    lk_graph *g = NULL;
    lk_model_spec spec = spec_of(64);
    spec.dropout = spec.drop_path = -1;
    assert_int_equal(lk_model_build(&g, "efficientnet_b3", &spec, NULL), LK_OK);
    assert_true(find(g, "dropout")->op.dropout.rate == 0.3);
    assert_int_equal(find(g, "dropout")->op.kind, LK_OP_DROPOUT);
    /* Block 1 of 26 and block 24 of 26 have residuals; block 2 has none. */
    assert_true(find(g, "blocks.0.1.bn2")->op.batchnorm.drop_path == 0.2 * 1 / 26);
    assert_true(find(g, "blocks.1.0.bn3")->op.batchnorm.drop_path == 0);
    assert_true(find(g, "blocks.6.1.bn3")->op.batchnorm.drop_path == 0.2 * 25 / 26);
    lk_graph_free(g);
    spec.dropout = 0;
    spec.drop_path = 0.5;
    assert_int_equal(lk_model_build(&g, "efficientnet_b3", &spec, NULL), LK_OK);
    for (int i = 0; i < g->count; i++) assert_int_not_equal(g->nodes[i].op.kind, LK_OP_DROPOUT);
    assert_true(find(g, "blocks.6.1.bn3")->op.batchnorm.drop_path == 0.5 * 25 / 26);
    lk_graph_free(g);
    lk_error err = {0};
    spec.dropout = 1;
    assert_int_equal(lk_model_build(&g, "efficientnet_b3", &spec, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "below 1"));
}

static void unknown_model_names_the_nearest(void **state) {
    (void)state;
    lk_graph *g = NULL;
    lk_model_spec spec = spec_of(32);
    lk_error err = {0};
    assert_int_equal(lk_model_build(&g, "resnet81", &spec, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "'resnet81'"));
    assert_non_null(strstr(err.message, "did you mean 'resnet"));
    assert_null(g);
    lk_error_clear(&err);
    assert_int_equal(lk_model_build(&g, "a-completely-different-thing", &spec, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "resnet18"));
}

/* Fails a builder and looks for a part of the sentence; the graph must be as before. */
#define ASSERT_REFUSED(g, call, text)                                       \
    do {                                                                    \
        lk_error err = {0};                                                 \
        int before = (g)->count;                                            \
        lk_node_id id = -1;                                                 \
        assert_int_equal(call, LK_ERR_CONFIG);                              \
        if (strstr(err.message, text) == NULL) fail_msg("%s", err.message); \
        assert_int_equal((g)->count, before);                               \
    } while (0)

static void shapes_that_do_not_fit(void **state) {
    (void)state;
    lk_graph *g = new_graph(8, 8);
    lk_conv_spec ok = {.out_channels = 6, .kernel = 3, .stride = 1, .pad = 1, .groups = 1};
    lk_conv_spec large = ok, grouped = ok, none = ok, flat = ok;
    large.kernel = 11;
    grouped.groups = 2;
    none.out_channels = 0;
    flat.stride = 0;
    lk_init_rule init = LK_INIT_KAIMING_NORMAL_FAN_OUT;
    lk_batchnorm_spec norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU, .residual = -1};
    lk_batchnorm_spec first = norm, absent = norm, no_eps = norm, slow = norm;
    first.residual = 0;
    absent.residual = 9;
    no_eps.eps = 0;
    slow.momentum = 0;
    lk_batchnorm_spec alone = norm, never = norm;
    alone.drop_path = 0.5;
    never.drop_path = 1;
    lk_node_id a = -1;
    assert_int_equal(lk_graph_conv2d(g, &a, "a", 0, ok, init, NULL), LK_OK);
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "a", 0, ok, init, &err), "two layers are named 'a'");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "b", 0, large, init, &err), "layer b: its kernel of 11 does not fit");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "b", 0, grouped, init, &err), "2 groups do not divide its 3 input");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "b", 0, none, init, &err), "0 output channels");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "b", 0, flat, init, &err), "stride 0");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "b", 5, ok, init, &err), "reads node 5 of a graph of 2");
    ASSERT_REFUSED(g, lk_graph_conv2d(g, &id, "", 0, ok, init, &err), "name");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, first, &err), "cannot be added");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, absent, &err), "adds node 9");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, no_eps, &err), "eps");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, slow, &err), "momentum of 0");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, alone, &err), "no residual");
    ASSERT_REFUSED(g, lk_graph_batchnorm(g, &id, "b", a, never, &err), "outside [0, 1)");
    ASSERT_REFUSED(g, lk_graph_scale(g, &id, "b", a, a, &err), "a gate of 6 x 8 x 8 cannot scale 6 channels");
    ASSERT_REFUSED(g, lk_graph_scale(g, &id, "b", a, 7, &err), "scaled by node 7");
    ASSERT_REFUSED(g, lk_graph_dropout(g, &id, "b", a, 1, &err), "dropout of 1 is outside");
    ASSERT_REFUSED(g, lk_graph_dropout(g, &id, "b", a, -0.5, &err), "outside [0, 1)");
    ASSERT_REFUSED(g, lk_graph_maxpool(g, &id, "b", a, 3, 2, 2, &err), "over half");
    ASSERT_REFUSED(g, lk_graph_maxpool(g, &id, "b", a, 30, 2, 0, &err), "does not fit");
    ASSERT_REFUSED(g, lk_graph_linear(g, &id, "b", a, 10, LK_INIT_TORCH_LINEAR, &err),
                   "needs a 1 x 1 input and gets 8 x 8");
    ASSERT_REFUSED(g, lk_graph_cross_entropy(g, &id, 0.1, &err), "needs a linear layer");
    lk_graph_free(g);
}

static void loss_comes_last(void **state) {
    (void)state;
    lk_graph *g = new_graph(1, 1);
    lk_node_id fc = -1, loss = -1;
    assert_int_equal(lk_graph_linear(g, &fc, "fc", 0, 10, LK_INIT_TORCH_LINEAR, NULL), LK_OK);
    ASSERT_REFUSED(g, lk_graph_cross_entropy(g, &id, 1.0, &err), "outside [0, 1)");
    assert_int_equal(lk_graph_cross_entropy(g, &loss, 0, NULL), LK_OK);
    ASSERT_REFUSED(g, lk_graph_linear(g, &id, "more", fc, 10, LK_INIT_TORCH_LINEAR, &err), "the loss must be last");
    lk_graph_free(g);
}

static void inputs_are_checked(void **state) {
    (void)state;
    const float zero[3] = {0};
    const struct {
        int64_t channels, h, w;
        const float *std;
    } bad[] = {{2, 8, 8, STD}, {4, 8, 8, STD}, {3, 0, 8, STD}, {3, 8, 20000, STD}, {3, 8, 8, zero}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lk_graph *g = NULL;
        lk_error err = {0};
        assert_int_equal(lk_graph_create(&g, bad[i].channels, bad[i].h, bad[i].w, MEAN, bad[i].std, &err),
                         LK_ERR_CONFIG);
        assert_null(g);
        assert_true(err.message[0] != '\0');
    }
    lk_model_spec spec = spec_of(32);
    spec.classes = 1;
    lk_graph *g = NULL;
    assert_int_equal(lk_model_build(&g, "cifar_resnet8", &spec, NULL), LK_ERR_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_resnet),
        cmocka_unit_test(every_model_builds_and_is_named_once),
        cmocka_unit_test(costs_are_torchvisions),
        cmocka_unit_test(momentum_is_the_models_unless_given),
        cmocka_unit_test(published_weights_say_their_resize),
        cmocka_unit_test(shapes_of_mobile_families),
        cmocka_unit_test(same_padding),
        cmocka_unit_test(rates_of_dropout),
        cmocka_unit_test(unknown_model_names_the_nearest),
        cmocka_unit_test(shapes_that_do_not_fit),
        cmocka_unit_test(loss_comes_last),
        cmocka_unit_test(inputs_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
