/* From the op's description to what cuDNN is asked, and the order in which engines are asked for. The device uses it
 * with a GPU, the test of graphs without. */
#ifndef LK_DEVICE_CUDA_CONV_ENGINE_H
#define LK_DEVICE_CUDA_CONV_ENGINE_H

#include "device/cuda/cudnn_conv.h"
#include "device/ops.h"

/* The shape for cuDNN of a convolution whose settings are possible; out_h or out_w is 0 where the kernel does not fit.
 * Without groups, and with one channel a group, padding channels count as channels. */
void lk_cuda_conv_shape(lk_cudnn_conv *shape, const lk_op_desc *desc);

/* Engines of the library's first ranking before its fallbacks. The weight gradient of a layer in a 16-bit type is
 * wanted in float32; where only a fallback sums into that, the fast engine's gradient of that type is taken:
 * shape->short_dweight is then set. chosen: the text of an earlier plan's choice, which is taken instead, or NULL.
 * Owner of out: the caller, with lk_cudnn_plan_free. Errors: those of lk_cudnn_plan_create and lk_cudnn_plan_restore.
 */
LK_MUST_CHECK lk_status lk_cuda_conv_engine(lk_cudnn_plan *out, lk_cudnn_conv *shape, const lk_cudnn_target *target,
                                            lk_cudnn_pass pass, const char *chosen, lk_error *err);

#endif
