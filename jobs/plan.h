/* What the files of `lockstep plan` share. */
#ifndef LK_JOBS_PLAN_H
#define LK_JOBS_PLAN_H

#include "nn/cost.h"
#include "nn/plan.h"
#include "train/job.h"

enum { LK_PLAN_MAX_ROWS = 64 }; /* rank counts that work: the powers of two, and a few more for odd trees */

/* Where cuDNN is asked for the engines of a described GPU. */
typedef enum lk_plan_cudnn { LK_PLAN_APART, LK_PLAN_HERE, LK_PLAN_NEVER } lk_plan_cudnn;

typedef struct lk_plan_flags {
    bool json, csv, launches, evaluate, help;
    int64_t classes, cores;
    char *device; /* NULL: the job's */
    int cudnn;    /* lk_plan_cudnn */
    double loader_rate, storage_rate;
} lk_plan_flags;

/* A job compiled for its device. */
typedef struct lk_compiled {
    const lk_job *job;
    const lk_plan_flags *flags;
    int64_t classes, samples, tail; /* samples 0: unknown; tail: samples of the epoch's smaller last microbatch */
    double sample_bytes;            /* stored, on average; 0: unknown */
    int cores;
    lk_device *device;
    const lk_gpu_kind *kind; /* NULL: no rates are known */
    bool without_cudnn;      /* a kind that is planned from its description alone */
    lk_cost cost;            /* where kind is known */
    lk_graph *graph;
    lk_plan *train, *last, *evaluate; /* last: for the tail, NULL where there is none */
    lk_plan_totals totals;            /* of train */
    int64_t arena, derived;           /* bytes of a lane's arena, of all derived parameters */
    int64_t trained;                  /* parameters; the others are frozen */
    FILE *out;
} lk_compiled;

/* What one number of ranks needs. */
typedef struct lk_rank_row {
    int ranks, accumulated, lanes, slabs;
    double bytes; /* of one rank */
    double rate;  /* images a second of all, predicted; 0: not known */
} lk_rank_row;

/* Fills c->device and what follows from it; c->job, c->flags and c->out are set. A described GPU is planned with
 * cuDNN's engines where flags->cudnn is LK_PLAN_HERE. Errors: those of devices, plans and data sets. Owner:
 * lk_compiled_release. */
LK_MUST_CHECK lk_status lk_compile_job(lk_compiled *c, lk_error *err);
void lk_compiled_release(lk_compiled *c);

/* rows: LK_PLAN_MAX_ROWS; returns how many are filled. */
LK_MUST_CHECK lk_status lk_plan_rank_rows(const lk_compiled *c, lk_rank_row *rows, int *count, lk_error *err);
/* Bytes of one rank: slabs, state, copies and arenas. Pure. */
double lk_plan_rank_bytes(const lk_compiled *c, int slabs, int lanes, double arena, double derived);

/* A microbatch of another size on the described GPU. */
typedef struct lk_size_row {
    int64_t microbatch;
    double arena, bytes, rate; /* of one GPU; rate is predicted */
} lk_size_row;
enum { LK_PLAN_MAX_SIZES = 16 };
/* This microbatch and its doubles as far as they fit into the GPU's memory; the last row is the largest that fits. Only
 * (smaller than this where this does not), none where not even one sample does. Only where c->kind is known. Errors:
 * those of plans. */
LK_MUST_CHECK lk_status lk_plan_sizes(const lk_compiled *c, lk_size_row *rows, int *count, lk_error *err);
/* Bytes of a GPU that a process has for itself: what CUDA and its libraries take is set aside. Pure. */
double lk_plan_gpu_room(const lk_gpu_kind *kind);

/* Least of GPU, loader and storage, on one GPU of this job. Unit: images a second; 0: not known. */
typedef struct lk_bound {
    double gpu, loader, storage, rate;
    const char *name;      /* "GPU", "loader", "storage" */
    double cores_needed;   /* of the loader, for the GPU's rate */
    double storage_needed; /* bytes a second, for the GPU's rate */
} lk_bound;
lk_bound lk_plan_bound(const lk_compiled *c, double gpu_rate);

/* The listings. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_plan_write_text(const lk_compiled *c, lk_error *err);
LK_MUST_CHECK lk_status lk_plan_write_json(const lk_compiled *c, lk_error *err);
LK_MUST_CHECK lk_status lk_plan_write_csv(const lk_compiled *c, lk_error *err);

#endif
