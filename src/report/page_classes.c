/* Class by class: F1 and support, confusion, calibration. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "report/calibration.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/page_internal.h"

enum { MAX_MATRIX = 20, MAX_CONFUSED = 20 }; /* classes of a matrix that a page can hold; pairs listed beyond */

/* The first run that was evaluated: its class names head the tables. */
static const lk_run_record_final *any_final(const lk_comparison *c) {
    for (int i = 0; i < c->recipe_count; i++)
        if (c->recipes[i].predicted > 0) return lk_comparison_final(c, c->recipes[i].members[0]);
    return NULL;
}

static double mean_class_f1(const lk_comparison *c, const lk_recipe *recipe, int k) {
    double sum = 0;
    for (int m = 0; m < recipe->predicted; m++) sum += lk_comparison_final(c, recipe->members[m])->classes[k].f1;
    return recipe->predicted == 0 ? NAN : sum / recipe->predicted;
}

lk_status lk_page_classes(FILE *out, const lk_comparison *c, lk_error *err) {
    const lk_run_record_final *names = any_final(c);
    const char **heads;
    if (!c->same_classes || names == NULL) return LK_OK;
    LK_RETURN_IF(LK_NEW(&heads, c->recipe_count + 3, "heads of a table", err));
    heads[0] = "class";
    heads[1] = "support";
    for (int i = 0; i < c->recipe_count; i++) heads[2 + i] = c->recipes[i].name;
    fprintf(out, "<h2>F1 of each class (%s, mean over seeds)</h2>\n", lk_final_split_name(c->split));
    lk_html_table_begin(out, "F1 of each class", heads, 0);
    lk_free(heads);
    for (int k = 0; k < names->class_count; k++) {
        fputs("<tr><th scope=\"row\">", out);
        lk_html_text(out, names->classes[k].name);
        fprintf(out, "</th><td>%lld</td>", (long long)names->classes[k].support);
        for (int i = 0; i < c->recipe_count; i++) lk_html_number(out, mean_class_f1(c, &c->recipes[i], k), 4);
        fputs("</tr>\n", out);
    }
    lk_html_table_end(out);
    return LK_OK;
}

/* Sum over the seeds of a recipe: row = true class, column = prediction. */
static lk_status count_confusion(const lk_comparison *c, const lk_recipe *recipe, int64_t *counts, lk_error *err) {
    const int classes = lk_comparison_predictions(c, recipe->members[0])->classes;
    double *probability;
    LK_RETURN_IF(LK_NEW(&probability, classes, "probabilities", err));
    for (int m = 0; m < recipe->predicted; m++) {
        const lk_prediction_set *set = lk_comparison_predictions(c, recipe->members[m]);
        for (int64_t i = 0; i < set->count; i++)
            counts[(int64_t)set->labels[i] * classes + lk_softmax(set->logits + i * classes, classes, probability)]++;
    }
    lk_free(probability);
    return LK_OK;
}

