/* Speed of one model: forward and backward alone, whole updates of training, and PyTorch's where it is installed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/model/checkpoint.h"
#include "jobs/doctor_data.h"
#include "jobs/doctor_selftest.h"

enum { BENCH_SECONDS = 150, TORCH_SECONDS = 240, UPDATES = 20, DROPPED = 4, REPEATS = 16, MOST_LINES = 4096 };

/* What is measured. */
typedef struct size {
    int batch, pixels, updates;
} size;

static const char JOB[] =
    "data: %s\nmodel: %s\nepochs: 1\nbatch: %d\nmicrobatch: %d\nmax_updates: %d\n"
    "input: {size: %d, resize_size: %d, resize: none, color: rgb}\naugment: {crop: center, hflip: 0}\n"
    "optimizer: {lr: 0.05, momentum: 0.9, weight_decay: 0.0005}\ncheckpoint: {golden: 1}\n"
    "sampler: {repeats: %d}\nevaluate: {batch: 20}\n";

static size choose(const lk_selftest *test) {
    double memory = json_number_value(json_object_get(test->machine, "memory_bytes"));
    if (test->quick) return (size){4, 32, 2};
    return (size){memory < 20e9 ? 64 : 256, 224, UPDATES};
}

static void set_figure(lk_selftest_part *part, const char *name, double value) {
    json_object_set_new(part->figures, name, json_real(value));
}

/* Forward and backward, and the memory of a plan. */
static lk_status profile(lk_selftest *test, lk_selftest_part *part, const char *model, size s, bool *well,
                         lk_error *err) {
    lk_status status = LK_OK;
    lk_process p = {0};
    char tool[PATH_MAX], batch[16], pixels[16], how[LK_PROCESS_TEXT];
    double milliseconds = 0, rate = 0, arena = 0;
    *well = false;
    if (!lk_selftest_helper(test, "step_profile", tool)) {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED,
                             "step_profile is not installed beside this program: build with LOCKSTEP_TESTS");
        return LK_OK;
    }
    snprintf(batch, sizeof batch, "%d", s.batch);
    snprintf(pixels, sizeof pixels, "%d", s.pixels);
    const char *const argv[] = {tool, model, batch, "1", test->quick ? "1" : "3", pixels, "cuda", "bfloat16", NULL};
    LK_TRY(lk_process_run(&p, test->folder, argv, NULL, BENCH_SECONDS, err));
    const char *line = strstr(p.output, "whole steps: ");
    *well = p.exit_status == 0 && line != NULL &&
            sscanf(line, "whole steps: %lf ms, %lf images/s; arena %lf MB", &milliseconds, &rate, &arena) == 3;
    if (*well) {
        set_figure(part, "step_ms", milliseconds);
        set_figure(part, "step_images_per_s", rate);
        set_figure(part, "arena_mb", arena);
    } else {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED, "step_profile %s: %s", model,
                             lk_process_text(&p, how, sizeof how));
        lk_process_keep_output(&p, part);
    }
out:
    lk_free(p.output);
    return status;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median of the updates' seconds after the first ones; 0 where there are none. */
static lk_status median_update(double *out, const char *path, int dropped, lk_error *err) {
    lk_status status = LK_OK;
    double seconds[UPDATES + DROPPED] = {0};
    char *line = NULL;
    int count = 0, seen = 0;
    FILE *file = fopen(path, "r");
    *out = 0;
    if (file == NULL) return lk_fail_errno(err, "read", path);
    LK_TRY(LK_NEW(&line, MOST_LINES, "a line", err));
    while (fgets(line, MOST_LINES, file) != NULL && count < UPDATES + DROPPED) {
        json_t *json = json_loads(line, 0, NULL);
        const char *type = json_string_value(json_object_get(json, "type"));
        if (type != NULL && strcmp(type, "update") == 0 && seen++ >= dropped)
            seconds[count++] = json_number_value(json_object_get(json, "seconds"));
        json_decref(json);
    }
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    if (count > 0) *out = seconds[count / 2];
out:
    lk_free(line);
    fclose(file);
    return status;
}

/* Pixels that lie packed in a file, each picture REPEATS times an epoch. */
static lk_status write_job(lk_selftest *test, const char *path, const char *model, size s, lk_error *err) {
    lk_status status = LK_OK;
    char *data = NULL, *job = NULL;
    int pictures = (s.batch * (s.updates + DROPPED) + REPEATS - 1) / REPEATS;
    if (pictures < s.batch) pictures = s.batch;
    LK_TRY(lk_format(&data, err, "%s/bench-%d-%d.h5", test->folder, s.pixels, s.batch));
    if (access(data, R_OK) != 0) LK_TRY(lk_doctor_data(test, data, pictures, s.pixels, err));
    LK_TRY(lk_format(&job, err, JOB, data, model, s.batch, s.batch, s.updates + DROPPED, s.pixels, s.pixels, REPEATS));
    LK_TRY(lk_text_write(path, job, err));
out:
    lk_free(data);
    lk_free(job);
    return status;
}

