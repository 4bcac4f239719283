/* lockstep doctor --gpu-selftest: is what this program computes on this machine's GPU right, and how fast is it? */
#include "jobs/doctor_selftest.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"

/* One part: what is done, with what, and whether it needs a GPU that answered. */
typedef struct step {
    const char *name;
    enum {
        STEP_MACHINE,
        STEP_OPS,
        STEP_SUPPORT,
        STEP_TRAINING,
        STEP_SAME_BITS,
        STEP_GRAPHS,
        STEP_RANKS,
        STEP_BENCH
    } kind;
    const char *argument;
} step;

static const step STEPS[] = {
    {"machine", STEP_MACHINE, NULL},
    {"ops in float32", STEP_OPS, "float32"},
    {"ops in tf32", STEP_OPS, "tf32"},
    {"ops in bfloat16", STEP_OPS, "bfloat16"},
    {"ops in float16", STEP_OPS, "float16"},
    {"what is supported", STEP_SUPPORT, NULL},
    {"training", STEP_TRAINING, NULL},
    {"same bits in float32", STEP_SAME_BITS, "float32"},
    {"same bits in bfloat16", STEP_SAME_BITS, "bfloat16"},
    {"graphs in float32", STEP_GRAPHS, "float32"},
    {"graphs in bfloat16", STEP_GRAPHS, "bfloat16"},
    {"several GPUs", STEP_RANKS, "float32"},
    {"speed of resnet18", STEP_BENCH, "resnet18"},
    {"speed of resnet50", STEP_BENCH, "resnet50"},
    {"speed of efficientnet_b0", STEP_BENCH, "efficientnet_b0"},
};
/* What replaces the speeds in the quick form. */
static const step QUICK_BENCH = {"speed of cifar_resnet8", STEP_BENCH, "cifar_resnet8"};
enum { STEP_COUNT = sizeof STEPS / sizeof *STEPS };
_Static_assert((int)STEP_COUNT <= (int)LK_SELFTEST_PARTS, "more steps than parts");

void lk_selftest_conclude(lk_selftest_part *part, lk_outcome outcome, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(part->text, sizeof part->text, format, args);
    va_end(args);
    part->outcome = outcome;
}

static lk_status run_step(lk_selftest *test, const step *s, lk_selftest_part *part, lk_error *err) {
    switch (s->kind) {
        case STEP_MACHINE: return lk_selftest_machine(test, part, err);
        case STEP_OPS: return lk_selftest_ops(test, part, "compare", s->argument, err);
        case STEP_SUPPORT: return lk_selftest_ops(test, part, "support", s->argument, err);
        case STEP_TRAINING: return lk_selftest_training(test, part, err);
        case STEP_SAME_BITS: return lk_selftest_same_bits(test, part, s->argument, err);
        case STEP_GRAPHS: return lk_selftest_graphs(test, part, s->argument, err);
        case STEP_RANKS: return lk_selftest_ranks(test, part, s->argument, err);
        case STEP_BENCH: return lk_selftest_bench(test, part, s->argument, err);
    }
    return lk_fail(err, LK_ERR_INTERNAL, "the self-test has no step %d", (int)s->kind);
}

static void print_part(const lk_selftest_part *part) {
    static const char *const names[] = {"passed", "FAILED", "skipped"};
    static const char *const colours[] = {"\x1b[32m", "\x1b[31m", "\x1b[33m"};
    bool colour = lk_terminal_has_colour(stdout);
    printf("%s%-7s%s  %-24s  %s (%.0f s)\n", colour ? colours[part->outcome] : "", names[part->outcome],
           colour ? "\x1b[0m" : "", part->name, part->text, part->seconds);
    fflush(stdout);
}

/* Both came with compute capability 8.0. */
static bool needs_bfloat16_or_tf32(const step *s) {
    if (s->kind == STEP_BENCH) return true;
    return s->argument != NULL && (strcmp(s->argument, "bfloat16") == 0 || strcmp(s->argument, "tf32") == 0);
}

bool lk_selftest_has_bfloat16(const lk_selftest *test) {
    const char *capability = json_string_value(json_object_get(test->machine, "capability"));
    return capability != NULL && strtod(capability, NULL) >= 8;
}

