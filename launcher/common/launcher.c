// SPDX-License-Identifier: MIT
/*
 * kexec, where it is installed as /usr/sbin/kexec: jumps by itself, and leaves everything else to
 * the program in Python. Whoever needs a jump on the way down has no Python any more: an exit
 * initrd gets this file alone, by "kexec" in somebody else's list of programs to copy.
 */
#include <stdbool.h>

#include "calls.h"
#include "jump.h"
#include "python.h"
#include "state.h"
#include "strings.h"
#include "system.h"

#define AT_FDCWD (-100)
#define EBADF 9
#define F_GETFD 1
#define O_RDONLY 0
#define O_WRONLY 1
#define SIG_BLOCK 0
#define SIGPIPE_BIT (UINT64_C(1) << 12)

struct options {
	bool exec;
	bool no_sync;
	bool no_ifdown;
};

/* -d and -i change nothing about a jump, and scripts give them. */
static bool take_letter(struct options *options, char letter)
{
	switch (letter) {
	case 'e':
		options->exec = true;
		return true;
	case 'x':
		options->no_ifdown = true;
		return true;
	case 'y':
		options->no_sync = true;
		return true;
	case 'd':
	case 'i':
		return true;
	default:
		return false;
	}
}

static bool take_word(struct options *options, const char *word)
{
	if (same(word, "--exec"))
		return take_letter(options, 'e');
	if (same(word, "--no-ifdown"))
		return take_letter(options, 'x');
	if (same(word, "--no-sync"))
		return take_letter(options, 'y');
	if (*word++ != '-' || !*word)
		return false;
	while (*word) {
		if (!take_letter(options, *word++))
			return false;
	}
	return true;
}

/* Tells whether a jump and nothing else is asked for. */
static bool is_jump(struct options *options, char **arguments)
{
	for (; *arguments; arguments++) {
		if (!take_word(options, *arguments))
			return false;
	}
	return options->exec;
}

/* A descriptor that is closed would be that of the next file to be opened, and messages would go
 * there. It gets /dev/null, opened the wrong way round, as pykexec/cli/streams.py does. */
static void keep_standard_streams(void)
{
	static const char null[] = "/dev/null";

	for (long descriptor = 0; descriptor < 3; descriptor++) {
		if (system_call(CALL_FCNTL, descriptor, F_GETFD, 0, 0) == -EBADF)
			system_call(CALL_OPENAT, AT_FDCWD, (long)null,
				    descriptor ? O_RDONLY : O_WRONLY, 0);
	}
}

_Noreturn void launcher_main(long *stack)
{
	long count = *stack;
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + count + 1;
	struct options options = { 0 };
	int code;

	/* Who comes back from a jump has Python again, and more to do. On a Xen host the hypervisor
	 * jumps, which Python asks. */
	if (count > 1 && is_jump(&options, arguments + 1) && !will_return() && !is_xen_host()) {
		/* Nobody who stops reading messages keeps the machine from its jump. */
		uint64_t pipe = SIGPIPE_BIT;

		/* It tells whether there are any; where there is no Python, nobody would be helped
		 * by a machine that stays. */
		if (may_lose_sessions())
			run_python(arguments, environment);
		keep_standard_streams();
		system_call(CALL_RT_SIGPROCMASK, SIG_BLOCK, (long)&pipe, 0, sizeof(pipe));
		code = jump(!options.no_sync, !options.no_ifdown);
	} else {
		code = run_python(arguments, environment);
	}
	for (;;)
		system_call(CALL_EXIT_GROUP, code, 0, 0, 0);
}
