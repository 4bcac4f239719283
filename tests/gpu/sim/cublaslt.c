/* cuBLASLt's product of two matrices: descriptions with the real checks, and float sums rounded once at the end. */
#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define API SIM_API
#define WORKSPACE 1024 /* bytes that the one algorithm asks for, and spoils */

struct description {
    cublasComputeType_t compute;
    cudaDataType_t scale, bias_type;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};

struct layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};

struct preference {
    uint64_t workspace;
    uint32_t schemes, alignment;
};

API cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

API size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }
API const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS of the stand-in";
}

API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                            cudaDataType_t scale) {
    struct description *d = calloc(1, sizeof *d);
    if (d == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    *d = (struct description){.compute = compute, .scale = scale, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    d->a = d->b = CUBLAS_OP_N;
    *out = (cublasLtMatmulDesc_t)d;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t name,
                                                  const void *value, size_t bytes) {
    struct description *d = (struct description *)desc;
    void *field;
    size_t size;
    switch (name) {
        case CUBLASLT_MATMUL_DESC_TRANSA: field = &d->a, size = sizeof d->a; break;
        case CUBLASLT_MATMUL_DESC_TRANSB: field = &d->b, size = sizeof d->b; break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE: field = &d->epilogue, size = sizeof d->epilogue; break;
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: field = &d->bias, size = sizeof d->bias; break;
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: field = &d->bias_type, size = sizeof d->bias_type; break;
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (size != bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type, uint64_t rows,
                                              uint64_t columns, int64_t ld) {
    struct layout *l = calloc(1, sizeof *l);
    if (l == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    *l = (struct layout){type, rows, columns, ld};
    *out = (cublasLtMatrixLayout_t)l;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    struct preference *p = calloc(1, sizeof *p);
    if (p == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    *p = (struct preference){0, CUBLASLT_REDUCTION_SCHEME_MASK, 256};
    *out = (cublasLtMatmulPreference_t)p;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                        cublasLtMatmulPreferenceAttributes_t name, const void *value,
                                                        size_t bytes) {
    struct preference *p = (struct preference *)preference;
    switch (name) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            if (bytes != sizeof p->workspace) return CUBLAS_STATUS_INVALID_VALUE;
            memcpy(&p->workspace, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
            if (bytes != sizeof p->schemes) return CUBLAS_STATUS_INVALID_VALUE;
            memcpy(&p->schemes, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            if (bytes != sizeof p->alignment) return CUBLAS_STATUS_INVALID_VALUE;
            memcpy(&p->alignment, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

/* m x k times k x n is m x n; leading dimensions hold the rows; types that go together. */
static bool fits(const struct description *desc, const struct layout *a, const struct layout *b,
                 const struct layout *d) {
    uint64_t m = desc->a == CUBLAS_OP_N ? a->rows : a->columns, k = desc->a == CUBLAS_OP_N ? a->columns : a->rows;
    uint64_t k2 = desc->b == CUBLAS_OP_N ? b->rows : b->columns, n = desc->b == CUBLAS_OP_N ? b->columns : b->rows;
    if (m != d->rows || n != d->columns || k != k2) return false;
    if (a->ld < (int64_t)a->rows || b->ld < (int64_t)b->rows || d->ld < (int64_t)d->rows) return false;
    bool tf32 = desc->compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a->type == CUDA_R_32F;
    if ((desc->compute != CUBLAS_COMPUTE_32F && !tf32) || desc->scale != CUDA_R_32F || a->type != b->type) return false;
    if (a->type != CUDA_R_32F && a->type != CUDA_R_16BF && a->type != CUDA_R_16F) return false;
    if (d->type != a->type && d->type != CUDA_R_32F) return false;
    bool bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
    return bias ? desc->bias_type == d->type && desc->bias != NULL : desc->epilogue == CUBLASLT_EPILOGUE_DEFAULT;
}

API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                                  cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                  cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                  cublasLtMatmulPreference_t preference, int wanted,
                                                  cublasLtMatmulHeuristicResult_t results[], int *found) {
    const struct preference *p = (const struct preference *)preference;
    (void)handle;
    *found = 0;
    if (wanted < 1 || c != d) return CUBLAS_STATUS_INVALID_VALUE;
    if (!fits((struct description *)desc, (struct layout *)a, (struct layout *)b, (struct layout *)d))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->workspace < WORKSPACE) return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(&results[0], 0, sizeof results[0]);
    results[0].workspaceSize = WORKSPACE;
    results[0].algo.data[0] = 7;
    results[0].algo.data[1] = p->schemes != CUBLASLT_REDUCTION_SCHEME_NONE; /* then sums come in any order */
    results[0].algo.data[2] = p->alignment;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                        cublasLtMatmulAlgoConfigAttributes_t name, void *value,
                                                        size_t bytes, size_t *written) {
    bool scheme = name == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME;
    int field = scheme ? (int)algo->data[1] : (int)algo->data[0];
    if ((name != CUBLASLT_ALGO_CONFIG_ID && !scheme) || bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &field, bytes);
    *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                           cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                           const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result) {
    (void)handle;
    memset(result, 0, sizeof *result);
    bool known = algo->data[0] == 7 && algo->data[1] <= 1 && algo->data[2] > 0 && algo->data[2] <= 256;
    for (int i = 3; i < 8; i++) known = known && algo->data[i] == 0;
    if (!known || c != d ||
        !fits((struct description *)desc, (struct layout *)a, (struct layout *)b, (struct layout *)d))
        return CUBLAS_STATUS_INVALID_VALUE;
    result->algo = *algo;
    result->workspaceSize = WORKSPACE;
    return CUBLAS_STATUS_SUCCESS;
}

typedef struct product {
    struct description desc;
    struct layout a, b, d;
    const void *a_data, *b_data;
    void *d_data, *workspace;
    bool chance;
} product;

static sim_type type_of(cudaDataType_t type) {
    return type == CUDA_R_16F ? SIM_F16 : type == CUDA_R_16BF ? SIM_BF16 : SIM_F32;
}

static float element(const product *p, const struct layout *l, const void *data, int64_t i, int64_t j,
                     bool transposed) {
    float v = sim_load(type_of(l->type), data, transposed ? j + i * l->ld : i + j * l->ld);
    return p->desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? sim_tf32(v) : v;
}

static void touch(const struct layout *l, const void *data, bool write) {
    size_t size = l->type == CUDA_R_32F ? 4 : 2;
    for (uint64_t j = 0; j < l->columns; j++)
        sim_touch((const char *)data + j * (uint64_t)l->ld * size, l->rows * size, write);
}

static void product_run(void *state) {
    product *p = state;
    bool ta = p->desc.a == CUBLAS_OP_T, tb = p->desc.b == CUBLAS_OP_T;
    int64_t k = (int64_t)(ta ? p->a.rows : p->a.columns);
    touch(&p->a, p->a_data, false);
    touch(&p->b, p->b_data, false);
    touch(&p->d, p->d_data, true);
    sim_touch(p->workspace, WORKSPACE, true);
    if (p->desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
        sim_touch(p->desc.bias, p->d.rows * (p->desc.bias_type == CUDA_R_32F ? 4 : 2), false);
    memset(p->workspace, 0xcb, WORKSPACE);
    for (int64_t j = 0; j < (int64_t)p->d.columns; j++)
        for (int64_t i = 0; i < (int64_t)p->d.rows; i++) {
            float sum = 0;
            int64_t first = p->chance ? (int64_t)(sim_random() % (uint64_t)k) : 0;
            for (int64_t s = 0; s < k; s++) {
                int64_t at = (first + s) % k;
                int64_t row = at, column = j;
                if (sim_planted("axis")) row = j % k, column = at % (int64_t)p->d.columns;
                sum += element(p, &p->a, p->a_data, i, at, ta) * element(p, &p->b, p->b_data, row, column, tb);
            }
            if (p->desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
                sum += sim_load(type_of(p->desc.bias_type), p->desc.bias, i);
            sim_store(type_of(p->d.type), p->d_data, i + j * p->d.ld, sum);
        }
}

static bool inside(const struct layout *l, const void *p, uint32_t alignment) {
    size_t size = l->type == CUDA_R_32F ? 4 : 2;
    return (uintptr_t)p % alignment == 0 &&
           sim_device_room(p) >= (size_t)((int64_t)(l->columns - 1) * l->ld + (int64_t)l->rows) * size;
}

API cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                                  const void *a_data, cublasLtMatrixLayout_t a, const void *b_data,
                                  cublasLtMatrixLayout_t b, const void *beta, const void *c_data,
                                  cublasLtMatrixLayout_t c, void *d_data, cublasLtMatrixLayout_t d,
                                  const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes,
                                  cudaStream_t stream) {
    (void)handle;
    product p = {.desc = *(struct description *)desc,
                 .a = *(struct layout *)a,
                 .b = *(struct layout *)b,
                 .d = *(struct layout *)d,
                 .a_data = a_data,
                 .b_data = b_data,
                 .d_data = d_data,
                 .workspace = workspace,
                 .chance = algo->data[1] != 0};
    uint32_t alignment = (uint32_t)algo->data[2];
    if (*(const float *)alpha != 1 || *(const float *)beta != 0 || c != d || c_data != d_data)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (algo->data[0] != 7 || !fits(&p.desc, &p.a, &p.b, &p.d)) return CUBLAS_STATUS_INVALID_VALUE;
    if (!inside(&p.a, a_data, alignment) || !inside(&p.b, b_data, alignment) || !inside(&p.d, d_data, alignment))
        return CUBLAS_STATUS_INVALID_VALUE;
    size_t bias_bytes = p.d.rows * (p.desc.bias_type == CUDA_R_32F ? 4 : 2);
    if (p.desc.epilogue == CUBLASLT_EPILOGUE_BIAS && sim_device_room(p.desc.bias) < bias_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (bytes < WORKSPACE || (uintptr_t)workspace % 256 != 0 || sim_device_room(workspace) < WORKSPACE)
        return CUBLAS_STATUS_INVALID_VALUE;
    product *kept = malloc(sizeof *kept);
    if (kept == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    *kept = p;
    (void)sim_enqueue(stream, (sim_work){"a product of matrices", product_run, free, kept, false, NULL, NULL});
    return CUBLAS_STATUS_SUCCESS;
}
