/* Charts as inline SVG: true axes with round ticks, text in the page's colour, a sentence for readers who cannot see.
 */
#ifndef LK_REPORT_CHART_H
#define LK_REPORT_CHART_H

#include <stdbool.h>
#include <stdio.h>

#include "core/error.h"

/* Points with a NaN are gaps. Borrowed arrays. */
typedef struct lk_series {
    const char *name;
    int color;   /* lk_html_color */
    bool dashed; /* whatever the colour's own dashes are */
    const double *x, *y;
    int count;
} lk_series;

typedef struct lk_chart {
    const char *title, *x_label, *y_label;
    const lk_series *series;
    int count;
    bool from_zero; /* the y axis starts at 0 */
} lk_chart;

/* One <figure>. Ticks of x are whole numbers: epochs or updates. */
void lk_chart_lines(FILE *out, const lk_chart *chart);

/* One row of an interval plot. */
typedef struct lk_chart_interval {
    const char *name;
    double estimate, low, high, wide_low, wide_high; /* wide: thin line, NaN for none */
    int color;
} lk_chart_interval;
/* Intervals one below the other over a common axis, with a line at 0. Unit as the label says. */
void lk_chart_intervals(FILE *out, const char *title, const char *x_label, const lk_chart_interval *rows, int count);

/* Reliability: for each bin the mean confidence and the share that was right, area by the number of samples. */
typedef struct lk_chart_bin {
    double confidence, accuracy;
    long long samples;
} lk_chart_bin;
void lk_chart_reliability(FILE *out, const char *title, const lk_chart_bin *bins, int count, double error, int color);

/* Round ticks for [low, high]: at most 8 values from *first in steps of *step. Pure. */
int lk_chart_ticks(double low, double high, double *first, double *step);

#endif
