#include <stdio.h>

#include "fault.h"
#include "modes.h"

#define MIN_FAULTS 10 /* planted and caught, for each kind of op */

static const op_fault *faults_of(lk_op_kind kind, int *count) {
    switch (kind) {
        case LK_OP_INPUT: return op_faults_of_input(count);
        case LK_OP_CONV2D: return op_faults_of_conv2d(count);
        case LK_OP_BATCHNORM: return op_faults_of_batchnorm(count);
        case LK_OP_ACTIVATION: return op_faults_of_activation(count);
        case LK_OP_ADD: return op_faults_of_add(count);
        case LK_OP_SCALE: return op_faults_of_scale(count);
        case LK_OP_DROPOUT: return op_faults_of_dropout(count);
        case LK_OP_MAXPOOL: return op_faults_of_maxpool(count);
        case LK_OP_GLOBAL_AVGPOOL: return op_faults_of_global_avgpool(count);
        case LK_OP_LINEAR: return op_faults_of_linear(count);
        case LK_OP_LOSS: return op_faults_of_loss(count);
        case LK_OP_COUNT: break;
    }
    *count = 0;
    return NULL;
}

typedef struct tally {
    int planted, caught;
} tally;

/* Runs the cases of one kind over the device with one thing broken (NULL: nothing). */
static lk_status try_fault(op_context *context, const op_fault *fault, lk_op_kind kind, bool *passed, int64_t *broken,
                           lk_error *err) {
    lk_device *device = NULL;
    LK_RETURN_IF(op_fault_device_create(&device, context->device, fault, kind, err));
    op_context quiet = {.device = device,
                        .reference = context->reference,
                        .quiet = true,
                        .only_kind = (int)kind,
                        .stop_at_first = true};
    *passed = op_mode_compare(&quiet);
    *broken = op_fault_device_count(device);
    if (fault == NULL && !*passed) printf("FAIL with nothing broken: %s\n", quiet.first_failure);
    lk_device_free(device);
    return LK_OK;
}

static lk_status try_list(op_context *context, const op_fault *list, int count, lk_op_kind kind, tally *t,
                          lk_error *err) {
    for (int i = 0; i < count; i++) {
        bool passed;
        int64_t broken;
        LK_RETURN_IF(try_fault(context, &list[i], kind, &passed, &broken, err));
        if (broken == 0 && passed) continue; /* has no meaning for this kind and device */
        t->planted++;
        if (!passed) t->caught++;
        if (passed) printf("FAIL %s: nobody notices that %s\n", lk_op_kind_name(kind), list[i].name);
    }
    return LK_OK;
}

/* The slab checks over the device with one thing broken (NULL: nothing). */
static lk_status try_slabs(op_context *context, const op_fault *fault, bool *passed, lk_error *err) {
    lk_device *device = NULL;
    LK_RETURN_IF(op_fault_device_create(&device, context->device, fault, LK_OP_COUNT, err));
    op_context quiet = {.device = device, .reference = context->reference, .quiet = true, .only_kind = -1};
    lk_error finding = {0};
    *passed = op_check_slabs(&quiet, &finding) == LK_OK;
    if (fault == NULL && !*passed) printf("FAIL slabs with nothing broken: %s\n", finding.message);
    if (fault != NULL && *passed) printf("FAIL slabs: nobody notices that %s\n", fault->name);
    lk_device_free(device);
    return LK_OK;
}

static bool slab_faults(op_context *context) {
    int count, caught = 0;
    const op_fault *list = op_faults_of_slabs(&count);
    lk_error err = {0};
    bool right = false, passed = true;
    lk_status status = try_slabs(context, NULL, &right, &err);
    for (int i = 0; i < count && status == LK_OK; i++) {
        status = try_slabs(context, &list[i], &passed, &err);
        caught += status == LK_OK && !passed;
    }
    if (status != LK_OK) printf("FAIL %s\n", err.message);
    printf("faults slabs on %s: %d of %d caught\n", context->device->name, caught, count);
    return right && caught == count && count >= MIN_FAULTS;
}

bool op_mode_faults(op_context *context) {
    bool well = true;
    lk_error err = {0};
    for (lk_op_kind kind = 0; kind < LK_OP_COUNT; kind++) {
        tally t = {0};
        bool passed = false;
        int64_t broken = 0;
        int generic, own;
        const op_fault *generic_list = op_faults_generic(&generic), *own_list = faults_of(kind, &own);
        lk_status status = try_fault(context, NULL, kind, &passed, &broken, &err);
        if (status == LK_OK) status = try_list(context, generic_list, generic, kind, &t, &err);
        if (status == LK_OK) status = try_list(context, own_list, own, kind, &t, &err);
        if (status != LK_OK) printf("FAIL %s\n", err.message);
        printf("faults %s on %s: %d of %d caught\n", lk_op_kind_name(kind), context->device->name, t.caught, t.planted);
        well &= status == LK_OK && passed && t.caught == t.planted && t.planted >= MIN_FAULTS;
        well &= own > 0;
    }
    return slab_faults(context) && well;
}
