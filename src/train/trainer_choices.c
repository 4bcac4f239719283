/* The implementations that the device chose, compared between ranks and taken again when a run goes on. */
#include <string.h>

#include "core/memory.h"
#include "train/trainer_internal.h"

/* Only of the same arithmetic: other libraries number their engines otherwise. */
lk_status lk_trainer_recall_choices(lk_trainer *t, lk_error *err) {
    lk_status status;
    char *path = NULL;
    lk_checkpoint *checkpoint = NULL;
    if (!t->options->resuming) return LK_OK;
    LK_TRY(lk_format(&path, err, "%s/checkpoints/last.h5", t->options->run));
    LK_TRY(lk_checkpoint_open(&checkpoint, path, err));
    const char *arithmetic = lk_checkpoint_text(checkpoint, "arithmetic");
    const char *choices = lk_checkpoint_text(checkpoint, "choices");
    if (arithmetic == NULL || choices == NULL || strcmp(arithmetic, t->device->identity(t->device)) != 0) goto out;
    LK_TRY(lk_choices_parse(&t->recalled, choices, path, err));
out:
    lk_checkpoint_free(checkpoint);
    lk_free(path);
    return status;
}

#define MOST_SHOWN 300 /* bytes of a line */

static int shown(const char *line) {
    size_t length = strcspn(line, "\n");
    return (int)(length < MOST_SHOWN ? length : MOST_SHOWN);
}

static lk_status compare(const lk_trainer *t, const char *first, lk_error *err) {
    const char *mine = t->choices_text;
    size_t at = 0;
    if (strcmp(mine, first) == 0) return LK_OK;
    while (mine[at] == first[at]) at++;
    while (at > 0 && mine[at - 1] != '\n') at--; /* the line with the first byte that differs */
    return lk_fail(
        err, LK_ERR_CONFIG,
        "other engines were chosen here than on rank 0, so that their bits would differ: '%.*s' here, '%.*s' "
        "on rank 0; give all ranks the same GPUs, libraries and environment",
        shown(mine + at), mine + at, shown(first + at), first + at);
}

lk_status lk_trainer_check_choices(lk_trainer *t, lk_error *err) {
    lk_status status = lk_network_choices(t->network, &t->choices_text, err);
    char *first = NULL;
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    int64_t bytes = (int64_t)strlen(t->choices_text) + 1;
    LK_RETURN_IF(lk_comm_broadcast(t->comm, &bytes, sizeof bytes, 0, err));
    LK_RETURN_IF(lk_comm_agree(t->comm, LK_NEW(&first, bytes, "the choices of rank 0", err), err));
    if (t->comm->rank == 0) memcpy(first, t->choices_text, (size_t)bytes);
    status = lk_comm_broadcast(t->comm, first, bytes, 0, err);
    if (status == LK_OK) status = lk_comm_agree(t->comm, compare(t, first, err), err);
    lk_free(first);
    return status;
}
