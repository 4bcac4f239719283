/* Makes a .cu file a C++ file for the host: the words and functions of CUDA that the kernels use. Memory shared by a
 * block is plain static memory, because blocks run one after another, or change it when they take turns. */
#ifndef LK_TESTS_GPU_KERNEL_HOST_H
#define LK_TESTS_GPU_KERNEL_HOST_H

#include <math.h>
#include <string.h>

#include "sim.h"

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)

#define threadIdx (sim_at.thread)
#define blockIdx (sim_at.block)
#define blockDim (sim_at.block_dim)
#define gridDim (sim_at.grid_dim)

#define SIM_TEXT_(x) #x
#define SIM_TEXT(x) SIM_TEXT_(x)
#define __syncthreads() sim_barrier(__FILE__ ":" SIM_TEXT(__LINE__))
#define __threadfence() ((void)0)

static inline float __uint_as_float(unsigned u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline unsigned __float_as_uint(float f) {
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}

#define __expf expf /* the C library declares one of its own */
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __ldcg(const float *p) { return *p; }
static inline float4 __ldcg(const float4 *p) { return *p; }

/* Threads take turns and are not interrupted. */
static inline unsigned atomicAdd(unsigned *p, unsigned value) {
    unsigned before = *p;
    *p += value;
    return before;
}

/* name: the arguments as text, of which the kernel's name is the first word. */
template <typename... P, typename... A>
static int sim_launch_named(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream,
                            A... args) {
    auto body = [=] { kernel(args...); };
    typedef decltype(body) closure;
    return (int)sim_launch(
        name, grid, block, stream, [](void *state) { (*(closure *)state)(); }, new closure(body),
        [](void *state) { delete (closure *)state; });
}

static inline void lk_wait_for(const unsigned *counter, unsigned value) { sim_wait_for(counter, value); }
template <typename M>
static inline void lk_block_memory(M &memory) {
    sim_block_memory(&memory, sizeof memory);
}

#define lk_launch(...) sim_launch_named(#__VA_ARGS__, __VA_ARGS__)

#endif
