/* Processes that the self-test runs: a GPU that fails in one does not take the others along. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "jobs/doctor_selftest.h"

extern char **environ;

enum { MOST_OUTPUT = 1 << 20, KEPT_OUTPUT = 3000 };

static void sleep_briefly(void) {
    struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
}

/* Waits until it ends or is out of time. */
static void wait_for(lk_process *p, pid_t child, double limit) {
    double start = lk_clock_seconds();
    int state = 0;
    pid_t ended;
    while ((ended = waitpid(child, &state, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
        p->late = p->late || lk_clock_seconds() - start > limit;
        if (p->late) kill(-child, SIGKILL);
        sleep_briefly();
    }
    p->seconds = lk_clock_seconds() - start;
    p->exit_status = ended == child && WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    p->signal = ended == child && WIFSIGNALED(state) && !p->late ? WTERMSIG(state) : 0;
}

static lk_status read_output(lk_process *p, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (file == NULL || fstat(fileno(file), &info) != 0) LK_TRY(lk_fail_errno(err, "read", path));
    long size = info.st_size > MOST_OUTPUT ? MOST_OUTPUT : (long)info.st_size;
    LK_TRY(LK_NEW(&p->output, size + 1, "what a process printed", err));
    if (fseek(file, (long)info.st_size - size, SEEK_SET) != 0) LK_TRY(lk_fail_errno(err, "read", path));
    size_t got = fread(p->output, 1, (size_t)size, file);
    p->output[got] = '\0';
    for (size_t i = 0; i < got; i++) /* one string */
        if (p->output[i] == '\0') p->output[i] = ' ';
out:
    if (file != NULL) fclose(file);
    return status;
}

/* Returns an errno. */
static int start(pid_t *child, const char *const *argv, const char *input, const char *output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE); /* this program ignores it */
    posix_spawnattr_setsigdefault(&attributes, &signals);
    int code = posix_spawnp(child, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

static lk_status write_input(const char *path, const char *text, lk_error *err) {
    FILE *file = fopen(path, "w");
    bool well = file != NULL && fputs(text, file) >= 0;
    if (file != NULL) well = fclose(file) == 0 && well;
    return well ? LK_OK : lk_fail_errno(err, "write", path);
}

lk_status lk_process_run(lk_process *process, const char *folder, const char *const *argv, const char *input,
                         double limit, lk_error *err) {
    lk_status status = LK_OK;
    char *in = NULL, *out = NULL;
    pid_t child = 0;
    *process = (lk_process){.exit_status = -1};
    LK_TRY(lk_format(&in, err, "%s/input", folder));
    LK_TRY(lk_format(&out, err, "%s/output", folder));
    if (input != NULL) LK_TRY(write_input(in, input, err));
    errno = start(&child, argv, input == NULL ? "/dev/null" : in, out);
    if (errno != 0) LK_TRY(lk_fail_errno(err, "start", argv[0]));
    wait_for(process, child, limit);
    LK_TRY(read_output(process, out, err));
out:
    lk_free(in);
    lk_free(out);
    return status;
}

const char *lk_process_text(const lk_process *process, char *text, size_t size) {
    if (process->late)
        snprintf(text, size, "not done after %.0f s", process->seconds);
    else if (process->signal != 0)
        snprintf(text, size, "ended by signal %d", process->signal);
    else
        snprintf(text, size, "exit status %d", process->exit_status);
    if (process->output == NULL) return text;
    size_t end = strlen(process->output), length = strlen(text);
    while (end > 0 && process->output[end - 1] == '\n') end--;
    size_t start = end;
    while (start > 0 && process->output[start - 1] != '\n') start--;
    if (end > start && length < size)
        snprintf(text + length, size - length, ", %.*s", (int)(end - start), process->output + start);
    return text;
}

void lk_process_keep_output(lk_process *process, lk_selftest_part *part) {
    if (process->output == NULL) return;
    size_t length = strlen(process->output);
    if (length > KEPT_OUTPUT) memmove(process->output, process->output + length - KEPT_OUTPUT, KEPT_OUTPUT + 1);
    lk_free(part->output);
    part->output = process->output;
    process->output = NULL;
}
