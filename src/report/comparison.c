#include "report/comparison.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "report/calibration.h"
#include "report/decided.h"

enum { VALUE_SIZE = 512 }; /* bytes of a key's value as text */

bool lk_comparison_ignores(const char *key) {
    static const char *const exact[] = {"seed", "data", "version"};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        if (strcmp(key, exact[i]) == 0) return true;
    return strncmp(key, "loader.", 7) == 0 || strncmp(key, "checkpoint.", 11) == 0;
}

bool lk_comparison_same_recipe(const lk_job *a, const lk_job *b) {
    int count;
    const lk_option *table = lk_job_options(&count);
    for (int i = 0; i < count; i++) {
        char one[VALUE_SIZE], two[VALUE_SIZE];
        if (lk_comparison_ignores(table[i].name)) continue;
        lk_option_print(&table[i], a, one, sizeof one);
        lk_option_print(&table[i], b, two, sizeof two);
        if (strcmp(one, two) != 0) return false;
    }
    return true;
}

const lk_prediction_set *lk_comparison_predictions(const lk_comparison *c, int run) {
    return &c->runs[run]->predictions[c->best][c->split];
}

const lk_run_record_final *lk_comparison_final(const lk_comparison *c, int run) {
    return &c->runs[run]->finals[c->best][c->split];
}

/* Test predictions where every run that finished has them, else validation. */
static void choose_split(lk_comparison *c) {
    c->split = LK_FINAL_TEST;
    for (int r = 0; r < c->run_count; r++)
        if (c->runs[r]->finished && c->runs[r]->predictions[c->best][LK_FINAL_TEST].count == 0)
            c->split = LK_FINAL_VALIDATION;
}

static bool same_class_names(const lk_run_record_final *a, const lk_run_record_final *b) {
    if (a->class_count != b->class_count) return false;
    for (int k = 0; k < a->class_count; k++)
        if (strcmp(a->classes[k].name, b->classes[k].name) != 0) return false;
    return true;
}

/* Says how two runs' evaluations differ, or NULL. */
static const char *mismatch(const lk_comparison *c, int a, int b) {
    const lk_prediction_set *one = lk_comparison_predictions(c, a), *two = lk_comparison_predictions(c, b);
    if (!same_class_names(lk_comparison_final(c, a), lk_comparison_final(c, b))) return "other classes";
    if (one->count != two->count) return "another number of samples";
    if (memcmp(one->samples, two->samples, (size_t)one->count * sizeof *one->samples) != 0) return "other samples";
    if (memcmp(one->labels, two->labels, (size_t)one->count * sizeof *one->labels) != 0) return "other labels";
    return NULL;
}

static lk_status check_data(lk_comparison *c, bool allow_different, lk_error *err) {
    int first = -1;
    c->same_data = c->same_classes = true;
    for (int r = 0; r < c->run_count; r++) {
        if (lk_comparison_predictions(c, r)->count == 0) continue;
        if (first < 0) first = r;
        c->classes = lk_comparison_predictions(c, first)->classes;
        const char *reason = mismatch(c, first, r);
        if (reason == NULL) continue;
        c->same_data = false;
        c->same_classes = c->same_classes && same_class_names(lk_comparison_final(c, first), lk_comparison_final(c, r));
        if (!allow_different)
            return lk_fail(err, LK_ERR_CONFIG,
                           "%s was evaluated on %s than %s (%s split): compare runs of one data set, or say "
                           "--allow-different-data",
                           c->runs[r]->folder, reason, c->runs[first]->folder, lk_final_split_name(c->split));
    }
    if (first < 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "none of the runs has predictions of %s: they come when a training ends; let one finish",
                       lk_best_name(c->best));
    return LK_OK;
}

