/* lockstep doctor: is this machine, or this allocation, fit to train? */
#include "jobs/doctor.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>

#include "core/log.h"
#include "jobs/command.h"
#include "jobs/usage.h"

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
    bool json, help;
} doctor_options;

static const lk_option options[] = {
    {"json", LK_OPTION_BOOL, offsetof(doctor_options, json), 0, "false", 0, 0, NULL, "findings as JSON", 0, false},
    {"help", LK_OPTION_BOOL, offsetof(doctor_options, help), 0, "false", 0, 0, NULL, "this text", 'h', false},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

lk_status lk_command_doctor(int argc, char **argv, lk_error *err) {
    doctor_options given;
    int arguments;
    LK_RETURN_IF(lk_options_defaults(options, OPTION_COUNT, &given, err));
    LK_RETURN_IF(lk_options_read_argv(options, OPTION_COUNT, &given, argc, argv, &arguments, err));
    if (given.help) {
        lk_usage_print("doctor [options]",
                       "Checks this machine or allocation and prints each finding with its cure: run it where the job\n"
                       "will run. Exit status 1: training would not work here.",
                       options, OPTION_COUNT, stdout);
        return LK_OK;
    }
    if (arguments > 0) return lk_fail(err, LK_ERR_USAGE, "doctor takes no arguments, but got '%.80s'", argv[1]);
    lk_finding findings[CHECK_COUNT] = {0};
    int bad = 0;
    const char *first = "";
    for (int i = 0; i < CHECK_COUNT; i++) {
        checks[i].run(&findings[i]);
        if (findings[i].level == LK_FINDING_BAD && bad++ == 0) first = checks[i].name;
    }
    if (given.json) {
        LK_RETURN_IF(print_json(findings, bad == 0, err));
    } else {
        print_text(findings);
    }
    if (bad == 0) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "this machine is not fit to train: %d of %d checks are bad, the first is %s", bad, CHECK_COUNT,
                   first);
}
