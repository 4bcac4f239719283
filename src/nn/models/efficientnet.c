#include <assert.h>
#include <math.h>

#include "nn/models/mobile.h"

#define STAGES 7
#define STEM 32
#define FEATURES 1280
#define TENSORFLOW_BATCHNORM_EPS 1e-3 /* of the models whose names begin with tf_ */

/* How B0 grows into B1 to B4. */
typedef struct scaling {
    double width, depth;
} scaling;

static const scaling SCALINGS[] = {{1.0, 1.0}, {1.0, 1.1}, {1.1, 1.2}, {1.2, 1.4}, {1.4, 1.8}};

/* What sets a family apart. */
typedef struct style {
    lk_act act;
    double eps;
    bool squeeze, same;
    bool fixed_ends; /* stem, features and the depth of the first and last stage do not grow */
} style;

static const style PLAIN = {.act = LK_ACT_SILU, .eps = LK_TORCH_BATCHNORM_EPS, .squeeze = true};
static const style LITE = {.act = LK_ACT_RELU6, .eps = TENSORFLOW_BATCHNORM_EPS, .same = true, .fixed_ends = true};

/* B0's stages, grown. Returns the number of blocks. */
static int grow(lk_mobile_stage stages[STAGES], const style *style, const scaling *scaling) {
    static const lk_mobile_stage base[STAGES] = {
        {.stage = 0, .repeats = 1, .kernel = 3, .stride = 1, .expansion = 1, .channels = 16},
        {.stage = 1, .repeats = 2, .kernel = 3, .stride = 2, .expansion = 6, .channels = 24},
        {.stage = 2, .repeats = 2, .kernel = 5, .stride = 2, .expansion = 6, .channels = 40},
        {.stage = 3, .repeats = 3, .kernel = 3, .stride = 2, .expansion = 6, .channels = 80},
        {.stage = 4, .repeats = 3, .kernel = 5, .stride = 1, .expansion = 6, .channels = 112},
        {.stage = 5, .repeats = 4, .kernel = 5, .stride = 2, .expansion = 6, .channels = 192},
        {.stage = 6, .repeats = 1, .kernel = 3, .stride = 1, .expansion = 6, .channels = 320},
    };
    int blocks = 0;
    for (int i = 0; i < STAGES; i++) {
        bool fixed = style->fixed_ends && (i == 0 || i == STAGES - 1);
        stages[i] = base[i];
        stages[i].act = style->act;
        stages[i].squeeze = style->squeeze;
        stages[i].channels = lk_mobile_round((double)base[i].channels * scaling->width);
        if (!fixed) stages[i].repeats = (int)ceil(base[i].repeats * scaling->depth);
        blocks += stages[i].repeats;
    }
    return blocks;
}

static lk_status build(lk_graph *g, const lk_model_entry *entry, const style *style, const lk_model_spec *spec,
                       lk_error *err) {
    assert(entry->variant >= 0 && entry->variant < (int)(sizeof SCALINGS / sizeof SCALINGS[0]));
    const scaling *scaling = &SCALINGS[entry->variant];
    double ends = style->fixed_ends ? 1 : scaling->width;
    lk_mobile_stage stages[STAGES];
    lk_mobile m = {.graph = g,
                   .eps = style->eps,
                   .same = style->same,
                   .drop_path = spec->drop_path,
                   .blocks = grow(stages, style, scaling),
                   .squeeze_act = style->act,
                   .gate = LK_ACT_SIGMOID};
    lk_mobile_conv stem = {"conv_stem", "bn1", lk_mobile_round(STEM * ends), 3, 2, .act = style->act, .residual = -1};
    lk_mobile_conv head = {"conv_head",       "bn2",         lk_mobile_round(FEATURES * ends), 1, 1,
                           .act = style->act, .residual = -1};
    LK_RETURN_IF(lk_mobile_conv_bn(&m, &stem, err));
    LK_RETURN_IF(lk_mobile_stages(&m, stages, STAGES, err));
    LK_RETURN_IF(lk_mobile_conv_bn(&m, &head, err));
    LK_RETURN_IF(lk_graph_global_avgpool(g, &m.x, "global_pool", m.x, err));
    LK_RETURN_IF(lk_graph_dropout(g, &m.x, "dropout", m.x, spec->dropout, err));
    return lk_graph_linear(g, &m.x, "classifier", m.x, spec->classes, LK_INIT_GOOGLE_LINEAR, err);
}

lk_status lk_model_efficientnet(lk_graph *g, const lk_model_entry *entry, const lk_model_spec *spec, lk_error *err) {
    return build(g, entry, &PLAIN, spec, err);
}

lk_status lk_model_efficientnet_lite(lk_graph *g, const lk_model_entry *entry, const lk_model_spec *spec,
                                     lk_error *err) {
    return build(g, entry, &LITE, spec, err);
}