/* The run's name without the "-seed-S" that a sweep puts behind it. Owner of *out: the caller, with lk_free. */
static lk_status recipe_name(char **out, const lk_run_record *run, lk_error *err) {
    char tail[32];
    snprintf(tail, sizeof tail, "-seed-%lld", (long long)run->job.seed);
    const char *ending = run->decided ? LK_DECIDED_ENDING : "";
    size_t length = strlen(run->name) - strlen(ending), behind = strlen(tail);
    bool named = length > behind && strncmp(run->name + length - behind, tail, behind) == 0;
    return lk_format(out, err, "%.*s%s", (int)(named ? length - behind : length), run->name, ending);
}

static bool is_member(const lk_comparison *c, const lk_recipe *recipe, const lk_run_record *run) {
    const lk_run_record *first = c->runs[recipe->members[0]];
    return first->decided == run->decided && lk_comparison_same_recipe(&first->job, &run->job);
}

/* Puts each run into the recipe of the first run it equals; finished members come first. */
static lk_status group_runs(lk_comparison *c, lk_error *err) {
    LK_RETURN_IF(LK_NEW(&c->recipes, c->run_count, "recipes", err));
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < c->run_count; r++) {
            if ((lk_comparison_predictions(c, r)->count > 0) != (pass == 0)) continue;
            int at = 0;
            while (at < c->recipe_count && !is_member(c, &c->recipes[at], c->runs[r])) at++;
            lk_recipe *recipe = &c->recipes[at];
            if (at == c->recipe_count) {
                LK_RETURN_IF(LK_NEW(&recipe->members, c->run_count, "recipes", err));
                c->recipe_count++;
                LK_RETURN_IF(recipe_name(&recipe->name, c->runs[r], err));
            }
            recipe->members[recipe->count++] = r;
            recipe->predicted += pass == 0;
        }
    return LK_OK;
}

static lk_status median_speed(const lk_run_record *run, double *out, lk_error *err) {
    double *values;
    *out = NAN;
    if (run->epoch_count == 0) return LK_OK;
    LK_RETURN_IF(LK_NEW(&values, run->epoch_count, "epochs", err));
    for (size_t i = 0; i < run->epoch_count; i++) values[i] = run->epochs[i].images_per_second;
    lk_sort_doubles(values, run->epoch_count);
    *out = values[run->epoch_count / 2];
    lk_free(values);
    return LK_OK;
}

static lk_status fill_figures(lk_comparison *c, lk_recipe *recipe, lk_error *err) {
    double validation = 0, accuracy = 0, loss = 0, seconds = 0, speed = 0;
    for (int i = 0; i < recipe->count; i++) {
        const lk_run_record *run = c->runs[recipe->members[i]];
        double rate, peak = 0;
        LK_RETURN_IF(median_speed(run, &rate, err));
        for (size_t e = 0; e < run->epoch_count; e++) peak = fmax(peak, run->epochs[e].peak_memory_mib);
        recipe->peak_memory_mib = fmax(recipe->peak_memory_mib, peak);
        seconds += lk_run_record_seconds(run);
        speed += rate;
        if (i >= recipe->predicted) continue;
        validation += run->finals[c->best][LK_FINAL_VALIDATION].macro_f1;
        accuracy += lk_comparison_final(c, recipe->members[i])->accuracy;
        loss += lk_comparison_final(c, recipe->members[i])->loss;
    }
    recipe->seconds = seconds / recipe->count;
    recipe->images_per_second = speed / recipe->count;
    recipe->validation_f1 = validation / recipe->predicted; /* NaN where there is none */
    recipe->accuracy = accuracy / recipe->predicted;
    recipe->loss = loss / recipe->predicted;
    return LK_OK;
}

/* Predicted classes of every run with predictions; others stay NULL. */
static lk_status predict_all(const lk_comparison *c, int32_t **predicted, lk_error *err) {
    lk_status status = LK_OK;
    double *row = NULL;
    for (int r = 0; r < c->run_count; r++) {
        const lk_prediction_set *set = lk_comparison_predictions(c, r);
        if (set->count == 0) continue;
        LK_TRY(LK_NEW(&row, set->classes, "probabilities", err));
        LK_TRY(LK_NEW(&predicted[r], set->count, "predicted classes", err));
        for (int64_t i = 0; i < set->count; i++)
            predicted[r][i] = lk_softmax(set->logits + i * set->classes, set->classes, row);
        lk_free(row);
        row = NULL;
    }
out:
    lk_free(row);
    return status;
}

