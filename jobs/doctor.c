/* lockstep doctor: is this machine, or this allocation, fit to train? */
#include "jobs/doctor.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/memory.h"
#include "device/module.h"
#include "jobs/command.h"
#include "jobs/doctor_selftest.h"

static const lk_check checks[] = {
    {"processor", lk_check_processor},
    {"cores", lk_check_cores},
    {"memory", lk_check_memory},
    {"arithmetic", lk_check_arithmetic},
    {"mpi", lk_check_mpi},
    {"launcher", lk_check_launcher},
    {"shared memory", lk_check_shared_memory},
    {"folder", lk_check_folder},
    {"open files", lk_check_open_files},
    {"hdf5", lk_check_hdf5},
    {"gpu", lk_check_gpu},
    {"gnuplot", lk_check_gnuplot},
};
enum { CHECK_COUNT = sizeof checks / sizeof *checks };

static const char *const level_names[] = {"ok", "note", "warning", "bad"};

void lk_finding_text(lk_finding *finding, lk_finding_level level, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    finding->level = level;
}

void lk_finding_cure(lk_finding *finding, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(finding->cure, sizeof finding->cure, format, args);
    va_end(args);
}

static void print_text(const lk_finding *findings) {
    static const char *const colours[] = {"\x1b[32m", "", "\x1b[33m", "\x1b[31m"};
    bool colour = lk_terminal_has_colour(stdout);
    for (int i = 0; i < CHECK_COUNT; i++) {
        const lk_finding *f = &findings[i];
        printf("%s%-7s%s  %-13s  %s\n", colour ? colours[f->level] : "", level_names[f->level],
               colour && colours[f->level][0] != '\0' ? "\x1b[0m" : "", checks[i].name, f->text);
        if (f->cure[0] != '\0') printf("%-7s  %-13s  -> %s\n", "", "", f->cure);
    }
}

static lk_status print_json(const lk_finding *findings, bool fit, lk_error *err) {
    lk_status status = LK_OK;
    json_t *root = json_pack("{s:b, s:[]}", "fit", fit, "findings");
    json_t *list = json_object_get(root, "findings");
    for (int i = 0; i < CHECK_COUNT && root != NULL; i++) {
        const lk_finding *f = &findings[i];
        json_t *item = json_pack("{s:s, s:s, s:s, s:s}", "check", checks[i].name, "level", level_names[f->level],
                                 "text", f->text, "cure", f->cure);
        if (json_array_append_new(list, item) != 0) {
            json_decref(root);
            root = NULL;
        }
    }
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2));
    if (text == NULL) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot write the findings as JSON: out of memory");
    } else {
        puts(text);
    }
    free(text);
    json_decref(root);
    return status;
}

typedef struct doctor_options {
    bool json, gpu, selftest, quick, help;
    char *report;
} doctor_options;

#define AT(field) offsetof(doctor_options, field)
static const lk_option options[] = {
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "findings as JSON", 0, false},
    {"gpu", LK_OPTION_BOOL, AT(gpu), 0, "false", 0, 0, NULL, "what the GPU and its libraries are, as JSON", 0, false},
    {"gpu-selftest", LK_OPTION_BOOL, AT(selftest), 0, "false", 0, 0, NULL,
     "holds the GPU to account: every op, training against the CPU, the same bits twice, speed", 0, false},
    {"quick", LK_OPTION_BOOL, AT(quick), 0, "false", 0, 0, NULL,
     "with --gpu-selftest: few cases of ops, speed of a small network only", 0, false},
    {"report", LK_OPTION_STRING, AT(report), 0, NULL, 0, 0, NULL,
     "with --gpu-selftest: where the report goes, Markdown, and JSON beside it (lockstep-gpu-selftest.md)", 0, true},
    LK_COMMAND_HELP(AT(help)),
};

static lk_status print_gpu(lk_error *err) {
    char *json = NULL;
    LK_RETURN_IF(lk_device_module_identify(&json, "cuda", err));
    puts(json);
    lk_free(json);
    return LK_OK;
}

static lk_status check_machine(bool json, lk_error *err) {
    lk_finding findings[CHECK_COUNT] = {0};
    int bad = 0;
    const char *first = "";
    for (int i = 0; i < CHECK_COUNT; i++) {
        checks[i].run(&findings[i]);
        if (findings[i].level == LK_FINDING_BAD && bad++ == 0) first = checks[i].name;
    }
    if (json) {
        LK_RETURN_IF(print_json(findings, bad == 0, err));
    } else {
        print_text(findings);
    }
    if (bad == 0) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "this machine is not fit to train: %d of %d checks are bad, the first is %s", bad, CHECK_COUNT,
                   first);
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    const doctor_options *given = flags;
    (void)arguments;
    (void)count;
    if ((given->quick || given->report != NULL) && !given->selftest)
        return lk_fail(err, LK_ERR_USAGE, "--%s goes with --gpu-selftest", given->quick ? "quick" : "report");
    if (given->selftest)
        return lk_selftest_run(given->report == NULL ? "lockstep-gpu-selftest.md" : given->report, given->quick, err);
    return given->gpu ? print_gpu(err) : check_machine(given->json, err);
}

const lk_command lk_command_doctor = {
    .synopsis = "doctor [options]",
    .about =
        "Checks this machine or allocation and prints each finding with its cure: run it where the job\n"
        "will run. Exit status 1: training would not work here, or the GPU self-test failed.",
    LK_COMMAND_OPTIONS(options, doctor_options),
    .least = 0,
    .most = 0,
    .wrong = "doctor takes no arguments; 'lockstep doctor --help' lists its options",
    .run = run};
