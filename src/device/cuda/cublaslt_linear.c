/* Fully connected layer: cuBLASLt over rows of features. Weights are stored O x I with both padded as the tensors'
 * channels are, so that a matrix here is a tensor there; cuBLASLt counts columns first, and sees I x O.
 * Sums are split over no more than one block (no reduction scheme), so that their order is fixed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

#define MATMUL_WORKSPACE (UINT64_C(32) << 20)
#define POINTER_ALIGNMENT 16u
#define UNREAD_ADDRESS (uintptr_t)256 /* of a bias, for the choice of an algorithm: each call gives its own */

/* The text of an algorithm: its number, and its words, which the library may be given again in the same version.
 * Source: cublasLtMatmulAlgo_t in cuBLAS's documentation. */
#define ALGORITHM "cublaslt algorithm %d"
#define ALGORITHM_WORDS " words"
enum { WORDS = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t), WORD_DIGITS = 16 };
enum { CHOICE_SIZE = 64 + WORDS * (WORD_DIGITS + 1) };
_Static_assert(CHOICE_SIZE <= LK_CHOICE_SIZE, "a choice is the text of an algorithm");

typedef struct matmul {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    int64_t workspace;
    int id; /* the algorithm's number */
    char choice[CHOICE_SIZE];
} matmul;

typedef struct linear_plan {
    int64_t in, out; /* padded */
    matmul forward, data, weight;
    int64_t bias_at; /* bytes into the derived parameters; before it: weights. 16-bit types only */
} linear_plan;

static void matmul_free(matmul *m) {
    if (m->desc != NULL) (void)cublasLtMatmulDescDestroy(m->desc);
    if (m->a != NULL) (void)cublasLtMatrixLayoutDestroy(m->a);
    if (m->b != NULL) (void)cublasLtMatrixLayoutDestroy(m->b);
    if (m->d != NULL) (void)cublasLtMatrixLayoutDestroy(m->d);
}

