/* Time: monotonic for durations, wall time for records. */
#ifndef LK_CORE_CLOCK_H
#define LK_CORE_CLOCK_H

#include <stddef.h>

/* Seconds since an unspecified moment; never goes back. */
double lk_clock_seconds(void);

/* Seconds since this process was started (its exec included), to a hundredth; 0 where the system does not tell. */
double lk_clock_process_age(void);

/* Seconds since 1970 in UTC, with fractions. */
double lk_clock_unix_seconds(void);

/* Writes the wall time in UTC, "2025-01-31T12:00:00Z" (21 bytes), into text; returns text. */
char *lk_clock_wall_text(char *text, size_t size);

/* Writes a duration as people read it, "0:07", "12:34", "1:02:03", into text; negative counts as 0. Returns text. */
char *lk_clock_duration_text(double seconds, char *text, size_t size);

#endif
