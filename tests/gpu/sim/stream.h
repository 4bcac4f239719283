/* Inside the stand-in's runtime: a stream, and what is captured from it. */
#ifndef LK_TESTS_GPU_STREAM_H
#define LK_TESTS_GPU_STREAM_H

#include "watch.h"

typedef struct sim_item {
    sim_work work;
    uint64_t number; /* in the order of enqueuing, over all streams */
    sim_clock clock;
    sim_forgotten forgotten;
    struct sim_item *next;
} sim_item;

typedef struct sim_graph sim_graph;

#define SIM_MOST_TAILS 8

/* Nodes of a graph that what comes next has to wait for. */
typedef struct sim_tails {
    int nodes[SIM_MOST_TAILS], count;
} sim_tails;

struct sim_stream {
    sim_stream *next;
    sim_item *first, *last;
    bool alive, blocking;
    int gpu, number;          /* number: for messages, from 1; 0 is the default stream */
    int track;                /* of its clock */
    int branches[SIM_CHAINS]; /* tracks of further chains of graphs; 0: none yet */
    sim_clock clock;          /* of what was enqueued last */
    sim_forgotten forgotten;  /* for the next work */
    sim_graph *capture;       /* NULL: none is under way */
    sim_tails tails;
};

/* Captured from, while a capture is under way: `capture` is that, else NULL. */
struct event {
    uint64_t recorded, done; /* numbers of the last record enqueued, and of the last that was reached */
    sim_clock clock;         /* of the last record */
    sim_graph *capture;
    sim_tails tails;
};

/* The list of all streams, the default stream first. */
sim_stream *sim_streams(void);

/* capture.c, under the lock. Is the stream captured? Then the work is kept in the graph. A call that must not be made
 * breaks the capture: it then ends with an error. */
bool sim_capture_push(sim_stream *stream, sim_work *work);
bool sim_capture_record(struct event *event, sim_stream *stream);
/* cudaErrorNotReady: no capture has to do with it. */
cudaError_t sim_capture_wait(sim_stream *stream, struct event *event);
/* cudaSuccess, or why a call that waits for this stream (NULL: for the device, or allocates) must not be made now. */
cudaError_t sim_capture_forbids(sim_stream *stream);

/* The fault of stale tables: the copy from pinned memory that was asked for last brings what the first such one
 * brought. */
void sim_plant_stale_copy(void);

/* Waits until the stream is idle; the host knows then. */
void sim_wait_stream(sim_stream *stream);

/* What the next work of the stream forgets, which is thereby taken. */
sim_forgotten sim_take_forgotten(sim_stream *stream);

/* Enqueues a graph's launch as one work; counts its nodes. */
void sim_push_graph(sim_stream *stream, sim_work graph, sim_work *const *nodes, int count);

#endif
