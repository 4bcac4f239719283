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
#include "io/model/atomic.h"
#include "jobs/command.h"
#include "train/training_set.h"

enum { MAX_POINTS = 4000 }; /* of a drawing */

typedef struct schedule_options {
    bool csv, help;
    char *output;
    int64_t updates_per_epoch;
} schedule_options;

#define AT(field) offsetof(schedule_options, field)
static const lk_option options[] = {
    {"csv", LK_OPTION_BOOL, AT(csv), 0, "false", 0, 0, NULL,
     "every update as CSV: update,epoch,lr and what else the schedule moves", 0, false},
    {"output", LK_OPTION_STRING, AT(output), 0, NULL, 0, 0, NULL, "draw it as SVG into this file (needs gnuplot)", 'o',
     true},
    {"updates-per-epoch", LK_OPTION_INT, AT(updates_per_epoch), 0, "0", 0, 1e9, NULL,
     "0: counted from the job's data set; otherwise the data set is not opened", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

typedef struct trace {
    const lk_job *job;
    lk_schedule schedule;
    int64_t per_epoch, updates;
    double *lowest; /* plateau: the rate of each epoch when no evaluation after the first is better; else NULL */
} trace;

static lk_status count_updates(const lk_job *job, int64_t *per_epoch, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    lk_sampler *sampler = NULL;
    lk_training_set set = {0};
    LK_TRY(lk_dataset_open(&dataset, job->data, err));
    LK_TRY(lk_training_set_read(&set, job, dataset, err));
    LK_TRY(lk_training_set_sampler(&sampler, &set, job, dataset, err));
    *per_epoch = lk_sampler_updates(sampler);
out:
    lk_sampler_free(sampler);
    lk_training_set_free(&set);
    lk_dataset_free(dataset);
    return status;
}

/* How fast a plateau schedule can lower the rate: evaluations in the warm-up do not count. */
static lk_status bound_plateau(trace *t, lk_error *err) {
    lk_plateau plateau;
    lk_plateau_state state;
    int64_t epochs = (t->updates + t->per_epoch - 1) / t->per_epoch;
    if (t->schedule.kind != LK_SCHEDULE_PLATEAU) return LK_OK;
    lk_job_plateau(t->job, &plateau);
    lk_plateau_start(&state, t->schedule.lr);
    LK_RETURN_IF(LK_NEW(&t->lowest, epochs, "the rates of the epochs", err));
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        t->lowest[epoch] = state.lr;
        if ((epoch + 1) * t->per_epoch > lk_schedule_warmup_updates(&t->schedule)) lk_plateau_step(&plateau, &state, 1);
    }
    return LK_OK;
}

static double lowest_lr(const trace *t, int64_t update) {
    if (update < lk_schedule_warmup_updates(&t->schedule)) return lk_schedule_lr(&t->schedule, update);
    return t->lowest[update / t->per_epoch];
}

/* The second figure of an update, where the schedule has one. */
static bool second(const trace *t, int64_t update, double *value) {
    if (t->lowest == NULL) return lk_schedule_momentum(&t->schedule, update, value);
    *value = lowest_lr(t, update);
    return true;
}

static void print_csv(const trace *t) {
    double value;
    bool more = second(t, 0, &value);
    printf("update,epoch,lr%s\n", !more ? "" : t->lowest != NULL ? ",lowest_lr" : ",momentum");
    for (int64_t u = 0; u < t->updates; u++) {
        printf("%" PRId64 ",%" PRId64 ",%.17g", u, u / t->per_epoch, lk_schedule_lr(&t->schedule, u));
        if (second(t, u, &value)) printf(",%.17g", value);
        putchar('\n');
    }
}

static void print_plateau(const lk_job *job) {
    printf("the rate depends on the run: it is multiplied by %g after %" PRId64
           " epochs in a row without a better validation %s; the rates below are\n"
           "the highest (never reduced) and the lowest possible (no evaluation after the first is better)\n\n",
           job->schedule.factor, job->schedule.patience + 1,
           job->schedule.monitor == LK_MONITOR_F1 ? "macro-F1" : "loss");
}

static void print_epochs(const trace *t) {
    bool plateau = t->lowest != NULL;
    double first_momentum, last_momentum;
    bool momentum = !plateau && second(t, 0, &first_momentum);
    printf("%" PRId64 " updates, %" PRId64 " an epoch\n\n", t->updates, t->per_epoch);
    if (plateau) print_plateau(t->job);
    printf(" epoch  first update  %12s  %12s%s\n", plateau ? "highest rate" : "first rate",
           plateau ? "lowest rate" : "last rate", momentum ? "  first momentum  last momentum" : "");
    for (int64_t first = 0; first < t->updates; first += t->per_epoch) {
        int64_t last = first + t->per_epoch - 1 < t->updates ? first + t->per_epoch - 1 : t->updates - 1;
        printf("%6" PRId64 "  %12" PRId64 "  %12.6g  %12.6g", first / t->per_epoch, first,
               lk_schedule_lr(&t->schedule, plateau ? last : first),
               plateau ? lowest_lr(t, last) : lk_schedule_lr(&t->schedule, last));
        if (momentum && second(t, first, &first_momentum) && second(t, last, &last_momentum))
            printf("  %14.6g  %13.6g", first_momentum, last_momentum);
        putchar('\n');
    }
}

/* One curve's points for gnuplot. */
static void write_points(const trace *t, bool want_second, FILE *out) {
    int64_t step = (t->updates + MAX_POINTS - 1) / MAX_POINTS;
    double value = 0;
    for (int64_t u = 0; u < t->updates; u += step) {
        if (!want_second || !second(t, u, &value)) value = lk_schedule_lr(&t->schedule, u);
        fprintf(out, "%" PRId64 " %.17g\n", u, value);
    }
    fputs("e\n", out);
}

/* gnuplot's program and the points, on its standard input. */
static void write_script(const trace *t, FILE *out) {
    double value;
    bool plateau = t->lowest != NULL, momentum = !plateau && second(t, 0, &value);
    fprintf(out,
            "set terminal svg size 800,420 background rgb 'white'\nset xlabel 'update'\nset ylabel 'learning rate'\n"
            "set x2label 'epoch'\nset xtics nomirror\nset x2tics\nset grid\nset xrange [0:%" PRId64
            "]\nset x2range [0:%.17g]\nset yrange [0:*]\nset offsets 0,0,graph 0.05,0\nset ytics nomirror\n",
            t->updates, (double)t->updates / (double)t->per_epoch);
    if (momentum)
        fputs("set y2label 'momentum'\nset y2tics\nset y2range [0:1]\nset key bmargin center horizontal\n", out);
    if (plateau) fputs("set key bmargin center horizontal\n", out);
    const char *first = plateau ? "highest possible: never reduced" : momentum ? "learning rate" : "";
    fprintf(out, "plot '-' using 1:2 with %s linewidth 2 %s '%s'", plateau ? "steps" : "lines",
            *first == '\0' ? "notitle" : "title", first);
    if (plateau) fputs(", '-' using 1:2 with steps linewidth 2 title 'lowest possible: no evaluation is better'", out);
    if (momentum) fputs(", '-' using 1:2 axes x1y2 with lines linewidth 2 dashtype 2 title 'momentum'", out);
    fputs("\n", out);
    write_points(t, false, out);
    if (plateau || momentum) write_points(t, true, out);
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

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    lk_status status = LK_OK;
    const schedule_options *given = flags;
    lk_job job;
    trace t = {.job = &job, .per_epoch = given->updates_per_epoch};
    LK_RETURN_IF(lk_job_read(&job, arguments[0], arguments + 1, count - 1, err));
    if (t.per_epoch == 0) LK_TRY(count_updates(&job, &t.per_epoch, err));
    lk_job_schedule(&job, t.per_epoch, &t.schedule);
    t.updates = job.epochs * t.per_epoch;
    if (job.max_updates > 0 && job.max_updates < t.updates) t.updates = job.max_updates;
    LK_TRY(bound_plateau(&t, err));
    if (given->csv) {
        print_csv(&t);
    } else {
        print_epochs(&t);
    }
    if (given->output != NULL) LK_TRY(draw(&t, given->output, err));
out:
    lk_free(t.lowest);
    lk_job_free(&job);
    return status;
}

const lk_command lk_command_schedule = {
    .synopsis = "schedule JOB.yaml [KEY=VALUE ...] [options]",
    .about = "Prints the learning rate of a job, epoch by epoch or (--csv) update by update, and draws it.",
    LK_COMMAND_OPTIONS(options, schedule_options),
    .least = 1,
    .most = -1,
    .wrong = "schedule needs a job file: lockstep schedule JOB.yaml [KEY=VALUE ...]",
    .run = run};
