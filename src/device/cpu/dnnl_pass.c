/* Passes: a oneDNN primitive, its operands, and the reorders they need; copies of weights. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/dnnl_util.h"

static int64_t take(int64_t *total, size_t bytes) {
    int64_t at = *total;
    *total += (int64_t)lk_round_up(bytes);
    return at;
}

lk_status lk_dnnl_pass_start(lk_dnnl_pass *pass, const_dnnl_primitive_desc_t pd, lk_error *err) {
    lk_status status = LK_OK;
    memset(pass, 0, sizeof *pass);
    LK_DNNL(dnnl_primitive_create(&pass->primitive, pd));
    LK_DNNL(dnnl_memory_desc_clone(&pass->scratch, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0)));
    pass->scratch_at = take(&pass->workspace_bytes, dnnl_memory_desc_get_size(pass->scratch));
    snprintf(pass->impl, sizeof pass->impl, "%s", lk_dnnl_impl(pd));
out:
    return status;
}

/* Puts a reorder between the operand's two layouts. */
static lk_status add_reorder(lk_dnnl_pass *pass, lk_dnnl_operand *o, dnnl_engine_t engine, lk_error *err) {
    lk_status status = LK_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t from = o->written ? o->inner : o->outer, to = o->written ? o->outer : o->inner;
    LK_TRY(lk_dnnl_attr(&attr, err));
    LK_DNNL(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, attr));
    LK_DNNL(dnnl_primitive_create(&o->reorder, pd));
    o->copy_at = take(&pass->workspace_bytes, dnnl_memory_desc_get_size(o->inner));
    LK_DNNL(dnnl_memory_desc_clone(&o->scratch, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0)));
    o->scratch_at = take(&pass->workspace_bytes, dnnl_memory_desc_get_size(o->scratch));
    pass->reorder_bytes += (int64_t)(dnnl_memory_desc_get_size(from) + dnnl_memory_desc_get_size(to));
    size_t used = strlen(pass->impl);
    if (strstr(pass->impl, "+reorder") == NULL) snprintf(pass->impl + used, sizeof pass->impl - used, "+reorder");
out:
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return status;
}

lk_status lk_dnnl_pass_operand(lk_dnnl_pass *pass, dnnl_engine_t engine, const_dnnl_primitive_desc_t pd, int arg,
                               bool written, const_dnnl_memory_desc_t outer, lk_error *err) {
    lk_status status = LK_OK;
    lk_dnnl_operand *o = &pass->operands[pass->count++];
    o->arg = arg;
    o->written = written;
    const_dnnl_memory_desc_t wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);
    LK_DNNL(dnnl_memory_desc_clone(&o->inner, wanted));
    LK_DNNL(dnnl_memory_desc_clone(&o->outer, outer != NULL ? outer : wanted));
    if (!dnnl_memory_desc_equal(o->inner, o->outer)) LK_TRY(add_reorder(pass, o, engine, err));
out:
    return status;
}

void lk_dnnl_pass_free(lk_dnnl_pass *pass) {
    for (int i = 0; i < pass->count; i++) {
        dnnl_primitive_destroy(pass->operands[i].reorder);
        dnnl_memory_desc_destroy(pass->operands[i].scratch);
        dnnl_memory_desc_destroy(pass->operands[i].inner);
        dnnl_memory_desc_destroy(pass->operands[i].outer);
    }
    dnnl_memory_desc_destroy(pass->scratch);
    dnnl_primitive_destroy(pass->primitive);
    memset(pass, 0, sizeof *pass);
}

lk_status lk_dnnl_bind(lk_dnnl_bound *bound, const lk_dnnl_pass *pass, dnnl_engine_t engine, void *const *handles,
                       void *workspace, lk_error *err) {
    lk_status status = LK_OK;
    memset(bound, 0, sizeof *bound);
    bound->pass = pass;
    char *space = workspace;
    for (int i = 0; i < pass->count; i++) {
        const lk_dnnl_operand *o = &pass->operands[i];
        LK_DNNL(dnnl_memory_create(&bound->outer[i], o->outer, engine, handles[i]));
        bound->inner[i] = bound->outer[i];
        if (o->reorder != NULL) {
            bound->inner[i] = NULL;
            LK_DNNL(dnnl_memory_create(&bound->inner[i], o->inner, engine, space + o->copy_at));
            LK_DNNL(dnnl_memory_create(&bound->reorder_scratch[i], o->scratch, engine, space + o->scratch_at));
        }
        bound->args[i] = (dnnl_exec_arg_t){o->arg, bound->inner[i]};
    }
    LK_DNNL(dnnl_memory_create(&bound->scratch, pass->scratch, engine, space + pass->scratch_at));
    bound->args[pass->count] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, bound->scratch};
