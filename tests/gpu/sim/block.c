/* Threads of a kernel on one host thread. A fibre runs thread after thread until one of them reaches a barrier; it is
 * then put aside and another fibre goes on with the threads that are left. Blocks, and the threads of a block, come in
 * a random order, so that a kernel which counts on an order fails. */
#include <stdlib.h>
#include <sys/mman.h>

#include "sim.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES ((size_t)256 << 10)
#else
#define STACK_BYTES ((size_t)64 << 10)
#endif

#define MOST_THREADS 1024

sim_place sim_at;

typedef struct fibre {
    void *stack, *saved; /* saved: the stack pointer while another runs */
    void *fake;          /* the address sanitizer's */
    sim_place at;
    const void *barrier; /* where it waits; NULL: it does not */
#if !defined(__x86_64__)
    ucontext_t context;
#endif
} fibre;

typedef struct launch {
    void (*body)(void *state);
    void *state;
    int threads, next; /* of the block */
    int order[MOST_THREADS];
} launch;

static fibre fibres[MOST_THREADS]; /* stacks are kept for the next block */
static fibre host;
static fibre *running;
static launch now;
#if defined(__SANITIZE_ADDRESS__)
static const void *host_bottom;
static size_t host_size;
#endif

#if defined(__x86_64__)
/* Saves what a call must keep and goes on at another stack pointer. */
void sim_switch(void **save, void *to);
__asm__(
    ".text\n"
    ".globl sim_switch\n"
    ".hidden sim_switch\n"
    "sim_switch:\n"
    "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    "ret\n");
#endif

static void go(fibre *from, fibre *to) {
    running = to == &host ? NULL : to;
#if defined(__SANITIZE_ADDRESS__)
    if (to == &host)
        __sanitizer_start_switch_fiber(&from->fake, host_bottom, host_size);
    else
        __sanitizer_start_switch_fiber(&from->fake, to->stack, STACK_BYTES);
#endif
#if defined(__x86_64__)
    sim_switch(&from->saved, to->saved);
#else
    swapcontext(&from->context, &to->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    if (from == &host)
        __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
    else
        __sanitizer_finish_switch_fiber(from->fake, &host_bottom, &host_size);
#endif
}

static void set_thread(int index) {
    unsigned x = sim_at.block_dim.x, y = sim_at.block_dim.y, i = (unsigned)index;
    sim_at.thread = (uint3){i % x, i / x % y, i / x / y};
}

/* A fibre's life: the threads that nobody has begun, then the next block's. */
static void live(void) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &host_bottom, &host_size);
#endif
    for (;;) {
        while (now.next < now.threads) {
            set_thread(now.order[now.next++]);
            now.body(now.state);
        }
        go(running, &host);
    }
}

static void prepare(fibre *f) {
    f->barrier = NULL;
    if (f->stack != NULL) return;
    f->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->stack == MAP_FAILED) sim_fault("no stack for a thread of a kernel");
#if defined(__x86_64__)
    void **top = (void **)((char *)f->stack + STACK_BYTES);
    *--top = NULL; /* live has no caller: keeps the stack as a call would leave it */
    *--top = (void *)live;
    for (int i = 0; i < 6; i++) *--top = NULL;
    f->saved = top;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, live, 0);
#endif
}

void sim_barrier(const void *place) {
    fibre *self = running;
    self->barrier = place;
    self->at = sim_at;
    go(self, &host);
    sim_at = self->at;
}

static void resume(fibre *f) {
    f->barrier = NULL;
    go(&host, f);
}

static void shuffle(int *values, int count) {
    for (int i = count - 1; i > 0; i--) {
        int k = (int)(sim_random() % (uint64_t)(i + 1)), kept = values[i];
        values[i] = values[k];
        values[k] = kept;
    }
}

static void run_block(void) {
    int waiting[MOST_THREADS], waits = 0, started = 0;
    now.next = 0;
    for (int i = 0; i < now.threads; i++) now.order[i] = i;
    shuffle(now.order, now.threads);
    while (now.next < now.threads) {
        prepare(&fibres[started]);
        resume(&fibres[started++]);
    }
    for (;;) {
        waits = 0;
        for (int i = 0; i < started; i++)
            if (fibres[i].barrier != NULL) waiting[waits++] = i;
        if (waits == 0) return;
        if (waits != now.threads) sim_fault("a barrier that only %d of %d threads reach", waits, now.threads);
        for (int i = 1; i < waits; i++)
            if (fibres[waiting[i]].barrier != fibres[waiting[0]].barrier)
                sim_fault("threads of a block wait at different barriers");
        shuffle(waiting, waits);
        for (int i = 0; i < waits; i++) resume(&fibres[waiting[i]]);
    }
}

/* A stride that visits all of `count` places. */
static uint64_t coprime(uint64_t count) {
    for (;;) {
        uint64_t step = sim_random() % count + 1, a = count, b = step;
        while (b != 0) {
            uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return step;
    }
}

void sim_run_grid(dim3 grid, dim3 block, void (*body)(void *state), void *state) {
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, threads = (uint64_t)block.x * block.y * block.z;
    if (blocks == 0 || threads == 0 || threads > MOST_THREADS || grid.y > 65535 || grid.z > 65535)
        sim_fault("a launch of %u x %u x %u blocks of %u x %u x %u threads", grid.x, grid.y, grid.z, block.x, block.y,
                  block.z);
    now.body = body;
    now.state = state;
    now.threads = (int)threads;
    uint64_t start = sim_random() % blocks, step = coprime(blocks);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t b = (start + i * step) % blocks;
        sim_at.grid_dim = grid;
        sim_at.block_dim = block;
        sim_at.block =
            (uint3){(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        run_block();
    }
}

typedef struct kernel {
    dim3 grid, block;
    void (*body)(void *state), (*drop)(void *state);
    void *state;
} kernel;

static void kernel_run(void *state) {
    kernel *k = state;
    sim_run_grid(k->grid, k->block, k->body, k->state);
}

static void kernel_drop(void *state) {
    kernel *k = state;
    k->drop(k->state);
    free(k);
}

cudaError_t sim_launch(const char *name, dim3 grid, dim3 block, cudaStream_t stream, void (*body)(void *state),
                       void *state, void (*drop)(void *state)) {
    kernel *k = malloc(sizeof *k);
    if (k == NULL) sim_fault("out of host memory");
    *k = (kernel){grid, block, body, drop, state};
    return sim_enqueue(stream, (sim_work){name, kernel_run, kernel_drop, k, false, NULL, NULL});
}
