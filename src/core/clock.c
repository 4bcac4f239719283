#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double lk_clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double lk_clock_unix_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double lk_clock_process_age(void) {
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "r");
    if (file == NULL) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    /* Source: proc(5). The name in parentheses may hold anything; 20 words after it come ticks since the boot. */
    const char *at = strrchr(text, ')');
    for (int word = 0; word < 20 && at != NULL; word++) at = strchr(at + 1, ' ');
    long rate = sysconf(_SC_CLK_TCK);
    struct timespec now;
    if (at == NULL || rate <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
    double age = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)strtoull(at, NULL, 10) / (double)rate;
    return age > 0 ? age : 0;
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
