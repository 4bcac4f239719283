/* The communicator's calls of one process and between threads, time limits, and who is named when one runs out (P19).
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dist/topology.h"
#include "loopback.h"
#include "tests/unit/unit.h"

static void test_self(void **state) {
    (void)state;
    lk_comm *comm = NULL;
    lk_error err = {0};
    char data[4] = "abc", all[4] = "";
    int64_t values[2] = {3, -4}, counts[1] = {3}, value = 9;
    assert_int_equal(lk_comm_self_create(&comm, &err), LK_OK);
    assert_int_equal(comm->rank, 0);
    assert_int_equal(comm->size, 1);
    assert_int_equal(comm->node_count, 1);
    assert_int_equal(comm->node_size, 1);
    assert_true(comm->hosts[0][0] != '\0');
    lk_comm_set_phase(comm, "a phase of %d characters, and then some more that do not fit %0200d", 200, 7);
    assert_int_equal(lk_comm_barrier(comm, &err), LK_OK);
    assert_int_equal(lk_comm_broadcast(comm, data, 3, 0, &err), LK_OK);
    assert_int_equal(lk_comm_allgather(comm, data, all, 3, &err), LK_OK);
    assert_string_equal(all, "abc");
    assert_int_equal(lk_comm_allreduce_i64(comm, values, 2, &err), LK_OK);
    assert_true(values[0] == 3 && values[1] == -4);
    memset(all, 0, sizeof all);
    assert_int_equal(lk_comm_gather(comm, data, counts, all, 0, &err), LK_OK);
    assert_string_equal(all, "abc");
    assert_int_equal(lk_comm_max(comm, &value, &err), LK_OK);
    assert_int_equal(value, 9);
    assert_int_equal(lk_comm_check_equal(comm, data, 3, "data", &err), LK_OK);
    assert_int_equal(lk_comm_agree(comm, LK_OK, &err), LK_OK);
    assert_int_equal(err.status, LK_OK);
    assert_int_equal(lk_comm_agree(comm, LK_ERR_DATA, &err), LK_ERR_DATA);
    assert_int_equal(err.status, LK_ERR_DATA);
    lk_error_clear(&err);
    lk_request *request = NULL;
    assert_int_equal(lk_comm_send(comm, data, 3, 0, 0, &request, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_comm_receive(comm, data, 3, 0, 0, &request, &err), LK_ERR_INTERNAL);
    lk_comm_abort(comm, 1, ""); /* returns on one process */
    lk_comm_finish(comm, LK_ERR_DATA, &err);
    lk_comm_finish(NULL, LK_OK, NULL);
    lk_comm_free(NULL);
}

/* Without a launcher a process is alone and MPI isn't touched. */
static void test_create_alone(void **state) {
    (void)state;
    static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"};
    for (int i = 0; i < 4; i++) unsetenv(variables[i]);
    lk_comm *comm = NULL;
    lk_error err = {0};
    assert_int_equal(lk_comm_create(&comm, &err), LK_OK);
    assert_int_equal(comm->size, 1);
    lk_comm_free(comm);
}

