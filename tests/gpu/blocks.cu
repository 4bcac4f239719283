/* Blocks that wait for each other, on the stand-in: launches in two phases (kernel_phases.cuh) do each item once and in
 * order, whatever the number of blocks, and leave their counters at zero; a wait that need not end on every GPU ends
 * the process. Prints what is wrong; status 1 where anything is. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "device/cuda/kernel_phases.cuh"

static int wrong;

#define EXPECT(condition) expect(condition, #condition, __LINE__)
static void expect(bool well, const char *what, int line) {
    if (!well) printf("line %d: not so: %s\n", line, what);
    wrong += !well;
}

static dim3 side_by_side(int across, int down) { return dim3((unsigned)across, (unsigned)down); }

struct toy_memory {
    int sums[64];
    lk_turn turn;
};

/* partial and out: an int for each item; total: for each group. */
struct toy {
    int *partial, *out, *total, *merges;
    unsigned *counters;
};

/* partial = 1 + item, total = sum of a group's, each times 3 and one more so that the order shows; out = its total. */
static __global__ void add_and_tell(toy t, lk_reduce_shape r, bool once) {
    __shared__ toy_memory memory;
    lk_block_memory(memory);
    const int thread = threadIdx.y * r.across + threadIdx.x, threads = r.across * r.down;
    auto take = [&](int group, int chunk) {
        memory.sums[thread] = (group * r.chunks + chunk + 1) * (thread + 1);
        __syncthreads();
        if (thread != 0) return;
        int sum = 0;
        for (int i = 0; i < threads; i++) sum += memory.sums[i];
        t.partial[group * r.chunks + chunk] += sum / (threads * (threads + 1) / 2);
    };
    auto merge = [&](int group) {
        if (thread != 0) return;
        for (int i = 0; i < r.chunks; i++) t.total[group] = t.total[group] * 3 + 1 + t.partial[group * r.chunks + i];
        t.merges[group]++;
    };
    auto tell = [&](int group, int chunk) {
        int *out = &t.out[group * r.chunks + chunk];
        if (thread == threads - 1) *out += t.merges[group] == 1 ? t.total[group] : -1;
    };
    lk_run_phases(r, once, t.counters, memory.turn, take, merge, tell);
}

static std::vector<int> fetch(const void *from, size_t count) {
    std::vector<int> values(count);
    EXPECT(cudaMemcpy(values.data(), from, count * sizeof(int), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
}

static int *zeros(size_t count) {
    int *p = nullptr;
    EXPECT(cudaMalloc((void **)&p, count * sizeof(int)) == cudaSuccess);
    EXPECT(cudaMemset(p, 0, count * sizeof(int)) == cudaSuccess);
    return p;
}

static void check_results(const toy &t, const lk_reduce_shape &r, bool once) {
    const int items = r.groups * r.chunks;
    std::vector<int> partial = fetch(t.partial, items), out = fetch(t.out, items), total = fetch(t.total, r.groups);
    std::vector<int> counters = fetch(t.counters, LK_CUDA_COUNTERS);
    for (int group = 0; group < r.groups; group++) {
        int want = 0;
        for (int i = 0; i < r.chunks; i++) {
            EXPECT(partial[group * r.chunks + i] == group * r.chunks + i + 1);
            want = want * 3 + 2 + group * r.chunks + i;
        }
        EXPECT(total[group] == want);
        for (int i = 0; i < r.chunks; i++) EXPECT(out[group * r.chunks + i] == (once ? 0 : want));
    }
    for (int count : counters) EXPECT(count == 0);
}

static void test_each_item_is_done_once_and_in_order(void) {
    const int shapes[][2] = {{1, 1}, {1, 7}, {5, 1}, {3, 6}};
    int *counters = zeros(LK_CUDA_COUNTERS);
    for (const int *shape : shapes)
        for (int run = 0; run < 24; run++) {
            lk_reduce_shape r = {3, 4, shape[0], 1, shape[1]};
            const size_t items = (size_t)(r.groups * r.chunks);
            toy t = {zeros(items), zeros(items), zeros(r.groups), zeros(r.groups), (unsigned *)counters};
            const bool once = run % 4 == 3;
            const int blocks = lk_phase_blocks(r, run % 3 + 1, 3);
            EXPECT(lk_launch(add_and_tell, dim3(blocks), side_by_side(r.across, r.down), nullptr, t, r, once) == 0);
            check_results(t, r, once);
            for (void *p : {t.partial, t.out, t.total, t.merges}) EXPECT(cudaFree(p) == cudaSuccess);
        }
    EXPECT(cudaFree(counters) == cudaSuccess);
}

struct own {
    unsigned number;
};

/* What a block shares stays its own while others run. */
static __global__ void keep_number(unsigned *seen) {
    __shared__ own memory;
    lk_block_memory(memory);
    if (threadIdx.x == 0) memory.number = blockIdx.x;
    for (int i = 0; i < 5; i++) __syncthreads();
    if (memory.number == blockIdx.x) atomicAdd(&seen[blockIdx.x], 1u);
}

static void test_blocks_have_memory_of_their_own(void) {
    int *seen = zeros(9);
    EXPECT(lk_launch(keep_number, dim3(9), dim3(8), nullptr, (unsigned *)seen) == 0);
    for (int count : fetch(seen, 9)) EXPECT(count == 8);
    EXPECT(cudaFree(seen) == cudaSuccess);
}

/* Waits for what nobody does. */
static __global__ void wait_alone(unsigned *counter) {
    __shared__ own memory;
    lk_block_memory(memory);
    if (threadIdx.x == 0) lk_wait_for(counter, 1);
    __syncthreads();
}

/* A barrier of all blocks: ends only where they all run at a time. */
static __global__ void meet(unsigned *counter) {
    __shared__ own memory;
    lk_block_memory(memory);
    if (threadIdx.x == 0) {
        atomicAdd(counter, 1u);
        lk_wait_for(counter, gridDim.x);
    }
    __syncthreads();
}

static __global__ void wait_with_hidden_memory(unsigned *counter) {
    if (threadIdx.x == 0) lk_wait_for(counter, 1);
    __syncthreads();
}

/* The process that launches it ends, with these words. */
static void expect_fault(void (*kernel)(unsigned *counter), const char *words) {
    int ends[2], status = 0;
    char text[512] = "";
    EXPECT(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        unsigned *counter = (unsigned *)zeros(1);
        (void)lk_launch(kernel, dim3(6), dim3(32), nullptr, counter);
        (void)cudaDeviceSynchronize();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got = 1; got > 0 && used<sizeof text - 1; used += got> 0 ? (size_t)got : 0)
        got = read(ends[0], text + used, sizeof text - 1 - used);
    close(ends[0]);
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    EXPECT(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    if (strstr(text, words) == nullptr) printf("said: %s\n", text);
    EXPECT(strstr(text, words) != nullptr);
}

int main(void) {
    test_each_item_is_done_once_and_in_order();
    test_blocks_have_memory_of_their_own();
    expect_fault(wait_alone, "wait for what none of them will do");
    expect_fault(meet, "wait for what none of them will do");
    expect_fault(wait_with_hidden_memory, "must say what their memory is");
    if (wrong == 0) printf("blocks that wait for each other: passed\n");
    return wrong == 0 ? 0 : 1;
}
