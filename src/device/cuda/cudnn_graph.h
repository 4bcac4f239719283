/* Building cuDNN operation graphs of convolutions (cudnn_graph.c), for the choice of engines (cudnn_plan.c). */
#ifndef LK_DEVICE_CUDA_CUDNN_GRAPH_H
#define LK_DEVICE_CUDA_CUDNN_GRAPH_H

#include "device/cuda/cudnn_conv.h"

/* Names of the operands in a graph. */
enum { LK_CUDNN_UID_X = 'x', LK_CUDNN_UID_WEIGHT = 'w', LK_CUDNN_UID_Y = 'y' };

#define LK_CUDNN_DESCRIPTORS 6 /* three tensors, convolution, operation, graph */

typedef struct lk_cudnn_graph {
    cudnnBackendDescriptor_t parts[LK_CUDNN_DESCRIPTORS]; /* in order of creation; the last is the graph */
    int count;
} lk_cudnn_graph;

/* Owner: the caller, with lk_cudnn_graph_free, also after an error. Errors: LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_graph_create(lk_cudnn_graph *graph, const lk_cudnn_target *target,
                                              const lk_cudnn_conv *conv, lk_cudnn_pass pass, lk_error *err);
void lk_cudnn_graph_free(lk_cudnn_graph *graph);

/* Creates a descriptor; sets `count` values of an attribute. Errors: LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_create(cudnnBackendDescriptor_t *out, cudnnBackendDescriptorType_t type,
                                        lk_error *err);
LK_MUST_CHECK lk_status lk_cudnn_set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                     cudnnBackendAttributeType_t type, int64_t count, const void *values,
                                     lk_error *err);

/* Reads at most `most` values; *count: how many there are. Descriptors to be filled are the caller's. Errors:
 * LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_get(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                     cudnnBackendAttributeType_t type, int64_t most, int64_t *count, void *values,
                                     lk_error *err);
/* NULL is accepted. */
void lk_cudnn_destroy(cudnnBackendDescriptor_t descriptor);

/* Tries one engine configuration (cudnn_plan.c). out->plan stays NULL where the library cannot make it or it is not
 * wanted. Errors: LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_cudnn_try(lk_cudnn_plan *out, const lk_cudnn_target *target, cudnnBackendDescriptor_t config,
                                     const lk_cudnn_conv *conv, int64_t limit, lk_error *err);

/* The text of a configuration (cudnn_choice.c): LK_CUDNN_CHOICE_SIZE bytes. Errors: LK_ERR_DEVICE; LK_ERR_UNSUPPORTED
 * where it has no room. */
LK_MUST_CHECK lk_status lk_cudnn_choice_write(char *text, cudnnBackendDescriptor_t config, int64_t engine,
                                              const lk_cudnn_conv *conv, lk_error *err);

#endif