static cudaDataType_t data_type(lk_dtype dtype) {
    return dtype == LK_BF16 ? CUDA_R_16BF : dtype == LK_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* Float32 operands are rounded to TF32 where the op allows it; sums are float32 in any case. */
static cublasComputeType_t compute_of(const lk_op *op) {
    return op->desc.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

typedef struct matrix {
    cudaDataType_t type;
    int64_t rows, columns; /* rows are contiguous */
    bool transposed;
} matrix;

static lk_status set_transposed(matmul *m, const matrix *a, const matrix *b, lk_error *err) {
    lk_status status = LK_OK;
    cublasOperation_t op_a = a->transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = b->transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LK_BLAS(cublasLtMatmulDescSetAttribute(m->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    LK_BLAS(cublasLtMatmulDescSetAttribute(m->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
out:
    return status;
}

static lk_status set_bias(cublasLtMatmulDesc_t desc, cudaDataType_t type, const void *bias, lk_error *err) {
    lk_status status = LK_OK;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    LK_BLAS(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    LK_BLAS(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type));
    LK_BLAS(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
out:
    return status;
}

static void write_choice(matmul *m) {
    int length = snprintf(m->choice, sizeof m->choice, ALGORITHM ALGORITHM_WORDS, m->id);
    for (int i = 0; i < WORDS; i++)
        length += snprintf(m->choice + length, sizeof m->choice - (size_t)length, " %016" PRIx64, m->algo.data[i]);
}

/* The words of a text that write_choice made. */
static bool read_choice(cublasLtMatmulAlgo_t *algo, const char *text) {
    const char *at = strstr(text, ALGORITHM_WORDS);
    if (strncmp(text, "cublaslt ", 9) != 0 || at == NULL) return false;
    at += strlen(ALGORITHM_WORDS);
    if (strlen(at) != (size_t)WORDS * (WORD_DIGITS + 1)) return false;
    for (int i = 0; i < WORDS; i++, at += WORD_DIGITS + 1) {
        if (at[0] != ' ' || strspn(at + 1, "0123456789abcdef") < WORD_DIGITS) return false;
        char word[WORD_DIGITS + 1] = "";
        memcpy(word, at + 1, WORD_DIGITS);
        algo->data[i] = strtoull(word, NULL, 16);
    }
    return true;
}

/* The algorithm of an earlier plan, if the library takes it and it is one that `choose` could have taken. */
static lk_status take_again(lk_cuda *cuda, matmul *m, const lk_op *op, const char *text, lk_error *err) {
    lk_status status = LK_OK;
    cublasLtMatmulHeuristicResult_t result = {.state = CUBLAS_STATUS_NOT_SUPPORTED};
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_MASK;
    size_t written;
    bool well = read_choice(&m->algo, text);
    well = well && cublasLtMatmulAlgoCheck(cuda->blas, m->desc, m->a, m->b, m->d, m->d, &m->algo, &result) ==
                       CUBLAS_STATUS_SUCCESS;
    well = well && result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= MATMUL_WORKSPACE;
    well = well && cublasLtMatmulAlgoConfigGetAttribute(&m->algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                                        sizeof scheme, &written) == CUBLAS_STATUS_SUCCESS;
    if (!well || scheme != CUBLASLT_REDUCTION_SCHEME_NONE)
        LK_TRY(lk_cuda_unsupported(op, "cuBLASLt does not take the recorded algorithm for its matrices", err));
    m->workspace = (int64_t)result.workspaceSize;
    LK_BLAS(cublasLtMatmulAlgoConfigGetAttribute(&m->algo, CUBLASLT_ALGO_CONFIG_ID, &m->id, sizeof m->id, &written));
out:
    return status;
}

static lk_status choose(lk_cuda *cuda, matmul *m, const lk_op *op, lk_error *err) {
    lk_status status = LK_OK;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    uint64_t most = MATMUL_WORKSPACE;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE, alignment = POINTER_ALIGNMENT;
    const cublasLtMatmulPreferenceAttributes_t alignments[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    int found = 0;
    LK_BLAS(cublasLtMatmulPreferenceCreate(&preference));
    LK_BLAS(
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most));
    LK_BLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme,
                                                 sizeof scheme));
    for (int i = 0; i < 4; i++)
        LK_BLAS(cublasLtMatmulPreferenceSetAttribute(preference, alignments[i], &alignment, sizeof alignment));
    cublasStatus_t code =
        cublasLtMatmulAlgoGetHeuristic(cuda->blas, m->desc, m->a, m->b, m->d, m->d, preference, 1, &result, &found);
    if (code == CUBLAS_STATUS_NOT_SUPPORTED || (code == CUBLAS_STATUS_SUCCESS && found == 0))
        LK_TRY(lk_cuda_unsupported(op, "cuBLASLt has no algorithm for its matrices", err));
    LK_TRY(lk_cuda_check_blas(code, "cublasLtMatmulAlgoGetHeuristic", err));
    m->algo = result.algo;
    m->workspace = (int64_t)result.workspaceSize;
    size_t written;
    LK_BLAS(cublasLtMatmulAlgoConfigGetAttribute(&m->algo, CUBLASLT_ALGO_CONFIG_ID, &m->id, sizeof m->id, &written));
out:
    if (preference != NULL) (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

/* D = op(A) op(B), and in the forward pass a bias along D's rows. */
static lk_status matmul_plan(lk_cuda *cuda, matmul *m, const lk_op *op, lk_op_pass pass, matrix a, matrix b, matrix d,
                             lk_error *err) {
    lk_status status = LK_OK;
    if (cuda->described != NULL) return LK_OK; /* cuBLASLt chooses for a GPU that is there alone */
    LK_BLAS(cublasLtMatmulDescCreate(&m->desc, compute_of(op), CUDA_R_32F));
    LK_TRY(set_transposed(m, &a, &b, err));
    if (pass == LK_PASS_FORWARD) LK_TRY(set_bias(m->desc, d.type, (const void *)UNREAD_ADDRESS, err));
    LK_BLAS(cublasLtMatrixLayoutCreate(&m->a, a.type, (uint64_t)a.rows, (uint64_t)a.columns, a.rows));
    LK_BLAS(cublasLtMatrixLayoutCreate(&m->b, b.type, (uint64_t)b.rows, (uint64_t)b.columns, b.rows));
    LK_BLAS(cublasLtMatrixLayoutCreate(&m->d, d.type, (uint64_t)d.rows, (uint64_t)d.columns, d.rows));
    const char *chosen = lk_cuda_chosen(op, pass);
    LK_TRY(chosen == NULL ? choose(cuda, m, op, err) : take_again(cuda, m, op, chosen, err));
    write_choice(m);
out:
    return status;
}

static lk_status matmul_run(lk_cuda *cuda, lk_stream *stream, const matmul *m, cublasLtMatmulDesc_t desc, const void *a,
                            const void *b, void *d, void *workspace, lk_error *err) {
    lk_status status = LK_OK;
    const float one = 1, zero = 0;
    LK_BLAS(cublasLtMatmul(cuda->blas, desc, &one, a, m->a, b, m->b, &zero, d, m->d, d, m->d, &m->algo,
                           lk_cuda_align_workspace(workspace), (size_t)m->workspace, stream->cuda));
out:
    return status;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    linear_plan *p = op->plan;
    lk_op_info *info = &op->info;
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, lk_shape_of(2, d->linear.out_features, d->x.c), p->out * p->in};
    info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, d->linear.out_features), p->out};
    bool trained = d->training && !d->frozen;
    info->keeps_x = trained;
    if (d->x.dtype != LK_F32) {
        p->bias_at = (int64_t)lk_round_up((size_t)(p->out * p->in) * sizeof(uint16_t));
        info->derived_bytes = p->bias_at + p->out * (int64_t)sizeof(uint16_t);
    }
    int64_t partial = trained ? lk_cuda_partial_bytes(&info->y) : 0;
    info->workspace_bytes = LK_CUDA_WORKSPACE_ALIGNMENT + larger(larger(p->forward.workspace, p->data.workspace),
                                                                 larger(p->weight.workspace, partial));
    double bytes =
        (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y) + p->out * p->in * (int64_t)lk_dtype_size(d->x.dtype));
    double flops = 2.0 * (double)d->x.n * (double)(p->out * p->in);
    lk_op_info_launch(info, false, "product", bytes, flops);
    if (trained) lk_op_info_launch(info, true, "weight gradient", bytes, flops);
    if (trained) lk_op_info_launch(info, true, "bias gradient", (double)lk_act_bytes(&info->y), 0);
    if (d->training && d->need_dx) lk_op_info_launch(info, true, "data gradient", bytes, flops);
    info->launches_refresh = info->derived_bytes > 0 ? 2 : 0;
    const matmul *all[LK_PASS_COUNT] = {&p->forward, &p->data, &p->weight};
    for (int i = 0; i < LK_PASS_COUNT; i++) memcpy(info->chosen[i], all[i]->choice, sizeof all[i]->choice);
    snprintf(info->impl_forward, sizeof info->impl_forward, "cublaslt:%d", p->forward.id);
    if (d->training && d->need_dx) snprintf(info->impl_dx, sizeof info->impl_dx, "cublaslt:%d", p->data.id);
    if (trained) snprintf(info->impl_dw, sizeof info->impl_dw, "cublaslt:%d", p->weight.id);
}

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    lk_status status = LK_OK;
    linear_plan *p = NULL;
    if (d->x.h != 1 || d->x.w != 1 || d->linear.out_features < 1 || d->linear.out_features > (1 << 24))
        return lk_cuda_unsupported(op, "its input is n x features; pool it first", err);
    LK_RETURN_IF(LK_NEW(&p, 1, "a linear layer", err));
    op->plan = p;
    p->in = d->x.block;
    p->out = lk_cuda_block(d->linear.out_features, d->compute);
    lk_cuda_info_start(op, d->linear.out_features, 1, 1, p->out);
    cudaDataType_t type = data_type(d->x.dtype);
    matrix weight = {type, p->in, p->out, false}, x = {type, p->in, d->x.n, false}, y = {type, p->out, d->x.n, false};
    matrix weight_t = weight, y_t = y, dweight = {CUDA_R_32F, p->in, p->out, false};
    weight_t.transposed = y_t.transposed = true;
    LK_TRY(matmul_plan(cuda, &p->forward, op, LK_PASS_FORWARD, weight_t, x, y, err));
    if (d->training && d->need_dx) LK_TRY(matmul_plan(cuda, &p->data, op, LK_PASS_DATA, weight, y, x, err));
    if (d->training && !d->frozen) LK_TRY(matmul_plan(cuda, &p->weight, op, LK_PASS_WEIGHT, x, y_t, dweight, err));
    fill_info(op);
out:
    return status;
}

static void drop(lk_op *op) {
    linear_plan *p = op->plan;
    if (p == NULL) return;
    matmul_free(&p->forward);
    matmul_free(&p->data);
    matmul_free(&p->weight);
    lk_free(p);
}

static int64_t stored_at(const lk_op *op, int i, int64_t e) {
    const linear_plan *p = op->plan;
    return i == 0 ? e / op->desc.x.c * p->in + e % op->desc.x.c : e;
}

static lk_status refresh(lk_cuda *cuda, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err) {
    (void)cuda;
    const linear_plan *p = op->plan;
    char *to = (char *)derived + buffers->derived_offset;
    lk_cuda_task weights = {.kind = lk_cuda_copy_of(op->desc.compute), .count = p->out * p->in, .to = to};
    lk_cuda_task bias = {.kind = lk_cuda_copy_of(op->desc.compute), .count = p->out, .to = to + p->bias_at};
    weights.from = params + buffers->param_offset[0];
    bias.from = params + buffers->param_offset[1];
    LK_RETURN_IF(lk_cuda_task_submit(stream, &weights, err));
    return lk_cuda_task_submit(stream, &bias, err);
}

/* The address of the bias is part of cuBLASLt's description of a product: each call has its own. */
static lk_status bind(lk_cuda *cuda, lk_call *call, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const linear_plan *p = call->op->plan;
    cublasLtMatmulDesc_t desc = NULL;
    matmul m = {0};
    LK_BLAS(cublasLtMatmulDescCreate(&desc, compute_of(call->op), CUDA_R_32F));
    call->bound = desc;
    m.desc = desc;
    LK_TRY(set_transposed(&m, &(matrix){.transposed = true}, &(matrix){.rows = p->in}, err));
out:
    return status;
}

static void unbind(lk_call *call) {
    if (call->bound != NULL) (void)cublasLtMatmulDescDestroy(call->bound);
}

static const void *weights_of(const lk_call *call, const lk_run *run) {
    if (call->op->desc.x.dtype == LK_F32) return lk_cuda_param(call, run, 0);
    return (const char *)run->derived + call->buffers.derived_offset;
}

static const void *bias_of(const lk_call *call, const lk_run *run) {
    const linear_plan *p = call->op->plan;
    if (call->op->desc.x.dtype == LK_F32) return lk_cuda_param(call, run, 1);
    return (const char *)run->derived + call->buffers.derived_offset + p->bias_at;
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    const linear_plan *p = call->op->plan;
    cudaDataType_t type = data_type(call->op->desc.x.dtype);
    LK_RETURN_IF(set_bias(call->bound, type, bias_of(call, run), err));
    return matmul_run(cuda, stream, &p->forward, call->bound, weights_of(call, run), call->buffers.x, call->buffers.y,
                      call->buffers.workspace, err);
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    lk_status status = LK_OK;
    const linear_plan *p = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    lk_cuda_rows rows = lk_cuda_rows_of(&call->op->info.y);
    if (!call->op->desc.frozen) {
        LK_TRY(matmul_run(cuda, stream, &p->weight, p->weight.desc, b->x, b->dy[0], lk_cuda_grad(call, run, 0),
                          b->workspace, err));
        LK_CUDA(lk_cuda_column_sums(stream->cuda, &rows, b->dy[0], lk_cuda_grad(call, run, 1), rows.block,
                                    lk_cuda_align_workspace(b->workspace), stream->counters));
    }
    if (!call->op->desc.need_dx) goto out;
    LK_TRY(matmul_run(cuda, stream, &p->data, p->data.desc, weights_of(call, run), b->dy[0], b->dx, b->workspace, err));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_linear = {.one_dy = true,
                                               .plan = plan,
                                               .drop = drop,
                                               .stored_at = stored_at,
                                               .refresh = refresh,
                                               .bind = bind,
                                               .unbind = unbind,
                                               .forward = forward,
                                               .backward = backward};
