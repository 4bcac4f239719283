/* Checks for programs of several ranks: a failed one says where, and the program ends for all. */
#ifndef LK_TEST_MPI_CHECK_H
#define LK_TEST_MPI_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "dist/comm.h"

#define CHECK(comm, condition)                                                                               \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "FAILED on rank %d: %s:%d: %s\n", (comm)->rank, __FILE__, __LINE__, #condition); \
            lk_comm_abort(comm, 1, "a check failed");                                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_OK(comm, call)                                                                                   \
    do {                                                                                                       \
        lk_error check_err = {0};                                                                              \
        lk_error *err = &check_err;                                                                            \
        if ((call) != LK_OK) {                                                                                 \
            fprintf(stderr, "FAILED on rank %d: %s:%d: %s\n", (comm)->rank, __FILE__, __LINE__, err->message); \
            lk_comm_abort(comm, 1, err->message);                                                              \
            exit(1);                                                                                           \
        }                                                                                                      \
    } while (0)

#endif
