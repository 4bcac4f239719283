/* Threads of a kernel on one host thread. A fibre runs thread after thread until one of them reaches a barrier, or
 * waits for another block; it is then put aside and another fibre goes on with the threads that are left. Blocks, and
 * the threads of a block, come in a random order, so that a kernel which counts on an order fails.
 *
 * Where a kernel says what its blocks' memory is (sim_block_memory), a random number of them is under way at a time,
 * and they take turns at their barriers: one that waits for a block which may not have begun comes to an end only if it
 * can do so on any GPU. */
#include <stdlib.h>
#include <string.h>

#include "fibre.h"
#include "sim.h"

#define MOST_THREADS 1024
#define MOST_BLOCKS 4 /* under way at a time */
#define PATTERN 0xcb  /* shared memory of a block that begins */

sim_place sim_at;

typedef struct worker {
    sim_fibre fibre;
    sim_place at;
    const void *barrier; /* where it waits; NULL: it does not */
    const unsigned *counter;
    unsigned value; /* that the counter must have for it to go on; counter NULL: it does not wait */
} worker;

/* A block under way. */
typedef struct slot {
    bool used, begun;
    uint3 block;
    int next, count; /* threads begun, workers that do them */
    int order[MOST_THREADS];
    void *memory; /* its shared memory while another's is in place */
    worker workers[MOST_THREADS];
} slot;

typedef struct launch {
    void (*body)(void *state);
    void *state;
    dim3 grid, block;
    int threads;       /* of a block */
    void *memory;      /* shared memory; NULL: not known */
    size_t bytes;      /* of it */
    const slot *owner; /* whose it is now */
} launch;

static slot slots[MOST_BLOCKS]; /* stacks are kept for the next block */
static slot *current;
static worker *running;
static launch now;

static void set_thread(int index) {
    unsigned x = sim_at.block_dim.x, y = sim_at.block_dim.y, i = (unsigned)index;
    sim_at.thread = (uint3){i % x, i / x % y, i / x / y};
}

static void put_aside(worker *self) {
    self->at = sim_at;
    sim_fibre_leave(&self->fibre);
    sim_at = self->at;
}

/* A fibre's life: the threads that nobody has begun, then the next block's. */
static void live(void) {
    sim_fibre_begin();
    for (;;) {
        while (current->next < now.threads) {
            set_thread(current->order[current->next++]);
            now.body(now.state);
        }
        sim_fibre_leave(&running->fibre);
    }
}

void sim_barrier(const void *place) {
    running->barrier = place;
    put_aside(running);
}

void sim_wait_for(const unsigned *counter, unsigned value) {
    if (now.memory == NULL) sim_fault("a kernel whose blocks wait for each other must say what their memory is");
    if (*counter == value) return;
    running->counter = counter;
    running->value = value;
    put_aside(running);
}

void sim_block_memory(void *memory, size_t bytes) {
    if (now.memory != NULL && (now.memory != memory || now.bytes != bytes))
        sim_fault("a kernel's blocks have two memories");
    if (now.memory == NULL) now.owner = current;
    now.memory = memory;
    now.bytes = bytes;
}

static void resume(worker *w) {
    w->barrier = NULL;
    w->counter = NULL;
    running = w;
    sim_fibre_enter(&w->fibre, live);
}

static void shuffle(int *values, int count) {
    for (int i = count - 1; i > 0; i--) {
        int k = (int)(sim_random() % (uint64_t)(i + 1)), kept = values[i];
        values[i] = values[k];
        values[k] = kept;
    }
}

static void begin(slot *s) {
    s->begun = true;
    s->next = s->count = 0;
    for (int i = 0; i < now.threads; i++) s->order[i] = i;
    shuffle(s->order, now.threads);
    while (s->next < now.threads) {
        sim_at = (sim_place){.block = s->block, .block_dim = now.block, .grid_dim = now.grid};
        resume(&s->workers[s->count++]);
    }
}

/* Numbers of the workers that wait for a counter; `over`: only those whose wait is. */
static int find_waiting(const slot *s, bool over, int *found) {
    int count = 0;
    for (int i = 0; i < s->count; i++) {
        const worker *w = &s->workers[i];
        if (w->counter != NULL && (!over || *w->counter == w->value)) found[count++] = i;
    }
    return count;
}

static int find_at_barrier(const slot *s, int *found) {
    int count = 0;
    for (int i = 0; i < s->count; i++)
        if (s->workers[i].barrier != NULL) found[count++] = i;
    if (count == 0) return 0;
    if (count != now.threads) sim_fault("a barrier that only %d of %d threads reach", count, now.threads);
    for (int i = 1; i < count; i++)
        if (s->workers[found[i]].barrier != s->workers[found[0]].barrier)
            sim_fault("threads of a block wait at different barriers");
    return count;
}

static bool may_go_on(const slot *s) {
    int found[MOST_THREADS];
    return !s->begun || find_waiting(s, false, found) == 0 || find_waiting(s, true, found) > 0;
}

/* Puts the block's shared memory in place. */
static void bring_memory(slot *s) {
    if (now.memory == NULL || now.owner == s) return;
    for (int i = 0; i < MOST_BLOCKS; i++) {
        if (&slots[i] != now.owner || !slots[i].used) continue;
        slots[i].memory = realloc(slots[i].memory, now.bytes);
        if (slots[i].memory == NULL) sim_fault("out of host memory");
        memcpy(slots[i].memory, now.memory, now.bytes);
    }
    if (s->begun)
        memcpy(now.memory, s->memory, now.bytes);
    else
        memset(now.memory, PATTERN, now.bytes);
    now.owner = s;
}

/* From one barrier to the next. */
static void advance(slot *s) {
    int found[MOST_THREADS];
    bring_memory(s);
    current = s;
    if (!s->begun) {
        begin(s);
        return;
    }
    int count = find_waiting(s, true, found);
    if (count == 0) count = find_at_barrier(s, found);
    shuffle(found, count);
    for (int i = 0; i < count; i++) resume(&s->workers[found[i]]);
    if (count == 0) s->used = false;
}

/* A random one of those that may go on. */
static slot *choose(int alive) {
    slot *chosen = NULL;
    int choices = 0;
    for (int i = 0; i < alive; i++)
        if (slots[i].used && may_go_on(&slots[i]) && sim_random() % (uint64_t)++choices == 0) chosen = &slots[i];
    return chosen;
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
    now = (launch){.body = body, .state = state, .grid = grid, .block = block, .threads = (int)threads};
    uint64_t start = sim_random() % blocks, step = coprime(blocks), begun = 0;
    int alive = 1 + (int)(sim_random() % MOST_BLOCKS), left = 0;
    for (;;) {
        for (int i = 0; i < alive && begun < blocks; i++) {
            if (slots[i].used) continue;
            uint64_t b = (start + begun++ * step) % blocks;
            slots[i].used = true;
            slots[i].begun = false;
            slots[i].block =
                (uint3){(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
            left++;
        }
        if (left == 0) return;
        slot *s = choose(alive);
        if (s == NULL)
            sim_fault("the %d blocks of a kernel that are under way wait for what none of them will do", left);
        do {
            advance(s);
        } while (s->used && now.memory == NULL); /* nobody else may have its shared memory meanwhile */
        left -= !s->used;
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
