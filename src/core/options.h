/* Option tables: {name, type, default, min, max, help} gives parsing, defaults, --help and the error text, for job
 * files (YAML) and for command lines alike. */
#ifndef LK_CORE_OPTIONS_H
#define LK_CORE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

typedef enum lk_option_type {
    LK_OPTION_BOOL,        /* bool */
    LK_OPTION_INT,         /* int64_t */
    LK_OPTION_DOUBLE,      /* double */
    LK_OPTION_STRING,      /* char *, owned by the struct, NULL when unset and no default */
    LK_OPTION_CHOICE,      /* int: index into choices */
    LK_OPTION_DOUBLES,     /* double[LK_OPTION_MAX_LIST] preceded by nothing; count in the int at count_offset */
    LK_OPTION_LONG_DOUBLES /* the same of LK_OPTION_LONG_LIST: a number per class */
} lk_option_type;

#define LK_OPTION_MAX_LIST 16
#define LK_OPTION_LONG_LIST 1024
#define LK_OPTION_TEXT_SIZE (LK_OPTION_LONG_LIST * 32) /* room for any option's value as text */

typedef struct lk_option {
    const char *name; /* "optimizer.momentum", "keep-best" */
    lk_option_type type;
    size_t offset;              /* of the field in the target struct */
    size_t count_offset;        /* lists: offset of its int count */
    const char *default_text;   /* parsed like user text; NULL: required, or unset for STRING */
    double min, max;            /* INT, DOUBLE, each of a list; both 0: unlimited */
    const char *const *choices; /* CHOICE: NULL-terminated */
    const char *help;
    char letter;   /* command lines: "-o"; 0: none */
    bool optional; /* STRING with NULL default that may stay unset */
} lk_option;

/* Sets every field to its default. Errors: LK_ERR_MEMORY; LK_ERR_INTERNAL for a default that does not parse. */
LK_MUST_CHECK lk_status lk_options_defaults(const lk_option *table, int count, void *target, lk_error *err);
/* Sets one option from text. where: "job.yaml line 3" or "command line", for messages.
 * Errors: LK_ERR_CONFIG: unknown name (with the nearest known one), value that does not parse or is out of range. */
LK_MUST_CHECK lk_status lk_options_set(const lk_option *table, int count, void *target, const char *name,
                                       const char *value, const char *where, lk_error *err);
/* How many numbers a list may hold; 0 for an option that is no list. Pure. */
int lk_option_list_size(const lk_option *option);
/* Index in the table, or -1. Pure. */
int lk_options_find(const lk_option *table, int count, const char *name);
/* Are all required options given? Required: default_text NULL, unless it is an optional STRING. Call it after file and
 * overrides. seen: count bools as lk_options_read_yaml fills them (a STRING that is set needs no mark); may be NULL:
 * then only STRINGs are checked. Errors: LK_ERR_CONFIG naming the option and its help text. */
LK_MUST_CHECK lk_status lk_options_require(const lk_option *table, int count, const void *target, const bool *seen,
                                           const char *where, lk_error *err);
/* Frees the strings. */
void lk_options_free(const lk_option *table, int count, void *target);
/* Writes one option's current value as text that lk_options_set reads back. Returns text. An unset string
 * is empty. Lists need up to 26 bytes an item. */
char *lk_option_print(const lk_option *option, const void *target, char *text, size_t size);
/* Lists name, type, default, range and help, one per line, aligned. prefix "--" for command lines. */
void lk_options_help(const lk_option *table, int count, const char *prefix, FILE *out);

/* Reads a YAML file of nested mappings ("optimizer: {momentum: 0.9}" is "optimizer.momentum") through libyaml, with
 * limits on size (1 MiB), depth (8) and no aliases or tags. seen (may be NULL): count bools; those of options that
 * are given become true, the others stay as they are.
 * Errors: LK_ERR_IO; LK_ERR_CONFIG with path and line: syntax, duplicate key, unknown key (nearest known), bad value.
 */
LK_MUST_CHECK lk_status lk_options_read_yaml(const lk_option *table, int count, void *target, const char *path,
                                             bool *seen, lk_error *err);
/* The same from text, called `where` in messages. */
LK_MUST_CHECK lk_status lk_options_parse_yaml(const lk_option *table, int count, void *target, const char *text,
                                              size_t size, const char *where, bool *seen, lk_error *err);
/* Writes all options (unset strings excepted) as nested YAML that reads back to the same values. Owner of *out: the
 * caller, with lk_free. Errors: LK_ERR_CONFIG for a string that is not UTF-8; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_options_write_yaml(const lk_option *table, int count, const void *target, char **out,
                                              lk_error *err);

/* Parses a command line: "--name value", "--name=value", "-o value", flags for BOOL ("--json", "--no-json"); the rest,
 * and all after "--", are arguments. argv[0] is the (sub)command's name and stays; the arguments are moved to
 * argv[1] ... argv[*arguments]. The last of equal options wins. A required option that is missing is an error unless a
 * BOOL named "help" was given. Errors: LK_ERR_USAGE. */
LK_MUST_CHECK lk_status lk_options_read_argv(const lk_option *table, int count, void *target, int argc, char **argv,
                                             int *arguments, lk_error *err);

/* Nearest name by edit distance among `count` names, or NULL when none is near. */
const char *lk_nearest_name(const char *name, const char *const *names, int count);

#endif
