/* Golden logits of runs that compute in another type come from a plan of their own: they must be those of the
 * parameters and statistics that the run holds (P25). */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "tests/unit/unit.h"
#include "train/float32_logits.h"

enum { SIZE = 16, COUNT = 3, BATCH = 5, CLASSES = 4, PIXELS = SIZE * SIZE * 3 };

static void ok(lk_status status, const lk_error *err) {
    if (status != LK_OK) fail_msg("%s", err->message);
}

static lk_network *make_network(lk_device *device) {
    lk_error err = {0};
    lk_network *network = NULL;
    lk_loss_config loss = {.cross_entropy = 1};
    lk_network_config config = {.model = "cifar_resnet8",
                                .spec = {.channels = 3,
                                         .h = SIZE,
                                         .w = SIZE,
                                         .classes = CLASSES,
                                         .mean = {0.4f, 0.5f, 0.6f},
                                         .std = {0.2f, 0.25f, 0.3f}},
                                .loss = &loss,
                                .compute = LK_F32,
                                .microbatch = 8,
                                .evaluate_batch = BATCH,
                                .seed = 3,
                                .threads = 1};
    ok(lk_network_create(&network, device, &config, &err), &err);
    return network;
}

/* Statistics of a trained network differ from the first ones. */
static void change_stats(lk_network *network) {
    lk_error err = {0};
    lk_device *device = network->device;
    int64_t count = network->totals.stats_count;
    size_t size = lk_dtype_size(device->master);
    char *stats = NULL;
    ok(lk_alloc((void **)&stats, (size_t)count, size, "stats", &err), &err);
    for (int64_t i = 0; i < count; i++) {
        double value = 0.4 + 0.3 * sin((double)i);
        if (size == sizeof(double))
            ((double *)stats)[i] = value;
        else
            ((float *)stats)[i] = (float)value;
    }
    ok(device->upload(device, network->stats, stats, count * (int64_t)size, &err), &err);
    lk_free(stats);
}

static void evaluate(lk_network *network, lk_stream *stream, const uint8_t *images, double *logits) {
    lk_error err = {0};
    void *arena = NULL;
    lk_lane *lane = NULL;
    int32_t labels[BATCH] = {0};
    lk_device *device = network->device;
    ok(device->alloc(device, &arena, network->arena_bytes, "an arena", &err), &err);
    ok(lk_lane_create(&lane, network->plans[LK_NETWORK_EVALUATE], stream, arena, &err), &err);
    ok(lk_network_refresh(network, LK_NETWORK_EVALUATE, stream, &err), &err);
    lk_run run = {.params = network->params,
                  .derived = network->derived[LK_NETWORK_EVALUATE],
                  .stats = network->stats,
                  .images = images,
                  .labels = labels,
                  .rows = COUNT,
                  .loss_scale = 1.0};
    ok(lk_lane_forward(lane, &run, NULL, NULL, &err), &err);
    ok(lk_lane_read_logits(lane, logits, &err), &err);
    lk_lane_free(lane);
    device->release(device, arena);
}

static void logits_are_those_of_the_run(void **state) {
    lk_error err = {0};
    lk_device *device = NULL;
    lk_stream *stream = NULL;
    double wanted[BATCH * CLASSES], scale = 0;
    float seen[COUNT * CLASSES], fresh[COUNT * CLASSES];
    uint8_t images[BATCH * PIXELS] = {0};
    for (int i = 0; i < COUNT * PIXELS; i++) images[i] = (uint8_t)((unsigned)i * 2654435761u >> 13);
    ok(lk_device_create(&device, *state, 1, &err), &err);
    lk_network *network = make_network(device);
    ok(device->stream_create(device, &stream, &err), &err);
    ok(lk_float32_logits(network, stream, images, COUNT, fresh, &err), &err);
    change_stats(network);
    evaluate(network, stream, images, wanted);
    ok(lk_float32_logits(network, stream, images, COUNT, seen, &err), &err);
    for (int i = 0; i < COUNT * CLASSES; i++) scale = fmax(scale, fabs(wanted[i]));
    assert_true(scale > 0.01);
    for (int i = 0; i < COUNT * CLASSES; i++)
        if (!(fabs(seen[i] - wanted[i]) <= 1e-5 * scale)) fail_msg("logit %d is %g, not %g", i, seen[i], wanted[i]);
    assert_memory_not_equal(seen, fresh, sizeof seen);
    device->stream_free(device, stream);
    lk_network_free(network);
    lk_device_free(device);
}

int main(void) {
    char reference[] = "reference", cpu[] = "cpu";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(logits_are_those_of_the_run, reference),
        cmocka_unit_test_prestate(logits_are_those_of_the_run, cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
