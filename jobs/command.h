/* A subcommand: one file in jobs/, one line in main.c's table. */
#ifndef LK_JOBS_COMMAND_H
#define LK_JOBS_COMMAND_H

#include "core/error.h"

/* argv[0] is the subcommand's name. Results go to stdout; errors only into *err. --help prints and returns LK_OK. */
typedef lk_status (*lk_command_function)(int argc, char **argv, lk_error *err);

lk_status lk_command_pack(int argc, char **argv, lk_error *err);
lk_status lk_command_scan(int argc, char **argv, lk_error *err);
lk_status lk_command_train(int argc, char **argv, lk_error *err);
lk_status lk_command_kfold(int argc, char **argv, lk_error *err);
lk_status lk_command_sweep(int argc, char **argv, lk_error *err);
lk_status lk_command_preview(int argc, char **argv, lk_error *err);
lk_status lk_command_eval(int argc, char **argv, lk_error *err);
lk_status lk_command_calibrate(int argc, char **argv, lk_error *err);
lk_status lk_command_predict(int argc, char **argv, lk_error *err);
lk_status lk_command_convert(int argc, char **argv, lk_error *err);
lk_status lk_command_verify(int argc, char **argv, lk_error *err);
lk_status lk_command_schedule(int argc, char **argv, lk_error *err);
lk_status lk_command_plan(int argc, char **argv, lk_error *err);
lk_status lk_command_models(int argc, char **argv, lk_error *err);
lk_status lk_command_inspect(int argc, char **argv, lk_error *err);
lk_status lk_command_show(int argc, char **argv, lk_error *err);
lk_status lk_command_compare(int argc, char **argv, lk_error *err);
lk_status lk_command_doctor(int argc, char **argv, lk_error *err);

#endif
