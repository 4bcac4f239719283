/* Leaves of one rank meet in memory: each writes its numbers into its group's table, the last to come opens it. Where a
 * group takes several ranks, the member that owns the communicator waits for the others of its rank, exchanges their
 * numbers with the other ranks and opens the table. Two tables take turns: nobody can come to the next meeting but one
 * before all have read this one.
 *
 * A failure must strand nobody. On a rank the failed leaf marks the exchange, and all that wait return its error.
 * Between ranks every meeting is one message from each to each; a rank that failed sends, in place of its numbers, one
 * message that says so, and is not heard of again; whoever receives it fails at the same meeting. Each leaf ends with
 * one more meeting, so that there is always one to say it at. */
#include "train/exchange.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

/* The leaves of one group on this rank. */
typedef struct team {
    pthread_cond_t changed;
    double *tables[2]; /* of the whole group: group x numbers */
    int arrived;
    unsigned meetings; /* that were opened */
} team;

struct lk_exchange {
    lk_comm *comm;
    lk_exchange_config config;
    lk_span share;
    int present;
    pthread_mutex_t mutex;
    team *teams; /* that run at once */
    int team_count;
    lk_error error; /* of the first leaf that failed; status LK_OK: none */
    /* Groups that take several ranks: */
    bool spans;
    bool told;              /* the ranks of the group know that one failed, or that all went well */
    int first_rank, ranks;  /* with a leaf in this window */
    double *message, *from; /* 1 + share x numbers: is it a failure, the numbers; of each rank */
};

bool lk_exchange_ranks_ok(int leaves, int chain, int group, int ranks) {
    if (!lk_tree_ranks_ok(leaves / chain, ranks)) return false;
    int share = leaves / ranks;
    return group <= 1 || share % group == 0 || group % share == 0;
}

int lk_exchange_lanes(int share, int group, int lanes) {
    if (group <= 1) return lanes;
    if (group >= share) return share;
    return lanes < group ? group : lanes / group * group;
}

char *lk_exchange_ranks_print(int leaves, int chain, int group, char *text, int size) {
    int used = 0;
    if (size > 0) text[0] = '\0';
    for (int ranks = 1; ranks <= leaves && used < size; ranks++)
        if (lk_exchange_ranks_ok(leaves, chain, group, ranks))
            used += snprintf(text + used, (size_t)(size - used), used == 0 ? "%d" : ", %d", ranks);
    return text;
}

static lk_status create_teams(lk_exchange *exchange, lk_error *err) {
    const lk_exchange_config *config = &exchange->config;
    int64_t table = (int64_t)config->group * config->numbers;
    exchange->team_count = exchange->spans ? 1 : config->lanes / config->group;
    LK_RETURN_IF(LK_NEW(&exchange->teams, exchange->team_count, "an exchange of leaves", err));
    for (int i = 0; i < exchange->team_count; i++) {
        pthread_cond_init(&exchange->teams[i].changed, NULL);
        for (int k = 0; k < 2; k++)
            LK_RETURN_IF(LK_NEW(&exchange->teams[i].tables[k], table, "an exchange of leaves", err));
    }
    if (!exchange->spans) return LK_OK;
    int64_t message = 1 + exchange->share.count * config->numbers;
    LK_RETURN_IF(LK_NEW(&exchange->message, message, "an exchange of leaves", err));
    return LK_NEW(&exchange->from, message * (config->group / exchange->share.count), "an exchange of leaves", err);
}

lk_status lk_exchange_create(lk_exchange **out, lk_comm *comm, const lk_exchange_config *config, lk_error *err) {
    lk_exchange *exchange = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&exchange, 1, "an exchange of leaves", err));
    exchange->comm = comm;
    exchange->config = *config;
    exchange->share = lk_tree_share(config->leaves, comm->size, comm->rank);
    exchange->spans = config->group > exchange->share.count;
    pthread_mutex_init(&exchange->mutex, NULL);
    lk_status status = create_teams(exchange, err);
    if (status == LK_OK)
        *out = exchange;
    else
        lk_exchange_free(exchange);
    return status;
}

void lk_exchange_free(lk_exchange *exchange) {
    if (exchange == NULL) return;
    for (int i = 0; exchange->teams != NULL && i < exchange->team_count; i++) {
        pthread_cond_destroy(&exchange->teams[i].changed);
        lk_free(exchange->teams[i].tables[0]);
        lk_free(exchange->teams[i].tables[1]);
    }
    lk_free(exchange->teams);
    lk_free(exchange->message);
    lk_free(exchange->from);
    pthread_mutex_destroy(&exchange->mutex);
    lk_free(exchange);
}

void lk_exchange_begin(lk_exchange *exchange, int present) {
    int group = exchange->config.group, share = exchange->share.count;
    exchange->present = present;
    exchange->told = false;
    lk_error_clear(&exchange->error);
    for (int i = 0; i < exchange->team_count; i++) exchange->teams[i].arrived = 0;
    if (!exchange->spans) return;
    int first = exchange->share.first / group * group;
    int leaves = present - first < group ? present - first : group;
    exchange->first_rank = first / share;
    exchange->ranks = (leaves + share - 1) / share;
}

/* Leaves of [first, first + count) that the window has. */
static int present_of(const lk_exchange *exchange, int first, int count) {
    int left = exchange->present - first;
    return left < 0 ? 0 : left < count ? left : count;
}

