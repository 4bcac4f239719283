/* lockstep schedule: the learning rate of every update, before training (P8). */
#include "optim/schedule.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/dataset.h"
#include "io/data/sampler.h"
#include "io/model/atomic.h"
#include "jobs/command.h"
#include "jobs/usage.h"
#include "train/job.h"

enum { MAX_POINTS = 4000 }; /* of a drawing */

typedef struct schedule_options {
    bool csv, help;
    char *output;
    int64_t updates_per_epoch;
} schedule_options;

#define AT(field) offsetof(schedule_options, field)
static const lk_option options[] = {
    {"csv", LK_OPTION_BOOL, AT(csv), 0, "false", 0, 0, NULL, "every update as CSV: update,epoch,lr", 0, false},
    {"output", LK_OPTION_STRING, AT(output), 0, NULL, 0, 0, NULL, "draw it as SVG into this file (needs gnuplot)", 'o',
     true},
    {"updates-per-epoch", LK_OPTION_INT, AT(updates_per_epoch), 0, "0", 0, 1e9, NULL,
     "0: counted from the job's data set; otherwise the data set is not opened", 0, false},
    {"help", LK_OPTION_BOOL, AT(help), 0, "false", 0, 0, NULL, "this text", 'h', false},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

typedef struct trace {
    lk_schedule schedule;
    int64_t per_epoch, updates;
} trace;

static lk_status count_updates(const lk_job *job, int64_t *per_epoch, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    lk_sampler *sampler = NULL;
    int64_t *train = NULL, count = 0;
    LK_TRY(lk_dataset_open(&dataset, job->data, err));
    LK_TRY(lk_dataset_split(dataset, LK_SPLIT_TRAIN, &train, &count, err));
    if (count == 0) {
        status = lk_fail(err, LK_ERR_DATA, "%s has no samples of the split 'train'", job->data);
        goto out;
    }
    LK_TRY(lk_sampler_create(&sampler, train, count, (uint64_t)job->seed, job->batch, job->microbatch, true,
                             job->drop_last, err));
    *per_epoch = lk_sampler_updates(sampler);
out:
    lk_sampler_free(sampler);
    lk_free(train);
    lk_dataset_free(dataset);
    return status;
}

static void print_csv(const trace *t) {
    puts("update,epoch,lr");
    for (int64_t u = 0; u < t->updates; u++)
        printf("%" PRId64 ",%" PRId64 ",%.17g\n", u, u / t->per_epoch, lk_schedule_lr(&t->schedule, u));
}

static void print_epochs(const trace *t) {
    printf("%" PRId64 " updates, %" PRId64 " an epoch\n\n", t->updates, t->per_epoch);
    puts(" epoch  first update    first rate     last rate");
    for (int64_t first = 0; first < t->updates; first += t->per_epoch) {
        int64_t last = first + t->per_epoch - 1 < t->updates ? first + t->per_epoch - 1 : t->updates - 1;
        printf("%6" PRId64 "  %12" PRId64 "  %12.6g  %12.6g\n", first / t->per_epoch, first,
               lk_schedule_lr(&t->schedule, first), lk_schedule_lr(&t->schedule, last));
    }
}

/* gnuplot's program and the points, on its standard input. */
static void write_script(const trace *t, FILE *out) {
    fputs(
        "set terminal svg size 800,400 background rgb 'white'\nset xlabel 'update'\nset ylabel 'learning rate'\n"
        "set grid\nset yrange [0:*]\nunset key\nplot '-' using 1:2 with lines linewidth 2\n",
        out);
    int64_t step = (t->updates + MAX_POINTS - 1) / MAX_POINTS;
    for (int64_t u = 0; u < t->updates; u += step)
        fprintf(out, "%" PRId64 " %.17g\n", u, lk_schedule_lr(&t->schedule, u));
    fputs("e\n", out);
}

/* Starts gnuplot with a pipe as its input and the file as its output. */
static lk_status start_gnuplot(pid_t *child, int *script, int output, lk_error *err) {
    extern char **environ;
    int ends[2];
    char *const words[] = {"gnuplot", NULL};
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0) return lk_fail_errno(err, "make a pipe to", "gnuplot");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int code = posix_spawnp(child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    *script = ends[1];
    if (code == 0) return LK_OK;
    close(ends[1]);
    if (code == ENOENT)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "cannot draw: gnuplot is not installed (apt-get install gnuplot-nox); --csv prints the numbers");
    errno = code;
    return lk_fail_errno(err, "start", "gnuplot");
}

static lk_status draw(const trace *t, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    lk_atomic_file file = {.fd = -1};
    pid_t child = 0;
    int script = -1, result = 0;
    LK_TRY(lk_atomic_create(&file, path, err));
    LK_TRY(start_gnuplot(&child, &script, file.fd, err));
    FILE *out = fdopen(script, "w");
    if (out != NULL) {
        write_script(t, out);
        fclose(out);
    } else {
        close(script);
    }
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) continue;
    if (out == NULL || !WIFEXITED(result) || WEXITSTATUS(result) != 0) {
        status = lk_fail(err, LK_ERR_IO, "cannot draw %s: gnuplot failed (its message is above)", path);
        goto out;
    }
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    return status;
}

static lk_status run(const schedule_options *given, const char *path, char *const *overrides, int count,
                     lk_error *err) {
    lk_status status = LK_OK;
    lk_job job;
    trace t = {.per_epoch = given->updates_per_epoch};
    LK_RETURN_IF(lk_job_read(&job, path, overrides, count, err));
    if (t.per_epoch == 0) LK_TRY(count_updates(&job, &t.per_epoch, err));
    lk_job_schedule(&job, t.per_epoch, &t.schedule);
    t.updates = job.epochs * t.per_epoch;
    if (job.max_updates > 0 && job.max_updates < t.updates) t.updates = job.max_updates;
    if (given->csv) {
        print_csv(&t);
    } else {
        print_epochs(&t);
    }
    if (given->output != NULL) LK_TRY(draw(&t, given->output, err));
out:
    lk_job_free(&job);
    return status;
}

lk_status lk_command_schedule(int argc, char **argv, lk_error *err) {
    lk_status status = LK_OK;
    schedule_options given;
    int arguments;
    LK_TRY(lk_options_defaults(options, OPTION_COUNT, &given, err));
    LK_TRY(lk_options_read_argv(options, OPTION_COUNT, &given, argc, argv, &arguments, err));
    if (given.help) {
        lk_usage_print("schedule JOB.yaml [KEY=VALUE ...] [options]",
                       "Prints the learning rate of a job, epoch by epoch or (--csv) update by update, and draws it.",
                       options, OPTION_COUNT, stdout);
    } else if (arguments < 1) {
        status = lk_fail(err, LK_ERR_USAGE, "schedule needs a job file: lockstep schedule JOB.yaml [KEY=VALUE ...]");
    } else {
        LK_TRY(run(&given, argv[1], argv + 2, arguments - 1, err));
    }
out:
    lk_options_free(options, OPTION_COUNT, &given);
    return status;
}
