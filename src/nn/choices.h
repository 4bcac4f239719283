/* Which implementations a device chose for the passes of a network's layers, as a list that travels as text: compared
 * between ranks, kept in checkpoints, taken again when a run goes on. A line is "LAYER PASS DTYPE NxCxHxW = CHOICE":
 * what was planned (the key), and what lk_op_info.chosen says. */
#ifndef LK_NN_CHOICES_H
#define LK_NN_CHOICES_H

#include "device/ops.h"

#define LK_CHOICES_MOST 8192   /* of a list */
#define LK_CHOICE_KEY_SIZE 256 /* bytes of a key, the final zero included */

typedef struct lk_choices lk_choices;

/* An empty list. Owner: the caller, with lk_choices_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_choices_create(lk_choices **out, lk_error *err);
void lk_choices_free(lk_choices *choices); /* NULL is accepted */

/* The key of a pass of a planned layer. Returns text. */
char *lk_choice_key(char *text, size_t size, const char *layer, const lk_op_desc *desc, lk_op_pass pass);

/* Adds a choice; one that is there already stays. Errors: LK_ERR_MEMORY; LK_ERR_INTERNAL for another choice under the
 * same key, and for more than fit. */
LK_MUST_CHECK lk_status lk_choices_add(lk_choices *choices, const char *key, const char *choice, lk_error *err);
/* Borrowed; NULL: there is none. NULL is an empty list. */
const char *lk_choices_find(const lk_choices *choices, const char *key);
int lk_choices_count(const lk_choices *choices);

/* Text of the list, with a first line that says what it is. Owner of *text: the caller, with lk_free. Errors:
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_choices_write(const lk_choices *choices, char **text, lk_error *err);
/* A list from text of anybody. where: path for messages. Owner: the caller. Errors: LK_ERR_DATA naming the line;
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_choices_parse(lk_choices **out, const char *text, const char *where, lk_error *err);

#endif
