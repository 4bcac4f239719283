/* Runs a fuzz target on mutations of its valid inputs, the same ones for the same seed.
 *   fuzz_NAME [ITERATIONS [SEED [FILE ...]]]       default 20000 iterations; FILEs are run once, as they are, before
 * The input at work is always in fuzz_NAME.input: it is there after a crash, and is removed at the end. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/memory.h"
#include "fuzz.h"

#define MAX_SEEDS 64
#define MAX_SIZE ((size_t)1 << 20)

typedef struct input {
    uint8_t *bytes;
    size_t size;
} input;

typedef struct driver {
    uint64_t random; /* state of the generator */
    input seeds[MAX_SEEDS];
    int seed_count;
    char path[4096];
    int file;
    uint8_t *current; /* MAX_SIZE bytes, mapped to the file */
    long accepted, refused;
} driver;

/* SplitMix64. Source: Steele, Lea, Flood 2014. */
static uint64_t draw(driver *d, uint64_t bound) {
    uint64_t z = d->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (z ^ z >> 31) % bound;
}

/* Places near the front matter most: headers. */
static size_t draw_place(driver *d, size_t size) {
    size_t limit = draw(d, 2) && size > 64 ? 64 : size;
    return limit == 0 ? 0 : draw(d, limit);
}

static void overwrite_number(driver *d, input *in) {
    static const uint64_t values[] = {0,      1,      0x7F,       0x80,       0xFF,       0x100,     0x7FFF,
                                      0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, UINT64_MAX};
    size_t bytes = (size_t)1 << draw(d, 4), at = draw_place(d, in->size);
    uint64_t value = values[draw(d, sizeof values / sizeof *values)];
    bool big = draw(d, 2);
    for (size_t i = 0; i < bytes && at + i < in->size; i++)
        in->bytes[at + i] = (uint8_t)(value >> 8 * (big ? bytes - 1 - i : i));
}

static void move_piece(driver *d, input *in) {
    size_t from = draw_place(d, in->size), to = draw_place(d, in->size);
    size_t most = in->size - (from > to ? from : to);
    if (most > 0) memmove(in->bytes + to, in->bytes + from, 1 + draw(d, most < 64 ? most : 64));
}

static void erase_piece(driver *d, input *in) {
    size_t at = draw_place(d, in->size);
    size_t most = in->size - at, count = 1 + draw(d, most < 64 ? most : 64);
    memmove(in->bytes + at, in->bytes + at + count, in->size - at - count);
    in->size -= count;
}

static void insert_piece(driver *d, input *in) {
    const input *other = &d->seeds[draw(d, (uint64_t)d->seed_count)];
    size_t at = draw_place(d, in->size), from = draw_place(d, other->size);
    size_t count = 1 + draw(d, other->size - from < 256 ? other->size - from : 256);
    if (in->size + count > MAX_SIZE) return;
    memmove(in->bytes + at + count, in->bytes + at, in->size - at);
    memcpy(in->bytes + at, other->bytes + from, count);
    in->size += count;
}

static void mutate(driver *d, input *in) {
    for (uint64_t n = 1 + draw(d, 4) * draw(d, 3); n > 0 && in->size > 0; n--) switch (draw(d, 7)) {
            case 0: in->bytes[draw_place(d, in->size)] ^= (uint8_t)(1u << draw(d, 8)); break;
            case 1: in->bytes[draw_place(d, in->size)] = (uint8_t)draw(d, 256); break;
            case 2: overwrite_number(d, in); break;
            case 3: move_piece(d, in); break;
            case 4: erase_piece(d, in); break;
            case 5: insert_piece(d, in); break;
            default: in->size = draw(d, 4) ? in->size : draw(d, in->size); break;
        }
}

/* Runs on a copy of exactly `size` bytes, so that the address sanitizer sees a read past its end. */
static void run(driver *d, const input *in) {
    if (in->bytes != d->current) memcpy(d->current, in->bytes, in->size);
    if (ftruncate(d->file, (off_t)in->size) != 0) return;
    uint8_t *copy = malloc(in->size + (in->size == 0));
    if (copy == NULL) abort();
    memcpy(copy, d->current, in->size);
    if (fuzz_run(copy, in->size))
        d->accepted++;
    else
        d->refused++;
    free(copy);
    if (ftruncate(d->file, (off_t)MAX_SIZE) != 0) return;
}

static bool run_file(driver *d, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    input in = {d->current, fread(d->current, 1, MAX_SIZE, file)};
    fclose(file);
    run(d, &in);
    return true;
}

static bool start(driver *d, const char *program) {
    const char *name = strrchr(program, '/');
    snprintf(d->path, sizeof d->path, "%s.input", name != NULL ? name + 1 : program);
    d->file = open(d->path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (d->file < 0 || ftruncate(d->file, (off_t)MAX_SIZE) != 0) return false;
    d->current = mmap(NULL, MAX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->file, 0);
    if (d->current == MAP_FAILED) return false;
    for (; d->seed_count < MAX_SEEDS; d->seed_count++) {
        input *seed = &d->seeds[d->seed_count];
        seed->bytes = fuzz_seed(d->seed_count, &seed->size);
        if (seed->bytes == NULL) break;
        if (seed->size == 0 || seed->size > MAX_SIZE) return false;
    }
    return d->seed_count > 0;
}

/* Valid inputs must be accepted, else the mutations would test nothing but a front door. */
static bool run_seeds(driver *d) {
    for (int i = 0; i < d->seed_count; i++) {
        run(d, &d->seeds[i]);
        if (d->accepted == i + 1) continue;
        fprintf(stderr, "valid input %d was refused\n", i);
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 20000;
    driver d = {.random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
    if (!start(&d, argv[0])) {
        fprintf(stderr, "%s: cannot make %s or its valid inputs\n", argv[0], d.path);
        return 1;
    }
    for (int i = 3; i < argc; i++)
        if (!run_file(&d, argv[i])) fprintf(stderr, "%s: cannot read %s\n", argv[0], argv[i]);
    d.accepted = d.refused = 0;
    bool good = run_seeds(&d);
    for (long i = 0; good && i < iterations; i++) {
        const input *seed = &d.seeds[draw(&d, (uint64_t)d.seed_count)];
        input in = {d.current, seed->size};
        memcpy(d.current, seed->bytes, seed->size);
        mutate(&d, &in);
        run(&d, &in);
    }
    printf("%ld inputs: %ld accepted, %ld refused\n", d.accepted + d.refused, d.accepted, d.refused);
    for (int i = 0; i < d.seed_count; i++) lk_free(d.seeds[i].bytes);
    munmap(d.current, MAX_SIZE);
    close(d.file);
    unlink(d.path);
    return good ? 0 : 1;
}