/* Recipes by falling macro-F1. Few: insertion sort. */
static void sort_recipes(lk_comparison *c) {
    for (int i = 1; i < c->recipe_count; i++) {
        lk_recipe moved = c->recipes[i];
        int at = i;
        for (; at > 0 && moved.predicted > 0 &&
               (c->recipes[at - 1].predicted == 0 || c->recipes[at - 1].f1.estimate < moved.f1.estimate);
             at--)
            c->recipes[at] = c->recipes[at - 1];
        c->recipes[at] = moved;
    }
}

static lk_status compare_pairs(lk_comparison *c, const lk_bootstrap *bootstrap, const int *place, lk_error *err) {
    lk_status status = LK_OK;
    double *p = NULL;
    int counted = 0;
    while (counted < c->recipe_count && c->recipes[counted].predicted > 0) counted++;
    int pairs = counted * (counted - 1) / 2;
    if (pairs == 0) return LK_OK;
    LK_TRY(LK_NEW(&c->pairs, pairs, "pairs of recipes", err));
    LK_TRY(LK_NEW(&p, pairs, "pairs of recipes", err));
    for (int a = 0; a < counted; a++)
        for (int b = a + 1; b < counted; b++) {
            lk_recipe_pair *pair = &c->pairs[c->pair_count];
            const lk_recipe *one = &c->recipes[a], *two = &c->recipes[b];
            lk_interval wide;
            int first[256], second[256];
            for (int i = 0; i < one->predicted; i++) first[i] = place[one->members[i]];
            for (int i = 0; i < two->predicted; i++) second[i] = place[two->members[i]];
            *pair = (lk_recipe_pair){.a = a, .b = b};
            LK_TRY(lk_bootstrap_difference(bootstrap, first, one->predicted, second, two->predicted, 0.95,
                                           &pair->difference, err));
            LK_TRY(lk_bootstrap_difference(bootstrap, first, one->predicted, second, two->predicted, 1 - 0.05 / pairs,
                                           &wide, err));
            pair->low = wide.low;
            pair->high = wide.high;
            p[c->pair_count++] = pair->difference.p;
        }
    LK_TRY(lk_holm(p, pairs, err));
    for (int i = 0; i < pairs; i++) {
        c->pairs[i].p = p[i];
        c->pairs[i].shown = p[i] <= 0.05;
    }
out:
    lk_free(p);
    return status;
}

/* Without common samples there are no intervals: the figures of each run alone. */
static void figures_alone(lk_comparison *c) {
    for (int i = 0; i < c->recipe_count; i++) {
        lk_recipe *recipe = &c->recipes[i];
        double sum = 0;
        for (int m = 0; m < recipe->predicted; m++) sum += lk_comparison_final(c, recipe->members[m])->macro_f1;
        recipe->f1 = (lk_interval){sum / recipe->predicted, NAN, NAN, NAN};
    }
    sort_recipes(c);
}

static lk_status measure(lk_comparison *c, int resamples, uint64_t seed, lk_error *err) {
    lk_status status = LK_OK;
    lk_bootstrap *bootstrap = NULL;
    int32_t *predicted[256] = {0};
    const int32_t *list[256];
    int place[256], runs = 0, any = 0;
    LK_TRY(predict_all(c, predicted, err));
    for (int r = 0; r < c->run_count; r++) {
        if (predicted[r] == NULL) continue;
        any = r;
        place[r] = runs;
        list[runs++] = predicted[r];
    }
    const lk_prediction_set *set = lk_comparison_predictions(c, any);
    LK_TRY(lk_bootstrap_create(&bootstrap, set->labels, set->count, set->classes, list, runs, resamples, seed, err));
    for (int i = 0; i < c->recipe_count; i++) {
        lk_recipe *recipe = &c->recipes[i];
        int members[256];
        if (recipe->predicted == 0) continue;
        for (int m = 0; m < recipe->predicted; m++) members[m] = place[recipe->members[m]];
        LK_TRY(lk_bootstrap_mean(bootstrap, members, recipe->predicted, 0.95, &recipe->f1, err));
    }
    sort_recipes(c);
    LK_TRY(compare_pairs(c, bootstrap, place, err));
out:
    for (int r = 0; r < c->run_count; r++) lk_free(predicted[r]);
    lk_bootstrap_free(bootstrap);
    return status;
}

