/* Inside the CUDA device: what its files share. */
#ifndef LK_DEVICE_CUDA_INTERNAL_H
#define LK_DEVICE_CUDA_INTERNAL_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "device/cuda/cudnn_conv.h"
#include "device/cuda/kernels.h"
#include "device/device.h"

#define LK_CUDA_WORKSPACE_LIMIT (INT64_C(256) << 20) /* bytes that one pass of an op may ask for */
#define LK_CUDA_OLDEST_CUDNN 90800                   /* 9.8: engines for a device described by its properties */

/* The device; `base` comes first, so that the two pointers convert. */
typedef struct lk_cuda {
    lk_device base;
    int ordinal;                        /* of CUDA */
    int capability;                     /* 900 is 9.0 */
    int multiprocessors;                /* 0 where the GPU is only described */
    cudnnHandle_t cudnn;                /* for planning, which one thread at a time does */
    cublasLtHandle_t blas;              /* thread-safe */
    cudnnBackendDescriptor_t described; /* a GPU that is not there: then there are no handles, and nothing runs */
    char identity[320];
} lk_cuda;

/* Host memory on its way to the GPU: a pinned copy, so that the caller's may change as soon as `send` returns. */
typedef struct lk_cuda_staging {
    void *host;
    int64_t bytes;
    cudaEvent_t sent; /* the last copy is done */
} lk_cuda_staging;
#define LK_CUDA_SUMS 65536 /* chunks of LK_CUDA_CHUNK elements that are summed at once */
#define LK_CUDA_TASKS 2048 /* of one launch */
#define LK_CUDA_TABLES 8   /* launches of tasks that may be under way before the host waits for the first */

/* Elementwise work that waits to be launched together: tables of tasks, used in turn. */
typedef struct lk_cuda_gather {
    bool open;
    int table, count, blocks;
    lk_cuda_task *tasks; /* the table that is filled, pinned; NULL: none yet */
    lk_cuda_staging staging[LK_CUDA_TABLES];
    lk_cuda_task *tables; /* device, LK_CUDA_TABLES x LK_CUDA_TASKS */
} lk_cuda_gather;

#define LK_CUDA_SEQUENCE_TASKS 8192  /* of a sequence, at least LK_CUDA_TASKS */
#define LK_CUDA_SEQUENCE_LAUNCHES 80 /* of a sequence */
#define LK_CUDA_SEQUENCE_SHAPES 8    /* that are captured */

/* Tasks [first, first + count) of a sequence, as one launch. */
typedef struct lk_cuda_sequence_launch {
    int first, count, blocks;
} lk_cuda_sequence_launch;

typedef struct lk_cuda_sequence_shape {
    lk_cuda_sequence_launch launches[LK_CUDA_SEQUENCE_LAUNCHES];
    int count, runs;
    cudaGraphExec_t graph; /* NULL: not captured yet */
} lk_cuda_sequence_shape;

/* Gathered launches that wait to be given together (sequence.c). */
typedef struct lk_cuda_sequence {
    bool open, capture;
    int used; /* tasks so far */
    lk_cuda_staging staging;
    lk_cuda_task *host;  /* of the staging; NULL: not opened yet */
    lk_cuda_task *tasks; /* device, LK_CUDA_SEQUENCE_TASKS */
    lk_cuda_sequence_shape now, shapes[LK_CUDA_SEQUENCE_SHAPES];
    int shape_count;
} lk_cuda_sequence;

/* A stream for copies has `cuda` alone. */
struct lk_stream {
    cudaStream_t cuda;
    cudnnHandle_t cudnn; /* set to this stream */
    unsigned *counters;  /* device, LK_CUDA_COUNTERS zeros */
    double *sums;        /* device and pinned host: LK_CUDA_SUMS each */
    double *host_sums;
    lk_cuda_gather gather;
    lk_cuda_sequence sequence;
    lk_cuda_finish finish; /* what finish_gradients has to launch */
};

/* Device memory that a stream of a lane has for itself. */
#define LK_CUDA_STREAM_BYTES                                                                     \
    ((int64_t)sizeof(lk_cuda_task) * (LK_CUDA_TABLES * LK_CUDA_TASKS + LK_CUDA_SEQUENCE_TASKS) + \
     LK_CUDA_SUMS * (int64_t)sizeof(double) + LK_CUDA_COUNTERS * (int64_t)sizeof(unsigned))

typedef struct lk_cuda_op_class lk_cuda_op_class;

struct lk_op {
    lk_op_desc desc; /* desc.like is not kept, and desc.chosen while planning only */
    lk_op_info info;
    const lk_cuda_op_class *class; /* planning may put a narrower one in its place */
    void *plan;                    /* what the class keeps, or NULL; read-only once planned */
};

struct lk_call {
    const lk_op *op;
    lk_op_buffers buffers;
    void *bound; /* what the class keeps per lane, or NULL */
};

