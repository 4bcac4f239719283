/* Parts of the self-test that ask: what is this machine, and does every op compute what the reference does? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "jobs/doctor_selftest.h"

enum { OPS_SECONDS = 400, ASK_SECONDS = 60 };

#define QUICK_CASES "3x3" /* part of the names of some cases of convolution and pooling */

bool lk_selftest_helper(const lk_selftest *test, const char *name, char path[PATH_MAX]) {
    static const char *const places[] = {"../libexec/lockstep/", ""};
    const char *slash = strrchr(test->program, '/');
    int folder = slash == NULL ? 0 : (int)(slash - test->program) + 1;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(path, PATH_MAX, "%.*s%s%s", folder, test->program, places[i], name);
        if (length > 0 && length < PATH_MAX && access(path, X_OK) == 0) return true;
    }
    return false;
}

/* Version of the kernel's driver, "580.82.07"; empty where there is none. */
static void driver_version(char *text, size_t size) {
    char line[256] = "", *word;
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    text[0] = '\0';
    if (file == NULL) return;
    word = fgets(line, sizeof line, file) == NULL ? NULL : strstr(line, "  ");
    /* "NVRM version: NVIDIA UNIX ... Module  580.82.07  date": the first word that begins with a digit after blanks */
    while (word != NULL && (word[strspn(word, " ")] < '0' || word[strspn(word, " ")] > '9'))
        word = strstr(word + 2, "  ");
    if (word != NULL) {
        word += strspn(word, " ");
        snprintf(text, size, "%.*s", (int)strcspn(word, " \n"), word);
    }
    fclose(file);
}

lk_status lk_selftest_machine(lk_selftest *test, lk_selftest_part *part, lk_error *err) {
    const char *const argv[] = {test->program, "doctor", "--gpu", NULL};
    lk_status status = LK_OK;
    lk_process p = {0};
    char how[LK_PROCESS_TEXT], driver[64];
    LK_TRY(lk_process_run(&p, test->folder, argv, NULL, ASK_SECONDS, err));
    test->machine = p.exit_status == 0 ? json_loads(p.output, 0, NULL) : NULL;
    if (!json_is_object(test->machine)) {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED, "%s", lk_process_text(&p, how, sizeof how));
        lk_process_keep_output(&p, part);
        goto out;
    }
    driver_version(driver, sizeof driver);
    json_object_set_new(test->machine, "driver", json_string(driver));
    const char *gpu = NULL, *cuda = NULL, *cudnn = NULL, *nccl = NULL;
    json_unpack(test->machine, "{s:s, s:s, s:s, s?:s}", "gpu", &gpu, "cuda", &cuda, "cudnn", &cudnn, "nccl", &nccl);
    lk_selftest_conclude(part, LK_OUTCOME_PASSED, "%s; driver %s, CUDA %s, cuDNN %s, NCCL %s", gpu == NULL ? "?" : gpu,
                         driver[0] == '\0' ? "unknown" : driver, cuda == NULL ? "?" : cuda, cudnn == NULL ? "?" : cudnn,
                         nccl == NULL ? "not found" : nccl);
out:
    lk_free(p.output);
    return status;
}

/* The last line that begins with a word, as "compare cuda in float32: 320 cases and layouts, 0 failures". */
static void last_line(const char *output, const char *word, char *text, size_t size) {
    text[0] = '\0';
    for (const char *line = output; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        if (strncmp(line, word, strlen(word)) == 0) snprintf(text, size, "%.*s", (int)strcspn(line, "\n"), line);
        line = end == NULL ? NULL : end + 1;
    }
}

static int count_failures(const char *output, char *first, size_t size) {
    int count = 0;
    first[0] = '\0';
    for (const char *line = output; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        if (strncmp(line, "FAIL ", 5) == 0 && count++ == 0)
            snprintf(first, size, "%.*s", (int)strcspn(line + 5, "\n"), line + 5);
        line = end == NULL ? NULL : end + 1;
    }
    return count;
}

lk_status lk_selftest_ops(lk_selftest *test, lk_selftest_part *part, const char *mode, const char *type,
                          lk_error *err) {
    lk_status status = LK_OK;
    lk_process p = {0};
    char tool[PATH_MAX], summary[160], first[240], how[LK_PROCESS_TEXT];
    if (!lk_selftest_helper(test, "ops_test", tool)) {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED,
                             "ops_test is not installed beside this program: build with LOCKSTEP_TESTS");
        return LK_OK;
    }
    const char *argv[8] = {tool, mode, "cuda"};
    int count = 3;
    if (type != NULL) argv[count++] = "--type", argv[count++] = type;
    if (test->quick) argv[count++] = "--case", argv[count++] = QUICK_CASES;
    LK_TRY(lk_process_run(&p, test->folder, argv, NULL, OPS_SECONDS, err));
    last_line(p.output, mode, summary, sizeof summary);
    int failures = count_failures(p.output, first, sizeof first);
    part->figures = json_pack("{s:i, s:s}", "failures", failures, "summary", summary);
    if (p.exit_status == 0 && failures == 0 && summary[0] != '\0') {
        lk_selftest_conclude(part, LK_OUTCOME_PASSED, "%s", summary);
    } else {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED, "%d failures%s%s; %s", failures,
                             first[0] == '\0' ? "" : ", the first ", first, lk_process_text(&p, how, sizeof how));
        lk_process_keep_output(&p, part);
    }
out:
    lk_free(p.output);
    return status;
}
