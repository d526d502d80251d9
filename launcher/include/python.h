/* SPDX-License-Identifier: MIT */
#ifndef PYTHON_H
#define PYTHON_H

/*
 * Becomes the kexec that is written in Python, with the same arguments, environment and signals.
 * Returns the exit code for the reason why there is none, which it has told.
 */
int run_python(char **arguments, char **environment);

#endif
