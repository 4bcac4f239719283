#include <stdlib.h>

#include "core/memory.h"
#include "train/trainer_internal.h"
#include "train/weights_load.h"

/* The list as a text, for the run's folder. */
static lk_status list_weights(char **out, const lk_weights *weights, const char *summary, lk_error *err) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot list the weights: out of memory");
    fprintf(stream, "%s\n", summary);
    lk_weights_list(weights, stream);
    fclose(stream);
    lk_status status = lk_strdup(out, text, err);
    free(text);
    return status;
}

lk_status lk_trainer_load_init(lk_trainer *t, lk_error *err) {
    lk_weights weights;
    lk_status status;
    if (t->job->init == NULL || t->options->resuming) return LK_OK;
    LK_RETURN_IF(
        lk_weights_open(&weights, t->job->init, t->job->model, t->network->graph, t->dataset->class_names, err));
    LK_TRY(lk_weights_load(&weights, t->network, err));
    LK_TRY(lk_weights_summary(&t->init_summary, &weights, err));
    LK_TRY(list_weights(&t->init_list, &weights, t->init_summary, err));
out:
    lk_weights_close(&weights);
    return status;
}

/* Ranks read for themselves, perhaps from disks of their own. */
lk_status lk_trainer_check_init(lk_trainer *t, lk_error *err) {
    uint64_t hash[2] = {0, 0};
    if (t->job->init == NULL || t->options->resuming) return LK_OK;
    lk_status status = lk_network_hash(t->network, hash, err);
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    return lk_comm_check_equal(t->comm, hash, sizeof hash, "initial weights", err);
}

lk_status lk_trainer_write_init(lk_trainer *t, lk_error *err) {
    char *path = NULL;
    if (t->init_list == NULL) return LK_OK;
    LK_RETURN_IF(lk_run_folder_join(&t->folder, &path, "init.txt", err));
    lk_status status = lk_text_write(path, t->init_list, err);
    lk_free(path);
    return status;
}
