/* The device seam: memory, op planning and running, and arithmetic over parameter slabs.
 * One table of functions per device; nothing above it knows a library of arithmetic. */
#ifndef LK_DEVICE_DEVICE_H
#define LK_DEVICE_DEVICE_H

#include "core/error.h"
#include "device/ops.h"

typedef struct lk_op lk_op;             /* a planned op; read-only once planned, shared by lanes */
typedef struct lk_call lk_call;         /* an op bound to one lane's memory */
typedef struct lk_stream lk_stream;     /* one lane's order of execution; used by one thread at a time */
typedef struct lk_event lk_event;       /* a point that a stream reaches */
typedef struct lk_captured lk_captured; /* work that a stream was given, to be given again as one */
typedef struct lk_device lk_device;

#define LK_SLAB_SEGMENTS 64 /* of one slab_sum_squares */

/* Every optimizer takes the gradient as g = grad_scale * grad, limited to [-grad_limit, grad_limit] (clipping).
 * grad_scale 0: 1; grad_limit 0: no limit. */

/* Hyperparameters of one SGD step. Source: torch.optim.SGD. */
typedef struct lk_sgd {
    double lr, momentum, dampening, weight_decay;
    double grad_scale, grad_limit;
    bool nesterov;
    bool first_step; /* momentum buffer = gradient */
} lk_sgd;

/* Hyperparameters of one Adam step. Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2
 * (decoupled); torch.optim.Adam and AdamW. */
typedef struct lk_adam {
    double lr, beta1, beta2, eps, weight_decay;
    double grad_scale, grad_limit;
    bool decoupled; /* AdamW: the parameter shrinks by lr * weight_decay apart from the gradient */
    int64_t step;   /* 1 for the first, which takes both averages for zero */
} lk_adam;

/* Hyperparameters of one RMSprop step. Source: torch.optim.RMSprop; timm's RMSpropTF (TensorFlow's) with
 * eps_inside_sqrt, lr_in_momentum and square_start 1. */
typedef struct lk_rmsprop {
    double lr, alpha, eps, weight_decay, momentum;
    double grad_scale, grad_limit;
    bool centered;        /* the variance instead of the mean square */
    bool eps_inside_sqrt; /* sqrt(mean square + eps) instead of sqrt(mean square) + eps */
    bool lr_in_momentum;  /* the momentum gathers lr * step instead of the step */
    double square_start;  /* mean square before the first step */
    bool first_step;      /* all averages are set to their start first */
} lk_rmsprop;

struct lk_device {
    const char *name; /* "reference", "cpu", "cuda" */
    lk_dtype master;  /* dtype of parameters, gradients, optimizer state, statistics */
    int threads;      /* arithmetic threads of one lane (threads_per_microbatch) */
    bool host_memory; /* alloc gives memory that the host reaches, and communicators with it */
    int most_lanes;   /* side by side in one process; 0: as many as there are cores for */
    void *impl;
    /* May desc.dy_count be 2 for this kind of op? */
    bool (*takes_two_dy)(const lk_device *device, lk_op_kind kind);
    /* Is there an op that does what the one behind it would do, as the description says: CONV2D with an activation,
     * BATCHNORM with the gradient of a mean, or with maximum pooling?
     * Read of it: kind, attributes, training, compute, and of x all but type and layout. NULL: there is none. */
    bool (*fuses)(const lk_device *device, const lk_op_desc *desc);

    void (*free)(lk_device *device);
    /* Text that identifies arithmetic: library, version, instruction set. Two launches with equal text give
     * equal bits. Static for the device's life. */
    const char *(*identity)(const lk_device *device);
    /* Is the compute type (LK_TF32 too) available? Errors: LK_ERR_UNSUPPORTED with what the processor lacks. */
    lk_status (*supports_dtype)(const lk_device *device, lk_dtype compute, lk_error *err);

    /* Memory. Blocking. Fresh memory is zero. */
    lk_status (*alloc)(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err);
    void (*release)(lk_device *device, void *p);
    /* Bytes that alloc can still give beside what a lane's stream takes, and those of the device. NULL where
     * host_memory. */
    lk_status (*memory_room)(lk_device *device, int64_t *room, int64_t *total, lk_error *err);
    lk_status (*upload)(lk_device *device, void *dst, const void *host, int64_t bytes, lk_error *err);
    lk_status (*download)(lk_device *device, void *host, const void *src, int64_t bytes, lk_error *err);
    /* Memory of the host that the device copies from and to by itself (cuda: pinned). Fresh memory is undefined. Any
     * thread. host_release takes NULL too. */
    lk_status (*host_alloc)(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err);
    void (*host_release)(lk_device *device, void *p);

