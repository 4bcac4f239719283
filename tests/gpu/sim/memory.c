/* Device memory: one reserved arena, mapped twice. Where the device's addresses are, pages are out of the host's reach
 * but while kernels run; the stand-in's own copies go through the other mapping. Allocations start with a pattern and
 * lie apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "watch.h"

#define ALIGNMENT 256
#define GAP 256 /* bytes between allocations: never within reach of the address sanitizer */
#define PATTERN 0xcb

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

typedef struct piece {
    size_t at, bytes; /* bytes as asked for */
    size_t room;      /* until the next piece */
    bool used;
} piece;

static char *arena, *alias;
static size_t total, grown, used_bytes;
static piece *pieces;
static int count, capacity;
static int open_depth;

static void reserve(void) {
    if (arena != NULL) return;
    total = (size_t)sim_setting("LK_SIM_MEMORY", INT64_C(4) << 30);
    int file = memfd_create("stand-in GPU", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)total) != 0) sim_fault("no %zu bytes for the GPU's memory", total);
    arena = mmap(NULL, total, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    alias = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (arena == MAP_FAILED || alias == MAP_FAILED) sim_fault("no %zu bytes of addresses for the GPU's memory", total);
    close(file);
    sim_shadow_arena(arena, total);
}

static void protect(int flags) {
    if (grown > 0 && mprotect(arena, grown, flags) != 0) sim_fault("mprotect failed");
}

void sim_memory_open(void) {
    if (open_depth++ == 0) protect(PROT_READ | PROT_WRITE);
}

void sim_memory_close(void) {
    if (--open_depth == 0) protect(PROT_NONE);
}

static piece *find_room(size_t room) {
    piece *best = NULL;
    for (int i = 0; i < count; i++)
        if (!pieces[i].used && pieces[i].room >= room && (best == NULL || pieces[i].room < best->room))
            best = &pieces[i];
    return best != NULL && best->room <= 2 * room + 4096 ? best : NULL;
}

void *sim_memory_alloc(size_t bytes) {
    reserve();
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + GAP;
    piece *p = find_room(room);
    if (p == NULL) {
        if (room > total - grown) return NULL;
        if (count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            pieces = realloc(pieces, (size_t)capacity * sizeof *pieces);
            if (pieces == NULL) sim_fault("out of host memory");
        }
        p = &pieces[count++];
        *p = (piece){.at = grown, .room = room};
        if (open_depth > 0) sim_fault("an allocation while kernels run");
        POISON(arena + grown, room);
        grown += room;
    }
    p->used = true;
    p->bytes = bytes;
    used_bytes += p->room;
    UNPOISON(arena + p->at, bytes);
    memset(alias + p->at, PATTERN, bytes);
    sim_shadow_alloc(arena + p->at, bytes);
    return arena + p->at;
}

static piece *piece_of(const void *address) {
    const char *p = address;
    if (arena == NULL || p < arena || p >= arena + grown) return NULL;
    for (int i = 0; i < count; i++)
        if (pieces[i].used && p >= arena + pieces[i].at && p < arena + pieces[i].at + pieces[i].bytes)
            return &pieces[i];
    return NULL;
}

bool sim_memory_free(void *p) {
    piece *found = piece_of(p);
    if (found == NULL || arena + found->at != (char *)p) return false;
    found->used = false;
    used_bytes -= found->room;
    POISON(arena + found->at, found->room);
    sim_shadow_free(p, found->bytes);
    return true;
}

void sim_memory_lose(const void *p) {
    sim_lock();
    const piece *found = piece_of(p);
    if (found != NULL) (void)sim_memory_free(arena + found->at);
    sim_unlock();
}

void *sim_memory_reach(const void *p) {
    const char *at = p;
    return arena != NULL && at >= arena && at < arena + grown ? alias + (at - arena) : (void *)p;
}

size_t sim_memory_room(const void *p) {
    piece *found = piece_of(p);
    return found == NULL ? 0 : (size_t)(arena + found->at + found->bytes - (const char *)p);
}

void sim_memory_place(const void *address, char text[96]) {
    size_t at = (size_t)((const char *)address - arena);
    for (int i = 0; i < count; i++) {
        const piece *p = &pieces[i];
        if (at < p->at || at >= p->at + p->room) continue;
        if (!p->used)
            snprintf(text, 96, "freed memory");
        else if (at < p->at + p->bytes)
            snprintf(text, 96, "byte %zu of an allocation of %zu", at - p->at, p->bytes);
        else
            snprintf(text, 96, "what lies behind an allocation of %zu bytes", p->bytes);
        return;
    }
    snprintf(text, 96, "what was never allocated");
}

void sim_memory_info(size_t *free_bytes, size_t *all) {
    reserve();
    *free_bytes = total - used_bytes;
    *all = total;
}
