/* A model as a static graph of layers: what is computed, not how. Nodes are in topological order. */
#ifndef LK_NN_GRAPH_H
#define LK_NN_GRAPH_H

#include "core/error.h"
#include "device/ops.h"

#define LK_NAME_SIZE 96

typedef int lk_node_id; /* index of a node, and of the value it makes; -1 is none */

typedef enum lk_init_rule {
    LK_INIT_NONE,
    LK_INIT_KAIMING_NORMAL_FAN_OUT, /* torchvision's ResNet convolutions */
    LK_INIT_TORCH_LINEAR,           /* kaiming_uniform(a = sqrt 5): U(+-1/sqrt fan_in), bias the same */
    LK_INIT_GOOGLE_CONV,            /* timm's EfficientNet: N(0, 2 / (k k out / groups)), bias 0 */
    LK_INIT_GOOGLE_LINEAR,          /* timm's EfficientNet: U(+-1/sqrt out), bias 0 */
    LK_INIT_ONES_ZEROS              /* gamma 1, beta 0 */
} lk_init_rule;

typedef struct lk_node {
    char name[LK_NAME_SIZE]; /* state_dict prefix, e.g. "layer1.0.bn1"; parameters are name.weight, name.bias */
    lk_op_desc op;           /* kind and attributes; x, compute, training, dy_count, like are the plan's to fill */
    bool frozen[LK_OP_MAX_PARAMS]; /* parameters that are not trained: lk_graph_freeze */
    lk_node_id x, residual;        /* inputs; -1 where none */
    lk_init_rule init;
    double momentum; /* BATCHNORM: weight of a microbatch in the running statistics, as torch.nn.BatchNorm2d has it */
    int64_t c, h, w; /* shape of the value made, per sample */
} lk_node;

typedef struct lk_graph {
    lk_node *nodes;
    int count;
    size_t capacity;
    int64_t in_channels, in_h, in_w; /* pixels */
    int64_t classes;
    lk_node_id logits;   /* the loss node, if any, comes after it */
    double *loss_values; /* what the arrays of the loss node point into */
} lk_graph;

/* Starts a graph with its INPUT node (id 0). Owner: the caller, with lk_graph_free.
 * Errors: LK_ERR_CONFIG for channels other than 1 or 3 or sizes outside 1..16384; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_graph_create(lk_graph **out, int64_t channels, int64_t h, int64_t w, const float *mean,
                                        const float *std, lk_error *err);
void lk_graph_free(lk_graph *graph);

/* Each adds one node, infers its shape and gives its id.
 * Errors: LK_ERR_CONFIG naming the layer where the shapes do not fit; LK_ERR_MEMORY. */
typedef struct lk_conv_spec {
    int64_t out_channels, kernel, stride, pad, groups;
    bool bias;
    bool same; /* TensorFlow's padding 'SAME' instead of `pad`: ceil(side / stride) outputs, the odd row at the end */
} lk_conv_spec;
LK_MUST_CHECK lk_status lk_graph_conv2d(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_conv_spec spec,
                                        lk_init_rule init, lk_error *err);

/* Normalises, then adds and activates as far as asked. */
typedef struct lk_batchnorm_spec {
    double eps, momentum;
    lk_act act;
    lk_node_id residual; /* added before the activation; -1: none */
    double
        drop_path; /* stochastic depth: share of samples for which only the residual is left in training, in [0, 1) */
} lk_batchnorm_spec;
LK_MUST_CHECK lk_status lk_graph_batchnorm(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x,
                                           lk_batchnorm_spec spec, lk_error *err);
/* y = act(x). A BatchNorm's activation belongs into its spec, where it costs no pass. */
LK_MUST_CHECK lk_status lk_graph_activation(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_act act,
                                            lk_error *err);
/* y = x * gate, gate of x's channels and 1 x 1: one number per sample and channel. */
LK_MUST_CHECK lk_status lk_graph_scale(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_node_id gate,
                                       lk_error *err);
/* Drops elements in training; no layer at all (*out = x) where rate is 0. */
LK_MUST_CHECK lk_status lk_graph_dropout(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, double rate,
                                         lk_error *err);
LK_MUST_CHECK lk_status lk_graph_maxpool(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, int64_t kernel,
                                         int64_t stride, int64_t pad, lk_error *err);
LK_MUST_CHECK lk_status lk_graph_global_avgpool(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x,
                                                lk_error *err);
/* The classifier: sets graph->logits and graph->classes when it is the last. */
LK_MUST_CHECK lk_status lk_graph_linear(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x,
                                        int64_t out_features, lk_init_rule init, lk_error *err);
/* The loss over graph->logits; must come last. The arrays of config are copied. */
LK_MUST_CHECK lk_status lk_graph_loss(lk_graph *g, lk_node_id *out, const lk_loss_config *config, lk_error *err);
/* The same of cross-entropy with label smoothing alone. */
LK_MUST_CHECK lk_status lk_graph_cross_entropy(lk_graph *g, lk_node_id *out, double smoothing, lk_error *err);

/* Parameters that a layer of this kind has, and the ends of their names: "weight", "bias". Pure. */
int lk_node_param_count(const lk_node *node);
const char *lk_param_suffix(int index);

/* Freezes the parameters whose names ("layer1.0.conv1.weight") one of the patterns in `names` (core/patterns.h; NULL or
 * blank: none) matches: they get no gradient and no update.
 * fix_batchnorm: a BatchNorm whose parameters are both frozen normalises with its running statistics in training too
 * and leaves them as they are. *trained: elements that are left to train. Source: requires_grad_(False) of
 * torch.nn.Module, with eval() on its BatchNorm layers as timm.utils.freeze has it. Errors: LK_ERR_CONFIG where a
 * pattern matches nothing, everything is frozen, or there is no BatchNorm to fix. */
LK_MUST_CHECK lk_status lk_graph_freeze(lk_graph *graph, const char *names, bool fix_batchnorm, int64_t *trained,
                                        lk_error *err);

/* What one sample costs: parameters, and multiply-adds of convolutions and linear layers in a forward pass, windows
 * over padding counted in full. Source: the count of fvcore, and half of that of torch.utils.flop_counter. Pure. */
void lk_graph_count(const lk_graph *graph, int64_t *params, int64_t *multiply_adds);

#endif
