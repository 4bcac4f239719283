/* lockstep show: a run at a glance, in the terminal. */
#include <stddef.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "jobs/command.h"
#include "jobs/usage.h"
#include "report/run_summary.h"
#include "report/sparkline.h"

typedef struct show_options {
    bool ascii, json, help;
} show_options;

#define AT(field) offsetof(show_options, field)
static const lk_option options[] = {
    {.name = "ascii",
     .type = LK_OPTION_BOOL,
     .offset = AT(ascii),
     .default_text = "false",
     .help = "curves in plain letters, as where the locale is not UTF-8"},
    {.name = "json", .type = LK_OPTION_BOOL, .offset = AT(json), .default_text = "false", .help = "the result as JSON"},
    {.name = "help",
     .type = LK_OPTION_BOOL,
     .offset = AT(help),
     .default_text = "false",
     .help = "this text",
     .letter = 'h'},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

static lk_status show(const show_options *given, char *const *folders, int count, lk_error *err) {
    lk_status status = LK_OK;
    lk_run_record **runs = NULL;
    const lk_summary_style style = {.width = lk_terminal_width(stdout),
                                    .ascii = given->ascii || !lk_locale_is_utf8(),
                                    .now = lk_clock_unix_seconds()};
    LK_TRY(LK_NEW(&runs, count, "runs", err));
    for (int i = 0; i < count; i++) LK_TRY(lk_run_record_read(&runs[i], folders[i], err));
    if (given->json)
        LK_TRY(lk_run_summary_json(runs, count, stdout, err));
    else if (count == 1)
        LK_TRY(lk_run_summary_print(runs[0], &style, stdout, err));
    else
        LK_TRY(lk_run_summary_list(runs, count, &style, stdout, err));
out:
    for (int i = 0; runs != NULL && i < count; i++) lk_run_record_free(runs[i]);
    lk_free(runs);
    return status;
}

lk_status lk_command_show(int argc, char **argv, lk_error *err) {
    lk_status status = LK_OK;
    show_options given = {0};
    int arguments;
    LK_TRY(lk_options_defaults(options, OPTION_COUNT, &given, err));
    LK_TRY(lk_options_read_argv(options, OPTION_COUNT, &given, argc, argv, &arguments, err));
    if (given.help)
        lk_usage_print(
            "show RUN ... [options]",
            "A run at a glance: curves, best epochs, figures, speed, checkpoints; a run that is still going\n"
            "too. Several runs get a line each.",
            options, OPTION_COUNT, stdout);
    else if (arguments < 1)
        status = lk_fail(err, LK_ERR_USAGE, "show takes the folders of runs: lockstep show RUN");
    else
        status = show(&given, argv + 1, arguments, err);
out:
    lk_options_free(options, OPTION_COUNT, &given);
    return status;
}
