/* lockstep plan: what a job will run, before it runs: the cut of the batch, memory by number of ranks, every call, and
 * what a GPU of a known kind is predicted to take. */
#include "jobs/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "jobs/command.h"

#define SECONDS_FOR_CUDNN 300

#define AT(field) offsetof(lk_plan_flags, field)
static const lk_option options[] = {
    {"device", LK_OPTION_STRING, AT(device), 0, NULL, 0, 0, NULL,
     "instead of the job's: h100 or a100 (by description: no GPU is needed), this (the GPU that answers), cpu", 0,
     true},
    {"launches", LK_OPTION_BOOL, AT(launches), 0, "false", 0, 0, NULL, "list every call of a microbatch", 0, false},
    {"csv", LK_OPTION_BOOL, AT(csv), 0, "false", 0, 0, NULL, "every launch of an update as CSV; on the CPU every call",
     0, false},
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "as JSON", 0, false},
    {"evaluate", LK_OPTION_BOOL, AT(evaluate), 0, "false", 0, 0, NULL, "list the calls of evaluation", 0, false},
    {"classes", LK_OPTION_INT, AT(classes), 0, "0", 0, 1e6, NULL,
     "0: counted from the job's data set; otherwise the data set is not opened", 0, false},
    {"cores", LK_OPTION_INT, AT(cores), 0, "0", 0, 65536, NULL, "cores of a rank; 0: those of this process", 0, false},
    {"loader-rate", LK_OPTION_DOUBLE, AT(loader_rate), 0, "450", 1e-3, 1e9, NULL,
     "images a second that one core decodes and augments; the default was measured on photographs of 400 x 533 pixels, "
     "random_resized to 224, on one core of a busy AMD EPYC: measure your own",
     0, false},
    {"storage-rate", LK_OPTION_DOUBLE, AT(storage_rate), 0, "0", 0, 1e9, NULL,
     "MB a second that the data set's storage gives; 0: not known, then it bounds nothing", 0, false},
    {"cudnn", LK_OPTION_CHOICE, AT(cudnn), 0, "apart", 0, 0, (const char *const[]){"apart", "here", "never", NULL},
     "who asks cuDNN for the engines of a GPU by description: another process, since a library may crash on a GPU that "
     "is "
     "not there, this one, or nobody",
     0, false},
    LK_COMMAND_HELP(AT(help)),
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

/* Compiles and lists. */
static lk_status plan_job(const lk_job *job, const lk_plan_flags *flags, lk_error *err) {
    lk_status status;
    lk_compiled c = {.job = job, .flags = flags, .out = stdout};
    LK_TRY(lk_compile_job(&c, err));
    if (flags->json)
        LK_TRY(lk_plan_write_json(&c, err));
    else if (flags->csv)
        LK_TRY(lk_plan_write_csv(&c, err));
    else
        LK_TRY(lk_plan_write_text(&c, err));
out:
    lk_compiled_release(&c);
    return status;
}

/* Whether all could be written is asked at the end of the program. */
static void copy_to_stdout(FILE *from) {
    char block[4096];
    size_t got;
    rewind(from);
    while ((got = fread(block, 1, sizeof block, from)) > 0)
        if (fwrite(block, 1, got, stdout) != got) return;
}

enum { WORD_SIZE = 256, FIXED_WORDS = 3 };

/* The words of the command line that does the same and asks cuDNN itself. text: WORD_SIZE bytes for each option. */
static void write_words(const lk_plan_flags *flags, char *const *arguments, int count, char *text, char **words) {
    int at = 0;
    words[at++] = "lockstep";
    words[at++] = "plan";
    for (int i = 0; i < count; i++) words[at++] = arguments[i];
    for (int i = 0; i < OPTION_COUNT; i++, text += WORD_SIZE) {
        char value[WORD_SIZE / 2];
        const lk_option *option = &options[i];
        bool flag = option->type == LK_OPTION_BOOL;
        lk_option_print(option, flags, value, sizeof value);
        if (strcmp(option->name, "cudnn") == 0) snprintf(value, sizeof value, "here");
        if (flag)
            snprintf(text, WORD_SIZE, "--%s%s", strcmp(value, "true") == 0 ? "" : "no-", option->name);
        else
            snprintf(text, WORD_SIZE, "--%s=%s", option->name, value);
        words[at++] = text;
    }
    words[at] = NULL;
}

/* Starts this program once more; what it says goes to out, what it complains of nowhere. */
static bool start_again(pid_t *child, char *const *words, FILE *out) {
    extern char **environ;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(out), STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int code = posix_spawn(child, "/proc/self/exe", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0;
}

/* true where out holds the whole listing of a plan with cuDNN's engines. */
static bool plan_apart(const lk_plan_flags *flags, char *const *arguments, int count, FILE *out) {
    char *text = NULL, **words = NULL;
    pid_t child = 0;
    int state = -1;
    lk_status status;
    LK_TRY(LK_NEW(&text, OPTION_COUNT * WORD_SIZE, "a command line", NULL));
    LK_TRY(LK_NEW(&words, OPTION_COUNT + FIXED_WORDS + count, "a command line", NULL));
    write_words(flags, arguments, count, text, words);
    if (!start_again(&child, words, out)) goto out;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
out:
    lk_free(text);
    lk_free(words);
    return status == LK_OK && child > 0 && WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

/* arguments: the job file, then keys. */
static lk_status run(void *given, char **arguments, int count, lk_error *err) {
    lk_status status;
    const lk_plan_flags *flags = given;
    if (flags->csv && flags->json)
        return lk_fail(err, LK_ERR_USAGE, "plan writes CSV or JSON, not both: give --csv or --json");
    lk_job job = {0};
    FILE *apart = NULL;
    bool described = flags->device != NULL && lk_gpu_kind_find(flags->device) != NULL;
    LK_TRY(lk_job_read(&job, arguments[0], arguments + 1, count - 1, err));
    if (described && flags->cudnn == LK_PLAN_APART) apart = tmpfile();
    if (apart != NULL && plan_apart(flags, arguments, count, apart)) {
        copy_to_stdout(apart);
        goto out;
    }
    if (flags->cudnn == LK_PLAN_HERE) alarm(SECONDS_FOR_CUDNN); /* it may hang */
    LK_TRY(plan_job(&job, flags, err));
    alarm(0);
out:
    if (apart != NULL) fclose(apart);
    lk_job_free(&job);
    return status;
}

const lk_command lk_command_plan = {
    .synopsis = "plan JOB.yaml [KEY=VALUE ...] [options]",
    .about =
        "Compiles a job without running it: how the batch is cut, which numbers of ranks work and what\n"
        "memory a rank needs, and every call with its implementation, layout, bytes and flops. For a\n"
        "GPU of a known kind it predicts what an update takes, the largest microbatch that fits, and\n"
        "whether GPU, loader or storage is the bound.",
    LK_COMMAND_OPTIONS(options, lk_plan_flags),
    .least = 1,
    .most = -1,
    .wrong = "plan needs a job file: lockstep plan JOB.yaml [KEY=VALUE ...]",
    .run = run};
