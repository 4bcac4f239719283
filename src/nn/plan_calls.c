/* What each call of a plan is, reads and writes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nn/plan_internal.h"

int lk_plan_call_numbers(const lk_plan *plan) {
    return plan->graph->count + plan->backward_count + (plan->finish_count > 0);
}

/* What layers are added up under. */
static void name_kind(lk_plan_call *call, const lk_op_desc *d) {
    char *kind = call->kind;
    size_t size = sizeof call->kind;
    if (d->kind == LK_OP_CONV2D && d->x.h * d->x.w == 1)
        snprintf(kind, size, "conv2d on 1 pixel%s%s", d->conv.act == LK_ACT_NONE ? "" : " ",
                 d->conv.act == LK_ACT_NONE ? "" : lk_act_name(d->conv.act));
    else if (d->kind == LK_OP_CONV2D)
        snprintf(kind, size, "conv2d %" PRId64 "x%" PRId64 "%s", d->conv.kernel_h, d->conv.kernel_w,
                 d->conv.groups == 1        ? ""
                 : d->conv.groups == d->x.c ? " depthwise"
                                            : " in groups");
    else if (d->kind == LK_OP_BATCHNORM)
        snprintf(kind, size, "batchnorm %s%s", lk_act_name(d->batchnorm.act),
                 d->batchnorm.residual          ? " residual"
                 : d->batchnorm.pool.kernel > 0 ? " maxpool"
                                                : "");
    else if (d->kind == LK_OP_ACTIVATION)
        snprintf(kind, size, "activation %s", lk_act_name(d->activation.act));
    else
        snprintf(kind, size, "%s", lk_op_kind_name(d->kind));
}

/* Bytes of the parameters as they are computed with. */
static double parameter_bytes(const lk_plan *plan, const lk_op_info *info) {
    double bytes = (double)info->derived_bytes;
    if (info->derived_bytes > 0) return bytes;
    for (int k = 0; k < info->param_count; k++)
        bytes += (double)info->params[k].stored_count * (double)lk_dtype_size(plan->device->master);
    return bytes;
}

static double gradient_bytes(const lk_plan *plan, const lk_op_info *info) {
    double bytes = 0;
    for (int k = 0; k < info->param_count; k++)
        bytes += (double)info->params[k].stored_count * (double)lk_dtype_size(plan->device->master);
    return bytes;
}

/* Bytes of the second input, 0 where there is none. */
static double residual_bytes(const lk_plan *plan, lk_node_id id) {
    lk_node_id residual = plan->graph->nodes[id].residual;
    return residual < 0 ? 0 : (double)lk_act_bytes(&plan->nodes[residual].info.y);
}

static double forward_operands(const lk_plan *plan, lk_node_id id) {
    const lk_plan_node *planned = &plan->nodes[id];
    const lk_op_info *info = &planned->info;
    return (double)(lk_act_bytes(&planned->desc.x) + lk_act_bytes(&info->y) + info->stash_bytes) +
           residual_bytes(plan, id) + parameter_bytes(plan, info);
}

static double backward_operands(const lk_plan *plan, lk_node_id id) {
    const lk_plan_node *planned = &plan->nodes[id];
    const lk_op_info *info = &planned->info;
    double x = (double)lk_act_bytes(&planned->desc.x), y = (double)lk_act_bytes(&info->y);
    double bytes =
        (double)lk_op_dy_bytes(&planned->desc, &info->y) + (double)info->stash_bytes + gradient_bytes(plan, info);
    bytes += (info->keeps_x ? x : 0) + (info->keeps_y ? y : 0) + (info->keeps_residual ? residual_bytes(plan, id) : 0);
    bytes += planned->desc.need_dx ? x + parameter_bytes(plan, info) : 0;
    return bytes + (planned->dresidual >= 0 ? residual_bytes(plan, id) : 0);
}

/* NULL where they are not listed. */
static const lk_op_launch *listed(const lk_op_launch *parts) { return parts[0].what == NULL ? NULL : parts; }

