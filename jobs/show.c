/* lockstep show: a run at a glance, in the terminal. */
#include <stddef.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "jobs/command.h"
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
    LK_COMMAND_HELP(AT(help)),
};

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

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    return show(flags, arguments, count, err);
}

const lk_command lk_command_show = {
    .synopsis = "show RUN ... [options]",
    .about =
        "A run at a glance: curves, best epochs, figures, speed, checkpoints; a run that is still going\n"
        "too. Several runs get a line each.",
    LK_COMMAND_OPTIONS(options, show_options),
    .least = 1,
    .most = -1,
    .wrong = "show takes the folders of runs: lockstep show RUN",
    .run = run};
