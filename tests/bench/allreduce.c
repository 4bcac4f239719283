/* Gradient sums against MPI_Allreduce, and how well they hide behind computation. Prints ratios of one run, best and
 * median of interleaved rounds. Usage: mpirun -n N bench_allreduce [MEGABYTES [BUCKET_MEGABYTES [ROUNDS]]] */
#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dist/comm_impl.h"
#include "dist/reducer.h"

#define MOST_ROUNDS 101
#define WORK_SECONDS 5e-3 /* between polls, about one convolution */

enum { MPI_WHOLE, MPI_BUCKETS, OURS, WORK, POLLED, THREADED, AFTER, KINDS };
static const char *const names[KINDS] = {
    "MPI_Allreduce, whole slab",    "MPI_Allreduce, bucket by bucket", "reducer, all at once",     "computation alone",
    "computation + polled reducer", "computation + progress thread",   "computation, then reducer"};

typedef struct bench {
    lk_comm *comm;
    lk_reducer *reducer;
    float *slab;
    int64_t count, *ends;
    int buckets, chunks_per_bucket;
    int64_t work_loops;
    pthread_mutex_t lock;
    atomic_bool quit;
} bench;

static void must(lk_comm *comm, lk_status status, const lk_error *err) {
    if (status == LK_OK) return;
    lk_comm_abort(comm, 1, err->message);
    exit(1);
}

static volatile float sink;

/* Arithmetic without memory traffic: what is measured is the core's time. */
static void work(int64_t loops) {
    float x[16];
    for (int i = 0; i < 16; i++) x[i] = 1.0f + (float)i;
    for (int64_t k = 0; k < loops; k++)
        for (int i = 0; i < 16; i++) x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < 16; i++) sink = x[i];
}

static void calibrate(bench *b) {
    int64_t loops = 1000;
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        double begun = lk_clock_seconds();
        work(loops * 100);
        double seconds = lk_clock_seconds() - begun;
        if (seconds < best) best = seconds;
    }
    int64_t mine = (int64_t)((double)loops * 100 * WORK_SECONDS / best);
    lk_error err = {0};
    must(b->comm, lk_comm_max(b->comm, &mine, &err), &err); /* the same on all ranks */
    b->work_loops = mine;
}

static void *progress(void *argument) {
    bench *b = argument;
    lk_error err = {0};
    while (!atomic_load(&b->quit)) {
        pthread_mutex_lock(&b->lock);
        must(b->comm, lk_reducer_poll(b->reducer, &err), &err);
        pthread_mutex_unlock(&b->lock);
        lk_comm_sleep(200e-6);
    }
    return NULL;
}

static void reduce(bench *b, int kind) {
    lk_error err = {0};
    pthread_t thread;
    must(b->comm, lk_reducer_begin(b->reducer, b->slab, b->comm->size, &err), &err);
    if (kind == THREADED) {
        atomic_store(&b->quit, false);
        pthread_create(&thread, NULL, progress, b);
    }
    for (int i = 0; i < b->buckets; i++) {
        for (int k = 0; k < b->chunks_per_bucket && kind != OURS; k++) {
            work(b->work_loops);
            if (kind == POLLED) must(b->comm, lk_reducer_poll(b->reducer, &err), &err);
        }
        if (kind == AFTER) continue;
        pthread_mutex_lock(&b->lock);
        must(b->comm, lk_reducer_submit(b->reducer, i, &err), &err);
        pthread_mutex_unlock(&b->lock);
    }
    for (int i = 0; i < b->buckets && kind == AFTER; i++) must(b->comm, lk_reducer_submit(b->reducer, i, &err), &err);
    if (kind == THREADED) {
        atomic_store(&b->quit, true);
        pthread_join(thread, NULL);
    }
    must(b->comm, lk_reducer_wait(b->reducer, &err), &err);
}

