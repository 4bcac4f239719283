/* Mutated job files and sweeps: each must parse, or be refused with one sentence; a job that parses must survive being
 * written and parsed again. Run under sanitizers, where a crash names its line.
 *   fuzz_job [ITERATIONS [SEED]]
 * Default 20000. Prints how many jobs and sweeps were refused and how many parsed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "train/job.h"
#include "train/sweep.h"

enum { MAX_SIZE = 8192, MAX_EDITS = 6 };

typedef struct random_source {
    uint64_t seed, next;
} random_source;

static size_t below(random_source *r, size_t bound) {
    lk_random_key key = {r->seed, 0, LK_RANDOM_GOLDEN};
    return (size_t)lk_random_below(&key, r->next++, 0, bound);
}

static const char *const words[] = {
    "optimizer:",
    "\n",
    "  ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "- ",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "!!",
    "? ",
    "| ",
    "> ",
    "\"",
    "'",
    "#",
    "%",
    "\\u0000",
    "\t",
    "\r",
    "~",
    "null",
    "true",
    "1e999",
    "-1",
    "0x10",
    "nan",
    "99999999999999999999",
    "<<: ",
    "model",
    "optimizer.momentum",
    "schedule:",
    "\xff",
    "\xef\xbb\xbf",
    "\xc3\xa9",
    "input: {mean: [0.5, 0.5, 0.5]}\n",
};

typedef struct text {
    char data[MAX_SIZE + 1];
    size_t size;
} text;

/* Replaces `removed` bytes at `at` by `count` bytes; does nothing where that would not fit. */
static void splice(text *t, size_t at, size_t removed, const char *bytes, size_t count) {
    if (removed > t->size - at || t->size - removed + count > MAX_SIZE) return;
    char copy[MAX_SIZE];
    if (count > sizeof copy) return;
    memcpy(copy, bytes, count);
    memmove(t->data + at + count, t->data + at + removed, t->size - at - removed);
    memcpy(t->data + at, copy, count);
    t->size += count - removed;
}

static void mutate(text *t, random_source *r) {
    size_t at = below(r, t->size + 1), length = below(r, 40);
    if (length > t->size - at) length = t->size - at;
    const char *word = words[below(r, sizeof words / sizeof *words)];
    char byte = (char)below(r, 256);
    switch (below(r, 6)) {
        case 0: splice(t, at, at < t->size, &byte, 1); break;
        case 1: splice(t, at, 0, word, strlen(word)); break;
        case 2: splice(t, at, length, word, strlen(word)); break;
        case 3: splice(t, at, length, "", 0); break;
        case 4: splice(t, below(r, t->size + 1), 0, t->data + at, length); break; /* a span again, elsewhere */
        default: t->size = at; break;
    }
}

static bool is_sentence(const lk_error *err) {
    size_t length = strlen(err->message);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)err->message[i] < 32) return false;
    return length > 0;
}

/* Writes what was parsed and parses it again: the second text must be the first. */
static bool survives(const lk_option *table, int count, const lk_job *job) {
    lk_error err = {0};
    lk_job again;
    char *first = NULL, *second = NULL;
    lk_status status = lk_options_write_yaml(table, count, job, &first, &err);
    if (status != LK_OK) return false;
    status = lk_options_defaults(table, count, &again, &err);
    if (status == LK_OK)
        status = lk_options_parse_yaml(table, count, &again, first, strlen(first), "written", NULL, &err);
    if (status == LK_OK) status = lk_options_write_yaml(table, count, &again, &second, &err);
    bool same = status == LK_OK && strcmp(first, second) == 0;
    if (!same) printf("not stable: %s\n%s", err.message, first);
    lk_options_free(table, count, &again);
    lk_free(first);
    lk_free(second);
    return same;
}

