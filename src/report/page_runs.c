/* Curves of training, and both best checkpoints of each run. */
#include <math.h>

#include "core/memory.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/page_internal.h"

/* One chart's lines, with the numbers they are drawn from. */
typedef struct line_set {
    lk_series *series;
    double **memory; /* two arrays a series: x, y */
    int count;
} line_set;

static void free_lines(line_set *lines, int most) {
    for (int i = 0; lines->memory != NULL && i < 2 * most; i++) lk_free(lines->memory[i]);
    lk_free(lines->memory);
    lk_free(lines->series);
}

static lk_status make_lines(line_set *lines, int most, lk_error *err) {
    *lines = (line_set){0};
    LK_RETURN_IF(LK_NEW(&lines->series, most, "lines of a chart", err));
    return LK_NEW(&lines->memory, 2 * most, "lines of a chart", err);
}

typedef enum quantity { TRAIN_LOSS, VALIDATION_LOSS, VALIDATION_F1, LEARNING_RATE } quantity;

static double epoch_value(const lk_run_record_epoch *epoch, quantity what) {
    switch (what) {
        case TRAIN_LOSS: return epoch->train_loss;
        case VALIDATION_LOSS: return epoch->loss;
        default: return epoch->macro_f1;
    }
}

static lk_status add_line(line_set *lines, const lk_run_record *run, int color, quantity what, lk_error *err) {
    size_t count = what == LEARNING_RATE ? run->update_count : run->epoch_count;
    double **x = &lines->memory[2 * lines->count], **y = x + 1;
    LK_RETURN_IF(LK_NEW(x, count, "points of a chart", err));
    LK_RETURN_IF(LK_NEW(y, count, "points of a chart", err));
    for (size_t i = 0; i < count; i++) {
        (*x)[i] = what == LEARNING_RATE ? (double)run->updates[i].update : (double)run->epochs[i].epoch;
        (*y)[i] = what == LEARNING_RATE ? run->updates[i].lr : epoch_value(&run->epochs[i], what);
    }
    lines->series[lines->count++] = (lk_series){run->name, color, what == TRAIN_LOSS, *x, *y, (int)count};
    return LK_OK;
}

/* A chart of one or two quantities over all runs; a run has its recipe's colour. */
static lk_status write_chart(FILE *out, const lk_comparison *c, lk_chart chart, const quantity *what, int quantities,
                             lk_error *err) {
    lk_status status = LK_OK;
    line_set lines;
    LK_TRY(make_lines(&lines, quantities * c->run_count, err));
    for (int q = 0; q < quantities; q++)
        for (int i = 0; i < c->recipe_count; i++)
            for (int m = 0; m < c->recipes[i].count; m++)
                if (!c->runs[c->recipes[i].members[m]]->decided) /* it trained as the run without the layer */
                    LK_TRY(add_line(&lines, c->runs[c->recipes[i].members[m]], i, what[q], err));
    chart.series = lines.series;
    chart.count = lines.count;
    lk_chart_lines(out, &chart);
out:
    free_lines(&lines, quantities * c->run_count);
    return status;
}

lk_status lk_page_curves(FILE *out, const lk_comparison *c, lk_error *err) {
    static const quantity losses[] = {VALIDATION_LOSS, TRAIN_LOSS}, f1[] = {VALIDATION_F1}, rate[] = {LEARNING_RATE};
    fputs("<h2>Curves</h2>\n", out);
    lk_page_legend(out, c);
    fputs("<div class=\"charts\">\n", out);
    LK_RETURN_IF(write_chart(
        out, c,
        (lk_chart){.title = "Loss: validation (solid), training (dashed)", .x_label = "epoch", .y_label = "loss"},
        losses, 2, err));
    LK_RETURN_IF(write_chart(
        out, c, (lk_chart){.title = "Macro-F1 on validation", .x_label = "epoch", .y_label = "macro-F1"}, f1, 1, err));
    LK_RETURN_IF(write_chart(
        out, c,
        (lk_chart){
            .title = "Learning rate that was used", .x_label = "update", .y_label = "learning rate", .from_zero = true},
        rate, 1, err));
    fputs("</div>\n", out);
    return LK_OK;
}

static void write_final(FILE *out, const lk_run_record_final *final) {
    lk_html_number(out, final->present ? final->macro_f1 : NAN, 4);
    lk_html_number(out, final->present ? final->loss : NAN, 4);
}

void lk_page_bests(FILE *out, const lk_comparison *c) {
    static const char *const heads[] = {"run",
                                        "recipe",
                                        "state",
                                        "best F1: macro-F1",
                                        "best F1: loss",
                                        "best loss: macro-F1",
                                        "best loss: loss",
                                        "difference, points",
                                        NULL};
    fprintf(out, "<h2>Best-F1 against best-loss checkpoint of each run (%s)</h2>\n", lk_final_split_name(c->split));
    lk_html_table_begin(out, "Both best checkpoints of each run", heads, 1u << 1 | 1u << 2);
    for (int i = 0; i < c->recipe_count; i++)
        for (int m = 0; m < c->recipes[i].count; m++) {
            const lk_run_record *run = c->runs[c->recipes[i].members[m]];
            const lk_run_record_final *f1 = &run->finals[LK_BEST_F1][c->split];
            const lk_run_record_final *loss = &run->finals[LK_BEST_LOSS][c->split];
            fputs("<tr><th scope=\"row\">", out);
            lk_html_text(out, run->name);
            fputs("</th><td class=\"left\">", out);
            lk_html_text(out, c->recipes[i].name);
            fprintf(out, "</td><td class=\"left\">%s</td>", lk_run_record_state(run));
            write_final(out, f1);
            write_final(out, loss);
            lk_html_number(out, f1->present && loss->present ? 100 * (f1->macro_f1 - loss->macro_f1) : NAN, 2);
            fputs("</tr>\n", out);
        }
    lk_html_table_end(out);
}
