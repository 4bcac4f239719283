#include <stdlib.h>
#include <string.h>

#include "cudnn_sim.h"

#define API SIM_API

struct cudnnContext {
    cudaStream_t stream;
};

API size_t cudnnGetVersion(void) { return (size_t)sim_setting("LK_SIM_CUDNN", 92600); }

API const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (CUDNN_STATUS_CATEGORY(status)) {
        case 0: return "CUDNN_STATUS_SUCCESS";
        case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
        case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
        default: return "CUDNN_STATUS of the stand-in";
    }
}

API void cudnnGetLastErrorString(char *message, size_t size) {
    if (size > 0) message[0] = '\0';
}

API cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = calloc(1, sizeof **handle);
    return *handle == NULL ? CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED : CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

size_t sim_type_size(cudnnDataType_t type) {
    return type == CUDNN_DATA_FLOAT ? 4 : type == CUDNN_DATA_BFLOAT16 || type == CUDNN_DATA_HALF ? 2 : 0;
}

static size_t value_size(cudnnBackendAttributeType_t type) {
    switch (type) {
        case CUDNN_TYPE_INT64: return sizeof(int64_t);
        case CUDNN_TYPE_FLOAT: return sizeof(float);
        case CUDNN_TYPE_DATA_TYPE: return sizeof(cudnnDataType_t);
        case CUDNN_TYPE_CONVOLUTION_MODE: return sizeof(cudnnConvolutionMode_t);
        case CUDNN_TYPE_HEUR_MODE: return sizeof(cudnnBackendHeurMode_t);
        case CUDNN_TYPE_HANDLE: return sizeof(cudnnHandle_t);
        case CUDNN_TYPE_KNOB_TYPE: return sizeof(cudnnBackendKnobType_t);
        case CUDNN_TYPE_VOID_PTR: return sizeof(void *);
        case CUDNN_TYPE_BACKEND_DESCRIPTOR: return sizeof(cudnnBackendDescriptor_t);
        default: return 0;
    }
}

API cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
    sim_descriptor *d = calloc(1, sizeof *d);
    if (d == NULL) return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    d->type = type;
    *out = (cudnnBackendDescriptor_t)d;
    return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    sim_descriptor *d = (sim_descriptor *)descriptor;
    for (int i = 0; i < d->count; i++) free(d->attributes[i].values);
    free(d);
    return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                           cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    sim_descriptor *d = (sim_descriptor *)descriptor;
    size_t size = value_size(type);
    if (d->finalized) return CUDNN_STATUS_BAD_PARAM;
    if (size == 0) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
    if (count < 1 || values == NULL || d->count == SIM_ATTRIBUTES) return CUDNN_STATUS_BAD_PARAM;
    for (int i = 0; i < d->count; i++)
        if (d->attributes[i].name == name) return CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES;
    void *kept = malloc((size_t)count * size);
    if (kept == NULL) return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    memcpy(kept, values, (size_t)count * size);
    d->attributes[d->count++] = (sim_attribute){name, type, count, kept};
    return CUDNN_STATUS_SUCCESS;
}

const void *sim_attribute_get(const sim_descriptor *d, cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type, int64_t count) {
    for (int i = 0; i < d->count; i++)
        if (d->attributes[i].name == name)
            return d->attributes[i].type == type && (count < 0 || d->attributes[i].count == count)
                       ? d->attributes[i].values
                       : NULL;
    return NULL;
}

API cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    sim_descriptor *d = (sim_descriptor *)descriptor;
    if (d->finalized) return CUDNN_STATUS_BAD_PARAM;
    cudnnStatus_t status = sim_finalize(d);
    d->finalized = status == CUDNN_STATUS_SUCCESS;
    return status;
}

bool sim_has_knob(sim_engine engine) { return engine >= SIM_GOOD; }

