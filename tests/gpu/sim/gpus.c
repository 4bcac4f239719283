/* Which stand-in GPUs there are, and which one a thread uses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define API SIM_API
#define MOST 64

static _Thread_local int current;

/* Numbers of the visible GPUs in the machine; as CUDA, what stands behind a number that is none is not seen. */
static int visible(int numbers[MOST]) {
    int all = (int)sim_setting("LK_SIM_GPUS", 1), count = 0;
    const char *shown = getenv("CUDA_VISIBLE_DEVICES");
    if (all > MOST) all = MOST;
    if (shown == NULL) {
        for (int i = 0; i < all; i++) numbers[count++] = i;
        return count;
    }
    while (*shown != '\0' && count < MOST) {
        char *end;
        long number = strtol(shown, &end, 10);
        if (end == shown || number < 0 || number >= all) break;
        numbers[count++] = (int)number;
        shown = *end == ',' ? end + 1 : end;
    }
    return count;
}

API cudaError_t cudaGetDeviceCount(int *count) {
    int numbers[MOST];
    *count = visible(numbers);
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

API cudaError_t cudaSetDevice(int device) {
    int numbers[MOST];
    if (device < 0 || device >= visible(numbers)) return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
}

API cudaError_t cudaGetDevice(int *device) {
    *device = current;
    return cudaSuccess;
}

int sim_current_gpu(void) { return current; }

API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    int numbers[MOST];
    if (device < 0 || device >= visible(numbers)) return cudaErrorInvalidDevice;
    int number = numbers[device];
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, number == sim_setting("LK_SIM_OTHER", -1) ? "other stand-in GPU" : "stand-in GPU");
    snprintf(properties->uuid.bytes, sizeof properties->uuid.bytes, "stand-in %d", number);
    properties->pciDomainID = 0xffff; /* no such bus in any machine */
    properties->pciBusID = number;
    properties->major = (int)sim_setting("LK_SIM_CAPABILITY", 90) / 10;
    properties->minor = (int)sim_setting("LK_SIM_CAPABILITY", 90) % 10;
    properties->multiProcessorCount = (int)sim_setting("LK_SIM_MULTIPROCESSORS", 132);
    properties->warpSize = 32;
    return cudaSuccess;
}
