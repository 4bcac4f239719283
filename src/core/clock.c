#include "core/clock.h"

#include <stdio.h>
#include <time.h>

double lk_clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

char *lk_clock_wall_text(char *text, size_t size) {
    time_t now = time(NULL);
    struct tm parts;
    text[0] = '\0';
    if (gmtime_r(&now, &parts) != NULL && strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) text[0] = '\0';
    return text;
}

char *lk_clock_duration_text(double seconds, char *text, size_t size) {
    const double most = 359999; /* 99:59:59; also catches NaN below */
    long whole = !(seconds > 0) ? 0 : seconds > most ? (long)most : (long)(seconds + 0.5);
    if (whole >= 3600) {
        snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60);
    }
    return text;
}
