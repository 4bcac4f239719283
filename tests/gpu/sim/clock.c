/* Vector clocks of streams, events and the host. */
#include "stream.h"
#include "watch.h"

static sim_clock host; /* what the host knows to be done */
static uint32_t ticks[SIM_TRACKS];
static bool taken[SIM_TRACKS] = {true}; /* 0: the default stream's */

int sim_track_new(void) {
    for (int i = 0; i < SIM_TRACKS; i++) {
        if (taken[i] || host.at[i] < ticks[i]) continue; /* works of a destroyed stream may still be unordered */
        taken[i] = true;
        return i;
    }
    sim_fault("more than %d streams and branches", SIM_TRACKS);
}

void sim_track_free(int track) { taken[track] = false; }

void sim_clock_join(sim_clock *clock, const sim_clock *other) {
    for (int i = 0; i < SIM_TRACKS; i++)
        if (clock->at[i] < other->at[i]) clock->at[i] = other->at[i];
}

bool sim_clock_covers(const sim_clock *clock, const sim_clock *other) {
    for (int i = 0; i < SIM_TRACKS; i++)
        if (clock->at[i] < other->at[i]) return false;
    return true;
}

/* A blocking stream and the default stream follow what was given to the other before. */
void sim_clock_enqueue(sim_stream *stream) {
    sim_stream *first = sim_streams();
    sim_clock_join(&stream->clock, &host);
    if (stream->blocking) sim_clock_join(&stream->clock, &first->clock);
    for (sim_stream *s = first; s != NULL && stream == first; s = s->next)
        if (s->blocking) sim_clock_join(&stream->clock, &s->clock);
    stream->clock.at[stream->track] = ++ticks[stream->track];
}

static int branch_of(sim_stream *stream, int chain) {
    if (chain == 0) return stream->track;
    if (stream->branches[chain] == 0) stream->branches[chain] = sim_track_new();
    return stream->branches[chain];
}

void sim_clock_launch(sim_stream *stream, const sim_chains *chains, sim_tracks *tracks) {
    tracks->before = stream->clock;
    for (int i = 0; i < chains->count; i++) {
        int track = branch_of(stream, i);
        tracks->track[i] = track;
        tracks->start[i] = ticks[track];
        stream->clock.at[track] = ticks[track] += (uint32_t)chains->lengths[i];
    }
}

const sim_clock *sim_clock_host(void) { return &host; }

void sim_host_learns(const sim_clock *clock) {
    sim_clock_join(&host, clock);
    sim_pinned_learn();
}

void sim_host_learns_all(void) {
    for (const sim_stream *s = sim_streams(); s != NULL; s = s->next) sim_clock_join(&host, &s->clock);
    sim_pinned_learn();
}
