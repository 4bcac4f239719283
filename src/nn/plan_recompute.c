/* Which values the backward pass computes again. Source: Chen et al. 2016, "Training deep nets with sublinear memory
 * cost"; Pleiss et al. 2017, "Memory-efficient implementation of DenseNets", for normalisations alone. */
#include "nn/plan_internal.h"

#define WIDENS 4 /* times as many channels out as in: a bottleneck's last convolution */

int lk_plan_value(const lk_plan *plan, lk_node_id node) {
    if (node < 0) return -1;
    const lk_plan_node *maker = &plan->nodes[lk_plan_maker(plan, node)];
    return maker->again ? maker->again_y : maker->y;
}

static bool is_norm(const lk_op_desc *d) {
    return d->kind == LK_OP_BATCHNORM && d->batchnorm.act != LK_ACT_NONE && !d->batchnorm.residual &&
           d->batchnorm.group <= 1 && d->batchnorm.pool.kernel == 0;
}

static bool is_widening(const lk_op_desc *d) {
    return d->kind == LK_OP_CONV2D && d->conv.kernel_h == 1 && d->conv.kernel_w == 1 && d->conv.stride == 1 &&
           d->conv.groups == 1 && !d->conv.bias && d->conv.out_channels >= WIDENS * d->x.c && d->x.h * d->x.w > 1;
}

/* Does the backward pass read this node's value? */
static bool is_kept(const lk_plan *plan, lk_node_id id) {
    for (int i = id + 1; i < plan->graph->count; i++) {
        const lk_node *user = &plan->graph->nodes[i];
        const lk_plan_node *planned = &plan->nodes[i];
        if (!planned->has_backward) continue;
        bool x = lk_plan_maker(plan, user->x) == id, residual = lk_plan_maker(plan, user->residual) == id;
        if ((x && planned->info.keeps_x) || (residual && planned->info.keeps_residual)) return true;
    }
    return false;
}

void lk_plan_choose_again(lk_plan *plan) {
    lk_recompute level = plan->options.recompute;
    for (int i = 0; i < plan->graph->count; i++) {
        lk_plan_node *planned = &plan->nodes[i];
        const lk_op_desc *d = &planned->desc;
        planned->again_y = -1;
        bool wanted = (level >= LK_RECOMPUTE_ALL && is_norm(d)) || (level >= LK_RECOMPUTE_CONVS && is_widening(d));
        /* Its own backward comes last of all that read it, so its input and stash are there until then. */
        planned->again =
            wanted && planned->has_backward && !planned->info.keeps_y && planned->info.keeps_x && is_kept(plan, i);
    }
}
