/* What this process takes of the machine. */
#ifndef LK_CORE_PROCESS_H
#define LK_CORE_PROCESS_H

/* Memory of this process. Unit: MiB. */
typedef struct lk_process_memory {
    double resident, peak; /* now, and at most since it was started; 0 where the system does not tell */
} lk_process_memory;
lk_process_memory lk_process_memory_read(void);
/* The peak starts again from what is resident now, where the system allows it: for the next of several runs. */
void lk_process_memory_reset(void);

#endif
