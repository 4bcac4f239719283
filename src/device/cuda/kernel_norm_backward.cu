/* Batch normalisation backward where one tensor or two arrive at the output. */
#include "device/cuda/kernel_norm_backward.cuh"

template <typename T, int ACT, int DY>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_BLOCKS) gradient(lk_cuda_norm n, lk_reduce_shape r) {
    put_gradient<T, ACT, DY>(n, r, (int)blockIdx.x, (int)blockIdx.y);
}

int lk_cuda_norm_backward(cudaStream_t stream, const lk_cuda_norm *norm) {
    if (norm->h > 0) return lk_cuda_norm_backward_pooled(stream, norm);
    if (norm->mean_dy != nullptr) return lk_cuda_norm_backward_mean(stream, norm);
    if (norm->dy[1] != nullptr) return lk_norm_backward_launch<LK_DY_TWO>(stream, norm);
    return lk_norm_backward_launch<LK_DY_ONE>(stream, norm);
}

int lk_cuda_norm_gradient(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    if (norm->dy[1] != nullptr) return LK_NORM_LAUNCH(gradient, LK_DY_TWO, norm, grid, block, stream, *norm, r);
    return LK_NORM_LAUNCH(gradient, LK_DY_ONE, norm, grid, block, stream, *norm, r);
}
