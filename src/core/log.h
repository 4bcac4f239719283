/* Messages for people, on stderr: one line each, written at once so that ranks do not mix within a line. */
#ifndef LK_CORE_LOG_H
#define LK_CORE_LOG_H

#include <stdbool.h>
#include <stdio.h>

typedef enum lk_log_level { LK_LOG_ERROR, LK_LOG_WARNING, LK_LOG_INFO, LK_LOG_DEBUG } lk_log_level;

typedef struct lk_log {
    FILE *out;
    lk_log_level level; /* what is above it is dropped */
    int rank, size;     /* lines start with "[rank R] " where size > 1 */
    bool colour;
} lk_log;

/* May text sent to this stream have colours or move the cursor? A terminal other than "dumb", and NO_COLOR not set. */
bool lk_terminal_has_colour(FILE *out);
bool lk_terminal_has_cursor(FILE *out);
/* Columns of the terminal behind a stream; COLUMNS where it does not say, 80 where that is not set either. */
int lk_terminal_width(FILE *out);

/* Level INFO; colour where the stream may have it. */
lk_log lk_log_create(FILE *out, int rank, int size);

/* "warning: TEXT"; INFO has no prefix. Up to 2000 bytes. Any thread. log NULL: nothing. */
void lk_log_write(const lk_log *log, lk_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
