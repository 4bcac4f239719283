#include "report/chart.h"

#include <math.h>

#include "report/html.h"

enum { WIDTH = 480, HEIGHT = 300, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 46, MAX_POINTS = 600, ROW = 26 };

typedef struct frame {
    double x_low, x_high, y_low, y_high;
    double left, right, top, bottom; /* of the drawing area, in SVG units */
} frame;

static double at_x(const frame *f, double x) {
    return f->left + (x - f->x_low) / (f->x_high - f->x_low) * (f->right - f->left);
}

static double at_y(const frame *f, double y) {
    return f->bottom - (y - f->y_low) / (f->y_high - f->y_low) * (f->bottom - f->top);
}

int lk_chart_ticks(double low, double high, double *first, double *step) {
    double raw = (high - low) / 6, magnitude = pow(10, floor(log10(raw))), lead = raw / magnitude;
    *step = (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * magnitude;
    *first = ceil(low / *step - 1e-9) * *step;
    return (int)floor((high - *first) / *step + 1e-9) + 1;
}

/* A tick's label; a value that is 0 but for rounding is "0". */
static void write_tick(FILE *out, double value, double step) {
    if (fabs(value) < step * 1e-6) value = 0;
    fprintf(out, "%.*g", fabs(value) < 1e6 ? 6 : 4, value);
}

static void draw_x_axis(FILE *out, const frame *f, const char *label, bool whole) {
    double first, step;
    int ticks = lk_chart_ticks(f->x_low, f->x_high, &first, &step);
    if (whole && step < 1) { /* there is no half epoch */
        first = ceil(f->x_low);
        step = 1;
        ticks = (int)floor(f->x_high - first) + 1;
    }
    for (int i = 0; i < ticks; i++) {
        double x = at_x(f, first + i * step);
        fprintf(out,
                "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">",
                x, x, f->top, f->bottom, x, f->bottom + 15);
        write_tick(out, first + i * step, step);
        fputs("</text>\n", out);
    }
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (f->left + f->right) / 2, f->bottom + 34);
    lk_html_text(out, label);
    fputs("</text>\n", out);
}

static void draw_y_axis(FILE *out, const frame *f, const char *label) {
    double first, step;
    int ticks = lk_chart_ticks(f->y_low, f->y_high, &first, &step);
    for (int i = 0; i < ticks; i++) {
        double y = at_y(f, first + i * step);
        fprintf(out,
                "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"end\">",
                f->left, f->right, y, y, f->left - 5, y + 4);
        write_tick(out, first + i * step, step);
        fputs("</text>\n", out);
    }
    fprintf(out, "<text transform=\"translate(13 %.1f) rotate(-90)\" text-anchor=\"middle\">",
            (f->top + f->bottom) / 2);
    lk_html_text(out, label);
    fputs("</text>\n", out);
}

static void begin_svg(FILE *out, const char *title, const char *what, int height) {
    fprintf(out, "<figure class=\"chart\"><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, height);
    lk_html_text(out, title);
    lk_html_text(out, what);
    fputs("\">\n", out);
}

static void end_svg(FILE *out, const char *title) {
    fputs("</svg><figcaption>", out);
    lk_html_text(out, title);
    fputs("</figcaption></figure>\n", out);
}

/* Widens an empty range, so that there is something to divide by. */
static void widen(double *low, double *high) {
    if (!(*high > *low)) {
        double by = fabs(*low) > 0 ? 0.05 * fabs(*low) : 1;
        *low -= by;
        *high += by;
    }
}

static bool find_range(const lk_chart *chart, frame *f) {
    bool any = false;
    for (int s = 0; s < chart->count; s++)
        for (int i = 0; i < chart->series[s].count; i++) {
            double x = chart->series[s].x[i], y = chart->series[s].y[i];
            if (!isfinite(x) || !isfinite(y)) continue;
            f->x_low = any ? fmin(f->x_low, x) : x;
            f->x_high = any ? fmax(f->x_high, x) : x;
            f->y_low = any ? fmin(f->y_low, y) : y;
            f->y_high = any ? fmax(f->y_high, y) : y;
            any = true;
        }
    if (!any) return false;
    if (chart->from_zero) f->y_low = fmin(f->y_low, 0);
    widen(&f->x_low, &f->x_high);
    widen(&f->y_low, &f->y_high);
    double margin = 0.04 * (f->y_high - f->y_low);
    f->y_high += margin;
    if (!chart->from_zero) f->y_low -= margin;
    return true;
}

static void draw_series(FILE *out, const frame *f, const lk_series *s) {
    int step = (s->count + MAX_POINTS - 1) / MAX_POINTS;
    const char *dashes = s->dashed ? "4 3" : lk_html_dashes(s->color);
    bool pen_up = true;
    fprintf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" stroke-dasharray=\"%s\" d=\"",
            lk_html_color(s->color), dashes);
    /* The last point is always drawn: it is what the run ended with. */
    for (int i = 0; i < s->count; i = i < s->count - 1 && i + step > s->count - 1 ? s->count - 1 : i + step) {
        if (!isfinite(s->x[i]) || !isfinite(s->y[i])) {
            pen_up = true;
            continue;
        }
        fprintf(out, "%c%.1f %.1f", pen_up ? 'M' : 'L', at_x(f, s->x[i]), at_y(f, s->y[i]));
        pen_up = false;
    }
    fputs("\"><title>", out);
    lk_html_text(out, s->name);
    fputs("</title></path>\n", out);
    for (int i = 0; s->count <= 40 && i < s->count; i++) /* points can be told apart */
        if (isfinite(s->x[i]) && isfinite(s->y[i]))
            fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\" fill=\"%s\"/>\n", at_x(f, s->x[i]),
                    at_y(f, s->y[i]), lk_html_color(s->color));
}

