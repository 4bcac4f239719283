/* The self-test's report: Markdown for people, JSON beside it. The first line says how it went. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "io/model/checkpoint.h"
#include "jobs/doctor_selftest.h"

static const char *const OUTCOMES[] = {"passed", "FAILED", "skipped"};

static int count_failed(const lk_selftest *test) {
    int count = 0;
    for (int i = 0; i < test->count; i++) count += test->parts[i].outcome == LK_OUTCOME_FAILED;
    return count;
}

static void write_verdict(FILE *out, const lk_selftest *test, bool finished) {
    const char *between = "";
    fprintf(out, "# GPU self-test of Lockstep %s%s: ", LK_VERSION, test->quick ? " (quick)" : "");
    if (!finished) fputs("UNFINISHED", out);
    if (!finished && count_failed(test) > 0) fputs(", ", out);
    if (finished && count_failed(test) == 0) fputs("passed", out);
    if (count_failed(test) > 0) fputs("FAILED in ", out);
    for (int i = 0; i < test->count; i++) {
        if (test->parts[i].outcome != LK_OUTCOME_FAILED) continue;
        fprintf(out, "%s%s", between, test->parts[i].name);
        between = ", ";
    }
    fputs("\n\n", out);
}

/* Text inside a table. */
static void write_cell(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void write_machine(FILE *out, const lk_selftest *test) {
    const char *name;
    json_t *value;
    if (test->machine == NULL) return;
    fputs("## The machine\n\n| what | found |\n| --- | --- |\n", out);
    json_object_foreach(test->machine, name, value) {
        if (json_is_object(value) || json_is_null(value)) continue;
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        fprintf(out, "| %s | ", name);
        write_cell(out, json_is_string(value) ? json_string_value(value) : text == NULL ? "" : text);
        fputs(" |\n", out);
        free(text);
    }
    json_object_foreach(json_object_get(test->machine, "libraries"), name, value) {
        fprintf(out, "| %s from | ", name);
        write_cell(out, json_string_value(value));
        fputs(" |\n", out);
    }
    char *device = json_dumps(json_object_get(test->machine, "cudnn_device"), JSON_COMPACT | JSON_ENCODE_ANY);
    if (device != NULL) fprintf(out, "\nThe GPU as cuDNN describes it:\n\n```json\n%s\n```\n", device);
    fputs("\n", out);
    free(device);
}

static void write_parts(FILE *out, const lk_selftest *test) {
    fputs("## Parts\n\n| part | outcome | seconds | found |\n| --- | --- | ---: | --- |\n", out);
    for (int i = 0; i < test->count; i++) {
        const lk_selftest_part *part = &test->parts[i];
        fprintf(out, "| %s | %s | %.0f | ", part->name, OUTCOMES[part->outcome], part->seconds);
        write_cell(out, part->text);
        fputs(" |\n", out);
    }
    fputs("\n", out);
}

static void write_figure(FILE *out, const json_t *figures, const char *name, int digits) {
    const json_t *value = json_object_get(figures, name);
    if (json_is_number(value))
        fprintf(out, " %.*f |", digits, json_number_value(value));
    else
        fputs(" |", out);
}

static void write_speeds(FILE *out, const lk_selftest *test) {
    bool any = false;
    for (int i = 0; i < test->count; i++) {
        const json_t *f = test->parts[i].figures;
        if (json_object_get(f, "model") == NULL) continue;
        if (!any)
            fputs(
                "## Speed in bfloat16\n\nPyTorch: eager, channels_last, autocast; its data lie on the GPU. Whole "
                "updates of "
                "Lockstep read packed pixels from a file.\n\n| model | batch | forward + backward ms | images/s | "
                "arena MB "
                "| whole update ms | images/s | PyTorch update ms | images/s | PyTorch MB |\n"
                "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
                out);
        any = true;
        fprintf(out, "| %s |", json_string_value(json_object_get(f, "model")));
        write_figure(out, f, "batch", 0);
        write_figure(out, f, "step_ms", 2);
        write_figure(out, f, "step_images_per_s", 0);
        write_figure(out, f, "arena_mb", 0);
        write_figure(out, f, "update_ms", 2);
        write_figure(out, f, "update_images_per_s", 0);
        write_figure(out, f, "pytorch_update_ms", 2);
        write_figure(out, f, "pytorch_images_per_s", 0);
        write_figure(out, f, "pytorch_mb", 0);
        fputs("\n", out);
    }
    if (any) fputs("\n", out);
}

static void write_failures(FILE *out, const lk_selftest *test) {
    for (int i = 0; i < test->count; i++) {
        const lk_selftest_part *part = &test->parts[i];
        if (part->outcome != LK_OUTCOME_FAILED || part->output == NULL) continue;
        fprintf(out, "## The end of what %s printed\n\n", part->name);
        /* Indented: no fence that the text itself could close. */
        for (const char *line = part->output; *line != '\0';) {
            size_t length = strcspn(line, "\n");
            fprintf(out, "    %.*s\n", (int)length, line);
            line += length + (line[length] == '\n');
        }
        fputs("\n", out);
    }
}

static lk_status make_json(char **out, const lk_selftest *test, bool finished, lk_error *err) {
    char time[32];
    json_t *root =
        json_pack("{s:b, s:b, s:s, s:s, s:b, s:O?, s:[]}", "passed", finished && count_failed(test) == 0, "finished",
                  finished, "program", "lockstep " LK_VERSION, "time", lk_clock_wall_text(time, sizeof time), "quick",
                  test->quick, "machine", test->machine, "parts");
    for (int i = 0; i < test->count && root != NULL; i++) {
        const lk_selftest_part *part = &test->parts[i];
        json_t *item =
            json_pack("{s:s, s:s, s:f, s:s, s:O?, s:s?}", "name", part->name, "outcome", OUTCOMES[part->outcome],
                      "seconds", part->seconds, "text", part->text, "figures", part->figures, "output", part->output);
        if (item == NULL) /* bytes that are not UTF-8 */
            item = json_pack("{s:s, s:s, s:f}", "name", part->name, "outcome", OUTCOMES[part->outcome], "seconds",
                             part->seconds);
        if (json_array_append_new(json_object_get(root, "parts"), item) != 0) {
            json_decref(root);
            root = NULL;
        }
    }
    *out = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    return *out == NULL ? lk_fail(err, LK_ERR_MEMORY, "cannot write the report as JSON: out of memory") : LK_OK;
}

lk_status lk_selftest_report(const lk_selftest *test, const char *path, bool finished, lk_error *err) {
    lk_status status = LK_OK;
    char *json = NULL, *beside = NULL, *text = NULL, time[32];
    size_t size = 0, stem = strlen(path);
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return lk_fail(err, LK_ERR_MEMORY, "no memory for the report");
    write_verdict(out, test, finished);
    fprintf(out, "%s. `lockstep doctor --gpu-selftest`%s\n\n", lk_clock_wall_text(time, sizeof time),
            test->quick ? ", few cases and no measured speed" : "");
    write_parts(out, test);
    write_speeds(out, test);
    write_machine(out, test);
    write_failures(out, test);
    if (fclose(out) != 0) LK_TRY(lk_fail(err, LK_ERR_MEMORY, "no memory for the report"));
    LK_TRY(lk_text_write(path, text, err));
    if (stem > 3 && strcmp(path + stem - 3, ".md") == 0) stem -= 3;
    LK_TRY(lk_format(&beside, err, "%.*s.json", (int)stem, path));
    LK_TRY(make_json(&json, test, finished, err));
    LK_TRY(lk_text_write(beside, json, err));
out:
    free(text);
    free(json);
    lk_free(beside);
    return status;
}
