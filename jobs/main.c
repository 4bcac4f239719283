/* The program: finds the subcommand, runs it, prints its error, gives the exit status. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/options.h"
#include "jobs/command.h"

typedef struct entry {
    const char *name;
    const lk_command *command;
    const char *help;
} entry;

static const entry commands[] = {
    {"pack", &lk_command_pack, "pack images into one data set file"},
    {"scan", &lk_command_scan, "what is wrong with a data set: unreadable, duplicate, mislabelled, odd images"},
    {"train", &lk_command_train, "train a model as a job file says, on one rank or many"},
    {"kfold", &lk_command_kfold, "train every fold of a job, and the mean and spread of what they reach"},
    {"sweep", &lk_command_sweep, "train variants of a job with several seeds, and compare them"},
    {"preview", &lk_command_preview, "a picture of what the network will see"},
    {"eval", &lk_command_eval, "metrics of a checkpoint on a data set"},
    {"calibrate", &lk_command_calibrate, "fit a temperature and class offsets on validation data: the decision layer"},
    {"predict", &lk_command_predict, "classes of images, as CSV"},
    {"convert", &lk_command_convert, "a checkpoint to safetensors or ONNX, and back"},
    {"verify", &lk_command_verify, "recompute the golden samples that a checkpoint or an export carries"},
    {"inspect", &lk_command_inspect, "what is in a data set or a checkpoint"},
    {"models", &lk_command_models, "the networks there are: parameters, work, sizes, preprocessing"},
    {"show", &lk_command_show, "a run at a glance: curves, best epochs, figures, speed, checkpoints"},
    {"compare", &lk_command_compare, "which of several runs is better, and how sure that is"},
    {"plan", &lk_command_plan, "the compiled plan of a job: calls, memory, work"},
    {"schedule", &lk_command_schedule, "print and draw the learning rate, update by update, before training"},
    {"doctor", &lk_command_doctor, "is this machine fit to train: each finding with its cure"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_help(FILE *out) {
    fputs(
        "Lockstep trains image classifiers by synchronous data parallelism.\n"
        "usage: lockstep COMMAND [arguments]\n\n",
        out);
    for (int i = 0; i < COMMAND_COUNT; i++) fprintf(out, "  %-9s  %s\n", commands[i].name, commands[i].help);
    fputs(
        "\n'lockstep COMMAND --help' lists a command's options. More ranks: 'mpirun -n N lockstep train ...'.\n"
        "exit status: 0 done, 1 failed, 2 wrong usage, 75 stopped early (run again to go on)\n",
        out);
}

static const entry *find_command(const char *name) {
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static lk_status unknown_command(const char *name, lk_error *err) {
    const char *names[COMMAND_COUNT];
    for (int i = 0; i < COMMAND_COUNT; i++) names[i] = commands[i].name;
    const char *near = lk_nearest_name(name, names, COMMAND_COUNT);
    if (near == NULL)
        return lk_fail(err, LK_ERR_USAGE, "unknown command '%.80s'; 'lockstep --help' lists the commands", name);
    return lk_fail(err, LK_ERR_USAGE, "unknown command '%.80s'; did you mean '%s'?", name, near);
}

static lk_status run(int argc, char **argv, lk_error *err) {
    if (argc < 2) return lk_fail(err, LK_ERR_USAGE, "a command is missing; 'lockstep --help' lists the commands");
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return LK_OK;
    }
    if (strcmp(word, "--version") == 0) {
        puts("lockstep " LK_VERSION);
        return LK_OK;
    }
    const entry *found = find_command(word);
    if (found == NULL) return unknown_command(word, err);
    return lk_command_run(found->command, argc - 1, argv + 1, err);
}

/* Has the reader of our standard output gone, as in "lockstep inspect x.h5 | head -1"? That is no failure. */
static bool reader_has_gone(void) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

static lk_status finish_output(lk_status status, lk_error *err) {
    bool failed = fflush(stdout) != 0 || ferror(stdout) != 0;
    if (!failed || status != LK_OK || reader_has_gone()) return status;
    return lk_fail(err, LK_ERR_IO, "cannot write the results to standard output: is the disk full?");
}

int main(int argc, char **argv) {
    lk_error err = {0};
    /* A closed pipe must not kill a training run; it is seen as a failed write instead. */
    signal(SIGPIPE, SIG_IGN);
    /* Nor must a file size limit: the write that meets it fails, and the earlier checkpoints stay (P12). */
    signal(SIGXFSZ, SIG_IGN);
    lk_status status = finish_output(run(argc, argv, &err), &err);
    /* A rank whose error another rank prints hands up an empty sentence. */
    if (status != LK_OK && err.message[0] != '\0') fprintf(stderr, "lockstep: %s\n", err.message);
    if (status != LK_OK && err.status == LK_OK)
        fprintf(stderr, "lockstep: failed (%s) without a reason: report this\n", lk_status_name(status));
    return lk_exit_status(status);
}
