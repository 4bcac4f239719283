#include "report/tables.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/text.h"

enum { NAME_WIDTH = 28 };

/* "0.8123", or "-" where there is none. */
static const char *figure(double value, int digits, char *text, size_t size) {
    if (isnan(value))
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%.*f", digits, value);
    return text;
}

static const char *interval_text(const lk_interval *interval, char *text, size_t size) {
    if (isnan(interval->low))
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%.4f to %.4f", interval->low, interval->high);
    return text;
}

static void print_recipe(const lk_recipe *recipe, FILE *out) {
    char name[4 * NAME_WIDTH + 8], range[48], f1[16], validation[16], accuracy[16], loss[16], took[32];
    lk_text_fit(recipe->name, NAME_WIDTH, name, sizeof name);
    if (recipe->predicted == 0) {
        fprintf(out, "%s  %5d  not finished: %s images/s so far\n", name, recipe->count,
                figure(recipe->images_per_second, 0, f1, sizeof f1));
        return;
    }
    fprintf(out, "%s  %5d  %8s  %-16s  %10s  %8s  %6s  %8s  %8.0f  %8.0f\n", name, recipe->count,
            figure(recipe->f1.estimate, 4, f1, sizeof f1), interval_text(&recipe->f1, range, sizeof range),
            figure(recipe->validation_f1, 4, validation, sizeof validation),
            figure(recipe->accuracy, 4, accuracy, sizeof accuracy), figure(recipe->loss, 4, loss, sizeof loss),
            lk_clock_duration_text(recipe->seconds, took, sizeof took), recipe->images_per_second,
            recipe->peak_memory_mib);
}

void lk_comparison_print(const lk_comparison *c, FILE *out) {
    char text[512];
    fprintf(out,
            "%-*s  seeds  macro-F1  95%% interval      validation  accuracy    loss      time  images/s  peak MiB\n",
            NAME_WIDTH, "recipe");
    for (int i = 0; i < c->recipe_count; i++) print_recipe(&c->recipes[i], out);
    fprintf(out, "\nmacro-F1, accuracy and loss of %s on the %s split", lk_best_name(c->best),
            lk_final_split_name(c->split));
    if (c->same_data)
        fprintf(out, "; %d resamples of its images%s\n\n", c->resamples,
                c->pair_count > 1 ? "; p corrected for all pairs" : "");
    else
        fputs("\nthe runs were evaluated on different data: there are no intervals and no verdicts\n", out);
    int wanted = lk_comparison_wanted_resamples(c->resamples, c->pair_count);
    if (wanted > 0)
        fprintf(out, "no difference can be shown: %d pairs need at least %d resamples\n\n", c->pair_count, wanted);
    for (int i = 0; i < c->pair_count; i++)
        fprintf(out, "%s\n", lk_comparison_verdict(c, &c->pairs[i], text, sizeof text));
}

/* A cell of a Markdown table: what would end it or start a tag is escaped. */
static void write_cell(const char *text, FILE *out) {
    for (const char *at = text; *at != '\0'; at++) {
        if (strchr("|\\`*_<>[]", *at) != NULL) fputc('\\', out);
        fputc(*at == '\n' || *at == '\r' ? ' ' : *at, out);
    }
}

static lk_status write_difference(void *context, const char *key, const char *const *values, lk_error *err) {
    (void)err;
    const lk_comparison *c = ((void **)context)[0];
    FILE *out = ((void **)context)[1];
    fprintf(out, "| `%s` |", key);
    for (int i = 0; i < c->recipe_count; i++) {
        fputc(' ', out);
        write_cell(values[i][0] == '\0' ? "-" : values[i], out);
        fputs(" |", out);
    }
    fputc('\n', out);
    return LK_OK;
}

static void write_markdown_recipes(const lk_comparison *c, FILE *out) {
    fprintf(
        out,
        "| recipe | seeds | macro-F1 (%s) | 95%% interval | macro-F1 (validation) | accuracy | loss | time | images/s "
        "| peak MiB |\n| --- | --: | --: | --- | --: | --: | --: | --: | --: | --: |\n",
        lk_final_split_name(c->split));
    for (int i = 0; i < c->recipe_count; i++) {
        const lk_recipe *r = &c->recipes[i];
        char range[48], f1[16], validation[16], accuracy[16], loss[16], took[32], speed[16];
        fputs("| ", out);
        write_cell(r->name, out);
        fprintf(out, " | %d | %s | %s | %s | %s | %s | %s | %s | %.0f |\n", r->count,
                figure(r->predicted > 0 ? r->f1.estimate : NAN, 4, f1, sizeof f1),
                r->predicted > 0 ? interval_text(&r->f1, range, sizeof range) : "not finished",
                figure(r->validation_f1, 4, validation, sizeof validation),
                figure(r->accuracy, 4, accuracy, sizeof accuracy), figure(r->loss, 4, loss, sizeof loss),
                lk_clock_duration_text(r->seconds, took, sizeof took),
                figure(r->images_per_second, 0, speed, sizeof speed), r->peak_memory_mib);
    }
}

