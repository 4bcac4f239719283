/* The three passes of a convolution as cuDNN operation graphs, and the engine that runs each. Knows nothing of devices
 * and slabs, so that a machine without a GPU can ask the library what it takes. */
#ifndef LK_DEVICE_CUDA_CUDNN_CONV_H
#define LK_DEVICE_CUDA_CUDNN_CONV_H

#include <cudnn.h>
#include <stdbool.h>

#include "core/tensor.h"

typedef enum lk_cudnn_pass { LK_CUDNN_FORWARD, LK_CUDNN_DATA, LK_CUDNN_WEIGHT, LK_CUDNN_PASSES } lk_cudnn_pass;

/* "forward", "data gradient", "weight gradient"; static. */
const char *lk_cudnn_pass_name(lk_cudnn_pass pass);

/* Unit: elements. x is N x H x W x x_block of which the first c are channels, y likewise; weights are K x R x S x
 * C/groups without gaps. */
typedef struct lk_cudnn_conv {
    int64_t n, c, h, w, x_block;
    int64_t k, out_h, out_w, y_block;
    int64_t kernel_h, kernel_w, stride, dilation, groups;
    int64_t pad_top, pad_left, pad_end; /* pad_end: at the bottom and on the right */
    lk_dtype dtype;                     /* of x, y and the weights */
    bool tf32;                          /* float32: engines may multiply in LK_TF32 */
    bool short_dweight;                 /* the weight gradient in dtype; else it is float32 */
} lk_cudnn_conv;

/* Whom the plan is for: a handle (a GPU is there), or a finalised device description. */
typedef struct lk_cudnn_target {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t device; /* where handle is NULL */
} lk_cudnn_target;

#define LK_CUDNN_CHOICE_SIZE 512

typedef struct lk_cudnn_plan {
    cudnnBackendDescriptor_t plan;
    int64_t workspace_bytes;
    char name[48];                     /* "cudnn:engine 12" */
    char choice[LK_CUDNN_CHOICE_SIZE]; /* "cudnn engine 12 knobs 2=1 5=0": all that there was to choose */
} lk_cudnn_plan;

/* Which of the library's rankings: what it holds for fast, or what else computes the same. */
typedef enum lk_cudnn_ranking { LK_CUDNN_FIRST, LK_CUDNN_FALLBACK } lk_cudnn_ranking;

/* The first engine that the ranking gives whose results do not depend on chance, which computes in the
 * precision asked for and whose workspace is at most `limit` bytes. A rule, not a timing: two launches choose alike.
 * Owner: the caller, with lk_cudnn_plan_free. Errors: LK_ERR_UNSUPPORTED where there is none, LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_plan_create(lk_cudnn_plan *out, const lk_cudnn_target *target,
                                             const lk_cudnn_conv *conv, lk_cudnn_pass pass, lk_cudnn_ranking ranking,
                                             int64_t limit, lk_error *err);
/* The engine and knobs that the text `choice` of an earlier plan names; sets conv->short_dweight as it was then.
 * Errors: LK_ERR_UNSUPPORTED where the library cannot make that plan, or it is none that lk_cudnn_plan_create would
 * take, or the text is none; LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_plan_restore(lk_cudnn_plan *out, const lk_cudnn_target *target, lk_cudnn_conv *conv,
                                              lk_cudnn_pass pass, const char *choice, int64_t limit, lk_error *err);
void lk_cudnn_plan_free(lk_cudnn_plan *plan);

/* The plan's operands in one lane. A pack is made again where an address changed. */
typedef struct lk_cudnn_pack {
    cudnnBackendDescriptor_t pack;
    const void *operands[3], *workspace;
} lk_cudnn_pack;
void lk_cudnn_pack_free(lk_cudnn_pack *pack);

/* Async: enqueues on the handle's stream. x, weight, y: device addresses of the tensors or of their gradients. */
LK_MUST_CHECK lk_status lk_cudnn_run(cudnnHandle_t handle, const lk_cudnn_plan *plan, lk_cudnn_pack *pack,
                                     const void *x, const void *weight, const void *y, void *workspace, lk_error *err);

/* Turns a code into LK_OK or LK_ERR_DEVICE with the failing call and cuDNN's text. */
LK_MUST_CHECK lk_status lk_cudnn_check(cudnnStatus_t code, const char *call, lk_error *err);

#endif
