/* What is found on this machine: the GPU, versions, where the libraries come from, the GPU in cuDNN's own words. */
#include <cudnn.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda.h"
#include "device/cuda/cuda_internal.h"

/* JSON that grows in a buffer; `full` where it did not fit. */
typedef struct text {
    char *at;
    size_t size, length;
    bool full;
} text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(t->at + t->length, t->size - t->length, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= t->size - t->length)
        t->full = true;
    else
        t->length += (size_t)length;
}

/* A name or path as a JSON string; what would need an escape is left out. */
static void add_string(text *t, const char *name, const char *value) {
    add(t, "\"%s\": \"", name);
    for (; *value != '\0'; value++)
        if ((unsigned char)*value >= ' ' && *value != '"' && *value != '\\') add(t, "%c", *value);
    add(t, "\"");
}

/* The file that a function was loaded from. */
static void add_library(text *t, const char *name, void *function) {
    Dl_info info;
    bool known = function != NULL && dladdr(function, &info) != 0 && info.dli_fname != NULL;
    add_string(t, name, known ? info.dli_fname : "");
}

static void add_gpu(text *t, const struct cudaDeviceProp *p, int gpus) {
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    add_string(t, "gpu", p->name);
    add(t, ", \"gpus\": %d, \"capability\": \"%d.%d\", \"memory_bytes\": %zu, \"multiprocessors\": %d", gpus, p->major,
        p->minor, p->totalGlobalMem, p->multiProcessorCount);
    add(t, ", \"driver_cuda\": \"%d.%d\", \"cuda\": \"%d.%d\"", driver / 1000, driver % 1000 / 10, runtime / 1000,
        runtime % 1000 / 10);
    add(t, ", \"cudnn\": \"%zu.%zu.%zu\", \"cublaslt\": %zu", cudnnGetVersion() / 10000, cudnnGetVersion() / 100 % 100,
        cudnnGetVersion() % 100, cublasLtGetVersion());
}

/* NCCL need not be there: asked of the library by its name. */
static void *add_nccl(text *t) {
    int (*get_version)(int *) = NULL;
    int version = 0;
    void *library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_LOCAL);
    if (library != NULL) *(void **)&get_version = dlsym(library, "ncclGetVersion");
    if (get_version == NULL || get_version(&version) != 0)
        add(t, ", \"nccl\": null");
    else
        add(t, ", \"nccl\": \"%d.%d.%d\"", version / 10000, version / 100 % 100, version % 100);
    return *(void **)&get_version;
}

/* What an engine's choice without this GPU would need to be told (tests/gpu/deviceless); null where cuDNN does not say.
 */
static void add_cudnn_device(text *t, int32_t ordinal) {
    cudnnBackendDescriptor_t device = NULL;
    int64_t count = 0;
    add(t, ", \"cudnn_device\": ");
    char *to = t->at + t->length;
    size_t room = t->size - t->length;
    bool well = cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device) == CUDNN_STATUS_SUCCESS;
    well = well && cudnnBackendSetAttribute(device, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &ordinal) ==
                       CUDNN_STATUS_SUCCESS;
    well = well && cudnnBackendFinalize(device) == CUDNN_STATUS_SUCCESS;
    well = well && cudnnBackendGetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                            (int64_t)room - 1, &count, to) == CUDNN_STATUS_SUCCESS;
    if (well && count > 0 && (size_t)count < room) {
        to[count] = '\0';
        t->length += strlen(to);
    } else {
        *to = '\0';
        add(t, "null");
    }
    if (device != NULL) (void)cudnnBackendDestroyDescriptor(device);
}

lk_status lk_device_cuda_identify(char *json, size_t size, lk_error *err) {
    lk_status status = LK_OK;
    lk_device *device = NULL;
    struct cudaDeviceProp properties;
    int gpus = 0;
    text t = {.at = json, .size = size};
    LK_TRY(lk_device_cuda_create(&device, 0, 1, err));
    int ordinal = ((lk_cuda *)device)->ordinal;
    LK_CUDA(cudaGetDeviceProperties(&properties, ordinal));
    LK_CUDA(cudaGetDeviceCount(&gpus));
    add(&t, "{");
    add_gpu(&t, &properties, gpus);
    void *nccl = add_nccl(&t);
    add(&t, ", \"libraries\": {");
    add_library(&t, "cuda", (void *)(uintptr_t)cudaGetDeviceCount);
    add(&t, ", ");
    add_library(&t, "cudnn", (void *)(uintptr_t)cudnnGetVersion);
    add(&t, ", ");
    add_library(&t, "cublaslt", (void *)(uintptr_t)cublasLtGetVersion);
    add(&t, ", ");
    add_library(&t, "nccl", nccl);
    add(&t, "}");
    add_cudnn_device(&t, ordinal);
    add(&t, "}");
    if (t.full) status = lk_fail(err, LK_ERR_MEMORY, "the description of the GPU has no room in %zu bytes", size);
out:
    if (device != NULL) device->free(device);
    return status;
}
