// SPDX-License-Identifier: MIT
#include "calls.h"
#include "interfaces.h"
#include "jump.h"
#include "say.h"
#include "state.h"
#include "system.h"
#include "texts.h"

#define CAP_SYS_BOOT 22 /* Linux include/uapi/linux/capability.h */
#define EPERM 1

/* Linux include/uapi/linux/reboot.h. */
#define LINUX_REBOOT_MAGIC1 0xfee1dead
#define LINUX_REBOOT_MAGIC2 672274793
#define LINUX_REBOOT_CMD_KEXEC 0x45584543

struct cause {
	const char *reason;
	const char *hint;
};

static struct cause cause_of(long error)
{
	switch (error) {
#define CAUSE(number, reason, hint) \
	case number: \
		return (struct cause){ reason, hint };
		JUMP_CAUSES
#undef CAUSE
	default:
		return (struct cause){ UNKNOWN_REASON, UNKNOWN_HINT };
	}
}

/* Tells of each gate that is shut, as pykexec/calls/rejections.py does; returns how many are. */
static int find_shut_gates(struct cause *shut)
{
	int count = 0;

	if (read_number(LOAD_DISABLED_FILES) == NOT_ZERO)
		shut[count++] = (struct cause){ LOAD_DISABLED_REASON, LOAD_DISABLED_HINT };
	if (read_number(LOAD_LIMIT_FILES) == ZERO)
		shut[count++] = (struct cause){ LOAD_LIMIT_REASON, LOAD_LIMIT_HINT };
	if (read_number(LOADPIN_FILES) == NOT_ZERO)
		shut[count++] = (struct cause){ LOADPIN_REASON, LOADPIN_HINT };
	return count;
}

static void tell_refusal(long error)
{
	struct cause causes[3] = { cause_of(error), { "", "" }, { "", "" } };
	int count = error == EPERM ? find_shut_gates(causes) : 1;
	const char *first = count > 1 ? "; " : "";
	const char *second = count > 2 ? "; " : "";

	say(JUMP_FAILED_TEXT, error, error, causes[0].reason, first,
	    causes[1].reason, second, causes[2].reason, causes[0].hint, first, causes[1].hint,
	    second, causes[2].hint);
}

int jump(bool sync, bool interfaces_down)
{
	uint64_t capabilities;
	long error;

	switch (read_number(LOADED_FILES)) {
	case UNKNOWN:
		say(LOADED_UNKNOWN_TEXT);
		return LOADED_UNKNOWN_CODE;
	case ZERO:
		say(NOT_LOADED_TEXT);
		return NOT_LOADED_CODE;
	case NOT_ZERO:
		break;
	}
	if (read_capabilities(&capabilities) && !(capabilities >> CAP_SYS_BOOT & 1)) {
		say(DENIED_TEXT, (unsigned long)system_call(CALL_GETEUID, 0, 0, 0, 0),
		    capabilities);
		return DENIED_CODE;
	}
	if (sync)
		system_call(CALL_SYNC, 0, 0, 0, 0);
	if (interfaces_down)
		take_interfaces_down();
	error = system_call(CALL_REBOOT, (long)LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			    LINUX_REBOOT_CMD_KEXEC, 0);
	if (!error)
		return 0; /* the other kernel has returned to this one */
	tell_refusal(-error);
	return JUMP_FAILED_CODE;
}