/* One message of `size` doubles from each rank of the group to each. *failed: the lowest that says it failed, or -1. */
static lk_status exchange_ranks(lk_exchange *exchange, int64_t given, int64_t size, int *failed, lk_error *err) {
    const int64_t bytes = (int64_t)sizeof(double);
    LK_RETURN_IF(lk_comm_gather_group(exchange->comm, exchange->message, given * bytes, exchange->from, size * bytes,
                                      exchange->first_rank, exchange->ranks, err));
    *failed = -1;
    for (int i = exchange->ranks - 1; i >= 0; i--)
        if (exchange->from[i * size] != 0) *failed = exchange->first_rank + i;
    return LK_OK;
}

/* Takes the numbers of this rank to the group's others and theirs into the table. The mutex is held, and let go
 * meanwhile: the others of this rank wait for the table. */
static lk_status meet_ranks(lk_exchange *exchange, double *table, int64_t count, lk_error *err) {
    int64_t numbers = exchange->share.count * count;
    int failed;
    memcpy(exchange->message + 1, table, (size_t)numbers * sizeof *table);
    exchange->message[0] = 0;
    pthread_mutex_unlock(&exchange->mutex);
    lk_status status = exchange_ranks(exchange, 1 + numbers, 1 + numbers, &failed, err);
    pthread_mutex_lock(&exchange->mutex);
    if (status != LK_OK) return status;
    exchange->told = failed >= 0;
    if (failed >= 0) return lk_fail(err, LK_STOPPED, "rank %d, which normalises with this one, failed", failed);
    for (int i = 0; i < exchange->ranks; i++)
        memcpy(table + i * numbers, exchange->from + i * (1 + numbers) + 1, (size_t)numbers * sizeof *table);
    return LK_OK;
}

/* Keeps the first failure and wakes all. The mutex is held. */
static void mark_failed(lk_exchange *exchange, lk_status status, const lk_error *err) {
    if (exchange->error.status != LK_OK) return;
    if (err != NULL) exchange->error = *err;
    exchange->error.status = status;
    for (int i = 0; i < exchange->team_count; i++) pthread_cond_broadcast(&exchange->teams[i].changed);
}

/* Waits for the table; the member that completes the meeting opens it. The mutex is held. */
static lk_status meet(lk_exchange *exchange, team *t, int members, bool owns_comm, int64_t count, lk_error *err) {
    unsigned meeting = t->meetings;
    bool leads = exchange->spans ? owns_comm : t->arrived == members;
    if (!leads) pthread_cond_broadcast(&t->changed); /* the leader may be waiting for this one */
    while (exchange->error.status == LK_OK && (leads ? t->arrived < members : t->meetings == meeting))
        pthread_cond_wait(&t->changed, &exchange->mutex);
    if (t->meetings != meeting) return LK_OK;
    if (exchange->error.status != LK_OK) return lk_fail(err, exchange->error.status, "%s", exchange->error.message);
    if (exchange->spans) {
        lk_error problem = {0};
        lk_status status = meet_ranks(exchange, t->tables[meeting % 2], count, &problem);
        if (status != LK_OK) {
            mark_failed(exchange, status, &problem);
            return lk_fail(err, status, "%s", problem.message);
        }
    }
    t->arrived = 0;
    t->meetings++;
    pthread_cond_broadcast(&t->changed);
    return LK_OK;
}

lk_status lk_exchange_gather(void *context, const double *mine, int64_t count, double *all, int *parts, lk_error *err) {
    lk_exchange_member *member = context;
    lk_exchange *exchange = member->exchange;
    int group = exchange->config.group, first = member->leaf / group * group; /* of the group */
    int local = exchange->spans ? exchange->share.first : first;              /* first of it on this rank */
    int members = present_of(exchange, local, exchange->spans ? exchange->share.count : group);
    team *t = &exchange->teams[(local - exchange->share.first) / group % exchange->team_count];
    if (count > exchange->config.numbers)
        return lk_fail(err, LK_ERR_INTERNAL, "a leaf gives %lld numbers to an exchange of %lld", (long long)count,
                       (long long)exchange->config.numbers);
    pthread_mutex_lock(&exchange->mutex);
    double *table = t->tables[t->meetings % 2];
    memcpy(table + (member->leaf - local) * count, mine, (size_t)count * sizeof *mine);
    t->arrived++;
    lk_status status = meet(exchange, t, members, member->owns_comm, count, err);
    pthread_mutex_unlock(&exchange->mutex);
    if (status != LK_OK) return status;
    *parts = present_of(exchange, first, group);
    memcpy(all, table, (size_t)*parts * (size_t)count * sizeof *all);
    return LK_OK;
}

lk_status lk_exchange_leave(lk_exchange_member *member, lk_status status, lk_error *err) {
    lk_exchange *exchange = member->exchange;
    double nothing = 0, *all = NULL;
    int parts;
    if (status == LK_OK) status = LK_NEW(&all, exchange->config.group, "an exchange of leaves", err);
    if (status == LK_OK) status = lk_exchange_gather(member, &nothing, 1, all, &parts, err);
    lk_free(all);
    pthread_mutex_lock(&exchange->mutex);
    if (status != LK_OK)
        mark_failed(exchange, status, err);
    else
        exchange->told = true;
    pthread_mutex_unlock(&exchange->mutex);
    return status;
}

lk_status lk_exchange_end(lk_exchange *exchange, lk_status status, lk_error *err) {
    bool takes_part = exchange->spans && exchange->share.first < exchange->present;
    int failed;
    if (!takes_part || exchange->told || status == LK_OK || status == LK_ERR_COMM) return LK_OK;
    exchange->told = true;
    exchange->message[0] = 1;
    /* One number, which every meeting has room for; what the others give there has any length up to the most. */
    return exchange_ranks(exchange, 1, 1 + exchange->share.count * exchange->config.numbers, &failed, err);
}
