/* `lockstep doctor --gpu-selftest`: its parts and what they share; jobs/doctor*.c only. */
#ifndef LK_JOBS_DOCTOR_SELFTEST_H
#define LK_JOBS_DOCTOR_SELFTEST_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "core/error.h"

typedef enum lk_outcome {
    LK_OUTCOME_PASSED,
    LK_OUTCOME_FAILED,
    LK_OUTCOME_SKIPPED /* not run, or something that is not of this program is missing */
} lk_outcome;

typedef struct lk_selftest_part {
    char name[48];
    lk_outcome outcome;
    double seconds;
    char text[480];  /* one sentence: what was found */
    json_t *figures; /* object; NULL: none */
    char *output;    /* the end of what a failed process printed; NULL: none. lk_free */
} lk_selftest_part;

enum { LK_SELFTEST_PARTS = 16 };

typedef struct lk_selftest {
    bool quick;
    char program[PATH_MAX]; /* this program */
    char folder[PATH_MAX];  /* scratch, removed at the end */
    int seed;               /* of the runs that lk_selftest_training left in the folder; 0: none */
    json_t *machine;        /* what the first part found; NULL: nothing */
    lk_selftest_part parts[LK_SELFTEST_PARTS];
    int count;
} lk_selftest;

/* Runs all parts, prints a line for each, and writes the report after each. `report`: a path for Markdown; JSON goes
 * beside it. Errors: LK_ERR_DEVICE naming the parts that failed; LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_selftest_run(const char *report, bool quick, lk_error *err);

/* Parts. Each fills the outcome, the text and the figures; an error is only memory or the scratch folder. */
LK_MUST_CHECK lk_status lk_selftest_machine(lk_selftest *test, lk_selftest_part *part, lk_error *err);
/* ops_test's mode; type NULL: all that the device has. */
LK_MUST_CHECK lk_status lk_selftest_ops(lk_selftest *test, lk_selftest_part *part, const char *mode, const char *type,
                                        lk_error *err);
LK_MUST_CHECK lk_status lk_selftest_training(lk_selftest *test, lk_selftest_part *part, lk_error *err);
/* Trains as lk_selftest_training did and compares bits with its run. */
LK_MUST_CHECK lk_status lk_selftest_same_bits(lk_selftest *test, lk_selftest_part *part, const char *type,
                                              lk_error *err);
/* The same without graphs; the same on two or four GPUs, skipped where there is one. */
LK_MUST_CHECK lk_status lk_selftest_graphs(lk_selftest *test, lk_selftest_part *part, const char *type, lk_error *err);
LK_MUST_CHECK lk_status lk_selftest_ranks(lk_selftest *test, lk_selftest_part *part, const char *type, lk_error *err);
/* One model's speed. Needs lk_selftest_machine's answer. */
LK_MUST_CHECK lk_status lk_selftest_bench(lk_selftest *test, lk_selftest_part *part, const char *model, lk_error *err);

/* Writes the report; finished: no part is left. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_selftest_report(const lk_selftest *test, const char *path, bool finished, lk_error *err);

/* Sets a part's outcome and sentence. */
void lk_selftest_conclude(lk_selftest_part *part, lk_outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Can the GPU that lk_selftest_machine found compute in bfloat16? */
bool lk_selftest_has_bfloat16(const lk_selftest *test);

/* Full path of a program that is installed for this command: in ../libexec/lockstep beside this program's folder, or in
 * it. False: there is none. */
bool lk_selftest_helper(const lk_selftest *test, const char *name, char path[PATH_MAX]);

/* How a process ended. */
typedef struct lk_process {
    int exit_status; /* -1: it was ended */
    int signal;      /* 0: none */
    bool late;       /* took too long and was ended */
    double seconds;
    char *output; /* its standard output and error, the last MiB. lk_free */
} lk_process;

/* Runs a program, found in PATH where its name has no slash, and waits for it; after `limit` seconds it and its
 * children are ended. input: what it reads; NULL: nothing. Output goes through a file in `folder`. Owner of
 * process->output: the caller. Errors: LK_ERR_IO where it cannot be started; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_process_run(lk_process *process, const char *folder, const char *const *argv,
                                       const char *input, double limit, lk_error *err);
enum { LK_PROCESS_TEXT = 400 };
/* "exit status 1", "ended by signal 11", "not done after 60 s", and the last line that it printed. Returns text. */
const char *lk_process_text(const lk_process *process, char *text, size_t size);
/* Hands the end of the output to the part. */
void lk_process_keep_output(lk_process *process, lk_selftest_part *part);

#endif
