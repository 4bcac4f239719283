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
    *out = g->count - 1;
    return LK_OK;
}
