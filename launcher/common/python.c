// SPDX-License-Identifier: MIT
#include <stdbool.h>

#include "calls.h"
#include "python.h"
#include "say.h"
#include "strings.h"
#include "system.h"
#include "texts.h"

#define AT_FDCWD (-100)
#define ENOENT 2
#define SIG_BLOCK 0
#define SIG_SETMASK 2
#define SIGINT_BIT (UINT64_C(1) << 1)

/* Below the directory that this program's directory is in, and where packages have it. */
#define SCRIPT "/lib/pykexec/kexec"
#define PACKAGED "/usr" SCRIPT
#define PATH_SIZE 4096

/*
 * Writes PREFIX/lib/pykexec/kexec to ``path`` for a program that is PREFIX/sbin/kexec or
 * PREFIX/bin/kexec; false for one that is elsewhere, next to which anybody may have put anything.
 */
static bool find_neighbour(char *path)
{
	long length = system_call(CALL_READLINKAT, AT_FDCWD, (long)"/proc/self/exe", (long)path,
				  PATH_SIZE - (long)sizeof(SCRIPT));
	const char *directory;

	while (length > 0 && path[length - 1] != '/')
		length--;
	if (length <= 0)
		return false;
	path[--length] = 0;
	while (length > 0 && path[length - 1] != '/')
		length--;
	if (length <= 0)
		return false;
	directory = path + length;
	if (!same(directory, "sbin") && !same(directory, "bin"))
		return false;
	for (size_t at = 0; at < sizeof(SCRIPT); at++)
		path[length - 1 + (long)at] = SCRIPT[at];
	return true;
}

/* Writes NAME=PID to ``mark``. The number keeps it from meaning anything to a child. */
static void write_mark(char *mark)
{
	for (const char *name = SIGINT_MARK; *name; name++)
		*mark++ = *name;
	*write_decimal(mark, (unsigned long)system_call(CALL_GETPID, 0, 0, 0, 0)) = 0;
}

/* Copies the environment, with ``mark`` as its first string and without an older one. */
static void mark_environment(char **marked, char *mark, char **environment)
{
	*marked++ = mark;
	for (; *environment; environment++) {
		if (!begins(*environment, SIGINT_MARK))
			*marked++ = *environment;
	}
	*marked = NULL;
}

static bool exists(const char *path)
{
	return system_call(CALL_FACCESSAT, AT_FDCWD, (long)path, 0, 0) != -ENOENT;
}

static long execute(const char *path, char **arguments, char **environment)
{
	return system_call(CALL_EXECVE, (long)path, (long)arguments, (long)environment, 0);
}

int run_python(char **arguments, char **environment)
{
	static char neighbour[PATH_SIZE];
	const char *path = PACKAGED;
	char mark[sizeof(SIGINT_MARK) + 20];
	uint64_t interrupt = SIGINT_BIT, before = 0;
	size_t count = 0;
	long error;

	while (environment[count])
		count++;
	if (find_neighbour(neighbour) && exists(neighbour))
		path = neighbour;

	/* Python answers SIGINT with a traceback until pykexec/cli/front_door.py runs. That one lets
	 * it through again, unless whoever called this program had blocked it. */
	char *marked[count + 2];

	system_call(CALL_RT_SIGPROCMASK, SIG_BLOCK, (long)&interrupt, (long)&before,
		    sizeof(interrupt));
	if (!(before & SIGINT_BIT)) {
		write_mark(mark);
		mark_environment(marked, mark, environment);
		environment = marked;
	}
	error = execute(path, arguments, environment);
	system_call(CALL_RT_SIGPROCMASK, SIG_SETMASK, (long)&before, 0, sizeof(before));

	if (error != -ENOENT)
		say(CANNOT_RUN_TEXT, path, -error);
	else if (exists(path))
		say(NO_INTERPRETER_TEXT, path);
	else
		say(NO_PYTHON_TEXT, path);
	return NO_PYTHON_CODE;
}
