#include "core/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool lk_terminal_has_cursor(FILE *out) {
    const char *term = getenv("TERM");
    return isatty(fileno(out)) && (term == NULL || strcmp(term, "dumb") != 0);
}

/* Source: no-color.org: any value that is not empty. */
bool lk_terminal_has_colour(FILE *out) {
    const char *no_color = getenv("NO_COLOR");
    return lk_terminal_has_cursor(out) && (no_color == NULL || *no_color == '\0');
}

int lk_terminal_width(FILE *out) {
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    const char *columns = getenv("COLUMNS");
    long value = columns == NULL ? 0 : strtol(columns, NULL, 10);
    return value > 0 && value <= 10000 ? (int)value : 80;
}

lk_log lk_log_create(FILE *out, int rank, int size) {
    return (lk_log){
        .out = out, .level = LK_LOG_INFO, .rank = rank, .size = size, .colour = lk_terminal_has_colour(out)};
}

void lk_log_write(const lk_log *log, lk_log_level level, const char *format, ...) {
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    static const char *const colours[] = {"\x1b[31m", "\x1b[33m", "", "\x1b[2m"};
    if (log == NULL || level > log->level) return;
    char line[2200], rank[32] = "";
    if (log->size > 1) snprintf(rank, sizeof rank, "[rank %d] ", log->rank);
    bool coloured = log->colour && words[level][0] != '\0';
    int used = snprintf(line, sizeof line, "%s%s%s%s", rank, coloured ? colours[level] : "", words[level],
                        coloured ? "\x1b[0m" : "");
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, 2001, format, args);
    va_end(args);
    strcat(line, "\n");
    fputs(line, log->out);
    fflush(log->out);
}
