/* The choice of an engine, and running it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/cuda/cudnn_graph.h"

#define MOST_CANDIDATES 32

/* May results be computed this way? Float32 means float32: no engine that rounds its operands to a shorter type. On
 * float32 operands, tensor cores multiply in TF32; engines that round to half precision lose range too and say so by
 * another note. Source: PyTorch's choice of engines with and without torch.backends.cudnn.allow_tf32. */
static bool notes_allow(const cudnnBackendNumericalNote_t *notes, int64_t count, const lk_cudnn_conv *conv) {
    bool whole = conv->dtype == LK_F32;
    for (int64_t i = 0; i < count; i++) {
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
        if (notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) return false;
        if (whole && !conv->tf32 && notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE) return false;
        if (whole && notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) return false;
    }
    return true;
}

/* *index: the engine's number; -1 where its numbers are not those wanted. */
static lk_status engine_of(cudnnBackendDescriptor_t config, const lk_cudnn_conv *conv, int64_t *index, lk_error *err) {
    lk_status status = LK_OK;
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0;
    LK_TRY(lk_cudnn_create(&engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine, err));
    LK_TRY(lk_cudnn_get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, index, err));
    LK_TRY(lk_cudnn_get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                        CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes, err));
    if (!notes_allow(notes, count, conv)) *index = -1;
out:
    lk_cudnn_destroy(engine);
    return status;
}

lk_status lk_cudnn_try(lk_cudnn_plan *out, const lk_cudnn_target *target, cudnnBackendDescriptor_t config,
                       const lk_cudnn_conv *conv, int64_t limit, lk_error *err) {
    lk_status status = LK_OK;
    cudnnBackendDescriptor_t plan = NULL;
    int64_t index = -1, count = 0, bytes = 0;
    LK_TRY(engine_of(config, conv, &index, err));
    if (index < 0) goto out;
    LK_TRY(lk_cudnn_create(&plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config, err));
    if (target->handle != NULL)
        LK_TRY(lk_cudnn_set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->handle, err));
    else
        LK_TRY(lk_cudnn_set(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                            &target->device, err));
    if (cudnnBackendFinalize(plan) != CUDNN_STATUS_SUCCESS) goto out; /* the next in the ranking may do */
    LK_TRY(lk_cudnn_get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes, err));
    if (bytes > limit) goto out;
    LK_TRY(lk_cudnn_choice_write(out->choice, config, index, conv, err));
    out->plan = plan;
    plan = NULL;
    out->workspace_bytes = bytes;
    snprintf(out->name, sizeof out->name, "cudnn:engine %" PRId64, index);
out:
    lk_cudnn_destroy(plan);
    return status;
}

static lk_status try_ranking(lk_cudnn_plan *out, const lk_cudnn_target *target, const lk_cudnn_graph *graph,
                             cudnnBackendHeurMode_t mode, const lk_cudnn_conv *conv, int64_t limit, lk_error *err) {
    lk_status status = LK_OK;
    cudnnBackendDescriptor_t ranking = NULL, configs[MOST_CANDIDATES] = {0};
    int64_t count = 0;
    LK_TRY(lk_cudnn_create(&ranking, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(ranking, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                        &graph->parts[graph->count - 1], err));
    LK_TRY(lk_cudnn_set(ranking, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, err));
    if (target->handle == NULL)
        LK_TRY(lk_cudnn_set(ranking, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                            &target->device, err));
    if (cudnnBackendFinalize(ranking) != CUDNN_STATUS_SUCCESS) goto out; /* no engine at all */
    for (int i = 0; i < MOST_CANDIDATES; i++)
        LK_TRY(lk_cudnn_create(&configs[i], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_get(ranking, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_CANDIDATES, &count,
                        configs, err));
    for (int64_t i = 0; i < count && i < MOST_CANDIDATES && out->plan == NULL; i++)
        LK_TRY(lk_cudnn_try(out, target, configs[i], conv, limit, err));
out:
    for (int i = 0; i < MOST_CANDIDATES; i++) lk_cudnn_destroy(configs[i]);
    lk_cudnn_destroy(ranking);
    return status;
}

lk_status lk_cudnn_plan_create(lk_cudnn_plan *out, const lk_cudnn_target *target, const lk_cudnn_conv *conv,
                               lk_cudnn_pass pass, lk_cudnn_ranking ranking, int64_t limit, lk_error *err) {
    lk_status status = LK_OK;
    lk_cudnn_graph graph = {0};
    memset(out, 0, sizeof *out);
    LK_TRY(lk_cudnn_graph_create(&graph, target, conv, pass, err));
    cudnnBackendHeurMode_t mode = ranking == LK_CUDNN_FIRST ? CUDNN_HEUR_MODE_A : CUDNN_HEUR_MODE_FALLBACK;
    LK_TRY(try_ranking(out, target, &graph, mode, conv, limit, err));
    if (out->plan == NULL)
        LK_TRY(lk_fail(
            err, LK_ERR_UNSUPPORTED,
            "cuDNN %zu has no engine for its %s that is deterministic, in %s, and content with %" PRId64 " bytes",
            cudnnGetVersion(), lk_cudnn_pass_name(pass), lk_dtype_name(conv->tf32 ? LK_TF32 : conv->dtype), limit));
out:
    lk_cudnn_graph_free(&graph);
    return status;
}

void lk_cudnn_plan_free(lk_cudnn_plan *plan) {
    lk_cudnn_destroy(plan->plan);
    memset(plan, 0, sizeof *plan);
}

void lk_cudnn_pack_free(lk_cudnn_pack *pack) {
    lk_cudnn_destroy(pack->pack);
    memset(pack, 0, sizeof *pack);
}

static lk_status pack_make(lk_cudnn_pack *pack, const void *const operands[3], void *workspace, lk_error *err) {
    lk_status status = LK_OK;
    const int64_t uids[3] = {LK_CUDNN_UID_X, LK_CUDNN_UID_WEIGHT, LK_CUDNN_UID_Y};
    lk_cudnn_pack_free(pack);
    LK_TRY(lk_cudnn_create(&pack->pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(pack->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uids, err));
    LK_TRY(lk_cudnn_set(pack->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, operands, err));
    LK_TRY(lk_cudnn_set(pack->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace, err));
    LK_TRY(lk_cudnn_check(cudnnBackendFinalize(pack->pack), "cudnnBackendFinalize", err));
    memcpy(pack->operands, operands, sizeof pack->operands);
    pack->workspace = workspace;
out:
    if (status != LK_OK) lk_cudnn_pack_free(pack);
    return status;
}

lk_status lk_cudnn_run(cudnnHandle_t handle, const lk_cudnn_plan *plan, lk_cudnn_pack *pack, const void *x,
                       const void *weight, const void *y, void *workspace, lk_error *err) {
    const void *const operands[3] = {x, weight, y};
    bool same =
        pack->pack != NULL && pack->workspace == workspace && memcmp(pack->operands, operands, sizeof operands) == 0;
    if (!same) LK_RETURN_IF(pack_make(pack, operands, workspace, err));
    return lk_cudnn_check(cudnnBackendExecute(handle, plan->plan, pack->pack), "cudnnBackendExecute", err);
}
