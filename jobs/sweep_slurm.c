#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "jobs/sweep.h"

enum { ID_SIZE = 64 };

extern char **environ;

/* The first line that the child writes, up to a ';' (sbatch --parsable: ID;CLUSTER). */
static void read_id(int fd, char id[ID_SIZE]) {
    FILE *from = fdopen(fd, "r");
    if (from == NULL) {
        close(fd);
        return;
    }
    if (fgets(id, ID_SIZE, from) == NULL) id[0] = '\0';
    id[strcspn(id, ";\n")] = '\0';
    while (fgetc(from) != EOF) continue;
    fclose(from);
}

/* Runs sbatch and takes the number of the job that it prints. words: NULL-terminated. */
static lk_status call_sbatch(char *const *words, char id[ID_SIZE], lk_error *err) {
    int ends[2], result;
    pid_t child;
    posix_spawn_file_actions_t actions;
    id[0] = '\0';
    if (pipe(ends) != 0) return lk_fail_errno(err, "start", "sbatch");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int code = posix_spawnp(&child, "sbatch", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (code != 0) {
        close(ends[0]);
        return lk_fail(err, LK_ERR_IO, "cannot start sbatch (%s): run this where Slurm's commands are", strerror(code));
    }
    read_id(ends[0], id);
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) continue;
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0 || id[0] == '\0')
        return lk_fail(err, LK_ERR_IO, "sbatch refused the jobs of the sweep: what it said stands above");
    return LK_OK;
}

/* "1,4,5": the runs that are not finished, as text. Owner of *out: the caller, with lk_free. */
static lk_status list_unfinished(char **out, const lk_sweep_runs *runs, lk_error *err) {
    LK_RETURN_IF(lk_strdup(out, "", err));
    for (int i = 0; i < runs->count; i++) {
        char *longer;
        if (runs->runs[i].state == LK_SWEEP_FINISHED) continue;
        LK_RETURN_IF(lk_format(&longer, err, "%s%s%d", *out, **out == '\0' ? "" : ",", i + 1));
        lk_free(*out);
        *out = longer;
    }
    return LK_OK;
}

/* Templates call $LOCKSTEP, or `lockstep` on PATH: let them find the program that runs now. */
static void name_program(void) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = '\0';
    setenv("LOCKSTEP", path, 0);
}

lk_status lk_sweep_submit(const lk_sweep_runs *runs, const char *template, char *const *overrides, int override_count,
                          FILE *out, lk_error *err) {
    lk_status status = LK_OK;
    char *list = NULL, *array = NULL, *after = NULL, **words = NULL, id[ID_SIZE], page[ID_SIZE];
    enum { FIXED = 11 };
    if (access(template, R_OK) != 0) return lk_fail_errno(err, "read the template", template);
    LK_TRY(list_unfinished(&list, runs, err));
    if (*list == '\0') {
        fputs("every run is finished: nothing was submitted\n", out);
        status = lk_sweep_report(runs, out, err);
        goto out;
    }
    LK_TRY(lk_format(&array, err, "--array=%s", list));
    LK_TRY(LK_NEW(&words, override_count + FIXED, "a command", err));
    int at = 0;
    words[at++] = "sbatch";
    words[at++] = "--parsable";
    words[at++] = array;
    words[at++] = (char *)(uintptr_t) template;
    words[at++] = (char *)(uintptr_t)runs->path;
    words[at++] = "-o";
    words[at++] = runs->folder;
    for (int i = 0; i < override_count; i++) words[at++] = overrides[i];
    name_program();
    LK_TRY(call_sbatch(words, id, err));
    fprintf(out, "array job %s trains the runs %s\n", id, list);
    LK_TRY(lk_format(&after, err, "--dependency=afterany:%s", id));
    words[2] = after;
    words[at++] = "--report";
    if (runs->decision) words[at++] = "--decision";
    LK_TRY(call_sbatch(words, page, err));
    fprintf(out, "job %s compares them afterwards: %s/report.html\n", page, runs->folder);
out:
    lk_free(words);
    lk_free(list);
    lk_free(array);
    lk_free(after);
    return status;
}
