/* GPUs that are known by description: what a plan for one needs to know where none is at hand. */
#ifndef LK_DEVICE_GPU_KINDS_H
#define LK_DEVICE_GPU_KINDS_H

#include "core/tensor.h"

/* Unit: bytes, seconds. Peaks are those of the vendor's data sheet. */
typedef struct lk_gpu_kind {
    const char *name;  /* "h100" */
    const char *title; /* "NVIDIA H100 SXM 80 GB" */
    const char *match; /* part of the name that CUDA gives such a GPU */
    int capability;    /* 900 is 9.0 */
    int64_t memory;
    double bandwidth;
    double short_flops, tf32_flops, f32_flops; /* tensor cores without sparsity: 16-bit types, TF32; ordinary cores */
    double link;                               /* to the other GPUs of a node, each way */
    const char *properties;                    /* for cuDNN: CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION */
} lk_gpu_kind;

/* All kinds, `*count` of them. Static. */
const lk_gpu_kind *lk_gpu_kinds(int *count);
/* The kind of this name, or NULL. Static. */
const lk_gpu_kind *lk_gpu_kind_find(const char *name);
/* Peak operations a second in a compute type. Pure. */
double lk_gpu_kind_peak(const lk_gpu_kind *kind, lk_dtype compute);
/* The kind that a device's identity names, or NULL. Static. */
const lk_gpu_kind *lk_gpu_kind_of(const char *identity);

#endif
