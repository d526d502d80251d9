// SPDX-License-Identifier: MIT
/* Interfaces are listed by rtnetlink: Linux Documentation/userspace-api/netlink/intro.rst. */
#include <stdbool.h>

#include "calls.h"
#include "interfaces.h"
#include "say.h"
#include "system.h"
#include "texts.h"

/* Linux include/uapi/linux/{socket,netlink,rtnetlink,if_link,if,sockios}.h. */
#define AF_NETLINK 16
#define SOCK_RAW 3
#define NETLINK_ROUTE 0
#define NLM_F_REQUEST 0x001
#define NLM_F_DUMP 0x300
#define NLMSG_ERROR 2
#define NLMSG_DONE 3
#define RTM_NEWLINK 16
#define RTM_GETLINK 18
#define IFLA_IFNAME 3
#define IFNAMSIZ 16
#define IFF_UP 0x1
#define SIOCGIFFLAGS 0x8913
#define SIOCSIFFLAGS 0x8914
#define EINTR 4

struct message {
	uint32_t length;
	uint16_t type;
	uint16_t flags;
	uint32_t sequence;
	uint32_t port;
};

struct link {
	uint8_t family;
	uint8_t padding;
	uint16_t type;
	int32_t index;
	uint32_t flags;
	uint32_t change;
};

struct attribute {
	uint16_t length;
	uint16_t type;
};

/* struct ifreq, which has 40 bytes where addresses have 64 bits, and 32 otherwise. */
struct interface_request {
	char name[IFNAMSIZ];
	int16_t flags;
	char rest[22];
};

/* The kernel puts into one answer what it takes to have, at most this. */
static _Alignas(4) char answer[32768];

static long open_socket(void)
{
#ifdef CALL_SOCKETCALL
	long arguments[] = { AF_NETLINK, SOCK_RAW, NETLINK_ROUTE };

	return system_call(CALL_SOCKETCALL, 1, (long)arguments, 0, 0);
#else
	return system_call(CALL_SOCKET, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, 0);
#endif
}

static void take_down(long socket, const char *name)
{
	struct interface_request request;
	long error;
	int at;

	for (at = 0; at < (int)sizeof(request.rest); at++)
		request.rest[at] = 0;
	for (at = 0; at < IFNAMSIZ - 1 && name[at]; at++)
		request.name[at] = name[at];
	for (; at < IFNAMSIZ; at++)
		request.name[at] = 0;
	request.flags = 0;
	if (request.name[0] == 'l' && request.name[1] == 'o' && !request.name[2])
		return;
	error = system_call(CALL_IOCTL, socket, SIOCGIFFLAGS, (long)&request, 0);
	if (error >= 0) {
		request.flags &= ~IFF_UP;
		error = system_call(CALL_IOCTL, socket, SIOCSIFFLAGS, (long)&request, 0);
	}
	if (error < 0)
		say(INTERFACE_STAYS_TEXT, request.name, -error);
}

static void take_link_down(long socket, const struct message *message)
{
	const char *at = (const char *)(message + 1) + sizeof(struct link);
	const char *end = (const char *)message + message->length;

	while (end - at > (long)sizeof(struct attribute)) {
		const struct attribute *attribute = (const void *)at;

		if (attribute->length < sizeof(*attribute) || attribute->length > end - at)
			return;
		if (attribute->type == IFLA_IFNAME) {
			take_down(socket, at + sizeof(*attribute));
			return;
		}
		at += (attribute->length + 3) & ~3;
	}
}

/* Returns whether more is to come; a failure that the kernel tells goes to ``error``. */
static bool take_links_down(long socket, long size, long *error)
{
	const char *at = answer;
	size_t left = (size_t)size;

	while (left >= sizeof(struct message)) {
		const struct message *message = (const void *)at;
		size_t length = (message->length + 3) & ~3U;

		if (message->length < sizeof(*message) || message->length > left)
			return true;
		if (message->type == NLMSG_DONE)
			return false;
		if (message->type == NLMSG_ERROR) {
			*error = *(const int32_t *)(message + 1);
			return false;
		}
		if (message->type == RTM_NEWLINK)
			take_link_down(socket, message);
		if (length >= left)
			return true;
		at += length;
		left -= length;
	}
	return true;
}

void take_interfaces_down(void)
{
	struct {
		struct message message;
		struct link link;
	} request = {
		.message = {
			.length = sizeof(request),
			.type = RTM_GETLINK,
			.flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
	};
	long socket = open_socket();
	long size = socket;

	if (socket >= 0)
		size = system_call(CALL_WRITE, socket, (long)&request, sizeof(request), 0);
	while (size >= 0) {
		long error = 0;

		do {
			size = system_call(CALL_READ, socket, (long)answer, sizeof(answer), 0);
		} while (size == -EINTR);
		if (size >= 0 && !take_links_down(socket, size, &error)) {
			size = error;
			break;
		}
	}
	if (size < 0)
		say(INTERFACES_UNKNOWN_TEXT, -size);
}