/* How one kind of op is planned and run. Entries marked (opt) may be NULL. */
struct lk_cuda_op_class {
    bool one_dy;                           /* takes one gradient of y, not two */
    bool (*fuses)(const lk_op_desc *desc); /* (opt) as lk_device.fuses; NULL: nothing */
    /* Fills op->plan and op->info from op->desc. Errors: as lk_device.op_plan. On failure `drop` is still called. */
    lk_status (*plan)(lk_cuda *cuda, lk_op *op, lk_error *err);
    void (*drop)(lk_op *op); /* (opt) frees op->plan */
    /* (opt) Host arrays: where element e of parameter i lies in the slab; else the parameter is stored as it is. */
    int64_t (*stored_at)(const lk_op *op, int i, int64_t e);
    lk_status (*refresh)(lk_cuda *cuda, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err); /* (opt) */
    lk_status (*bind)(lk_cuda *cuda, lk_call *call, lk_error *err);          /* (opt) fills call->bound */
    void (*unbind)(lk_call *call);                                           /* (opt) frees call->bound */
    /* (opt) lk_device.prepare: fills info->run_bytes of host. */
    lk_status (*prepare)(const lk_call *call, const lk_run *run, void *host, lk_error *err);
    lk_status (*forward)(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
    lk_status (*backward)(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run,
                          lk_error *err); /* (opt) */
    /* (opt) lk_device.again, where it is less than forward: info->bytes_again. */
    lk_status (*again)(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
};

extern const lk_cuda_op_class lk_cuda_class_input, lk_cuda_class_conv, lk_cuda_class_batchnorm,
    lk_cuda_class_activation, lk_cuda_class_add, lk_cuda_class_scale, lk_cuda_class_dropout, lk_cuda_class_maxpool,
    lk_cuda_class_avgpool, lk_cuda_class_linear, lk_cuda_class_loss;
/* Convolutions that are planned as this class: a rule on channels, kernel and stride. */
extern const lk_cuda_op_class lk_cuda_class_depthwise;
bool lk_cuda_depthwise_applies(const lk_op_desc *desc);

/* Memory and streams of lk_device (runtime.c); slab_* (slab.c). */
void lk_cuda_runtime_install(lk_device *device);
void lk_cuda_slab_install(lk_device *device);

/* GPUs that CUDA shows, 0 where there is no driver (gpus.c). Errors: LK_ERR_UNSUPPORTED for a driver that is too old.
 */
LK_MUST_CHECK lk_status lk_cuda_count(int *count, lk_error *err);

/* Owner: the caller, with lk_cuda_staging_free, also after an error. */
LK_MUST_CHECK lk_status lk_cuda_staging_create(lk_cuda_staging *staging, int64_t bytes, lk_error *err);
void lk_cuda_staging_free(lk_cuda_staging *staging);
/* Waits until the last copy has read the memory, and gives it to be filled. */
LK_MUST_CHECK lk_status lk_cuda_staging_open(lk_cuda_staging *staging, void **host, lk_error *err);
/* Async. Enqueues the copy of its first bytes. */
LK_MUST_CHECK lk_status lk_cuda_staging_send(lk_cuda_staging *staging, lk_stream *stream, void *to, int64_t bytes,
                                             lk_error *err);

/* Memory of a stream's tasks (gather.c). Owner: the stream, with lk_cuda_gather_free, also after an error. */
LK_MUST_CHECK lk_status lk_cuda_gather_create(lk_cuda_gather *gather, lk_error *err);
void lk_cuda_gather_free(lk_cuda_gather *gather);
/* Async. Runs a task, or keeps it until gather_close. A count of 0 is no task. */
LK_MUST_CHECK lk_status lk_cuda_task_submit(lk_stream *stream, const lk_cuda_task *task, lk_error *err);
void lk_cuda_gather_install(lk_device *device);

/* Keeps what a backward call leaves unfinished until finish_gradients (finish.c). Async: launches what is kept where
 * there is no room for more. type: of the 16-bit values. */
LK_MUST_CHECK lk_status lk_cuda_leave_unfinished(lk_stream *stream, lk_cuda_type type,
                                                 const lk_cuda_unfinished *unfinished, lk_error *err);
void lk_cuda_finish_install(lk_device *device);

/* Memory of a stream's sequences. Owner: the stream, with lk_cuda_sequence_free when its work is done, also after an
 * error. */
LK_MUST_CHECK lk_status lk_cuda_sequence_create(lk_cuda_sequence *sequence, lk_error *err);
void lk_cuda_sequence_free(lk_cuda_sequence *sequence);
/* Room for the LK_CUDA_TASKS of the next launch, in host memory. */
LK_MUST_CHECK lk_status lk_cuda_sequence_room(lk_stream *stream, lk_cuda_task **tasks, lk_error *err);
/* The first `count` of them are a launch. */
void lk_cuda_sequence_add(lk_cuda_sequence *sequence, int count, int blocks);
void lk_cuda_sequence_install(lk_device *device);
/* From open to close the stream keeps what it is given (capture.c). close: out NULL drops it. Owner of *out: the
 * caller, with cudaGraphExecDestroy. Errors: LK_ERR_UNSUPPORTED with what helps, where it cannot be captured. */
LK_MUST_CHECK lk_status lk_cuda_capture_open(lk_stream *stream, lk_error *err);
LK_MUST_CHECK lk_status lk_cuda_capture_close(lk_stream *stream, cudaGraphExec_t *out, lk_error *err);
/* capture_* and captured_* of lk_device. */
void lk_cuda_capture_install(lk_device *device);

/* Makes the device's GPU current on the calling thread. */
LK_MUST_CHECK lk_status lk_cuda_enter(const lk_cuda *cuda, lk_error *err);

/* Turn a library's code into LK_OK or LK_ERR_DEVICE (LK_ERR_MEMORY) with the failing call and the library's text. */
LK_MUST_CHECK lk_status lk_cuda_check(int code, const char *call, lk_error *err);
LK_MUST_CHECK lk_status lk_cuda_check_blas(cublasStatus_t code, const char *call, lk_error *err);
#define LK_CUDA(call) LK_TRY(lk_cuda_check((int)(call), #call, err))
#define LK_CUDNN(call) LK_TRY(lk_cudnn_check(call, #call, err))
#define LK_BLAS(call) LK_TRY(lk_cuda_check_blas(call, #call, err))

/* Refuses what no op can take, and a `like` of another layer. Errors: LK_ERR_UNSUPPORTED; LK_ERR_CONFIG where batch
 * normalisation in training would see one value a channel. */
LK_MUST_CHECK lk_status lk_cuda_check_op(const lk_op *op, const lk_op *like, lk_error *err);

/* Fails with "OP (shape, dtype) on the cuda device: WHY". Returns LK_ERR_UNSUPPORTED. */
LK_MUST_CHECK lk_status lk_cuda_unsupported(const lk_op *op, const char *why, lk_error *err);

/* The text of desc.chosen for a pass; NULL: the device chooses. */
static inline const char *lk_cuda_chosen(const lk_op *op, lk_op_pass pass) {
    const char *text = op->desc.chosen == NULL ? NULL : op->desc.chosen[pass];
    return text == NULL || text[0] == '\0' ? NULL : text;
}

/* Fields of info that every op has the same way: y in the compute type with another shape, no parameters. */
void lk_cuda_info_start(lk_op *op, int64_t c, int64_t h, int64_t w, int64_t block);
/* Names of own kernels for the passes that there are, and one launch for each. */
void lk_cuda_info_own(lk_op *op, const char *name);

static inline lk_cuda_type lk_cuda_type_of(lk_dtype dtype) {
    return dtype == LK_BF16 ? LK_CUDA_BF16 : dtype == LK_F16 ? LK_CUDA_F16 : LK_CUDA_F32;
}
/* The task that writes a parameter's copy in a 16-bit type. */
static inline lk_cuda_task_kind lk_cuda_copy_of(lk_dtype dtype) {
    return dtype == LK_F16 ? LK_CUDA_TO_F16 : LK_CUDA_TO_BF16;
}

/* Channels with padding to whole vectors. */
static inline int64_t lk_cuda_block(int64_t channels, lk_dtype dtype) {
    int lanes = lk_cuda_lanes(lk_cuda_type_of(dtype));
    return (channels + lanes - 1) / lanes * lanes;
}

static inline lk_cuda_rows lk_cuda_rows_of(const lk_act_desc *d) {
    return (lk_cuda_rows){lk_cuda_type_of(d->dtype), d->n * d->h * d->w, (int)d->c, (int)d->block};
}

/* Workspaces of the libraries begin on this, wherever an arena's allotment begins: ask for so many bytes more. */
#define LK_CUDA_WORKSPACE_ALIGNMENT 256
static inline void *lk_cuda_align_workspace(void *workspace) {
    uintptr_t at = ((uintptr_t)workspace + LK_CUDA_WORKSPACE_ALIGNMENT - 1) / LK_CUDA_WORKSPACE_ALIGNMENT;
    return (void *)(at * LK_CUDA_WORKSPACE_ALIGNMENT);
}

/* Bytes of the partial sums over the rows of a tensor. */
static inline int64_t lk_cuda_partial_bytes(const lk_act_desc *d) {
    lk_cuda_rows rows = lk_cuda_rows_of(d);
    return lk_cuda_chunks(&rows) * 2 * d->block * (int64_t)sizeof(float);
}

/* Parameters and gradients of a call, i-th parameter; device memory. */
static inline const float *lk_cuda_param(const lk_call *call, const lk_run *run, int i) {
    return (const float *)run->params + call->buffers.param_offset[i];
}
static inline float *lk_cuda_grad(const lk_call *call, const lk_run *run, int i) {
    return (float *)run->grads + call->buffers.param_offset[i];
}

/* dy[1] only where the op was planned with two. */
static inline const void *lk_cuda_second_dy(const lk_call *call) {
    return call->op->desc.dy_count > 1 ? call->buffers.dy[1] : NULL;
}

#endif