/* A part that cannot be tried is a failed part: the others are run. */
static lk_status run_all(lk_selftest *test, const char *report, lk_error *err) {
    bool quick_bench = false;
    for (int i = 0; i < STEP_COUNT; i++) {
        const step *s = &STEPS[i];
        if (s->kind == STEP_BENCH && test->quick) {
            if (quick_bench) break;
            quick_bench = true;
            s = &QUICK_BENCH;
        }
        lk_selftest_part *part = &test->parts[test->count++];
        lk_error why = {0};
        double start = lk_clock_seconds();
        snprintf(part->name, sizeof part->name, "%s", s->name);
        if (i > 0 && test->machine == NULL)
            lk_selftest_conclude(part, LK_OUTCOME_SKIPPED, "no GPU answered");
        else if (needs_bfloat16_or_tf32(s) && !lk_selftest_has_bfloat16(test))
            lk_selftest_conclude(part, LK_OUTCOME_SKIPPED, "this GPU has neither bfloat16 nor TF32");
        else if (run_step(test, s, part, &why) != LK_OK)
            lk_selftest_conclude(part, LK_OUTCOME_FAILED, "%.400s", why.message);
        part->seconds = lk_clock_seconds() - start;
        print_part(part);
        LK_RETURN_IF(lk_selftest_report(test, report, false, err));
    }
    return lk_selftest_report(test, report, true, err);
}

static lk_status judge(const lk_selftest *test, const char *report, lk_error *err) {
    char names[400] = "";
    size_t length = 0;
    for (int i = 0; i < test->count; i++) {
        if (test->parts[i].outcome != LK_OUTCOME_FAILED) continue;
        int added =
            snprintf(names + length, sizeof names - length, "%s%s", length > 0 ? ", " : "", test->parts[i].name);
        if (added > 0 && (size_t)added < sizeof names - length) length += (size_t)added;
    }
    printf("report: %s\n", report);
    if (length == 0) return LK_OK;
    return lk_fail(err, LK_ERR_DEVICE, "the GPU self-test failed in %s; see %.400s", names, report);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static lk_status make_folder(lk_selftest *test, lk_error *err) {
    const char *temporary = getenv("TMPDIR");
    int length = snprintf(test->folder, sizeof test->folder, "%s/lockstep-selftest-XXXXXX",
                          temporary == NULL || temporary[0] == '\0' ? "/tmp" : temporary);
    if (length > 0 && (size_t)length < sizeof test->folder && mkdtemp(test->folder) != NULL) return LK_OK;
    lk_status status = lk_fail_errno(err, "create the scratch folder", test->folder);
    test->folder[0] = '\0';
    return status;
}

/* The programs that are run lie in another folder and have the same modules. */
static lk_status use_own_modules(const lk_selftest *test, lk_error *err) {
    char *modules = NULL;
    lk_status status = LK_OK;
    int folder = (int)(strrchr(test->program, '/') - test->program);
    LK_TRY(lk_format(&modules, err, "%.*s/../lib/lockstep", folder, test->program));
    if (setenv("LOCKSTEP_MODULES", modules, 0) != 0) status = lk_fail_errno(err, "set", "LOCKSTEP_MODULES");
out:
    lk_free(modules);
    return status;
}

lk_status lk_selftest_run(const char *report, bool quick, lk_error *err) {
    lk_status status = LK_OK;
    lk_selftest *test = NULL;
    LK_TRY(LK_NEW(&test, 1, "the self-test", err));
    test->quick = quick;
    ssize_t length = readlink("/proc/self/exe", test->program, sizeof test->program - 1);
    if (length < 0) LK_TRY(lk_fail_errno(err, "read", "/proc/self/exe"));
    test->program[length] = '\0';
    LK_TRY(use_own_modules(test, err));
    LK_TRY(make_folder(test, err));
    LK_TRY(run_all(test, report, err));
    status = judge(test, report, err);
out:
    if (test == NULL) return status;
    if (test->folder[0] != '\0') nftw(test->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    for (int i = 0; i < test->count; i++) {
        json_decref(test->parts[i].figures);
        lk_free(test->parts[i].output);
    }
    json_decref(test->machine);
    lk_free(test);
    return status;
}
