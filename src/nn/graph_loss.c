#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "nn/graph_internal.h"

enum { ARRAYS = 3 };

/* Gives the node's arrays, which are the caller's, a place in the graph. */
static lk_status copy_arrays(lk_graph *g, lk_loss_config *config, lk_error *err) {
    const double **const arrays[ARRAYS] = {&config->class_weights, &config->focal_alpha, &config->logit_offsets};
    LK_RETURN_IF(LK_NEW(&g->loss_values, ARRAYS * g->classes, "the loss", err));
    for (int i = 0; i < ARRAYS; i++) {
        if (*arrays[i] == NULL) continue;
        double *copy = g->loss_values + i * g->classes;
        memcpy(copy, *arrays[i], (size_t)g->classes * sizeof *copy);
        *arrays[i] = copy;
    }
    return LK_OK;
}

lk_status lk_graph_loss(lk_graph *g, lk_node_id *out, const lk_loss_config *config, lk_error *err) {
    if (g->logits < 0) return lk_fail(err, LK_ERR_CONFIG, "a loss needs a linear layer before it");
    if (!(config->smoothing >= 0 && config->smoothing < 1))
        return lk_fail(err, LK_ERR_CONFIG, "label smoothing of %g is outside [0, 1)", config->smoothing);
    const char *fault = lk_loss_fault(config, g->classes);
    if (fault != NULL) return lk_fail(err, LK_ERR_CONFIG, "the loss of %" PRId64 " classes: %s", g->classes, fault);
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_LOSS, "loss", g->logits, &status, err);
    if (node == NULL) return status;
    node->c = 1;
    node->op.loss = *config;
    status = copy_arrays(g, &node->op.loss, err);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_cross_entropy(lk_graph *g, lk_node_id *out, double smoothing, lk_error *err) {
    lk_loss_config config = {.cross_entropy = 1, .smoothing = smoothing};
    return lk_graph_loss(g, out, &config, err);
}
