// SPDX-License-Identifier: MIT
/*
 * The purgatory's two ways to hash, in an ordinary program on the processor that there is.
 *
 * Reads a request and then whole blocks from its input, hashes them `rounds` times, each time from
 * the hash before, and writes the hash and the nanoseconds of processor time that it took. No library is needed.
 */
#include <stdint.h>

#include "sha256.h"
#include "vector_unit.h"

#define CLOCK_THREAD_CPUTIME_ID 3
#define ROOM (64u << 20)

#ifdef __x86_64__
#define SYS_READ 0
#define SYS_WRITE 1
#define SYS_EXIT 60
#define SYS_CLOCK_GETTIME 228
#else
#define SYS_READ 3
#define SYS_WRITE 4
#define SYS_EXIT 1
#define SYS_CLOCK_GETTIME 403 /* clock_gettime64 */
#endif

struct request {
	uint32_t by_instructions;
	uint32_t rounds;
	uint32_t hash[8];
};

struct answer {
	uint32_t hash[8];
	uint64_t nanoseconds;
};

struct time {
	int64_t seconds;
	int64_t nanoseconds;
};

static _Alignas(64) uint8_t room[ROOM];

static long call(long number, long first, void *second, long third)
{
	long result;

#ifdef __x86_64__
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
#else
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory");
#endif
	return result;
}

static uint32_t read_all(void *into, uint32_t size)
{
	uint32_t have = 0;

	while (have < size) {
		const long got = call(SYS_READ, 0, (uint8_t *)into + have, (long)(size - have));

		if (got <= 0)
			break;
		have += (uint32_t)got;
	}
	return have;
}

static uint64_t now(void)
{
	struct time time;

	call(SYS_CLOCK_GETTIME, CLOCK_THREAD_CPUTIME_ID, &time, 0);
	return (uint64_t)time.seconds * 1000000000 + (uint64_t)time.nanoseconds;
}

_Noreturn void start(void)
{
	struct request request;
	struct answer answer;
	uint32_t blocks;

	read_all(&request, sizeof(request));
	blocks = read_all(room, ROOM) / SHA256_BLOCK_SIZE;
	answer.nanoseconds = now();
	for (uint32_t i = 0; i < request.rounds; i++) {
		if (request.by_instructions)
			hash_blocks_by_instructions(request.hash, room, blocks);
		else
			hash_blocks_portably(request.hash, room, blocks);
	}
	answer.nanoseconds = now() - answer.nanoseconds;
	for (int i = 0; i < 8; i++)
		answer.hash[i] = request.hash[i];
	call(SYS_WRITE, 1, &answer, sizeof(answer));
	call(SYS_EXIT, 0, 0, 0);
	__builtin_unreachable();
}
