#include <string.h>

#include "core/memory.h"
#include "lane.h"

static lk_status check_info(const op_plan *p, lk_error *err) {
    const lk_act_desc *y = &p->info.y;
    bool positive = y->n > 0 && y->c > 0 && y->h > 0 && y->w > 0 && y->block > 0;
    lk_dtype want = p->desc.kind == LK_OP_LOSS ? p->device->master : p->desc.compute;
    if (!positive || y->dtype != want)
        return lk_fail(err, LK_ERR_NUMERIC, "its output is planned as %s with channel block %lld",
                       lk_dtype_name(y->dtype), (long long)y->block);
    const lk_op_info *i = &p->info;
    bool backward = lk_op_has_backward(&p->desc);
    if (i->impl_forward[0] == '\0' || !(i->bytes_forward > 0) || !(i->flops_forward >= 0))
        return lk_fail(err, LK_ERR_NUMERIC, "the plan has no name, bytes or flops of the forward pass");
    if (backward && p->desc.need_dx && (i->impl_dx[0] == '\0' || !(i->bytes_backward > 0)))
        return lk_fail(err, LK_ERR_NUMERIC, "the plan has no name or bytes of the backward pass");
    bool weights = p->desc.kind == LK_OP_CONV2D || p->desc.kind == LK_OP_LINEAR; /* else part of the other gradient */
    if (backward && weights && !p->desc.frozen && i->impl_dw[0] == '\0')
        return lk_fail(err, LK_ERR_NUMERIC, "the plan has no name of the weight gradient");
    if (i->stash_bytes < 0 || i->workspace_bytes < 0 || i->derived_bytes < 0)
        return lk_fail(err, LK_ERR_NUMERIC, "the plan has a negative number of bytes");
    return LK_OK;
}

lk_status op_plan_create(op_plan **out, lk_device *device, const op_case *c, lk_dtype compute, int64_t block,
                         const op_plan *like, lk_error *err) {
    *out = NULL;
    op_plan *p = NULL;
    lk_op_info info;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&p, 1, "a plan", err));
    p->device = device;
    p->c = c;
    p->desc = op_case_desc(c, compute, block);
    if (c->like_n > 0 && like == NULL) {
        lk_op_desc first = p->desc;
        first.x.n = c->like_n;
        if (first.kind == LK_OP_SCALE) first.scale.gate.n = c->like_n;
        if (!first.training && first.kind != LK_OP_INPUT) { /* a layout for evaluation comes from the training plan */
            first.training = first.need_dx = true;
            first.dy_count = 1;
        }
        memset(&info, 0, sizeof info);
        LK_TRY(device->op_plan(device, &p->like, &first, &info, err));
    }
    p->desc.like = like != NULL ? like->op : p->like;
    memset(&p->info, 0xff, sizeof p->info); /* the device fills all of it */
    LK_TRY(device->op_plan(device, &p->op, &p->desc, &p->info, err));
    LK_TRY(check_info(p, err));
    *out = p;
    p = NULL;
out:
    op_plan_free(p);
    return status;
}

void op_plan_free(op_plan *p) {
    if (p == NULL) return;
    if (p->op != NULL) p->device->op_free(p->device, p->op);
    if (p->like != NULL) p->device->op_free(p->device, p->like);
    lk_free(p);
}
