/* Who touched which bytes of device memory, and the hooks through which the kernels say so: they are compiled with the
 * thread sanitizer's calls before each access, and these are the calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "watch.h"

#define CELL 4 /* bytes that one cell of the shadow stands for */

/* Values of `writer` that are no work. */
#define NOWHERE 0   /* in no allocation */
#define UNWRITTEN 1 /* nobody has written it */
#define FIRST 2
#define READERS (UINT32_C(1) << 31) /* `reader` is the place of a set */
#define MOST_READERS 6

typedef struct cell {
    uint32_t writer, reader; /* reader 0: nobody since the write */
} cell;

typedef struct work {
    const char *what;
    int stream, track;
    uint32_t tick;
} work;

/* Works that read the same bytes and are not ordered. */
typedef struct readers {
    int count;
    uint32_t works[MOST_READERS];
} readers;

static bool hooked; /* there are kernels that say what they touch; without them others' accesses tell too little */
static const char *arena;
static size_t arena_bytes;
static cell *cells;
static work *works;
static uint32_t work_count = FIRST, work_room;
static readers *sets;
static uint32_t set_count, set_room;
static struct { uint32_t from, to; } last_set;
/* The work under way, 0: none. */
static uint32_t now;
static const sim_clock *now_clock;

static void *grown(void *list, uint32_t *room, size_t size) {
    *room = *room == 0 ? 4096 : 2 * *room;
    list = realloc(list, *room * size);
    if (list == NULL || *room >= READERS) sim_fault("out of host memory");
    return list;
}

void sim_shadow_arena(const char *at, size_t bytes) {
    if (!hooked) return;
    cells = mmap(NULL, bytes / CELL * sizeof *cells, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cells == MAP_FAILED) sim_fault("no addresses for the shadow of %zu bytes", bytes);
    arena = at;
    arena_bytes = bytes;
}

static void set_cells(const void *p, size_t bytes, cell value) {
    if (arena == NULL) return;
    cell *first = cells + (size_t)((const char *)p - arena) / CELL;
    for (size_t i = 0; i < (bytes + CELL - 1) / CELL; i++) first[i] = value;
}

void sim_shadow_alloc(const void *p, size_t bytes) { set_cells(p, bytes, (cell){UNWRITTEN, 0}); }
void sim_shadow_free(const void *p, size_t bytes) { set_cells(p, bytes, (cell){NOWHERE, 0}); }

void sim_watch_begin(const char *what, int stream, int track, const sim_clock *clock) {
    if (arena == NULL) return;
    if (work_count >= work_room) works = grown(works, &work_room, sizeof *works);
    now = work_count++;
    now_clock = clock;
    works[now] = (work){what, stream, track, clock->at[track]};
    last_set.to = 0;
}

void sim_watch_end(void) { now = 0; }

void sim_forget_now(const sim_forgotten *forgotten) {
    for (int i = 0; i < forgotten->count && now != 0; i++) {
        sim_touch(forgotten->ranges[i].at, forgotten->ranges[i].bytes, true);
        sim_shadow_alloc(forgotten->ranges[i].at, forgotten->ranges[i].bytes);
    }
}

static bool is_before(uint32_t id) { return id == now || works[id].tick <= now_clock->at[works[id].track]; }

static void name_of(uint32_t id, char text[96]) {
    const char *what = works[id].what;
    int length = (int)strcspn(what, "<,");
    if (length > 60) length = 60;
    if (works[id].stream == 0)
        snprintf(text, 96, "%.*s on the default stream", length, what);
    else
        snprintf(text, 96, "%.*s on stream %d", length, what, works[id].stream);
}

static void complain(uint32_t other, const cell *at, bool writes, const char *did) __attribute__((noreturn));

/* other: the work that it conflicts with. */
static void complain(uint32_t other, const cell *at, bool writes, const char *did) {
    char mine[96], its[96], place[96];
    const char *verb = writes ? "writes" : "reads";
    name_of(now, mine);
    sim_memory_place(arena + (size_t)(at - cells) * CELL, place);
    if (other == NOWHERE) sim_fault("%s %s %s", mine, verb, place);
    if (other == UNWRITTEN) sim_fault("%s reads %s, which nobody has written", mine, place);
    name_of(other, its);
    sim_fault("a race: %s %s %s, which %s %s, and nothing orders the two", mine, verb, place, its, did);
}

