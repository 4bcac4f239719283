#include "nn/graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "nn/graph_internal.h"

#define MAX_SIDE 16384
#define MAX_CHANNELS (1 << 20)

static lk_status check_name(const lk_graph *g, const char *name, lk_error *err) {
    if (name[0] == '\0' || strlen(name) >= LK_NAME_SIZE)
        return lk_fail(err, LK_ERR_CONFIG, "a layer's name must have 1 to %d characters, and '%.40s' has %zu",
                       LK_NAME_SIZE - 1, name, strlen(name));
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->nodes[i].name, name) == 0)
            return lk_fail(err, LK_ERR_CONFIG, "two layers are named '%s': give each its own name", name);
    return LK_OK;
}

static lk_status check_append(const lk_graph *g, lk_op_kind kind, const char *name, lk_node_id x, lk_error *err) {
    LK_RETURN_IF(check_name(g, name, err));
    if (x >= g->count || (x < 0 && kind != LK_OP_INPUT))
        return lk_fail(err, LK_ERR_CONFIG, "layer %s reads node %d of a graph of %d nodes", name, x, g->count);
    if (g->count > 0 && g->nodes[g->count - 1].op.kind == LK_OP_LOSS)
        return lk_fail(err, LK_ERR_CONFIG, "layer %s comes after the loss: the loss must be last", name);
    return LK_OK;
}

lk_node *lk_graph_append(lk_graph *g, lk_op_kind kind, const char *name, lk_node_id x, lk_status *status,
                         lk_error *err) {
    *status = check_append(g, kind, name, x, err);
    if (*status == LK_OK)
        *status = lk_grow((void **)&g->nodes, &g->capacity, (size_t)g->count + 1, sizeof *g->nodes, "a graph", err);
    if (*status != LK_OK) return NULL;
    lk_node *node = &g->nodes[g->count++];
    *node = (lk_node){.x = x, .residual = -1, .init = LK_INIT_NONE};
    snprintf(node->name, sizeof node->name, "%s", name);
    node->op.kind = kind;
    if (x >= 0) {
        node->c = g->nodes[x].c;
        node->h = g->nodes[x].h;
        node->w = g->nodes[x].w;
    }
    return node;
}

void lk_graph_drop_last(lk_graph *g) { g->count--; }

lk_status lk_graph_create(lk_graph **out, int64_t channels, int64_t h, int64_t w, const float *mean, const float *std,
                          lk_error *err) {
    *out = NULL;
    if (channels != 1 && channels != 3)
        return lk_fail(err, LK_ERR_CONFIG, "images of %" PRId64 " channels are not supported: use 1 (grey) or 3 (RGB)",
                       channels);
    if (h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE)
        return lk_fail(err, LK_ERR_CONFIG, "an input of %" PRId64 " x %" PRId64 " pixels is outside 1..%d", h, w,
                       MAX_SIDE);
    for (int64_t i = 0; i < channels; i++)
        if (!(std[i] > 0))
            return lk_fail(err, LK_ERR_CONFIG, "the standard deviation of channel %" PRId64 " is %g: it must be > 0", i,
                           (double)std[i]);
    lk_graph *g = NULL;
    LK_RETURN_IF(LK_NEW(&g, 1, "a graph", err));
    g->logits = -1;
    g->in_channels = channels;
    g->in_h = h;
    g->in_w = w;
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_INPUT, "input", -1, &status, err);
    if (node == NULL) {
        lk_graph_free(g);
        return status;
    }
    node->c = channels;
    node->h = h;
    node->w = w;
    for (int64_t i = 0; i < channels; i++) {
        node->op.input.mean[i] = mean[i];
        node->op.input.std[i] = std[i];
    }
    *out = g;
    return LK_OK;
}

void lk_graph_free(lk_graph *graph) {
    if (graph == NULL) return;
    lk_free(graph->nodes);
    lk_free(graph->loss_values);
    lk_free(graph);
}

/* One side of a window operation's output. Errors: LK_ERR_CONFIG when the window does not fit. */
static lk_status window_side(int64_t *side, const char *name, int64_t kernel, int64_t stride, int64_t pad,
                             lk_error *err) {
    if (kernel < 1 || kernel > MAX_SIDE || stride < 1 || stride > MAX_SIDE || pad < 0 || pad >= kernel)
        return lk_fail(err, LK_ERR_CONFIG,
                       "layer %s: kernel %" PRId64 ", stride %" PRId64 ", padding %" PRId64
                       " is no window (1 <= kernel, 1 <= stride, 0 <= padding < kernel)",
                       name, kernel, stride, pad);
    int64_t padded = *side + 2 * pad;
    if (padded < kernel)
        return lk_fail(err, LK_ERR_CONFIG,
                       "layer %s: its kernel of %" PRId64 " does not fit %" PRId64 " pixels (padding %" PRId64
                       "): use larger images",
                       name, kernel, *side, pad);
    *side = (padded - kernel) / stride + 1;
    return LK_OK;
}