    /* A lane's stream. Called on the thread that will use it; sets that thread's arithmetic thread count. */
    lk_status (*stream_create)(lk_device *device, lk_stream **out, lk_error *err);
    void (*stream_free)(lk_device *device, lk_stream *stream);
    /* Blocks until all that was enqueued is done. Errors: LK_ERR_DEVICE. */
    lk_status (*synchronize)(lk_device *device, lk_stream *stream, lk_error *err);

    /* A stream for copies (and slab_add) alone, beside the lanes': ordered with others by events and nothing else, so
     * that its copies travel while others compute. Freed with stream_free. */
    lk_status (*copy_stream_create)(lk_device *device, lk_stream **out, lk_error *err);
    /* Async copies to and from the device. host: from host_alloc; it must not change (send) or be read (fetch) before
     * an event that was recorded behind the copy is done. */
    lk_status (*stream_send)(lk_device *device, lk_stream *stream, void *dst, const void *host, int64_t bytes,
                             lk_error *err);
    lk_status (*stream_fetch)(lk_device *device, lk_stream *stream, void *host, const void *src, int64_t bytes,
                              lk_error *err);
    lk_status (*event_create)(lk_device *device, lk_event **out, lk_error *err);
    void (*event_free)(lk_device *device, lk_event *event); /* NULL is accepted */
    /* The event is done when all that the stream was given so far is; recording it again forgets the last time. */
    lk_status (*event_record)(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err);
    /* What the stream is given from now on waits until the event is done. The host does not. */
    lk_status (*event_hold)(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err);
    /* Blocks until the event is done; one that was never recorded is. Errors: LK_ERR_DEVICE. */
    lk_status (*event_wait)(lk_device *device, lk_event *event, lk_error *err);

    /* For sums between devices (dist/device_comm.h); NULL where host_memory. */
    /* Is all done that the stream was given? Does not wait. Errors: LK_ERR_DEVICE. */
    lk_status (*stream_done)(lk_device *device, lk_stream *stream, bool *done, lk_error *err);
    /* The library's own name of a stream: cudaStream_t. */
    void *(*stream_handle)(const lk_stream *stream);

    /* Plans an op and fills *info. Owner: the caller, with op_free.
     * Errors: LK_ERR_UNSUPPORTED naming op, shape, dtype and device, or what of desc->chosen cannot be had;
     * LK_ERR_DEVICE; LK_ERR_MEMORY. */
    lk_status (*op_plan)(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err);
    void (*op_free)(lk_device *device, lk_op *op);

    /* Parameter i between canonical row-major order (OIHW) and the slab's layout, both in the master dtype.
     * stored points at the parameter inside the slab. pack writes the padding as zero. */
    lk_status (*param_pack)(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                            lk_error *err);
    lk_status (*param_unpack)(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                              lk_error *err);
    /* Rewrites the derived copies from the parameters. Run once after each change of the parameters. */
    lk_status (*op_refresh)(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                            const void *params, void *derived, lk_error *err);

