/* What the files of the NCCL stand-in share. Ranks are processes of one machine; bytes travel through sockets, as far
 * as both ends' streams have come to them. One thread. */
#ifndef LK_TESTS_GPU_NCCL_SIM_H
#define LK_TESTS_GPU_NCCL_SIM_H

#include <nccl.h>

#include "sim.h"

#define SIM_RANKS 16
#define SIM_ID_BYTES 32

/* What one rank tells another when they meet. */
typedef struct sim_hello {
    int rank, size;
    char uuid[16]; /* of its GPU */
} sim_hello;

/* Precedes the bytes of a message. */
typedef struct sim_header {
    uint32_t magic, sequence; /* sequence: of the messages from this rank to that */
    uint64_t bytes;
} sim_header;

typedef struct sim_peer {
    int socket;           /* -1: not connected */
    bool greeted, heard;  /* hello sent, received */
    sim_hello hello;      /* of the other */
    uint32_t sent, taken; /* messages so far */
} sim_peer;

typedef struct sim_message {
    bool sending;
    int peer;
    char *data; /* device memory, or the stand-in's own */
    size_t bytes, moved;
    sim_header header;
    size_t header_moved;
    bool done;
} sim_message;

/* Messages that start together. */
typedef struct sim_group {
    ncclComm_t comm;
    cudaStream_t stream;
    sim_message *messages;
    int count, number; /* number: of the comm's groups, from 0 */
    bool enqueued;
    float *sum; /* of an all-reduce: the result; messages hold the others' terms */
    size_t elements;
    float **terms; /* by rank */
} sim_group;

#define SIM_AREAS 8

/* Memory that was registered. */
typedef struct sim_area {
    const char *data;
    size_t bytes;
} sim_area;

struct ncclComm {
    int rank, size, listener;
    char id[SIM_ID_BYTES];
    sim_hello own;
    sim_peer peers[SIM_RANKS];
    bool joined, aborted, leaving;
    int delay;          /* polls until what was asked for is settled */
    sim_group *waiting; /* ended, to be enqueued when settled; NULL: none */
    int groups;
    sim_area areas[SIM_AREAS]; /* data NULL: free */
    int area_count;            /* of those that are not */
    ncclResult_t error;
    char words[160];
};

/* nccl_link.c. Does what the sockets allow; true: every message of the group is over. */
bool sim_link_move(sim_group *group);
/* Meets the other ranks; true: all are connected. */
bool sim_link_join(ncclComm_t comm);
ncclResult_t sim_link_listen(ncclComm_t comm);
void sim_link_close(ncclComm_t comm);
/* Notes the first error. */
void sim_nccl_fail(ncclComm_t comm, ncclResult_t error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
