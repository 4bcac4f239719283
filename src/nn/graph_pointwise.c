/* Builds layers that change values but no shape. */
#include <inttypes.h>

#include "nn/graph_internal.h"

static lk_status check_residual(const lk_graph *g, const lk_node *node, lk_node_id residual, lk_error *err) {
    if (residual < 0) return LK_OK;
    if (residual >= g->count - 1)
        return lk_fail(err, LK_ERR_CONFIG, "layer %s adds node %d of a graph of %d nodes", node->name, residual,
                       g->count - 1);
    const lk_node *other = &g->nodes[residual];
    if (other->c == node->c && other->h == node->h && other->w == node->w) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "layer %s: %s of %" PRId64 " x %" PRId64 " x %" PRId64 " cannot be added to %" PRId64 " x %" PRId64
                   " x %" PRId64,
                   node->name, other->name, other->c, other->h, other->w, node->c, node->h, node->w);
}

static lk_status check_batchnorm(const lk_graph *g, const lk_node *node, const lk_batchnorm_spec *spec, lk_error *err) {
    if (!(spec->eps > 0)) return lk_fail(err, LK_ERR_CONFIG, "layer %s: eps must be > 0", node->name);
    if (!(spec->momentum > 0 && spec->momentum <= 1))
        return lk_fail(err, LK_ERR_CONFIG, "layer %s: a momentum of %g is outside (0, 1]", node->name, spec->momentum);
    if (!(spec->drop_path >= 0 && spec->drop_path < 1))
        return lk_fail(err, LK_ERR_CONFIG, "layer %s: a drop_path of %g is outside [0, 1)", node->name,
                       spec->drop_path);
    if (spec->drop_path > 0 && spec->residual < 0)
        return lk_fail(err, LK_ERR_CONFIG, "layer %s has a drop_path and no residual that would be left", node->name);
    return check_residual(g, node, spec->residual, err);
}

lk_status lk_graph_batchnorm(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_batchnorm_spec spec,
                             lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_BATCHNORM, name, x, &status, err);
    if (node == NULL) return status;
    status = check_batchnorm(g, node, &spec, err);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    node->residual = spec.residual < 0 ? -1 : spec.residual;
    node->init = LK_INIT_ONES_ZEROS;
    node->momentum = spec.momentum;
    node->op.batchnorm.eps = spec.eps;
    node->op.batchnorm.act = spec.act;
    node->op.batchnorm.residual = spec.residual >= 0;
    node->op.batchnorm.drop_path = spec.drop_path;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_activation(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_act act, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_ACTIVATION, name, x, &status, err);
    if (node == NULL) return status;
    node->op.activation.act = act;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_scale(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, lk_node_id gate, lk_error *err) {
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_SCALE, name, x, &status, err);
    if (node == NULL) return status;
    if (gate < 0 || gate >= g->count - 1)
        status = lk_fail(err, LK_ERR_CONFIG, "layer %s is scaled by node %d of a graph of %d nodes", name, gate,
                         g->count - 1);
    else if (g->nodes[gate].c != node->c || g->nodes[gate].h != 1 || g->nodes[gate].w != 1)
        status = lk_fail(err, LK_ERR_CONFIG,
                         "layer %s: a gate of %" PRId64 " x %" PRId64 " x %" PRId64 " cannot scale %" PRId64
                         " channels: it needs as many, 1 x 1 each",
                         name, g->nodes[gate].c, g->nodes[gate].h, g->nodes[gate].w, node->c);
    if (status != LK_OK) {
        lk_graph_drop_last(g);
        return status;
    }
    node->residual = gate;
    *out = g->count - 1;
    return LK_OK;
}

lk_status lk_graph_dropout(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, double rate, lk_error *err) {
    *out = x;
    if (rate == 0) return LK_OK;
    if (!(rate > 0 && rate < 1))
        return lk_fail(err, LK_ERR_CONFIG, "layer %s: a dropout of %g is outside [0, 1)", name, rate);
    lk_status status = LK_OK;
    lk_node *node = lk_graph_append(g, LK_OP_DROPOUT, name, x, &status, err);
    if (node == NULL) return status;
    node->op.dropout.rate = rate;
    *out = g->count - 1;
    return LK_OK;
}