/* Whole updates: data, forward, backward, optimizer. */
static lk_status train(lk_selftest *test, lk_selftest_part *part, const char *model, size s, bool *well,
                       lk_error *err) {
    lk_status status = LK_OK;
    lk_process p = {0};
    char *job = NULL, *run = NULL, *metrics = NULL, how[LK_PROCESS_TEXT];
    double seconds = 0;
    *well = false;
    LK_TRY(lk_format(&job, err, "%s/bench.yaml", test->folder));
    LK_TRY(lk_format(&run, err, "%s/bench-run", test->folder));
    LK_TRY(lk_format(&metrics, err, "%s/metrics.jsonl", run));
    LK_TRY(write_job(test, job, model, s, err));
    const char *const argv[] = {test->program, "train", job,           "device=cuda", "compute=bfloat16",
                                "--run",       run,     "--overwrite", NULL};
    LK_TRY(lk_process_run(&p, test->folder, argv, NULL, BENCH_SECONDS, err));
    if (p.exit_status == 0) LK_TRY(median_update(&seconds, metrics, DROPPED, err));
    *well = seconds > 0;
    if (*well) {
        set_figure(part, "update_ms", seconds * 1e3);
        set_figure(part, "update_images_per_s", s.batch / seconds);
    } else {
        lk_selftest_conclude(part, LK_OUTCOME_FAILED, "training %s: %s", model, lk_process_text(&p, how, sizeof how));
        lk_process_keep_output(&p, part);
    }
out:
    lk_free(p.output);
    lk_free(job);
    lk_free(run);
    lk_free(metrics);
    return status;
}

/* Is there a Python with PyTorch that sees the GPU? Its version, or why not. */
static lk_status find_torch(lk_selftest *test, bool *found, char *text, size_t size, lk_error *err) {
    const char *const argv[] = {
        "python3", "-c", "import torch, torchvision, timm; assert torch.cuda.is_available(); print(torch.__version__)",
        NULL};
    lk_process p = {0};
    lk_error why = {0};
    lk_status status = lk_process_run(&p, test->folder, argv, NULL, BENCH_SECONDS, &why);
    if (status == LK_ERR_MEMORY) return lk_fail(err, status, "%s", why.message);
    *found = status == LK_OK && p.exit_status == 0;
    if (*found)
        snprintf(text, size, "%.*s", (int)strcspn(p.output, "\n"), p.output);
    else
        snprintf(text, size, "%s", "python3 has no torch, torchvision and timm with a GPU");
    lk_free(p.output);
    return LK_OK;
}

/* PyTorch's whole updates on data that lie on the GPU; channels_last and autocast. note: why there are none. */
static lk_status torch_train(lk_selftest *test, lk_selftest_part *part, const char *model, size s, char *note,
                             size_t note_size, lk_error *err) {
    lk_status status = LK_OK;
    lk_process p = {0};
    char script[PATH_MAX], version[160], batch[16], pixels[16], how[LK_PROCESS_TEXT];
    double seconds = 0, memory = 0;
    bool found = false;
    const char *slash = strrchr(test->program, '/');
    int folder = slash == NULL ? 0 : (int)(slash - test->program) + 1;
    int length = snprintf(script, sizeof script, "%.*s../share/lockstep/bench/torch_step.py", folder, test->program);
    if (length < 0 || (size_t)length >= sizeof script || access(script, R_OK) != 0) {
        snprintf(note, note_size, "PyTorch not asked: torch_step.py is not installed beside this program");
        return LK_OK;
    }
    LK_RETURN_IF(find_torch(test, &found, version, sizeof version, err));
    if (!found) {
        snprintf(note, note_size, "PyTorch not asked: %s", version);
        return LK_OK;
    }
    snprintf(batch, sizeof batch, "%d", s.batch);
    snprintf(pixels, sizeof pixels, "%d", s.pixels);
    const char *const argv[] = {"python3", script, model, batch, pixels, "8", "cuda", "bfloat16", NULL};
    LK_TRY(lk_process_run(&p, test->folder, argv, "channels_last 20\n", TORCH_SECONDS, err));
    /* Warnings may stand before the line of seconds and peak memory. */
    char *line = p.output, *next;
    while ((next = strchr(line, '\n')) != NULL && next[1] != '\0') line = next + 1;
    if (p.exit_status == 0 && sscanf(line, "%lf %lf", &seconds, &memory) == 2 && seconds > 0) {
        set_figure(part, "pytorch_update_ms", seconds * 1e3);
        set_figure(part, "pytorch_images_per_s", s.batch / seconds);
        set_figure(part, "pytorch_mb", memory * 1.048576);
        json_object_set_new(part->figures, "pytorch", json_string(version));
        note[0] = '\0';
    } else {
        snprintf(note, note_size, "PyTorch: %s", lk_process_text(&p, how, sizeof how));
    }
out:
    lk_free(p.output);
    return status;
}

lk_status lk_selftest_bench(lk_selftest *test, lk_selftest_part *part, const char *model, lk_error *err) {
    size s = choose(test);
    bool well = false;
    char note[240] = "", rival[120] = "";
    part->figures = json_pack("{s:s, s:i, s:i}", "model", model, "batch", s.batch, "pixels", s.pixels);
    if (part->figures == NULL) return lk_fail(err, LK_ERR_MEMORY, "no memory for the figures of %s", model);
    LK_RETURN_IF(profile(test, part, model, s, &well, err));
    if (!well) return LK_OK;
    LK_RETURN_IF(train(test, part, model, s, &well, err));
    if (!well) return LK_OK;
    if (!test->quick) LK_RETURN_IF(torch_train(test, part, model, s, note, sizeof note, err));
    double update = json_number_value(json_object_get(part->figures, "update_ms"));
    double torch = json_number_value(json_object_get(part->figures, "pytorch_update_ms"));
    if (torch > 0) snprintf(rival, sizeof rival, "; PyTorch %.1f ms an update, %.2f of it", torch, torch / update);
    lk_selftest_conclude(part, LK_OUTCOME_PASSED, "batch %d: %.1f ms forward and backward, %.1f ms an update%s%s%s",
                         s.batch, json_number_value(json_object_get(part->figures, "step_ms")), update, rival,
                         note[0] == '\0' ? "" : "; ", note);
    return LK_OK;
}
