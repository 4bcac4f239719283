/* Batch normalisation backward where the gradient of the mean over each sample arrives, alone or beside a tensor. */
#include "device/cuda/kernel_norm_backward.cuh"

int lk_cuda_norm_backward_mean(cudaStream_t stream, const lk_cuda_norm *norm) {
    if (norm->dy[0] != nullptr) return lk_norm_backward_launch<LK_DY_MEAN_TWO>(stream, norm);
    return lk_norm_backward_launch<LK_DY_MEAN>(stream, norm);
}