static void forward_call(lk_plan_call *call, const lk_plan *plan, lk_node_id id) {
    const lk_plan_node *planned = &plan->nodes[id];
    const lk_op_info *info = &planned->info;
    *call = (lk_plan_call){.number = id,
                           .op = lk_op_kind_name(plan->graph->nodes[id].op.kind),
                           .layer = plan->graph->nodes[id].name,
                           .made = &info->y,
                           .flops = info->flops_forward,
                           .bytes = info->bytes_forward,
                           .operand_bytes = forward_operands(plan, id),
                           .launches = info->launches_forward,
                           .parts = listed(info->parts_forward),
                           .chosen = {info->chosen[LK_PASS_FORWARD]}};
    name_kind(call, &planned->desc);
    snprintf(call->implementation, sizeof call->implementation, "%s", info->impl_forward);
}

static void add_call(lk_plan_call *call, const lk_plan_add *add) {
    const lk_op_info *info = &add->info;
    call->op = "add gradients";
    call->made = &info->y;
    call->flops = info->flops_forward;
    call->bytes = info->bytes_forward;
    call->operand_bytes = 3.0 * (double)lk_act_bytes(&info->y);
    call->launches = info->launches_forward;
    snprintf(call->kind, sizeof call->kind, "%s", call->op);
    snprintf(call->implementation, sizeof call->implementation, "%s", info->impl_forward);
}

static void again_call(lk_plan_call *call, const lk_plan *plan, lk_node_id id) {
    const lk_plan_node *planned = &plan->nodes[id];
    const lk_op_info *info = &planned->info;
    call->op = "compute again";
    call->made = &info->y;
    call->flops = info->flops_forward;
    call->bytes = info->bytes_again > 0 ? info->bytes_again : info->bytes_forward;
    call->operand_bytes =
        (double)(lk_act_bytes(&planned->desc.x) + lk_act_bytes(&info->y)) + parameter_bytes(plan, info);
    call->launches = info->launches_forward;
    call->parts = info->bytes_again > 0 ? NULL : listed(info->parts_forward);
    name_kind(call, &planned->desc);
    snprintf(call->implementation, sizeof call->implementation, "%s", info->impl_forward);
}

static void backward_call(lk_plan_call *call, const lk_plan *plan, int i) {
    lk_plan_step step = plan->backward[i];
    const lk_plan_node *planned = &plan->nodes[step.node];
    const lk_op_info *info = &planned->info;
    *call =
        (lk_plan_call){.number = plan->graph->count + i, .backward = true, .layer = plan->graph->nodes[step.node].name};
    if (step.add >= 0) {
        add_call(call, &plan->adds[step.add]);
        return;
    }
    if (step.again) {
        again_call(call, plan, step.node);
        return;
    }
    call->op = lk_op_kind_name(plan->graph->nodes[step.node].op.kind);
    call->made = planned->desc.need_dx ? &planned->desc.x : &info->y;
    call->flops = info->flops_backward;
    call->bytes = info->bytes_backward;
    call->operand_bytes = backward_operands(plan, step.node);
    call->launches = info->launches_backward;
    call->parts = listed(info->parts_backward);
    call->chosen[LK_PASS_DATA] = info->chosen[LK_PASS_DATA];
    call->chosen[LK_PASS_WEIGHT] = info->chosen[LK_PASS_WEIGHT];
    name_kind(call, &planned->desc);
    const char *dx = planned->desc.need_dx ? info->impl_dx : "";
    bool same = strcmp(dx, info->impl_dw) == 0;
    snprintf(call->implementation, sizeof call->implementation, "%s%s%s", dx,
             dx[0] != '\0' && info->impl_dw[0] != '\0' && !same ? ", " : "", same ? "" : info->impl_dw);
}

/* Behind all others, though a pass that is cut has one before each cut. */
static void finish_call(lk_plan_call *call, const lk_plan *plan) {
    *call = (lk_plan_call){.number = plan->graph->count + plan->backward_count,
                           .backward = true,
                           .op = "finish gradients",
                           .layer = "",
                           .made = &plan->finished,
                           .bytes = plan->finish_bytes,
                           .launches = lk_plan_finish_launches(plan)};
    snprintf(call->kind, sizeof call->kind, "%s", call->op);
    snprintf(call->implementation, sizeof call->implementation, "own:finish");
}

bool lk_plan_get_call(const lk_plan *plan, int number, lk_plan_call *call) {
    if (number == plan->graph->count + plan->backward_count)
        finish_call(call, plan);
    else if (number >= plan->graph->count)
        backward_call(call, plan, number - plan->graph->count);
    else if (plan->nodes[number].skipped)
        return false;
    else
        forward_call(call, plan, number);
    return true;
}
