/* The stand-in for cuDNN's backend interface: descriptors (cudnn_backend.c), what they must be (cudnn_rules.c) and the
 * convolution they describe (cudnn_convolution.c). */
#ifndef LK_TESTS_GPU_CUDNN_SIM_H
#define LK_TESTS_GPU_CUDNN_SIM_H

#include <cudnn.h>

#include "sim.h"

typedef struct sim_tensor {
    int64_t uid, dims[4], strides[4], alignment;
    cudnnDataType_t type;
} sim_tensor;

typedef enum sim_pass { SIM_FORWARD, SIM_DATA, SIM_WEIGHT } sim_pass;

typedef struct sim_convolution {
    sim_pass pass;
    sim_tensor x, weight, y;
    int64_t pads[2], pads_after[2], strides[2], dilations[2], groups;
} sim_convolution;

/* Engines: the first depends on chance, the next two round float32 operands to half precision and to TF32, the fourth
 * asks for a workspace beyond any limit; a device must pass them over, but for TF32 where it was asked for. Those that
 * follow have a knob: with SIM_KNOB_BACK sums run over pixels and the kernel from last to first, to other bits. */
typedef enum sim_engine { SIM_CHANCE, SIM_DOWN, SIM_SHORT, SIM_HUGE, SIM_GOOD, SIM_FALLBACK, SIM_ENGINES } sim_engine;

/* The knob's number, its values, and the most configurations of a ranking. */
enum { SIM_KNOB = CUDNN_KNOB_TYPE_TILE_SIZE, SIM_KNOB_FORTH = 0, SIM_KNOB_BACK = 1, SIM_CONFIGS = SIM_ENGINES + 2 };

typedef struct sim_config {
    sim_engine engine;
    int64_t knob;
} sim_config;

#define SIM_WORKSPACE 4096
#define SIM_ATTRIBUTES 12

typedef struct sim_attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    void *values;
} sim_attribute;

/* What the opaque descriptor points to. What finalising works out is kept here by value, so that the descriptors it was
 * made of may be destroyed. */
typedef struct sim_descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized;
    sim_attribute attributes[SIM_ATTRIBUTES];
    int count;
    sim_tensor tensor;
    sim_convolution convolution;     /* of operation, graph, ranking, configuration, engine, plan */
    sim_config configs[SIM_CONFIGS]; /* of a ranking; the one of a configuration, engine, knob or plan */
    int config_count;
    bool has_handle;
} sim_descriptor;

/* Checks a descriptor and works out what follows from it. */
cudnnStatus_t sim_finalize(sim_descriptor *d);
/* The values of an attribute; NULL where it was not set to exactly `count` values of the type (count -1: any). */
const void *sim_attribute_get(const sim_descriptor *d, cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type, int64_t count);

/* Operands in the order x, weight, y; device addresses. */
void sim_convolution_run(const sim_convolution *c, sim_config config, void *const operands[3]);
/* Has the engine the knob? */
bool sim_has_knob(sim_engine engine);

size_t sim_type_size(cudnnDataType_t type);

#endif
