#include "report/page.h"

#include <math.h>

#include "core/clock.h"
#include "core/memory.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/page_internal.h"
#include "report/tables.h"

void lk_page_legend(FILE *out, const lk_comparison *c) {
    fputs("<ul class=\"legend\">", out);
    for (int i = 0; i < c->recipe_count; i++) {
        if (c->runs[c->recipes[i].members[0]]->decided) continue; /* its lines are those without the layer */
        fprintf(out,
                "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line x1=\"0\" x2=\"28\" y1=\"5\" y2=\"5\" "
                "stroke=\"%s\" "
                "stroke-width=\"3\" stroke-dasharray=\"%s\"/></svg>",
                lk_html_color(i), lk_html_dashes(i));
        lk_html_text(out, c->recipes[i].name);
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
}

/* Verdicts of the pairs that have the best recipe in them, or of those that do not. */
static void write_verdicts(FILE *out, const lk_comparison *c, bool of_best) {
    char text[512];
    fputs("<ul class=\"verdicts\">", out);
    for (int i = 0; i < c->pair_count; i++) {
        if ((c->pairs[i].a == 0) != of_best) continue;
        fprintf(out, "<li%s>", c->pairs[i].shown ? " class=\"shown\"" : "");
        lk_html_text(out, lk_comparison_verdict(c, &c->pairs[i], text, sizeof text));
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
}

static void write_summary(FILE *out, const lk_comparison *c) {
    char when[32];
    int unfinished = 0;
    for (int r = 0; r < c->run_count; r++) unfinished += !c->runs[r]->finished;
    fprintf(out,
            "<p>%d run%s of %d recipe%s, judged by <b>%s</b> on the <b>%s</b> split. Written %s by lockstep %s.</p>\n",
            c->run_count, c->run_count == 1 ? "" : "s", c->recipe_count, c->recipe_count == 1 ? "" : "s",
            lk_best_name(c->best), lk_final_split_name(c->split), lk_clock_wall_text(when, sizeof when), LK_VERSION);
    if (unfinished > 0)
        fprintf(out,
                "<p>%d of them stopped or still going: what is known of them so far is shown, but not judged.</p>\n",
                unfinished);
    if (!c->same_data)
        fputs(
            "<p><b>These runs were evaluated on different data.</b> Their figures cannot be compared sample by sample: "
            "there are no intervals and no verdicts.</p>\n",
            out);
    if (c->pair_count == 0) return;
    int wanted = lk_comparison_wanted_resamples(c->resamples, c->pair_count);
    if (wanted > 0)
        fprintf(out,
                "<p><b>No difference can be shown</b>: %d pairs need at least %d resamples, and there were %d.</p>\n",
                c->pair_count, wanted, c->resamples);
    write_verdicts(out, c, true);
    int others = c->pair_count;
    for (int i = 0; i < c->pair_count; i++) others -= c->pairs[i].a == 0;
    if (others == 0) return;
    fprintf(out, "<details%s><summary>%d pair%s without the best</summary>\n", c->pair_count <= 10 ? " open" : "",
            others, others == 1 ? "" : "s");
    write_verdicts(out, c, false);
    fputs("</details>\n", out);
}

static void write_recipes(FILE *out, const lk_comparison *c) {
    static const char *const heads[] = {"recipe",   "seeds", "macro-F1", "95% interval", "validation macro-F1",
                                        "accuracy", "loss",  "time",     "images/s",     "peak MiB",
                                        NULL};
    lk_html_table_begin(out, "Recipes", heads, 0);
    for (int i = 0; i < c->recipe_count; i++) {
        const lk_recipe *r = &c->recipes[i];
        char took[32];
        fputs("<tr><th scope=\"row\">", out);
        lk_html_text(out, r->name);
        if (r->predicted < r->count) fprintf(out, " <small>(%d unfinished)</small>", r->count - r->predicted);
        fprintf(out, "</th><td>%d</td>", r->count);
        lk_html_number(out, r->predicted > 0 ? r->f1.estimate : NAN, 4);
        if (r->predicted > 0 && !isnan(r->f1.low))
            fprintf(out, "<td data-value=\"%.6f\">%.4f to %.4f</td>", r->f1.low, r->f1.low, r->f1.high);
        else
            fputs("<td>-</td>", out);
        lk_html_number(out, r->validation_f1, 4);
        lk_html_number(out, r->accuracy, 4);
        lk_html_number(out, r->loss, 4);
        fprintf(out, "<td data-value=\"%.1f\">%s</td>", r->seconds,
                lk_clock_duration_text(r->seconds, took, sizeof took));
        lk_html_number(out, r->images_per_second, 0);
        lk_html_number(out, r->peak_memory_mib, 0);
        fputs("</tr>\n", out);
    }
    lk_html_table_end(out);
}

static lk_status write_pairs(FILE *out, const lk_comparison *c, lk_error *err) {
    static const char *const heads[] = {
        "higher",  "lower", "difference, points", "95% interval", "simultaneous interval", "corrected p",
        "verdict", NULL};
    lk_chart_interval *rows;
    char(*names)[256];
    if (c->pair_count == 0) return LK_OK;
    LK_RETURN_IF(LK_NEW(&rows, c->pair_count, "intervals", err));
    lk_status status = LK_NEW(&names, c->pair_count, "intervals", err);
    if (status != LK_OK) {
        lk_free(rows);
        return status;
    }
    fputs("<h2>Differences of macro-F1</h2>\n", out);
    lk_html_table_begin(out, "Differences of macro-F1 between recipes", heads, 1u << 1 | 1u << 6);
    for (int i = 0; i < c->pair_count; i++) {
        const lk_recipe_pair *p = &c->pairs[i];
        const lk_interval *d = &p->difference;
        snprintf(names[i], sizeof names[i], "%.100s - %.100s", c->recipes[p->a].name, c->recipes[p->b].name);
        rows[i] = (lk_chart_interval){names[i],     100 * d->estimate, 100 * d->low, 100 * d->high,
                                      100 * p->low, 100 * p->high,     p->a};
        fputs("<tr><th scope=\"row\">", out);
        lk_html_text(out, c->recipes[p->a].name);
        fputs("</th><td class=\"left\">", out);
        lk_html_text(out, c->recipes[p->b].name);
        fprintf(out,
                "</td><td>%.2f</td><td data-value=\"%.4f\">%.2f to %.2f</td><td data-value=\"%.4f\">%.2f to %.2f</td>"
                "<td>%.4f</td><td class=\"left\">%s</td></tr>\n",
                100 * d->estimate, 100 * d->low, 100 * d->low, 100 * d->high, 100 * p->low, 100 * p->low, 100 * p->high,
                p->p, p->shown ? "better" : "no difference shown");
    }
    lk_html_table_end(out);
    lk_chart_intervals(out, "Differences of macro-F1: thick 95%, thin simultaneous for all pairs", "points", rows,
                       c->pair_count);
    fprintf(
        out,
        "<p class=\"note\">Paired bootstrap, %d resamples of the same images in all runs; where a recipe has several "
        "seeds, seeds are drawn too. p is corrected for the %d comparison%s by Holm's method; simultaneous intervals "
        "by "
        "Bonferroni's. With very few seeds the intervals are somewhat too narrow.</p>\n",
        c->resamples, c->pair_count, c->pair_count == 1 ? "" : "s");
    lk_free(rows);
    lk_free(names);
    return LK_OK;
}

typedef struct row_context {
    FILE *out;
    int count;
} row_context;

static lk_status write_difference(void *context, const char *key, const char *const *values, lk_error *err) {
    (void)err;
    row_context *row = context;
    fputs("<tr><th scope=\"row\">", row->out);
    lk_html_text(row->out, key);
    fputs("</th>", row->out);
    for (int i = 0; i < row->count; i++) {
        fputs("<td class=\"left\">", row->out);
        lk_html_text(row->out, values[i][0] == '\0' ? "-" : values[i]);
        fputs("</td>", row->out);
    }
    fputs("</tr>\n", row->out);
    return LK_OK;
}

static lk_status write_jobs(FILE *out, const lk_comparison *c, lk_error *err) {
    row_context row = {out, c->recipe_count};
    fputs(
        "<h2>What differs between the jobs</h2>\n<div class=\"wide\"><table><caption hidden>Keys of the jobs that "
        "differ"
        "</caption><thead><tr><th scope=\"col\">key</th>",
        out);
    for (int i = 0; i < c->recipe_count; i++) {
        fputs("<th scope=\"col\" class=\"left\">", out);
        lk_html_text(out, c->recipes[i].name);
        fputs("</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    LK_RETURN_IF(lk_comparison_job_differences(c, write_difference, &row, err));
    fputs(
        "</tbody></table></div>\n<p class=\"note\">The seed, the data path and keys that leave results alone are not "
        "compared.</p>\n",
        out);
    return LK_OK;
}

static lk_status write_page(FILE *out, const lk_comparison *c, int thumbnails, lk_error *err) {
    lk_html_begin(out, "Comparison of runs");
    write_summary(out, c);
    fputs("<h2>Recipes</h2>\n", out);
    write_recipes(out, c);
    LK_RETURN_IF(write_pairs(out, c, err));
    LK_RETURN_IF(lk_page_curves(out, c, err));
    lk_page_bests(out, c);
    LK_RETURN_IF(lk_page_classes(out, c, err));
    LK_RETURN_IF(lk_page_confusions(out, c, err));
    LK_RETURN_IF(lk_page_calibration(out, c, err));
    if (thumbnails > 0) LK_RETURN_IF(lk_page_images(out, c, thumbnails, err));
    LK_RETURN_IF(write_jobs(out, c, err));
    lk_html_end(out);
    return LK_OK;
}

typedef struct page_context {
    const lk_comparison *comparison;
    int thumbnails;
} page_context;

static lk_status write_body(FILE *out, const void *context, lk_error *err) {
    const page_context *page = context;
    return write_page(out, page->comparison, page->thumbnails, err);
}

lk_status lk_page_write(const lk_comparison *comparison, const char *path, int thumbnails, lk_error *err) {
    const page_context context = {comparison, thumbnails};
    return lk_html_write(path, write_body, &context, err);
}
