/* The stand-in GPU: what its libraries share. A process has one: device memory is an arena whose pages are out of reach
 * but while work is done; calls enqueue, and whoever waits runs what may run, in an order drawn from a seed.
 * Environment: LK_SIM_SEED (order), LK_SIM_MEMORY (bytes of the GPU), LK_SIM_GPUS (how many the machine has; 0: none
 * answers), LK_SIM_COUNTS (file of what was asked for, by name), CUDA_VISIBLE_DEVICES (numbers), LK_SIM_OTHER (number
 * of the GPU that is of another kind), LK_SIM_CAPABILITY (75 is 7.5), LK_SIM_MULTIPROCESSORS, LK_SIM_CUDNN (version
 * that the cuDNN stand-in claims), LK_SIM_PLANT (a fault that is planted: plant.c); nccl.c says those of NCCL. */
#ifndef LK_TESTS_GPU_SIM_H
#define LK_TESTS_GPU_SIM_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIM_API __attribute__((visibility("default")))

/* Work of one stream. */
typedef struct sim_work {
    const char *what;         /* static: for messages */
    void (*run)(void *state); /* device memory is within reach, unless it is a transfer */
    void (*drop)(void *state);
    void *state;
    bool transfer;              /* goes through sim_memory_reach */
    bool (*ready)(void *state); /* may it be done yet? NULL: whenever its turn comes */
    /* What a launch of the graph that the work was captured into runs, owned like state; NULL: state itself, any number
     * of times. */
    void *(*again)(const void *state);
} sim_work;

/* Enqueues; takes the state over, also on failure. stream NULL: the default stream. */
SIM_API cudaError_t sim_enqueue(cudaStream_t stream, sim_work work);

/* Counts the works that may have to wait for another process: a call that waits for one is no mistake. */
SIM_API void sim_outside(int change);

/* Threads of a kernel launch: name is static and begins with the kernel's; body(state) is run once for each, with
 * sim_at set. Owner of state: as sim_enqueue. */
SIM_API cudaError_t sim_launch(const char *name, dim3 grid, dim3 block, cudaStream_t stream, void (*body)(void *state),
                               void *state, void (*drop)(void *state));

/* Where the running thread is: threadIdx and the like. */
typedef struct sim_place {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
} sim_place;
extern SIM_API sim_place sim_at;

/* __syncthreads. place: what tells one barrier of the kernel from another. */
SIM_API void sim_barrier(const void *place);
/* Until the counter, which another block of the kernel changes, has this value. */
SIM_API void sim_wait_for(const unsigned *counter, unsigned value);
/* What a block shares: then several blocks may be under way at a time. Every thread says it first of all, and all the
 * same. */
SIM_API void sim_block_memory(void *memory, size_t bytes);

/* A number from the stand-in's own seed. Call only while work runs or under the lock. */
SIM_API uint64_t sim_random(void);
/* A setting of the environment. */
SIM_API int64_t sim_setting(const char *name, int64_t fallback);
/* Is this fault planted (plant.c)? */
SIM_API bool sim_planted(const char *fault);
/* A planted fault: frees the allocation that p lies in, whoever uses it. Takes the lock. */
SIM_API void sim_memory_lose(const void *p);
/* Says what was done wrong and ends the process: a test then fails where the fault is. */
SIM_API void sim_fault(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The work under way reads or writes device memory (watch.h); other addresses do not matter. */
SIM_API void sim_touch(const void *p, size_t bytes, bool write);

typedef struct sim_range {
    const void *at;
    size_t bytes;
} sim_range;
#define SIM_MOST_FORGOTTEN 12
/* From the start of the next work of the stream, what these ranges of device memory hold counts as unwritten. Count 0:
 * takes back what no work has come for. */
SIM_API void sim_forget(cudaStream_t stream, const sim_range *ranges, int count);

/* How many kernels, library calls and fills were enqueued so far. */
SIM_API int64_t sim_launches(void);

/* Counts one of what its first word names; LK_SIM_COUNTS is a file that gets "NAME COUNT" lines when the process ends
 * (count.c). Under the lock. */
void sim_count(const char *name);

/* Device memory (memory.c), all under the lock. */
void sim_memory_open(void);           /* within reach */
void sim_memory_close(void);          /* out of reach */
void *sim_memory_alloc(size_t bytes); /* NULL: no room */
bool sim_memory_free(void *p);
/* Where the stand-in itself reaches a device address; a host address as it is. */
SIM_API void *sim_memory_reach(const void *p);
/* Bytes of the allocation from p to its end; 0: not device memory. */
size_t sim_memory_room(const void *p);
void sim_memory_info(size_t *free_bytes, size_t *total);
/* Where an address is, in words. */
void sim_memory_place(const void *p, char text[96]);
/* The same question from the other libraries. Takes the lock. */
SIM_API size_t sim_device_room(const void *p);

/* Values of the types that a GPU stores; rounding is to nearest even (number.c). Pure. */
typedef enum sim_type { SIM_F32, SIM_BF16, SIM_F16 } sim_type;
SIM_API float sim_widen(sim_type type, uint16_t bits);
SIM_API uint16_t sim_narrow(sim_type type, float value);
/* What tensor cores keep of a float32 operand: 10 bits of the mantissa. */
SIM_API float sim_tf32(float value);

/* Element i of device memory. Only while work runs. */
static inline float sim_load(sim_type type, const void *data, int64_t i) {
    return type == SIM_F32 ? ((const float *)data)[i] : sim_widen(type, ((const uint16_t *)data)[i]);
}
static inline void sim_store(sim_type type, void *data, int64_t i, float value) {
    if (type == SIM_F32)
        ((float *)data)[i] = value;
    else
        ((uint16_t *)data)[i] = sim_narrow(type, value);
}

/* The queues (queue.c). The lock guards everything in this header but sim_at. */
void sim_lock(void);
void sim_unlock(void);
typedef struct sim_stream sim_stream;
/* NULL is the default stream. Faults on what is no stream, and on one of another GPU than the thread's. */
sim_stream *sim_stream_of(cudaStream_t stream);
sim_stream *sim_stream_new(bool blocking); /* blocking: ordered with the default stream */
void sim_stream_delete(sim_stream *stream);
void sim_push(sim_stream *stream, sim_work work);
bool sim_stream_idle(const sim_stream *stream);
/* Runs work in random legal order until `until(argument)`. Faults where nothing may run and it is not so. */
void sim_drain(bool (*until)(void *argument), void *argument);
/* Runs all there is. */
void sim_drain_all(void);
/* Runs a few of what may run now. */
void sim_advance(void);

/* Number of the calling thread's GPU among those that are visible. */
SIM_API int sim_current_gpu(void);

/* One launch's threads, block by block (block.c). */
void sim_run_grid(dim3 grid, dim3 block, void (*body)(void *state), void *state);

#ifdef __cplusplus
}
#endif

#endif