static lk_status window_shape(lk_node *node, int64_t kernel, int64_t stride, int64_t pad, lk_error *err) {
    LK_RETURN_IF(window_side(&node->h, node->name, kernel, stride, pad, err));
    return window_side(&node->w, node->name, kernel, stride, pad, err);
}

/* Padding of one side under 'SAME': all of it, the smaller half first. Source: TensorFlow's Conv2D documentation,
 * timm's get_same_padding. */
static int64_t same_padding(int64_t side, int64_t kernel, int64_t stride) {
    int64_t outputs = (side + stride - 1) / stride;
    int64_t total = (outputs - 1) * stride + kernel - side;
    return total > 0 ? total : 0;
}

/* Sets padding and shape of a convolution node that has x's shape. Errors: LK_ERR_CONFIG. */
static lk_status conv_shape(lk_node *node, const lk_conv_spec *spec, lk_error *err) {
    if (!spec->same || spec->kernel < 1 || spec->stride < 1) {
        node->op.conv.pad = spec->pad;
        return window_shape(node, spec->kernel, spec->stride, spec->pad, err);
    }
    int64_t rows = same_padding(node->h, spec->kernel, spec->stride);
    int64_t columns = same_padding(node->w, spec->kernel, spec->stride);
    int64_t bottom = rows - rows / 2, right = columns - columns / 2;
    if (bottom != right)
        return lk_fail(err, LK_ERR_CONFIG,
                       "layer %s: 'SAME' padding of %" PRId64 " x %" PRId64
                       " pixels differs at the bottom and on the right, which no device does: use square images",
                       node->name, node->h, node->w);
    node->op.conv.pad = bottom;
    node->op.conv.pad_less_top = bottom - rows / 2;
    node->op.conv.pad_less_left = right - columns / 2;
    node->h = (node->h + spec->stride - 1) / spec->stride;
    node->w = (node->w + spec->stride - 1) / spec->stride;
    return LK_OK;
}

static lk_status check_conv(const lk_node *node, const lk_conv_spec *spec, lk_error *err) {
    if (spec->out_channels < 1 || spec->out_channels > MAX_CHANNELS)
        return lk_fail(err, LK_ERR_CONFIG, "layer %s: %" PRId64 " output channels are outside 1..%d", node->name,
                       spec->out_channels, MAX_CHANNELS);
    if (spec->groups < 1 || node->c % spec->groups != 0 || spec->out_channels % spec->groups != 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "layer %s: %" PRId64 " groups do not divide its %" PRId64 " input and %" PRId64
                       " output channels",
                       node->name, spec->groups, node->c, spec->out_channels);
    return LK_OK;
}

lk_status lk_graph_conv2d(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_conv_spec spec,
                          lk_init_rule init, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_CONV2D, name, x, &status, err);
    if (node == NULL) return status;
    status = check_conv(node, &spec, err);
    if (status == LK_OK) status = conv_shape(node, &spec, err);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    node->c = spec.out_channels;
    node->init = init;
    node->op.conv.out_channels = spec.out_channels;
    node->op.conv.kernel_h = node->op.conv.kernel_w = spec.kernel;
    node->op.conv.stride = spec.stride;
    node->op.conv.dilation = 1;
    node->op.conv.groups = spec.groups;
    node->op.conv.bias = spec.bias;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_maxpool(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, int64_t kernel, int64_t stride,
                           int64_t pad, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_MAXPOOL, name, x, &status, err);
    if (node == NULL) return status;
    status = window_shape(node, kernel, stride, pad, err);
    /* A window made of padding alone would have no maximum. */
    if (status == LK_OK && pad > kernel / 2)
        status = lk_fail(err, LK_ERR_CONFIG, "layer %s: padding %" PRId64 " is over half of the kernel %" PRId64, name,
                         pad, kernel);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    node->op.maxpool.kernel = kernel;
    node->op.maxpool.stride = stride;
    node->op.maxpool.pad = pad;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_global_avgpool(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_GLOBAL_AVGPOOL, name, x, &status, err);
    if (node == NULL) return status;
    node->h = node->w = 1;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_linear(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, int64_t out_features,
                          lk_init_rule init, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_LINEAR, name, x, &status, err);
    if (node == NULL) return status;
    if (node->h != 1 || node->w != 1)
        status =
            lk_fail(err, LK_ERR_CONFIG,
                    "layer %s: a linear layer needs a 1 x 1 input and gets %" PRId64 " x %" PRId64 ": pool before it",
                    name, node->h, node->w);
    else if (out_features < 1 || out_features > MAX_CHANNELS)
        status = lk_fail(err, LK_ERR_CONFIG, "layer %s: %" PRId64 " outputs are outside 1..%d", name, out_features,
                         MAX_CHANNELS);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    node->c = out_features;
    node->init = init;
    node->op.linear.out_features = out_features;
    g->logits = *out = g->count - 1;
    g->classes = out_features;
    return LK_OK;
}