static void write_matrix(FILE *out, const lk_run_record_final *names, const int64_t *counts) {
    int classes = names->class_count;
    fputs("<div class=\"wide\"><table><thead><tr><th scope=\"col\">true \\ predicted</th>", out);
    for (int k = 0; k < classes; k++) {
        fputs("<th scope=\"col\">", out);
        lk_html_text(out, names->classes[k].name);
        fputs("</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (int k = 0; k < classes; k++) {
        int64_t total = 0;
        for (int j = 0; j < classes; j++) total += counts[k * classes + j];
        fputs("<tr><th scope=\"row\">", out);
        lk_html_text(out, names->classes[k].name);
        fputs("</th>", out);
        for (int j = 0; j < classes; j++) {
            double share = total == 0 ? 0 : (double)counts[k * classes + j] / (double)total;
            int64_t count = counts[k * classes + j];
            if (count == 0) {
                fputs("<td class=\"cell\"></td>", out);
                continue;
            }
            /* At most 45% of the colour lies under the number, so that it can be read on it. */
            fprintf(out,
                    "<td class=\"cell\" style=\"background:rgba(var(--heat),%.2f)\">%lld<small>%.0f%%</small></td>",
                    0.45 * share, (long long)count, 100 * share);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

typedef struct confused {
    int label, predicted;
    int64_t count;
} confused;

static int compare_confused(const void *a, const void *b) {
    const confused *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->label != y->label ? x->label - y->label : x->predicted - y->predicted;
}

/* Too many classes for a matrix: the pairs that are confused most. */
static lk_status write_confused(FILE *out, const lk_run_record_final *names, const int64_t *counts, lk_error *err) {
    static const char *const heads[] = {"true class", "predicted", "images", "share of the class", NULL};
    int classes = names->class_count;
    int64_t found = 0;
    confused *list;
    LK_RETURN_IF(LK_NEW(&list, (int64_t)classes * classes, "confused classes", err));
    for (int k = 0; k < classes; k++)
        for (int j = 0; j < classes; j++)
            if (k != j && counts[(int64_t)k * classes + j] > 0)
                list[found++] = (confused){k, j, counts[(int64_t)k * classes + j]};
    qsort(list, (size_t)found, sizeof *list, compare_confused);
    lk_html_table_begin(out, "Classes that are confused most", heads, 1u << 1);
    for (int64_t i = 0; i < found && i < MAX_CONFUSED; i++) {
        int64_t total = 0;
        for (int j = 0; j < classes; j++) total += counts[(int64_t)list[i].label * classes + j];
        fputs("<tr><th scope=\"row\">", out);
        lk_html_text(out, names->classes[list[i].label].name);
        fputs("</th><td class=\"left\">", out);
        lk_html_text(out, names->classes[list[i].predicted].name);
        fprintf(out, "</td><td>%lld</td><td>%.1f%%</td></tr>\n", (long long)list[i].count,
                100 * (double)list[i].count / (double)total);
    }
    lk_html_table_end(out);
    lk_free(list);
    return LK_OK;
}

lk_status lk_page_confusions(FILE *out, const lk_comparison *c, lk_error *err) {
    lk_status status = LK_OK;
    int64_t *counts = NULL;
    fprintf(out, "<h2>Confusion (%s, seeds added up; counts, and the share of each row)</h2>\n",
            lk_final_split_name(c->split));
    for (int i = 0; i < c->recipe_count; i++) {
        const lk_recipe *recipe = &c->recipes[i];
        if (recipe->predicted == 0) continue;
        const lk_run_record_final *names = lk_comparison_final(c, recipe->members[0]);
        int64_t classes = lk_comparison_predictions(c, recipe->members[0])->classes;
        if (names->class_count != classes) continue;
        LK_TRY(LK_NEW(&counts, classes * classes, "a confusion matrix", err));
        LK_TRY(count_confusion(c, recipe, counts, err));
        fputs("<h3>", out);
        lk_html_text(out, recipe->name);
        fputs("</h3>\n", out);
        if (classes <= MAX_MATRIX)
            write_matrix(out, names, counts);
        else
            LK_TRY(write_confused(out, names, counts, err));
        lk_free(counts);
        counts = NULL;
    }
out:
    lk_free(counts);
    return status;
}

static lk_status write_reliability(FILE *out, const lk_comparison *c, int index, lk_error *err) {
    const lk_recipe *recipe = &c->recipes[index];
    const lk_prediction_set *sets[256];
    lk_chart_bin bins[LK_CALIBRATION_BINS];
    lk_calibration calibration;
    for (int m = 0; m < recipe->predicted; m++) sets[m] = lk_comparison_predictions(c, recipe->members[m]);
    LK_RETURN_IF(lk_calibration_measure(&calibration, sets, recipe->predicted, err));
    for (int b = 0; b < LK_CALIBRATION_BINS; b++)
        bins[b] =
            (lk_chart_bin){calibration.bins[b].confidence, calibration.bins[b].accuracy, calibration.bins[b].samples};
    lk_chart_reliability(out, recipe->name, bins, LK_CALIBRATION_BINS, calibration.error, index);
    return LK_OK;
}

lk_status lk_page_calibration(FILE *out, const lk_comparison *c, lk_error *err) {
    fprintf(out, "<h2>Calibration (%s)</h2>\n<div class=\"charts\">\n", lk_final_split_name(c->split));
    for (int i = 0; i < c->recipe_count; i++)
        if (c->recipes[i].predicted > 0) LK_RETURN_IF(write_reliability(out, c, i, err));
    fprintf(out,
            "</div>\n<p class=\"note\">%d bins of equal width; the area of a point grows with its number of images. On "
            "the dashed line a confidence means what it says.</p>\n",
            LK_CALIBRATION_BINS);
    return LK_OK;
}
