/* What published weights were made for, where a project's differ from those that a model's entry describes. */
#include <string.h>

#include "train/weights.h"
#include "train/weights_names.h"

typedef struct published {
    const char *naming, *architecture;
    int32_t size, resize_size;
    bool bicubic;
} published;

/* Source: the transforms() of torchvision's weights, IMAGENET1K_V2 where there is one, else V1; the validation of
 * efficientnet_pytorch's examples/imagenet/main.py. All with the mean and std of ImageNet. */
static const published PUBLISHED[] = {
    {"torchvision EfficientNet", "efficientnet_b0", 224, 256, true},
    {"torchvision EfficientNet", "efficientnet_b1", 240, 255, false},
    {"torchvision EfficientNet", "efficientnet_b2", 288, 288, true},
    {"torchvision EfficientNet", "efficientnet_b3", 300, 320, true},
    {"torchvision EfficientNet", "efficientnet_b4", 380, 384, true},
    {"torchvision MobileNetV3", "mobilenetv3_large_100", 224, 232, false},
    {"efficientnet_pytorch", "efficientnet_b0", 224, 224, true},
    {"efficientnet_pytorch", "efficientnet_b1", 240, 240, true},
    {"efficientnet_pytorch", "efficientnet_b2", 260, 260, true},
    {"efficientnet_pytorch", "efficientnet_b3", 300, 300, true},
    {"efficientnet_pytorch", "efficientnet_b4", 380, 380, true},
};

static const float IMAGENET_MEAN[] = {0.485f, 0.456f, 0.406f}, IMAGENET_STD[] = {0.229f, 0.224f, 0.225f};

static void fill(lk_preprocess *out, int32_t size, int32_t resize_size, bool bicubic, const float *mean,
                 const float *std) {
    *out = (lk_preprocess){.channels = 3,
                           .height = size,
                           .width = size,
                           .resize = LK_RESIZE_SHORT_SIDE,
                           .resize_size = resize_size,
                           .interpolation = bicubic ? LK_BICUBIC : LK_BILINEAR};
    memcpy(out->mean, mean, 3 * sizeof *mean);
    memcpy(out->std, std, 3 * sizeof *std);
}

bool lk_weights_published(lk_preprocess *out, int naming, const char *architecture) {
    for (size_t i = 0; i < sizeof PUBLISHED / sizeof PUBLISHED[0]; i++) {
        const published *p = &PUBLISHED[i];
        if (strcmp(p->naming, lk_naming_name(naming)) != 0 || strcmp(p->architecture, architecture) != 0) continue;
        fill(out, p->size, p->resize_size, p->bicubic, IMAGENET_MEAN, IMAGENET_STD);
        return true;
    }
    const lk_model_entry *entry = lk_model_find(architecture);
    if (entry == NULL || entry->weights.name == NULL) return false;
    const lk_model_weights *w = &entry->weights;
    fill(out, (int32_t)w->size, (int32_t)lk_model_resize_size(w, w->size), w->bicubic, w->mean, w->std);
    return true;
}