    /* Binds to a lane's memory. Owner: the caller, with call_free. */
    lk_status (*bind)(lk_device *device, lk_call **out, const lk_op *op, const lk_op_buffers *buffers, lk_error *err);
    void (*call_free)(lk_device *device, lk_call *call);
    /* Writes what the call's passes will read of the run, but for addresses of slabs, rows and group: the
     * lk_op_info.run_bytes that have to be at lk_op_buffers.run_data when the stream comes to a pass. Before forward,
     * and again before backward where run->f1_counts came since. NULL where no op has run_bytes. host: host memory.
     * Errors: LK_ERR_DATA, LK_ERR_INTERNAL for labels and partners that are none. */
    lk_status (*prepare)(lk_device *device, const lk_call *call, const lk_run *run, void *host, lk_error *err);
    /* Async: enqueue on the stream (the CPU devices block). backward writes dx, dresidual and the gradients. */
    lk_status (*forward)(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
    lk_status (*backward)(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
    /* Async. Writes the gradients that backward left unfinished (lk_op_info.unfinished_bytes), of all calls since the
     * last time; lk_run.grads has them when the stream has done it. NULL where backward leaves none. */
    lk_status (*finish_gradients)(lk_device *device, lk_stream *stream, lk_error *err);
    int finished_at_once; /* calls of which one launch of finish_gradients takes care */
    /* Writes y again during the backward pass of the same run, the same bits; the stash holds what forward left there.
     * Of CONV2D, and of BATCHNORM without residual or group. */
    lk_status (*again)(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);

    /* Over slabs, `count` elements of the master dtype; elementwise, so any split gives the same bits. */
    /* sum[i] = sum[i] + x[i] */
    lk_status (*slab_add)(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count, lk_error *err);
    /* One optimizer step on params[0..count), momentum buffer `velocity` (NULL when momentum is 0). */
    lk_status (*slab_sgd)(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                          int64_t count, const lk_sgd *sgd, lk_error *err);
    /* One Adam step; `mean` and `square` are the moving averages of the gradient and of its square. */
    lk_status (*slab_adam)(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                           void *square, int64_t count, const lk_adam *adam, lk_error *err);
    /* One RMSprop step. mean: NULL unless centered; velocity: NULL when momentum is 0. A variance below 0 (rounding)
     * counts as 0. */
    lk_status (*slab_rmsprop)(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                              void *mean, void *velocity, int64_t count, const lk_rmsprop *rmsprop, lk_error *err);
    /* average = average + share * (x - average), exactly x with share 1. Source: torch.lerp. */
    lk_status (*slab_lerp)(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                           double share, lk_error *err);
    /* running = (1 - momentum) * running + momentum * (fresh * scale) */
    lk_status (*slab_blend)(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                            double momentum, double scale, lk_error *err);
    /* Sums of squares in double: out[i] of the elements from ends[i - 1] (0 for the first) to ends[i], which ascend; at
     * most LK_SLAB_SEGMENTS. Each segment in fixed chunks of 4096 elements, added in order. Blocking. NaN and Inf pass
     * through. */
    lk_status (*slab_sum_squares)(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                  int segments, double *out, lk_error *err);

    /* From open to close, what the stream is given by slab_sgd, slab_adam, slab_rmsprop, slab_lerp, slab_blend and
     * op_refresh may be kept and done together, in any order: none of it may read or write what another writes.
     * Nothing else may be given to the stream. Devices of the host do each at once. */
    void (*gather_open)(lk_device *device, lk_stream *stream);
    lk_status (*gather_close)(lk_device *device, lk_stream *stream, lk_error *err);

    /* From open to close, the gathers that the stream is given may be kept and given together, in order, at close; all
     * else that it is given meanwhile is done before them. capture: as one graph that is captured once, where the
     * device has such. Devices of the host do each at once. */
    void (*sequence_open)(lk_device *device, lk_stream *stream, bool capture);
    lk_status (*sequence_close)(lk_device *device, lk_stream *stream, lk_error *err);

    /* From capture_begin to capture_end the stream keeps what forward, backward, finish_gradients, again and gathers
     * give it instead of doing it, with all addresses and with what lk_run holds of them; what is in run_data is read
     * when it is done. Nothing else may be asked of the device by this thread meanwhile. NULL where a device cannot;
     * then so are the others. Each kind of call has to be done once before it is captured: libraries load what they
     * need at their first call. */
    lk_status (*capture_begin)(lk_device *device, lk_stream *stream, lk_error *err);
    /* Also after an error since capture_begin, with out NULL: what was kept is dropped. Owner: the caller, with
     * captured_free. Errors: LK_ERR_UNSUPPORTED where something was asked for that cannot be captured. */
    lk_status (*capture_end)(lk_device *device, lk_stream *stream, lk_captured **out, lk_error *err);
    /* Async. Gives the stream all of it. */
    lk_status (*captured_run)(lk_device *device, lk_stream *stream, lk_captured *captured, lk_error *err);
    /* When the stream has done it; NULL is accepted. */
    void (*captured_free)(lk_device *device, lk_captured *captured);
};

/* Devices that every build has, in order; ends with NULL. Static. Device cuda is a module: see lk_device_create. */
const char *const *lk_device_names(void);

/* Creates a device by name. threads: arithmetic threads of one lane.
 * "cuda" loads a module (device/module.h) and takes the first GPU that CUDA shows; "auto" is cuda where that answers,
 * else cpu.
 * Owner: the caller, with lk_device_free. Errors: LK_ERR_UNSUPPORTED for a device that this build or machine lacks. */
LK_MUST_CHECK lk_status lk_device_create(lk_device **out, const char *name, int threads, lk_error *err);
/* The same on another GPU than the first: its place in lk_gpu_list. Devices that are no GPU do not look at it. */
LK_MUST_CHECK lk_status lk_device_create_on(lk_device **out, const char *name, int gpu, int threads, lk_error *err);

/* NULL is accepted. */
void lk_device_free(lk_device *device);

#endif
