/* The checkpoint files of a run: last.h5, NNN_loss_V.h5 and NNN_f1_V.h5, and the links best_loss.h5 and best_f1.h5. */
#ifndef LK_TRAIN_BESTS_H
#define LK_TRAIN_BESTS_H

#include "train/snapshot.h"

/* Writes the snapshot as last.h5 and, where new_loss or new_f1 say so, as a best of this epoch (counters.loss,
 * counters.f1): one file under several names (hard links). The bests come first, so that a last.h5 that speaks of a
 * best finds it. Older bests beyond `keep` of each kind are removed last. folder: the checkpoints folder. Not
 * Collective. Errors: LK_ERR_IO; what was there before is intact (P12). */
LK_MUST_CHECK lk_status lk_checkpoints_save(const lk_snapshot *snapshot, const char *folder, bool new_loss, bool new_f1,
                                            int64_t keep, lk_error *err);

#endif