lk_status lk_comparison_create(lk_comparison **out, lk_run_record **runs, int count, const lk_comparison_config *config,
                               lk_error *err) {
    lk_status status = LK_OK;
    lk_comparison *c = NULL;
    *out = NULL;
    if (count < 1 || count > 256)
        return lk_fail(err, LK_ERR_CONFIG, "%d runs cannot be compared: give 1 to 256", count);
    LK_TRY(LK_NEW(&c, 1, "the comparison", err));
    c->runs = runs;
    c->run_count = count;
    c->best = config->best;
    c->resamples = config->resamples;
    choose_split(c);
    LK_TRY(check_data(c, config->allow_different, err));
    LK_TRY(group_runs(c, err));
    for (int i = 0; i < c->recipe_count; i++) LK_TRY(fill_figures(c, &c->recipes[i], err));
    if (c->same_data)
        LK_TRY(measure(c, config->resamples, config->seed, err));
    else
        figures_alone(c);
    *out = c;
    c = NULL;
out:
    lk_comparison_free(c);
    return status;
}

void lk_comparison_free(lk_comparison *c) {
    if (c == NULL) return;
    for (int i = 0; i < c->recipe_count; i++) {
        lk_free(c->recipes[i].members);
        lk_free(c->recipes[i].name);
    }
    lk_free(c->recipes);
    lk_free(c->pairs);
    lk_free(c);
}

int lk_comparison_wanted_resamples(int resamples, int pairs) {
    int wanted = 40 * pairs; /* p <= 0.05 */
    return resamples + 1 >= wanted ? 0 : wanted;
}

char *lk_comparison_verdict(const lk_comparison *c, const lk_recipe_pair *pair, char *text, size_t size) {
    const char *a = c->recipes[pair->a].name, *b = c->recipes[pair->b].name;
    const lk_interval *d = &pair->difference;
    if (pair->shown)
        snprintf(text, size, "%s is better than %s by %.1f points (95%% interval %.1f to %.1f, corrected p %.3f)", a, b,
                 100 * d->estimate, 100 * d->low, 100 * d->high, pair->p);
    else
        snprintf(text, size,
                 "no difference shown between %s and %s (%.1f points, 95%% interval %.1f to %.1f, corrected p %.2f)", a,
                 b, 100 * d->estimate, 100 * d->low, 100 * d->high, pair->p);
    return text;
}

lk_status lk_comparison_job_differences(const lk_comparison *c, lk_job_difference row, void *context, lk_error *err) {
    lk_status status = LK_OK;
    char(*texts)[VALUE_SIZE] = NULL;
    const char **values = NULL;
    int count;
    const lk_option *table = lk_job_options(&count);
    LK_TRY(LK_NEW(&texts, c->recipe_count, "values of keys", err));
    LK_TRY(LK_NEW(&values, c->recipe_count, "values of keys", err));
    for (int i = 0; i < count; i++) {
        bool differ = false;
        if (lk_comparison_ignores(table[i].name)) continue;
        for (int r = 0; r < c->recipe_count; r++) {
            lk_option_print(&table[i], &c->runs[c->recipes[r].members[0]]->job, texts[r], VALUE_SIZE);
            values[r] = texts[r];
            differ = differ || strcmp(texts[r], texts[0]) != 0;
        }
        if (differ) LK_TRY(row(context, table[i].name, values, err));
    }
out:
    lk_free(texts);
    lk_free(values);
    return status;
}
