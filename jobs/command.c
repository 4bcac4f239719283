#include "jobs/command.h"

#include "core/memory.h"

static void print_help(const lk_command *command) {
    printf("usage: lockstep %s\n\n%s\n\noptions:\n", command->synopsis, command->about);
    lk_options_help(command->options, command->option_count, "--", stdout);
    if (command->more != NULL) command->more(stdout);
}

static bool asks_for_help(const lk_command *command, const void *given) {
    int i = lk_options_find(command->options, command->option_count, "help");
    return *(const bool *)((const char *)given + command->options[i].offset);
}

lk_status lk_command_run(const lk_command *command, int argc, char **argv, lk_error *err) {
    lk_status status = LK_OK;
    char *given = NULL;
    int arguments = 0;
    LK_TRY(LK_NEW(&given, command->bytes, "the options", err));
    LK_TRY(lk_options_defaults(command->options, command->option_count, given, err));
    LK_TRY(lk_options_read_argv(command->options, command->option_count, given, argc, argv, &arguments, err));
    if (asks_for_help(command, given))
        print_help(command);
    else if (arguments < command->least || (command->most >= 0 && arguments > command->most))
        status = lk_fail(err, LK_ERR_USAGE, "%s", command->wrong);
    else
        status = command->run(given, argv + 1, arguments, err);
out:
    if (given != NULL) lk_options_free(command->options, command->option_count, given);
    lk_free(given);
    return status;
}