void lk_chart_lines(FILE *out, const lk_chart *chart) {
    frame f = {.left = LEFT, .right = WIDTH - RIGHT, .top = TOP, .bottom = HEIGHT - BOTTOM};
    begin_svg(out, chart->title, ", as lines over the course of training; the numbers are in metrics.jsonl", HEIGHT);
    if (find_range(chart, &f)) {
        draw_x_axis(out, &f, chart->x_label, true);
        draw_y_axis(out, &f, chart->y_label);
        for (int s = 0; s < chart->count; s++) draw_series(out, &f, &chart->series[s]);
    } else {
        fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no finite value yet</text>", WIDTH / 2,
                HEIGHT / 2);
    }
    fprintf(out, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", f.left, f.top,
            f.right - f.left, f.bottom - f.top);
    end_svg(out, chart->title);
}

static void draw_interval(FILE *out, const frame *f, const lk_chart_interval *row, double y) {
    const char *color = lk_html_color(row->color);
    fprintf(out, "<text x=\"4\" y=\"%.1f\">", y - 7);
    lk_html_text(out, row->name);
    fputs("</text>\n", out);
    if (isfinite(row->wide_low))
        fprintf(out, "<line stroke=\"%s\" stroke-width=\"1.2\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
                color, at_x(f, row->wide_low), at_x(f, row->wide_high), y, y);
    fprintf(out,
            "<line stroke=\"%s\" stroke-width=\"4\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<circle fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>\n",
            color, at_x(f, row->low), at_x(f, row->high), y, y, color, at_x(f, row->estimate), y);
}

void lk_chart_intervals(FILE *out, const char *title, const char *x_label, const lk_chart_interval *rows, int count) {
    int height = TOP + count * (ROW + 14) + BOTTOM;
    frame f = {.left = 8,
               .right = WIDTH - RIGHT,
               .top = TOP,
               .bottom = height - BOTTOM,
               .x_low = INFINITY,
               .x_high = -INFINITY,
               .y_high = 1};
    for (int i = 0; i < count; i++) {
        f.x_low = fmin(f.x_low, fmin(rows[i].low, rows[i].wide_low)); /* fmin passes a NaN over */
        f.x_high = fmax(f.x_high, fmax(rows[i].high, rows[i].wide_high));
    }
    f.x_low = fmin(f.x_low, 0);
    f.x_high = fmax(f.x_high, 0);
    widen(&f.x_low, &f.x_high);
    double margin = 0.04 * (f.x_high - f.x_low);
    f.x_low -= margin;
    f.x_high += margin;
    begin_svg(out, title, ", an interval for each; the numbers are in the table", height);
    draw_x_axis(out, &f, x_label, false);
    fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", at_x(&f, 0), at_x(&f, 0),
            f.top, f.bottom);
    for (int i = 0; i < count; i++) draw_interval(out, &f, &rows[i], TOP + (i + 0.75) * (ROW + 14));
    end_svg(out, title);
}

void lk_chart_reliability(FILE *out, const char *title, const lk_chart_bin *bins, int count, double error, int color) {
    frame f = {0, 1, 0, 1, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM};
    long long most = 1;
    for (int i = 0; i < count; i++) most = bins[i].samples > most ? bins[i].samples : most;
    begin_svg(out, title, ", share of right answers against confidence", HEIGHT);
    draw_x_axis(out, &f, "confidence of the predicted class", false);
    draw_y_axis(out, &f, "share that was right");
    fprintf(out, "<line class=\"axis\" stroke-dasharray=\"4 3\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            at_x(&f, 0), at_y(&f, 0), at_x(&f, 1), at_y(&f, 1));
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" points=\"", lk_html_color(color));
    for (int i = 0; i < count; i++)
        if (bins[i].samples > 0) fprintf(out, "%.1f,%.1f ", at_x(&f, bins[i].confidence), at_y(&f, bins[i].accuracy));
    fputs("\"/>\n", out);
    for (int i = 0; i < count; i++)
        if (bins[i].samples > 0)
            fprintf(
                out,
                "<circle fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>%lld samples: confidence %.3f, right "
                "%.3f</title></circle>\n",
                lk_html_color(color), at_x(&f, bins[i].confidence), at_y(&f, bins[i].accuracy),
                2 + 7 * sqrt((double)bins[i].samples / (double)most), bins[i].samples, bins[i].confidence,
                bins[i].accuracy);
    fputs("</svg><figcaption>", out);
    lk_html_text(out, title);
    fprintf(out, ": expected calibration error %.4f</figcaption></figure>\n", error);
}