static void test_topology_alone(void **state) {
    (void)state;
    lk_comm *comm = NULL;
    lk_error err = {0};
    lk_topology topology;
    int cores = 0;
    char text[256] = "";
    assert_int_equal(lk_comm_self_create(&comm, &err), LK_OK);
    assert_int_equal(lk_topology_cores(&cores, &err), LK_OK);
    assert_true(cores >= 1 && cores <= sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(lk_topology_create(&topology, comm, &err), LK_OK);
    assert_int_equal(topology.places[0].bound, cores);
    assert_int_equal(topology.places[0].share, cores);
    topology.places[0].available = 5;
    topology.places[0].share = 4;
    assert_int_equal(lk_topology_idle_cores(&topology, 0, 1), 4);
    assert_int_equal(lk_topology_idle_cores(&topology, 0, 3), 2);
    assert_int_equal(lk_topology_idle_cores(&topology, 0, 9), 1); /* a rank uses no more than its share */
    assert_int_equal(lk_topology_idle_cores(&topology, 1, 1), 0);
    topology.places[0].bound = 1;
    FILE *out = fmemopen(text, sizeof text, "w");
    lk_topology_print(&topology, out);
    fclose(out);
    assert_non_null(strstr(text, "rank 0: "));
    assert_non_null(strstr(text, ", 1 core\n"));
    lk_topology_free(&topology);
    lk_comm_free(comm);
}

/* What a faulty run left on each rank. */
typedef struct outcome {
    lk_status status[LOOP_RANKS];
    lk_error err[LOOP_RANKS];
    double seconds[LOOP_RANKS];
    int speaker[LOOP_RANKS];
    int absent;    /* this rank stays away; -1 none */
    int64_t ended; /* process number that the absent rank claims; 0: its own */
} outcome;

static void note(lk_comm *comm, outcome *o, lk_status status, double begun) {
    o->status[comm->rank] = status;
    o->seconds[comm->rank] = lk_clock_seconds() - begun;
    o->speaker[comm->rank] = lk_comm_state_of(comm)->speaker;
}

static void absent_rank(lk_comm *comm, void *context) {
    outcome *o = context;
    lk_error *err = &o->err[comm->rank];
    double begun = lk_clock_seconds();
    lk_comm_set_phase(comm, "epoch 3 update 40");
    lk_status status = lk_comm_barrier(comm, err);
    lk_comm_set_phase(comm, comm->rank == o->absent ? "epoch 3 update 41 loading" : "epoch 3 update 41");
    if (status == LK_OK && comm->rank != o->absent) status = lk_comm_barrier(comm, err);
    note(comm, o, status, begun);
    /* Nothing works after that, and it says so at once. */
    lk_error again = {0};
    if (status != LK_OK && lk_comm_barrier(comm, &again) != LK_ERR_COMM) o->status[comm->rank] = LK_OK;
}

/* A rank that doesn't come is named with its host, phase and last call, on every other rank, by those who sit on its
 * node or by the last call that all took part in. */
static void test_absent(void **state) {
    (void)state;
    static const int shapes[][5] = {{3}, {2, 2}, {2, 1}, {1, 1, 1}};
    for (size_t s = 0; s < 4; s++) {
        loop_world world;
        outcome o = {.absent = 2};
        loop_world_init(&world, shapes[s]);
        loop_run(&world, 0.2, 0, absent_rank, &o);
        bool neighbour = s == 0 || s == 1;
        for (int rank = 0; rank < world.size; rank++) {
            if (rank == o.absent) continue;
            assert_int_equal(o.status[rank], LK_ERR_COMM);
            const char *text = o.err[rank].message;
            assert_non_null(
                strstr(text, "no answer for 0.2 s in barrier (call 2, phase 'epoch 3 update 41') from rank 2"));
            assert_non_null(strstr(text, world.hosts[2]));
            if (neighbour)
                assert_non_null(strstr(text, "last in phase 'epoch 3 update 41 loading', after barrier (call 1)"));
            assert_non_null(strstr(text, "all ranks last met in barrier (call 1) of phase 'epoch 3 update 40'"));
            assert_null(strstr(text, "rank 1 ("));
            assert_int_equal(o.speaker[rank], 0);
            assert_true(o.seconds[rank] < 0.2 + LK_ROLL_CALL_SECONDS + 2);
        }
    }
}

/* Rank 0 missing: the next one speaks. */
static void test_absent_first(void **state) {
    (void)state;
    loop_world world;
    outcome o = {.absent = 0};
    loop_world_init(&world, (int[]){3, 0});
    loop_run(&world, 0.2, 0, absent_rank, &o);
    assert_int_equal(o.status[1], LK_ERR_COMM);
    assert_non_null(strstr(o.err[1].message, "from rank 0 (alpha"));
    assert_int_equal(o.speaker[1], 1);
    assert_int_equal(o.speaker[2], 1);
}

static void astray_rank(lk_comm *comm, void *context) {
    outcome *o = context;
    double begun = lk_clock_seconds();
    int64_t counts[4] = {1, 1, 1, 1};
    char all[4];
    lk_comm_set_phase(comm, comm->rank == 1 ? "evaluation" : "training");
    /* Waits for a message that the others never send. */
    lk_status status = comm->rank == 1 ? lk_comm_gather(comm, "x", counts, all, 1, &o->err[1])
                                       : lk_comm_barrier(comm, &o->err[comm->rank]);
    note(comm, o, status, begun);
}

#ifdef NDEBUG
static void test_astray(void **state) {
    (void)state;
    loop_world world;
    outcome o = {.absent = -1};
    loop_world_init(&world, (int[]){2, 1, 0});
    loop_run(&world, 0.2, 0, astray_rank, &o);
    for (int rank = 0; rank < 3; rank++) {
        assert_int_equal(o.status[rank], LK_ERR_COMM);
        assert_non_null(strstr(o.err[rank].message, "waits in gather (call 1, phase 'evaluation')"));
        assert_non_null(strstr(o.err[rank].message, "waits in barrier (call 1, phase 'training')"));
    }
}
#else
/* Debug builds find it without any time limit, and name the odd one of three. */
static void test_astray(void **state) {
    (void)state;
    loop_world world;
    outcome o = {.absent = -1};
    loop_world_init(&world, (int[]){2, 1, 0});
    loop_run(&world, 60, 0, astray_rank, &o);
    for (int rank = 0; rank < 3; rank++) {
        assert_int_equal(o.status[rank], LK_ERR_INTERNAL);
        assert_non_null(strstr(o.err[rank].message, "rank 1 is in gather"));
        assert_non_null(strstr(o.err[rank].message, "rank 0 is in barrier"));
    }
}
#endif

static void dead_rank(lk_comm *comm, void *context) {
    outcome *o = context;
    double begun = lk_clock_seconds();
    if (comm->rank == o->absent) lk_comm_own_record(comm)->process = o->ended;
    lk_comm_set_phase(comm, "epoch 1");
    lk_status status = lk_comm_barrier(comm, &o->err[comm->rank]);
    if (comm->rank == o->absent) return;
    if (status == LK_OK) status = lk_comm_barrier(comm, &o->err[comm->rank]);
    note(comm, o, status, begun);
}

/* A process of this machine that has certainly ended. */
static pid_t ended_process(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return child;
}

/* A neighbour whose process is gone is noticed long before the time limit, and named on all nodes. */
static void test_dead_neighbour(void **state) {
    (void)state;
    loop_world world;
    outcome o = {.absent = 1, .ended = ended_process()};
    loop_world_init(&world, (int[]){2, 2, 0});
    loop_run(&world, 60, 0, dead_rank, &o);
    for (int rank = 0; rank < 4; rank++) {
        if (rank == 1) continue;
        assert_int_equal(o.status[rank], LK_ERR_COMM);
        assert_non_null(strstr(o.err[rank].message, "a process ended while others waited"));
        assert_non_null(strstr(o.err[rank].message, "rank 1 (alpha, process "));
        assert_true(o.seconds[rank] < 10);
    }
}

static void agreed_rank(lk_comm *comm, void *context) {
    outcome *o = context;
    lk_error *err = &o->err[comm->rank];
    lk_status mine = LK_OK;
    if (comm->rank == 1) mine = lk_fail(err, LK_ERR_DATA, "bad sample");
    o->status[comm->rank] = lk_comm_agree(comm, mine, err);
    o->speaker[comm->rank] = lk_comm_state_of(comm)->agreed;
    lk_error later = {0};
    lk_status next = lk_comm_barrier(comm, &later);
    if (next != LK_OK || lk_comm_state_of(comm)->agreed) o->speaker[comm->rank] = -1;
}

/* lk_comm_finish frees after a failure that all know, and only then. */
static void test_agreed(void **state) {
    (void)state;
    loop_world world;
    outcome o = {.absent = -1};
    loop_world_init(&world, (int[]){2, 1, 0});
    loop_run(&world, 30, 2, agreed_rank, &o);
    for (int rank = 0; rank < 3; rank++) {
        assert_int_equal(o.status[rank], LK_ERR_DATA);
        assert_int_equal(o.speaker[rank], 1);
        assert_string_equal(o.err[rank].message, rank == 1 ? "bad sample" : "rank 1: bad sample");
    }
}

/* A record read while it is written is one of the two states, never a mixture. */
typedef struct record_race {
    lk_comm *comm;
    atomic_bool stop;
} record_race;

static void *write_phases(void *context) {
    record_race *race = context;
    char phase[101] = "";
    for (int i = 0; !atomic_load(&race->stop); i++) {
        memset(phase, 'a' + i % 2, 100);
        lk_comm_set_phase(race->comm, "%s", phase);
    }
    return NULL;
}

static void test_record(void **state) {
    (void)state;
    loop_world world;
    pthread_t thread;
    loop_world_init(&world, (int[]){1, 0});
    record_race race = {.comm = loop_comm(&world, 0, 1, 0)};
    lk_comm_set_phase(race.comm, "%0100d", 0);
    int first_letters = 0;
    pthread_create(&thread, NULL, write_phases, &race);
    double end = lk_clock_seconds() + 2;
    while (lk_clock_seconds() < end) {
        lk_rank_record copy;
        lk_record_read(&copy, lk_comm_own_record(race.comm));
        assert_int_equal(strlen(copy.phase), 100);
        first_letters += copy.phase[0] == 'a';
        assert_int_equal(strspn(copy.phase, (char[]){copy.phase[0], '\0'}), 100);
    }
    atomic_store(&race.stop, true);
    pthread_join(thread, NULL);
    assert_true(first_letters > 0); /* the writer was at work */
    lk_comm_free(race.comm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self),         cmocka_unit_test(test_create_alone), cmocka_unit_test(test_topology_alone),
        cmocka_unit_test(test_agreed),       cmocka_unit_test(test_record),       cmocka_unit_test(test_absent),
        cmocka_unit_test(test_absent_first), cmocka_unit_test(test_astray),       cmocka_unit_test(test_dead_neighbour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