out:
    return status;
}

void lk_dnnl_unbind(lk_dnnl_bound *bound) {
    for (int i = 0; bound->pass != NULL && i < bound->pass->count; i++) {
        if (bound->inner[i] != bound->outer[i]) dnnl_memory_destroy(bound->inner[i]);
        dnnl_memory_destroy(bound->outer[i]);
        dnnl_memory_destroy(bound->reorder_scratch[i]);
    }
    dnnl_memory_destroy(bound->scratch);
    memset(bound, 0, sizeof *bound);
}

lk_status lk_dnnl_set(lk_dnnl_bound *bound, int i, const void *handle, lk_error *err) {
    return lk_dnnl_check(dnnl_memory_set_data_handle(bound->outer[i], (void *)handle), "dnnl_memory_set_data_handle",
                         err);
}

static lk_status run_reorders(const lk_dnnl_bound *bound, dnnl_stream_t stream, bool written, lk_error *err) {
    lk_status status = LK_OK;
    for (int i = 0; i < bound->pass->count; i++) {
        const lk_dnnl_operand *o = &bound->pass->operands[i];
        if (o->reorder == NULL || o->written != written) continue;
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, written ? bound->inner[i] : bound->outer[i]},
                                  {DNNL_ARG_TO, written ? bound->outer[i] : bound->inner[i]},
                                  {DNNL_ARG_SCRATCHPAD, bound->reorder_scratch[i]}};
        LK_DNNL(dnnl_primitive_execute(o->reorder, stream, 3, args));
    }
out:
    return status;
}

lk_status lk_dnnl_run(const lk_dnnl_bound *bound, dnnl_stream_t stream, lk_error *err) {
    lk_status status = LK_OK;
    LK_TRY(run_reorders(bound, stream, false, err));
    LK_DNNL(dnnl_primitive_execute(bound->pass->primitive, stream, bound->pass->count + 1, bound->args));
    LK_TRY(run_reorders(bound, stream, true, err));
    LK_DNNL(dnnl_stream_wait(stream));
out:
    return status;
}

lk_status lk_dnnl_weight_copy_plan(lk_dnnl_weight_copy *copy, dnnl_engine_t engine, const_dnnl_memory_desc_t stored,
                                   const_dnnl_memory_desc_t wanted, int64_t *derived_bytes, lk_error *err) {
    if (dnnl_memory_desc_equal(wanted, stored)) return LK_OK;
    lk_status status = LK_OK;
    dnnl_primitive_desc_t pd = NULL;
    LK_DNNL(dnnl_memory_desc_clone(&copy->stored, stored));
    LK_DNNL(dnnl_memory_desc_clone(&copy->md, wanted));
    LK_DNNL(dnnl_reorder_primitive_desc_create(&pd, stored, engine, wanted, engine, NULL));
    LK_DNNL(dnnl_primitive_create(&copy->reorder, pd));
    copy->at = *derived_bytes;
    *derived_bytes += (int64_t)lk_round_up(dnnl_memory_desc_get_size(wanted));
out:
    dnnl_primitive_desc_destroy(pd);
    return status;
}

void lk_dnnl_weight_copy_free(lk_dnnl_weight_copy *copy) {
    dnnl_primitive_destroy(copy->reorder);
    dnnl_memory_desc_destroy(copy->stored);
    dnnl_memory_desc_destroy(copy->md);
    memset(copy, 0, sizeof *copy);
}

lk_status lk_dnnl_weight_copy_write(const lk_dnnl_weight_copy *copy, dnnl_engine_t engine, dnnl_stream_t stream,
                                    const float *stored, char *derived, lk_error *err) {
    if (copy->reorder == NULL) return LK_OK;
    lk_status status = LK_OK;
    dnnl_memory_t from = NULL, to = NULL;
    LK_DNNL(dnnl_memory_create(&from, copy->stored, engine, (void *)stored));
    LK_DNNL(dnnl_memory_create(&to, copy->md, engine, derived + copy->at));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    LK_DNNL(dnnl_primitive_execute(copy->reorder, stream, 2, args));
    LK_DNNL(dnnl_stream_wait(stream));
out:
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    return status;
}