/* Hands out one configuration of `from` as a finalised descriptor that the caller made. */
static cudnnStatus_t hand_out(cudnnBackendDescriptor_t to, cudnnBackendDescriptorType_t type,
                              const sim_descriptor *from, int config) {
    sim_descriptor *d = (sim_descriptor *)to;
    if (d == NULL || d->type != type || d->finalized) return CUDNN_STATUS_BAD_PARAM;
    d->convolution = from->convolution;
    d->configs[0] = from->configs[config];
    d->config_count = 1;
    d->has_handle = from->has_handle;
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_notes(const sim_descriptor *d, int64_t most, int64_t *count, void *values) {
    cudnnBackendNumericalNote_t *notes = values;
    *count = 0;
    if (most < 3) return CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT;
    sim_engine engine = d->configs[0].engine;
    bool shortens = engine == SIM_SHORT || engine == SIM_DOWN;
    if (d->convolution.x.type != CUDNN_DATA_FLOAT || shortens) notes[(*count)++] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    if (engine == SIM_DOWN) notes[(*count)++] = CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    if (engine == SIM_CHANCE) notes[(*count)++] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_int(int64_t value, cudnnBackendAttributeType_t type, int64_t *count, void *values) {
    if (type != CUDNN_TYPE_INT64) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
    memcpy(values, &value, sizeof value);
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_knob(cudnnBackendAttributeType_t type, int64_t *count, void *values) {
    const cudnnBackendKnobType_t knob = (cudnnBackendKnobType_t)SIM_KNOB;
    if (type != CUDNN_TYPE_KNOB_TYPE) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
    memcpy(values, &knob, sizeof knob);
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
}

API cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                           cudnnBackendAttributeType_t type, int64_t most, int64_t *count,
                                           void *values) {
    const sim_descriptor *d = (const sim_descriptor *)descriptor;
    cudnnBackendDescriptor_t *descriptors = values;
    if (!d->finalized) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    if (most < 1) return CUDNN_STATUS_BAD_PARAM;
    switch (name) {
        case CUDNN_ATTR_ENGINEHEUR_RESULTS:
            if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
            for (*count = 0; *count < d->config_count && *count < most; (*count)++) {
                cudnnStatus_t status =
                    hand_out(descriptors[*count], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, d, (int)*count);
                if (status != CUDNN_STATUS_SUCCESS) return status;
            }
            return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_ENGINECFG_ENGINE:
            if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
            *count = 1;
            return hand_out(descriptors[0], CUDNN_BACKEND_ENGINE_DESCRIPTOR, d, 0);
        case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
            if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
            *count = sim_has_knob(d->configs[0].engine);
            return *count == 0 ? CUDNN_STATUS_SUCCESS
                               : hand_out(descriptors[0], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, d, 0);
        case CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE: return get_knob(type, count, values);
        case CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE: return get_int(d->configs[0].knob, type, count, values);
        case CUDNN_ATTR_ENGINE_GLOBAL_INDEX: return get_int(d->configs[0].engine, type, count, values);
        case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
            if (type != CUDNN_TYPE_NUMERICAL_NOTE) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
            return get_notes(d, most, count, values);
        case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
            return get_int(d->configs[0].engine == SIM_HUGE ? INT64_C(1) << 40 : SIM_WORKSPACE, type, count, values);
        default: return CUDNN_STATUS_NOT_SUPPORTED;
    }
}

typedef struct execution {
    sim_convolution convolution;
    sim_config config;
    void *operands[3], *workspace;
} execution;

static void execution_run(void *state) {
    execution *e = state;
    sim_touch(e->workspace, SIM_WORKSPACE, true);
    memset(e->workspace, 0xcb, SIM_WORKSPACE);
    sim_convolution_run(&e->convolution, e->config, e->operands);
}

/* The operand must lie in device memory as far as the tensor reaches. */
static bool operand_ok(const sim_tensor *t, const void *p) {
    int64_t last = 0;
    for (int i = 0; i < 4; i++) last += (t->dims[i] - 1) * t->strides[i];
    return (uintptr_t)p % (uintptr_t)t->alignment == 0 &&
           sim_device_room(p) >= (size_t)(last + 1) * sim_type_size(t->type);
}

static void lose_memory(const execution *e) {
    static int left = 20;
    if (sim_planted("free") && --left == 0) sim_memory_lose(e->operands[0]);
}

/* The fault of swapped gradients: of the first two weight gradients of one shape. */
static void swap_gradients(execution *e) {
    static sim_tensor shape;
    static void *pair[2];
    void **gradient = &e->operands[1];
    if (e->convolution.pass != SIM_WEIGHT || !sim_planted("swap")) return;
    bool same = memcmp(shape.dims, e->convolution.weight.dims, sizeof shape.dims) == 0;
    if (pair[0] == NULL || (pair[1] == NULL && !same)) {
        shape = e->convolution.weight;
        pair[0] = *gradient;
    } else if (pair[1] == NULL && *gradient != pair[0]) {
        pair[1] = *gradient;
    } else if (*gradient == pair[0] || *gradient == pair[1]) {
        *gradient = *gradient == pair[0] ? pair[1] : pair[0];
    }
}

API cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                      cudnnBackendDescriptor_t pack) {
    const sim_descriptor *p = (const sim_descriptor *)plan, *v = (const sim_descriptor *)pack;
    if (p->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || v->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        return CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE;
    if (!p->finalized || !v->finalized || !p->has_handle) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    execution e = {.convolution = p->convolution, .config = p->configs[0]};
    const sim_tensor *tensors[3] = {&e.convolution.x, &e.convolution.weight, &e.convolution.y};
    const int64_t *uids = sim_attribute_get(v, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3);
    void *const *pointers = sim_attribute_get(v, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3);
    void *const *workspace = sim_attribute_get(v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1);
    if (uids == NULL || pointers == NULL || workspace == NULL) return CUDNN_STATUS_BAD_PARAM;
    for (int t = 0; t < 3; t++) {
        for (int i = 0; i < 3; i++)
            if (uids[i] == tensors[t]->uid) e.operands[t] = pointers[i];
        if (e.operands[t] == NULL || !operand_ok(tensors[t], e.operands[t])) return CUDNN_STATUS_BAD_PARAM;
    }
    swap_gradients(&e);
    e.workspace = *workspace;
    if (sim_device_room(e.workspace) < SIM_WORKSPACE) return CUDNN_STATUS_BAD_PARAM;
    execution *kept = malloc(sizeof *kept);
    if (kept == NULL) return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    *kept = e;
    lose_memory(kept);
    (void)sim_enqueue(handle->stream, (sim_work){"a convolution", execution_run, free, kept, false, NULL, NULL});
    return CUDNN_STATUS_SUCCESS;
}