/* Returns 1 for parsed, 0 for refused, -1 for a broken promise. */
static int try_text(const lk_option *table, int count, const text *t) {
    lk_error err = {0};
    lk_job job;
    int result = 0;
    /* Exactly as large as the text, so that a sanitizer sees one byte too much. */
    char *exact = malloc(t->size == 0 ? 1 : t->size);
    if (exact == NULL) return -1;
    memcpy(exact, t->data, t->size);
    lk_status status = lk_options_defaults(table, count, &job, &err);
    if (status == LK_OK) status = lk_options_parse_yaml(table, count, &job, exact, t->size, "job.yaml", NULL, &err);
    if (status == LK_OK) {
        result = survives(table, count, &job) ? 1 : -1;
    } else if (status != LK_ERR_CONFIG || !is_sentence(&err)) {
        printf("status %s, message '%s'\n", lk_status_name(status), err.message);
        result = -1;
    }
    lk_options_free(table, count, &job);
    free(exact);
    return result;
}

/* The whole way of `train`: checks between keys as well. */
static bool parse_whole(const text *t) {
    lk_job job;
    lk_error err = {0};
    lk_status status = lk_job_parse(&job, t->data, "job.yaml", &err);
    if (status == LK_OK) lk_job_free(&job);
    return status == LK_OK || is_sentence(&err);
}

/* As try_text, of a sweep. */
static int try_sweep(const text *t) {
    lk_error err = {0};
    lk_sweep sweep;
    char *exact = malloc(t->size == 0 ? 1 : t->size);
    if (exact == NULL) return -1;
    memcpy(exact, t->data, t->size);
    lk_status status = lk_sweep_parse(&sweep, exact, t->size, "sweep.yaml", &err);
    free(exact);
    if (status == LK_OK) {
        bool sound = sweep.variant_count > 0 && sweep.seed_count > 0 &&
                     sweep.variant_count * sweep.seed_count <= LK_SWEEP_MAX_RUNS;
        lk_sweep_free(&sweep);
        return sound ? 1 : -1;
    }
    return status == LK_ERR_CONFIG && is_sentence(&err) ? 0 : -1;
}

static void start_from(text *t, const char *start, random_source *r) {
    t->size = strlen(start);
    memcpy(t->data, start, t->size);
    for (size_t edits = below(r, MAX_EDITS + 1); edits > 0; edits--) mutate(t, r);
    t->data[t->size] = '\0';
}

int main(int argc, char **argv) {
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 20000;
    random_source random = {argc > 2 ? strtoull(argv[2], NULL, 10) : 1, 0};
    static const char start[] =
        "version: 1\ndata: shoes.h5\nmodel: resnet18\nepochs: 3\nbatch: 128\nmicrobatch: 32 # four\n"
        "input:\n  size: 224\n  mean: [0.485, 0.456, 0.406]\n  std: [0.229, 0.224, 0.225]\n"
        "optimizer: {lr: 0.1, momentum: 0.9, nesterov: true}\nschedule:\n  kind: \"cosine\"\n";
    static const char sweep[] =
        "base: job.yaml # shared\nset: {epochs: 2, input: {mean: [0.1, 0.2, 0.3]}}\nseeds: [1, 2, 3]\n"
        "variants:\n  plain:\n  fast: {optimizer: {lr: 0.1, momentum: 0.8}}\n  other: {base: b.yaml, init: ~}\n";
    int count, parsed = 0, sweeps = 0;
    const lk_option *table = lk_job_options(&count);
    static text t;
    for (long i = 0; i < iterations; i++) {
        start_from(&t, start, &random);
        int result = try_text(table, count, &t);
        if (result < 0 || !parse_whole(&t)) {
            printf("broken at iteration %ld of seed %llu by:\n%s\n", i, (unsigned long long)random.seed, t.data);
            return 1;
        }
        parsed += result;
        start_from(&t, sweep, &random);
        result = try_sweep(&t);
        if (result < 0) {
            printf("broken at iteration %ld of seed %llu by:\n%s\n", i, (unsigned long long)random.seed, t.data);
            return 1;
        }
        sweeps += result;
    }
    printf("jobs: %ld refused, %d parsed; sweeps: %ld refused, %d parsed\n", iterations - parsed, parsed,
           iterations - sweeps, sweeps);
    return parsed > 0 && parsed < iterations && sweeps > 0 && sweeps < iterations ? 0 : 1;
}