lk_status lk_comparison_write_markdown(const lk_comparison *c, FILE *out, lk_error *err) {
    char text[512];
    write_markdown_recipes(c, out);
    if (!c->same_data) fputs("\nThe runs were evaluated on different data: no intervals, no verdicts.\n", out);
    if (c->pair_count > 0) fputc('\n', out);
    for (int i = 0; i < c->pair_count; i++) {
        fputs("- ", out);
        write_cell(lk_comparison_verdict(c, &c->pairs[i], text, sizeof text), out);
        fputc('\n', out);
    }
    fputs("\n| key |", out);
    for (int i = 0; i < c->recipe_count; i++) {
        fputc(' ', out);
        write_cell(c->recipes[i].name, out);
        fputs(" |", out);
    }
    fputs("\n| --- |", out);
    for (int i = 0; i < c->recipe_count; i++) fputs(" --- |", out);
    fputc('\n', out);
    void *context[] = {(void *)(uintptr_t)c, out};
    return lk_comparison_job_differences(c, write_difference, context, err);
}

void lk_comparison_write_csv(const lk_comparison *c, FILE *out) {
    fputs("recipe,run,seed,state,checkpoint,split,macro_f1,accuracy,loss,samples,seconds\n", out);
    for (int i = 0; i < c->recipe_count; i++)
        for (int m = 0; m < c->recipes[i].count; m++) {
            const lk_run_record *run = c->runs[c->recipes[i].members[m]];
            for (int b = 0; b < LK_BEST_COUNT; b++)
                for (int s = 0; s < LK_FINAL_SPLITS; s++) {
                    const lk_run_record_final *final = &run->finals[b][s];
                    if (!final->present) continue;
                    lk_text_write_csv(c->recipes[i].name, out);
                    fputc(',', out);
                    lk_text_write_csv(run->name, out);
                    fprintf(out, ",%lld,%s,%s,%s,%.17g,%.17g,%.17g,%lld,%.3f\n", (long long)run->job.seed,
                            lk_run_record_state(run), lk_best_name((lk_best)b), lk_final_split_name((lk_final_split)s),
                            final->macro_f1, final->accuracy, final->loss, (long long) final->samples,
                            lk_run_record_seconds(run));
                }
        }
}

static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *recipe_json(const lk_comparison *c, const lk_recipe *r) {
    json_t *runs = json_array();
    for (int m = 0; m < r->count; m++) json_array_append_new(runs, json_string(c->runs[r->members[m]]->folder));
    bool any = r->predicted > 0;
    return json_pack("{s:s, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:f}", "name", r->name, "runs", runs,
                     "finished", r->predicted, "macro_f1", real(any ? r->f1.estimate : NAN), "low",
                     real(any ? r->f1.low : NAN), "high", real(any ? r->f1.high : NAN), "validation_macro_f1",
                     real(r->validation_f1), "accuracy", real(r->accuracy), "loss", real(r->loss), "seconds",
                     r->seconds, "images_per_second", real(r->images_per_second), "peak_memory_mib",
                     r->peak_memory_mib);
}

lk_status lk_comparison_write_json(const lk_comparison *c, FILE *out, lk_error *err) {
    json_t *recipes = json_array(), *pairs = json_array();
    for (int i = 0; i < c->recipe_count; i++) json_array_append_new(recipes, recipe_json(c, &c->recipes[i]));
    for (int i = 0; i < c->pair_count; i++) {
        const lk_recipe_pair *p = &c->pairs[i];
        json_array_append_new(
            pairs, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "better", c->recipes[p->a].name, "worse",
                             c->recipes[p->b].name, "difference", p->difference.estimate, "low", p->difference.low,
                             "high", p->difference.high, "simultaneous_low", p->low, "simultaneous_high", p->high,
                             "corrected_p", p->p, "shown", p->shown));
    }
    json_t *all = json_pack("{s:s, s:s, s:b, s:i, s:o, s:o}", "checkpoint", lk_best_name(c->best), "split",
                            lk_final_split_name(c->split), "same_data", c->same_data, "resamples", c->resamples,
                            "recipes", recipes, "pairs", pairs);
    int code = all == NULL ? -1 : json_dumpf(all, out, JSON_INDENT(1));
    json_decref(all);
    if (code != 0) return lk_fail(err, LK_ERR_MEMORY, "the comparison cannot be written as JSON");
    fputc('\n', out);
    return LK_OK;
}
