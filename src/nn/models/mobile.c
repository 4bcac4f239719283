#include "nn/models/mobile.h"

#include <stdio.h>

#define SQUEEZE_SHARE 0.25

int64_t lk_mobile_round(double channels) {
    int64_t rounded = (int64_t)(channels + 4) / 8 * 8;
    if (rounded < 8) rounded = 8;
    return (double)rounded < 0.9 * channels ? rounded + 8 : rounded;
}

lk_status lk_mobile_conv_bn(lk_mobile *m, const lk_mobile_conv *layer, lk_error *err) {
    lk_conv_spec conv = {.out_channels = layer->channels,
                         .kernel = layer->kernel,
                         .stride = layer->stride,
                         .pad = layer->kernel / 2,
                         .groups = layer->depthwise ? layer->channels : 1,
                         .same = m->same};
    lk_batchnorm_spec norm = {.eps = m->eps,
                              .momentum = LK_TORCH_BATCHNORM_MOMENTUM,
                              .act = layer->act,
                              .residual = layer->residual,
                              .drop_path = layer->residual >= 0 ? layer->drop_path : 0};
    LK_RETURN_IF(lk_graph_conv2d(m->graph, &m->x, layer->conv, m->x, conv, LK_INIT_GOOGLE_CONV, err));
    return lk_graph_batchnorm(m->graph, &m->x, layer->bn, m->x, norm, err);
}

/* One block's names and shapes. */
typedef struct block {
    char name[32]; /* "blocks.2.0" */
    const lk_mobile_stage *stage;
    int64_t stride, inputs, expanded;
} block;

/* "blocks.2.0.conv_dw" */
static const char *named(const block *b, const char *layer, char text[LK_NAME_SIZE]) {
    snprintf(text, LK_NAME_SIZE, "%s.%s", b->name, layer);
    return text;
}

/* A 1 x 1 convolution with bias over pooled channels, then an activation. */
static lk_status dense(lk_mobile *m, const block *b, lk_node_id *x, const char *conv, const char *act_name,
                       int64_t channels, lk_act act, lk_error *err) {
    char name[LK_NAME_SIZE];
    lk_conv_spec spec = {.out_channels = channels, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    LK_RETURN_IF(lk_graph_conv2d(m->graph, x, named(b, conv, name), *x, spec, LK_INIT_GOOGLE_CONV, err));
    return lk_graph_activation(m->graph, x, named(b, act_name, name), *x, act, err);
}

static lk_status squeeze(lk_mobile *m, const block *b, lk_error *err) {
    char name[LK_NAME_SIZE];
    int64_t squeezed = m->squeeze_of_expanded ? lk_mobile_round((double)b->expanded * SQUEEZE_SHARE)
                                              : (int64_t)((double)b->inputs * SQUEEZE_SHARE);
    lk_node_id gate = -1;
    LK_RETURN_IF(lk_graph_global_avgpool(m->graph, &gate, named(b, "se.pool", name), m->x, err));
    LK_RETURN_IF(dense(m, b, &gate, "se.conv_reduce", "se.act1", squeezed, m->squeeze_act, err));
    LK_RETURN_IF(dense(m, b, &gate, "se.conv_expand", "se.gate", b->expanded, m->gate, err));
    return lk_graph_scale(m->graph, &m->x, named(b, "se", name), m->x, gate, err);
}

/* One of the block's convolutions with its BatchNorm. */
static lk_status step(lk_mobile *m, const block *b, const char *conv, const char *bn, lk_mobile_conv layer,
                      lk_error *err) {
    char conv_name[LK_NAME_SIZE], bn_name[LK_NAME_SIZE];
    layer.conv = named(b, conv, conv_name);
    layer.bn = named(b, bn, bn_name);
    return lk_mobile_conv_bn(m, &layer, err);
}

static lk_status add_block(lk_mobile *m, const block *b, lk_error *err) {
    const lk_mobile_stage *s = b->stage;
    bool separable = s->expansion == 1, skip = b->stride == 1 && b->inputs == s->channels;
    lk_mobile_conv widen = {.channels = b->expanded, .kernel = 1, .stride = 1, .act = s->act, .residual = -1};
    lk_mobile_conv depthwise = {.channels = b->expanded,
                                .kernel = s->kernel,
                                .stride = b->stride,
                                .depthwise = true,
                                .act = s->act,
                                .residual = -1};
    lk_mobile_conv project = {.channels = s->channels,
                              .kernel = 1,
                              .stride = 1,
                              .act = LK_ACT_NONE,
                              .residual = skip ? m->x : -1,
                              .drop_path = m->drop_path * m->done / m->blocks};
    if (!separable) LK_RETURN_IF(step(m, b, "conv_pw", "bn1", widen, err));
    LK_RETURN_IF(step(m, b, "conv_dw", separable ? "bn1" : "bn2", depthwise, err));
    if (s->squeeze) LK_RETURN_IF(squeeze(m, b, err));
    return step(m, b, separable ? "conv_pw" : "conv_pwl", separable ? "bn2" : "bn3", project, err);
}

lk_status lk_mobile_stages(lk_mobile *m, const lk_mobile_stage *stages, int count, lk_error *err) {
    int part = 0;
    for (const lk_mobile_stage *s = stages; s < stages + count; s++) {
        if (s > stages && s->stage != s[-1].stage) part = 0;
        for (int k = 0; k < s->repeats; k++, part++, m->done++) {
            block b = {.stage = s, .stride = k == 0 ? s->stride : 1, .inputs = m->graph->nodes[m->x].c};
            b.expanded = s->expansion == 1 ? b.inputs : lk_mobile_round((double)b.inputs * s->expansion);
            snprintf(b.name, sizeof b.name, "blocks.%d.%d", s->stage, part);
            LK_RETURN_IF(add_block(m, &b, err));
        }
    }
    return LK_OK;
}