static double run(bench *b, int kind) {
    lk_error err = {0};
    int64_t at = 0;
    memset(b->slab, 0, (size_t)b->count * sizeof *b->slab);
    must(b->comm, lk_comm_barrier(b->comm, &err), &err);
    double begun = lk_clock_seconds();
    if (kind == MPI_WHOLE)
        MPI_Allreduce(MPI_IN_PLACE, b->slab, (int)b->count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else if (kind == MPI_BUCKETS)
        for (int i = 0; i < b->buckets; at = b->ends[i++])
            MPI_Allreduce(MPI_IN_PLACE, b->slab + at, (int)(b->ends[i] - at), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else if (kind == WORK)
        for (int i = 0; i < b->buckets * b->chunks_per_bucket; i++) work(b->work_loops);
    else
        reduce(b, kind);
    must(b->comm, lk_comm_barrier(b->comm, &err), &err);
    return lk_clock_seconds() - begun;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const bench *b, double times[KINDS][MOST_ROUNDS], int rounds) {
    double bytes = (double)b->count * sizeof *b->slab, n = b->comm->size;
    for (int kind = 0; kind < KINDS; kind++) qsort(times[kind], (size_t)rounds, sizeof(double), ascending);
    printf("%d ranks, %.0f MB in %d buckets, %d rounds\n", b->comm->size, bytes / 1e6, b->buckets, rounds);
    for (int kind = 0; kind < KINDS; kind++) {
        printf("%-34s best %7.2f ms  median %7.2f ms", names[kind], 1e3 * times[kind][0],
               1e3 * times[kind][rounds / 2]);
        if (kind <= OURS) printf("  bus bandwidth %.2f GB/s", 2 * (n - 1) / n * bytes / times[kind][0] / 1e9);
        printf("\n");
    }
    int m = rounds / 2;
    printf("reducer against MPI_Allreduce whole: %.2f times as fast (median %.2f), against buckets: %.2f (%.2f)\n",
           times[MPI_WHOLE][0] / times[OURS][0], times[MPI_WHOLE][m] / times[OURS][m],
           times[MPI_BUCKETS][0] / times[OURS][0], times[MPI_BUCKETS][m] / times[OURS][m]);
    printf(
        "visible cost of communication, share of computation: polled %.3f (median %.3f), thread %.3f (%.3f), after "
        "%.3f (%.3f)\n",
        times[POLLED][0] / times[WORK][0] - 1, times[POLLED][m] / times[WORK][m] - 1,
        times[THREADED][0] / times[WORK][0] - 1, times[THREADED][m] / times[WORK][m] - 1,
        times[AFTER][0] / times[WORK][0] - 1, times[AFTER][m] / times[WORK][m] - 1);
}

int main(int argc, char **argv) {
    bench b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    lk_error err = {0};
    static double times[KINDS][MOST_ROUNDS];
    double megabytes = argc > 1 ? atof(argv[1]) : 45, bucket = argc > 2 ? atof(argv[2]) : 4;
    int rounds = argc > 3 ? atoi(argv[3]) : 9;
    if (rounds < 1 || rounds > MOST_ROUNDS || megabytes <= 0 || bucket <= 0) return 2;
    if (lk_comm_mpi_create(&b.comm, &err) != LK_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    b.count = (int64_t)(megabytes * 1e6 / sizeof(float));
    int64_t step = (int64_t)(bucket * 1e6 / sizeof(float));
    b.buckets = (int)((b.count + step - 1) / step);
    b.chunks_per_bucket = 3;
    must(b.comm, LK_NEW(&b.slab, b.count, "a slab", &err), &err);
    must(b.comm, LK_NEW(&b.ends, b.buckets, "buckets", &err), &err);
    for (int i = 0; i < b.buckets; i++) b.ends[i] = (i + 1) * step < b.count ? (i + 1) * step : b.count;
    lk_reducer_config config = {
        .leaves = b.comm->size, .count = b.count, .dtype = LK_F32, .bucket_ends = b.ends, .buckets = b.buckets};
    must(b.comm, lk_reducer_create(&b.reducer, b.comm, &config, &err), &err);
    calibrate(&b);
    for (int kind = 0; kind < KINDS; kind++) run(&b, kind); /* first touch of buffers and connections */
    for (int round = 0; round < rounds; round++)
        for (int kind = 0; kind < KINDS; kind++) times[kind][round] = run(&b, kind);
    if (b.comm->rank == 0) report(&b, times, rounds);
    lk_reducer_free(b.reducer);
    lk_free(b.ends);
    lk_free(b.slab);
    lk_comm_free(b.comm);
    return 0;
}