/* The readers of a cell and this work. */
static uint32_t with_reader(const cell *c) {
    uint32_t first = c->reader & ~READERS;
    if (c->reader & READERS && sets[first].works[0] == now) return c->reader;
    if (last_set.to != 0 && last_set.from == c->reader) return last_set.to;
    readers set = {1, {now}};
    int count = c->reader & READERS ? sets[first].count : 1;
    for (int i = 0; i < count; i++) {
        uint32_t id = c->reader & READERS ? sets[first].works[i] : c->reader;
        if (is_before(id)) continue;
        if (set.count == MOST_READERS) sim_fault("more than %d works read the same at a time", MOST_READERS);
        set.works[set.count++] = id;
    }
    uint32_t to = now;
    if (set.count > 1) {
        if (set_count == set_room) sets = grown(sets, &set_room, sizeof *sets);
        sets[set_count] = set;
        to = READERS | set_count++;
    }
    last_set.from = c->reader;
    return last_set.to = to;
}

static void read_cell(cell *c, bool unwritten) {
    if (c->writer == NOWHERE || (c->writer == UNWRITTEN && !unwritten)) complain(c->writer, c, false, "");
    if (c->writer >= FIRST && !is_before(c->writer)) complain(c->writer, c, false, "wrote");
    if (c->reader == 0 || (!(c->reader & READERS) && is_before(c->reader)))
        c->reader = now;
    else
        c->reader = with_reader(c);
}

static void write_cell(cell *c) {
    if (c->writer == NOWHERE) complain(NOWHERE, c, true, "");
    if (c->writer >= FIRST && !is_before(c->writer)) complain(c->writer, c, true, "wrote");
    uint32_t first = c->reader & ~READERS;
    int count = c->reader & READERS ? sets[first].count : c->reader != 0;
    for (int i = 0; i < count; i++) {
        uint32_t id = c->reader & READERS ? sets[first].works[i] : c->reader;
        if (!is_before(id)) complain(id, c, true, "read");
    }
    *c = (cell){now, 0};
}

/* unwritten: reads even what nobody has written. */
static inline void touch_cell(cell *c, bool write, bool unwritten) {
    if (c->writer == now || (!write && c->reader == now)) return;
    if (write)
        write_cell(c);
    else
        read_cell(c, unwritten);
}

static inline void touch(const void *p, size_t bytes, bool write, bool unwritten) {
    size_t at = (size_t)((uintptr_t)p - (uintptr_t)arena);
    if (at >= arena_bytes || now == 0) return;
    for (cell *c = cells + at / CELL, *end = cells + (at + bytes + CELL - 1) / CELL; c < end; c++)
        touch_cell(c, write, unwritten);
}

/* Whole cells, or a part of one: a place that is a multiple of its size. */
static inline void touch_aligned(const void *p, size_t bytes, bool write) {
    size_t at = (size_t)((uintptr_t)p - (uintptr_t)arena);
    if (at >= arena_bytes || now == 0) return;
    cell *c = cells + at / CELL;
    touch_cell(c, write, false);
    for (size_t i = 1; i < bytes / CELL; i++) touch_cell(c + i, write, false);
}

void sim_touch(const void *p, size_t bytes, bool write) { touch(p, bytes, write, false); }
void sim_touch_any(const void *p, size_t bytes) { touch(p, bytes, false, true); }

/* The calls that g++ puts before accesses with -fsanitize=thread; none of that sanitizer's own library is linked. */
#define HOOK(name, bytes, write) \
    SIM_API void __tsan_##name(const void *p) { touch_aligned(p, bytes, write); }
#define UNALIGNED(name, bytes, write) \
    SIM_API void __tsan_unaligned_##name(const void *p) { touch(p, bytes, write, false); }
#define HOOKS(size)                    \
    HOOK(read##size, size, false)      \
    HOOK(write##size, size, true)      \
    UNALIGNED(read##size, size, false) \
    UNALIGNED(write##size, size, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
SIM_API void __tsan_read_range(const void *p, size_t bytes) { touch(p, bytes, false, false); }
SIM_API void __tsan_write_range(const void *p, size_t bytes) { touch(p, bytes, true, false); }
SIM_API void __tsan_init(void) { hooked = true; }
SIM_API void __tsan_func_entry(const void *caller) { (void)caller; }
SIM_API void __tsan_func_exit(void) {}
