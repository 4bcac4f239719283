/* What is ordered after what, and who touched which bytes. Every work has a vector clock: it holds how far it is behind
 * the works of every stream, by the order of the calls alone, whatever order the stand-in draws. Device memory has a
 * shadow: who wrote each 4 bytes last and who has read them since. An access that no clock orders behind an earlier one
 * that it conflicts with, or to bytes of no allocation, or that reads what nobody has written, ends the process. All
 * under the lock. */
#ifndef LK_TESTS_GPU_WATCH_H
#define LK_TESTS_GPU_WATCH_H

#include "sim.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SIM_TRACKS 64
#define SIM_CHAINS 8

/* How many works of each track come before. A track is a stream, or a branch of the graphs that are launched on one. */
typedef struct sim_clock {
    uint32_t at[SIM_TRACKS];
} sim_clock;

/* Nodes of a graph that follow one another: how many there are in each chain. The first is the captured stream's. */
typedef struct sim_chains {
    int count, lengths[SIM_CHAINS];
} sim_chains;

/* Where the chains of one launch lie: node k of a chain is number start + k + 1 of the track. */
typedef struct sim_tracks {
    int track[SIM_CHAINS];
    uint32_t start[SIM_CHAINS];
    sim_clock before; /* of the launch itself */
} sim_tracks;

/* clock.c. Clocks of the streams move when something is enqueued, that of the host when a call has waited. */
int sim_track_new(void);
/* Faults where what was enqueued there is not over for the host. */
void sim_track_free(int track);
void sim_clock_join(sim_clock *clock, const sim_clock *other);
bool sim_clock_covers(const sim_clock *clock, const sim_clock *other);
/* What was enqueued just now, behind what the stream and the host already follow. */
void sim_clock_enqueue(sim_stream *stream);
/* The same of the chains of a graph that was enqueued just now. */
void sim_clock_launch(sim_stream *stream, const sim_chains *chains, sim_tracks *tracks);
const sim_clock *sim_clock_host(void);
/* The host has waited for what the clock covers; for all there is. */
void sim_host_learns(const sim_clock *clock);
void sim_host_learns_all(void);

/* shadow.c. From begin to end, what is touched is touched by this work. */
void sim_watch_begin(const char *what, int stream, int track, const sim_clock *clock);
void sim_watch_end(void);
/* A read that takes what nobody has written as it is. */
void sim_touch_any(const void *p, size_t bytes);
void sim_shadow_arena(const char *arena, size_t bytes);
void sim_shadow_alloc(const void *p, size_t bytes);
void sim_shadow_free(const void *p, size_t bytes);

/* Ranges whose bytes count as unwritten when a work begins. */
typedef struct sim_forgotten {
    sim_range ranges[SIM_MOST_FORGOTTEN];
    int count;
} sim_forgotten;
void sim_forget_now(const sim_forgotten *forgotten);

/* transfer.c. Copies from and to pinned memory that were taken on since the last time are over for the host when it has
 * learnt the clock; what it has learnt makes the memory its own again. */
void sim_pinned_stamp(const sim_clock *clock);
void sim_pinned_learn(void);
#ifdef __cplusplus
}
#endif

#endif
