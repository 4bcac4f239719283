#include "core/progress.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"

enum { LINE_SIZE = 512, MAX_BAR = 40, MIN_BAR = 8, PARTS = 6 };

static double rate_of(const lk_progress *progress, double elapsed) {
    return elapsed > 0 ? (double)progress->done / elapsed : 0;
}

static void print_rate(double rate, const char *unit, char *text, size_t size) {
    snprintf(text, size, rate < 10 ? "%.2f %s/s" : rate < 100 ? "%.1f %s/s" : "%.0f %s/s", rate, unit);
}

static void draw_bar(double fraction, int width, char *text) {
    int filled = (int)(fraction * (width - 2) + 1e-9);
    text[0] = '[';
    memset(text + 1, '#', (size_t)filled);
    memset(text + 1 + filled, '.', (size_t)(width - 2 - filled));
    strcpy(text + width - 1, "]");
}

/* Joins the parts that are given with a blank; returns the length. */
static int join(char *text, size_t size, const char *const *parts, int count) {
    int used = 0;
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (parts[i] == NULL || parts[i][0] == '\0' || (size_t)used >= size) continue;
        used += snprintf(text + used, size - (size_t)used, "%s%s", used == 0 ? "" : " ", parts[i]);
    }
    return used;
}

char *lk_progress_render(const lk_progress *progress, double elapsed, int width, char *text, size_t size) {
    char counts[96], rate[64], left[40] = "", note[96] = "", bar[MAX_BAR + 1] = "", duration[24];
    double speed = rate_of(progress, elapsed), fraction = 0;
    print_rate(speed, progress->unit, rate, sizeof rate);
    if (progress->total > 0) {
        fraction = (double)progress->done / (double)progress->total;
        fraction = fraction > 1 ? 1 : fraction;
        snprintf(counts, sizeof counts, "%3d%% %" PRId64 "/%" PRId64, (int)(100 * fraction), progress->done,
                 progress->total);
        double rest = (double)(progress->total - progress->done);
        if (speed > 0)
            snprintf(left, sizeof left, "%s left", lk_clock_duration_text(rest / speed, duration, sizeof duration));
    } else {
        snprintf(counts, sizeof counts, "%" PRId64, progress->done);
    }
    if (progress->note != NULL) progress->note(progress->note_context, note, sizeof note);
    const char *parts[PARTS] = {progress->title, NULL, counts, rate, left, note};
    static const int droppable[] = {5, 4, 3, 0};
    int used = join(text, size, parts, PARTS);
    for (int i = 0; used > width && i < 4; i++) {
        parts[droppable[i]] = NULL;
        used = join(text, size, parts, PARTS);
    }
    int room = width - used - 1;
    if (progress->total > 0 && room >= MIN_BAR) {
        draw_bar(fraction, room < MAX_BAR ? room : MAX_BAR, bar);
        parts[1] = bar;
        used = join(text, size, parts, PARTS);
    }
    if (used > width && width >= 0 && (size_t)width < size) text[width] = '\0';
    return text;
}

void lk_progress_start(lk_progress *progress, FILE *out, const char *title, const char *unit, int64_t total) {
    *progress = (lk_progress){.out = out, .title = title, .unit = unit, .total = total};
    progress->started = lk_clock_seconds();
    progress->last_shown = progress->started;
    if (out == NULL) return;
    progress->cursor = lk_terminal_has_cursor(out);
    progress->interval = progress->cursor ? 0.1 : 10;
}

void lk_progress_update(lk_progress *progress, int64_t done) {
    progress->done = done;
    if (progress->out == NULL) return;
    double now = lk_clock_seconds();
    if (now - progress->last_shown < progress->interval) return;
    progress->last_shown = now;
    char text[LINE_SIZE];
    /* The last column stays free: some terminals wrap when it is written. */
    int width = progress->cursor ? lk_terminal_width(progress->out) - 1 : 78;
    lk_progress_render(progress, now - progress->started, width, text, sizeof text);
    fprintf(progress->out, progress->cursor ? "\r%s\x1b[K" : "%s\n", text);
    fflush(progress->out);
}

void lk_progress_clear(lk_progress *progress) {
    if (progress->out == NULL || !progress->cursor) return;
    fputs("\r\x1b[K", progress->out);
    fflush(progress->out);
    progress->last_shown = 0;
}

void lk_progress_finish(lk_progress *progress) {
    if (progress->out == NULL) return;
    lk_progress_clear(progress);
    double elapsed = lk_clock_seconds() - progress->started;
    char duration[24], rate[64];
    print_rate(rate_of(progress, elapsed), progress->unit, rate, sizeof rate);
    fprintf(progress->out, "%s: %" PRId64 " %s in %s (%s)\n", progress->title, progress->done, progress->unit,
            lk_clock_duration_text(elapsed, duration, sizeof duration), rate);
    fflush(progress->out);
}
