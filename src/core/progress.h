/* Progress of a long loop on stderr: a bar on a terminal, a plain line now and then elsewhere. */
#ifndef LK_CORE_PROGRESS_H
#define LK_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct lk_progress {
    FILE *out; /* NULL: silent */
    const char *title, *unit;
    int64_t total;   /* 0: unknown */
    bool cursor;     /* may the line be redrawn? */
    double interval; /* seconds between two lines or redraws */
    double started;  /* lk_clock_seconds() */
    double last_shown;
    int64_t done;
    /* What else to show, written into text; asked only when the line is drawn. NULL: nothing. */
    void (*note)(void *context, char *text, size_t size);
    void *note_context;
} lk_progress;

/* title and unit are borrowed: "pack", "images". out NULL: nothing is ever written (ranks other than 0). */
void lk_progress_start(lk_progress *progress, FILE *out, const char *title, const char *unit, int64_t total);
/* done: how many are finished so far. Cheap: looks at the clock and seldom writes. One thread at a time. */
void lk_progress_update(lk_progress *progress, int64_t done);
/* Removes the bar, so that other text can be written; the next update draws it again. */
void lk_progress_clear(lk_progress *progress);
/* Removes the bar and writes the final line: how many, how long, how fast. */
void lk_progress_finish(lk_progress *progress);

/* The text shown `elapsed` seconds after the start, at most `width` columns: parts that do not fit are left out, the
 * bar first, then the note, the time left, the rate, the title. Pure but for the note. Returns text. */
char *lk_progress_render(const lk_progress *progress, double elapsed, int width, char *text, size_t size);

#endif
