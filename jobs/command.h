/* A subcommand: one file in jobs/, one line in main.c's table. */
#ifndef LK_JOBS_COMMAND_H
#define LK_JOBS_COMMAND_H

#include "core/options.h"

/* What a subcommand takes and does. */
typedef struct lk_command {
    const char *synopsis; /* behind "usage: lockstep " */
    const char *about;    /* what it does, for --help */
    const lk_option *options;
    int option_count;
    size_t bytes;            /* of the struct that the options fill */
    int least, most;         /* arguments that are no options; most -1: any number */
    const char *wrong;       /* the sentence where there are fewer or more */
    void (*more)(FILE *out); /* what --help ends with, or NULL */
    /* options: the struct, filled; what it takes from it is freed by the caller. Results go to stdout; errors only into
     * *err. */
    lk_status (*run)(void *options, char **arguments, int count, lk_error *err);
} lk_command;

#define LK_COMMAND_OPTIONS(table, type) \
    .options = (table), .option_count = (int)(sizeof(table) / sizeof *(table)), .bytes = sizeof(type)

/* The row of an option that every subcommand has. */
#define LK_COMMAND_HELP(at)                                                                                   \
    {                                                                                                         \
        .name = "help", .type = LK_OPTION_BOOL, .offset = (at), .default_text = "false", .help = "this text", \
        .letter = 'h'                                                                                         \
    }

/* Reads the options, and prints --help, refuses what is wrong, or runs the subcommand. argv[0] is its name.
 * Errors: LK_ERR_USAGE; those of the subcommand. */
LK_MUST_CHECK lk_status lk_command_run(const lk_command *command, int argc, char **argv, lk_error *err);

extern const lk_command lk_command_pack, lk_command_scan, lk_command_train, lk_command_kfold, lk_command_sweep,
    lk_command_preview, lk_command_eval, lk_command_calibrate, lk_command_predict, lk_command_convert,
    lk_command_verify, lk_command_schedule, lk_command_plan, lk_command_models, lk_command_inspect, lk_command_show,
    lk_command_compare, lk_command_doctor;

#endif
