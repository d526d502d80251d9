/*
 * Records the system calls of a kexec tool instead of making them.
 *
 * Preloaded into the tool, it stands in front of libc's syscall(), reboot(), sync(), execv(),
 * ioctl(), sysconf() and getpagesize(). kexec_load, kexec_file_load, reboot and execv are written
 * to a directory and answered; sync is noted and left out; of ioctl, setting an interface's flags
 * is noted, and made; every other call is passed on. An execv that is answered with success ends
 * the process.
 *
 * Environment:
 *   PYKEXEC_CAPTURE_DIR    where the records go: NN.json, the data of segment MM in NN.segMM,
 *                          the contents of descriptors in NN.kernel and NN.initrd
 *   PYKEXEC_CAPTURE_SIZES  set: sizes only, no segment is copied
 *   PYKEXEC_CAPTURE_ERRNO  answer -1 with this errno instead of 0
 *   PYKEXEC_CAPTURE_FAIL   fail only the call with this number, counted from 1
 *   PYKEXEC_CAPTURE_PAGES  the page size in bytes that the tool is to believe in
 *   PYKEXEC_CAPTURE_PROC   a procfs in which this process is "self": note its memory
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(__powerpc64__) && \
	!defined(__arm__) && !defined(__s390x__) && !defined(__loongarch64) && !(defined(__riscv) && __riscv_xlen == 64)
#error "long must be what a system call's arguments are, on the stack and in registers"
#endif

struct segment {		/* Linux include/uapi/linux/kexec.h, struct kexec_segment */
	const void *buf;
	size_t bufsz;
	unsigned long mem;
	size_t memsz;
};

static unsigned int calls;	/* recorded by this process, without sync */

static void fail(const char *what)
{
	fprintf(stderr, "capture: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static FILE *create(const char *name)
{
	const char *directory = getenv("PYKEXEC_CAPTURE_DIR");
	char path[4096];
	FILE *file;

	if (!directory) {
		errno = ENOENT;
		fail("PYKEXEC_CAPTURE_DIR");
	}
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "wxe");
	if (!file && errno != EEXIST)
		fail(path);
	return file;
}

/* Open the next record. Its number is free in the directory, which several processes may use. */
static FILE *next_record(unsigned int *number)
{
	char name[32];

	for (*number = 0; *number < 100; (*number)++) {
		FILE *file;

		snprintf(name, sizeof(name), "%02u.json", *number);
		file = create(name);
		if (file)
			return file;
	}
	errno = ENOSPC;
	fail("PYKEXEC_CAPTURE_DIR");
	return NULL;
}

/* Copy "FIELD: N kB" of a file in this process's procfs directory, as bytes. */
static void write_memory(FILE *out, const char *file_name, const char *field, const char *key)
{
	const char *proc = getenv("PYKEXEC_CAPTURE_PROC");
	char path[4096], line[256];
	unsigned long kib;
	FILE *file;

	if (!proc)
		return;
	snprintf(path, sizeof(path), "%s/self/%s", proc, file_name);
	file = fopen(path, "re");
	if (!file)
		fail(path);
	while (fgets(line, sizeof(line), file)) {
		size_t length = strlen(field);

		if (!strncmp(line, field, length) && sscanf(line + length, ": %lu", &kib) == 1)
			fprintf(out, ",\n \"%s\": %lu", key, kib << 10);
	}
	fclose(file);
}

static void write_segments(FILE *out, unsigned int number, const struct segment *segments,
			   unsigned long count)
{
	fprintf(out, ",\n \"segments\": [");
	for (unsigned long i = 0; i < count; i++) {
		const struct segment *s = &segments[i];
		char name[32];
		FILE *data;

		fprintf(out, "%s\n  {\"mem\": %lu, \"memsz\": %zu, \"bufsz\": %zu}", i ? "," : "",
			s->mem, s->memsz, s->bufsz);
		if (getenv("PYKEXEC_CAPTURE_SIZES"))
			continue;
		snprintf(name, sizeof(name), "%02u.seg%02lu", number, i);
		data = create(name);
		if (!data || fwrite(s->buf, 1, s->bufsz, data) != s->bufsz || fclose(data))
			fail(name);
	}
	fprintf(out, "]");
}

/* Every byte escaped, so that it need not be UTF-8; read back as Latin-1. */
static void write_text(FILE *out, const char *key, const char *text, size_t length)
{
	fprintf(out, ",\n \"%s\": \"", key);
	for (size_t i = 0; i < length; i++)
		fprintf(out, "\\u%04x", (unsigned char)text[i]);
	fprintf(out, "\"");
}

/* Which file a descriptor is for, and what it holds. */
static void write_descriptor(FILE *out, unsigned int number, const char *key, int fd)
{
	char name[32], block[65536];
	struct stat status;
	off_t offset = 0;
	ssize_t got;
	FILE *data;

	if (fd < 0)
		return;
	if (fstat(fd, &status))
		fail(key);
	fprintf(out, ",\n \"%s\": {\"dev\": %lu, \"ino\": %lu, \"links\": %lu}", key,
		(unsigned long)status.st_dev, (unsigned long)status.st_ino,
		(unsigned long)status.st_nlink);
	if (getenv("PYKEXEC_CAPTURE_SIZES"))
		return;
	snprintf(name, sizeof(name), "%02u.%s", number, key);
	data = create(name);
	if (!data)
		fail(name);
	while ((got = pread(fd, block, sizeof(block), offset)) > 0) {
		if (fwrite(block, 1, got, data) != (size_t)got)
			fail(name);
		offset += got;
	}
	if (got < 0 || fclose(data))
		fail(name);
}

static void finish(FILE *out)
{
	fprintf(out, "}\n");
	if (fclose(out))
		fail("record");
}

static long answer(void)
{
	const char *error = getenv("PYKEXEC_CAPTURE_ERRNO");
	const char *only = getenv("PYKEXEC_CAPTURE_FAIL");

	calls++;
	if (!error || (only && strtoul(only, NULL, 10) != calls))
		return 0;
	errno = atoi(error);
	return -1;
}

static long record_kexec_load(const long *arg)
{
	unsigned int number;
	FILE *out = next_record(&number);

	fprintf(out, "{\"call\": \"kexec_load\",\n \"entry\": %lu, \"flags\": %lu", arg[0], arg[3]);
	write_memory(out, "smaps_rollup", "Anonymous", "anonymous");
	write_memory(out, "status", "VmHWM", "peak_resident");
	write_segments(out, number, (const struct segment *)arg[2], arg[1]);
	finish(out);
	return answer();
}

static long record_kexec_file_load(const long *arg)
{
	unsigned int number;
	FILE *out = next_record(&number);
	const char *cmdline = (const char *)arg[3];

	fprintf(out, "{\"call\": \"kexec_file_load\",\n \"kernel_fd\": %d, \"initrd_fd\": %d, "
		"\"flags\": %lu", (int)arg[0], (int)arg[1], arg[4]);
	write_text(out, "cmdline", cmdline, cmdline ? arg[2] : 0);
	write_descriptor(out, number, "kernel", arg[0]);
	write_descriptor(out, number, "initrd", arg[1]);
	finish(out);
	return answer();
}

static long record_reboot(unsigned int command)
{
	unsigned int number;
	FILE *out = next_record(&number);

	long answered;

	fprintf(out, "{\"call\": \"reboot\",\n \"command\": %u", command);
	finish(out);
	answered = answer();
	if (answered == 0) {
		/* 0 would mean that another kernel has returned to this one. */
		errno = EPERM;
		answered = -1;
	}
	return answered;
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long arg[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	switch (number) {
	case SYS_kexec_load:
		return record_kexec_load(arg);
	case SYS_kexec_file_load:
		return record_kexec_file_load(arg);
	case SYS_reboot:
		return record_reboot(arg[2]);
	}
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return real(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

int reboot(int command)
{
	return record_reboot(command);
}

void sync(void)
{
	unsigned int number;
	FILE *out = next_record(&number);

	fprintf(out, "{\"call\": \"sync\"");
	finish(out);
}

/* The program that would be run is never looked for. */
int execv(const char *path, char *const argv[])
{
	unsigned int number;
	FILE *out = next_record(&number);

	fprintf(out, "{\"call\": \"execv\"");
	write_text(out, "path", path, strlen(path));
	for (unsigned int i = 0; argv[i]; i++) {
		char key[32];

		snprintf(key, sizeof(key), "word%u", i);
		write_text(out, key, argv[i], strlen(argv[i]));
	}
	finish(out);
	if (answer())
		return -1;
	_exit(0);
}

/* The page size is the recorded machine's, whichever the host or the emulator has. */
long sysconf(int name)
{
	static long (*real)(int);
	const char *pages = getenv("PYKEXEC_CAPTURE_PAGES");

	if (pages && name == _SC_PAGESIZE)
		return strtol(pages, NULL, 10);
	if (!real)
		real = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
	return real(name);
}

int getpagesize(void)
{
	return (int)sysconf(_SC_PAGESIZE);
}

/* The tool is on a network of its own. */
int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, void *);
	va_list list;
	void *arg;

	va_start(list, request);
	arg = va_arg(list, void *);
	va_end(list);
	if (request == SIOCSIFFLAGS) {
		const struct ifreq *interface = arg;
		unsigned int number;
		FILE *out = next_record(&number);

		fprintf(out, "{\"call\": \"ifflags\", \"up\": %d",
			!!(interface->ifr_flags & IFF_UP));
		write_text(out, "interface", interface->ifr_name, strlen(interface->ifr_name));
		finish(out);
	}
	if (!real)
		real = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
	return real(fd, request, arg);
}

/* Tells the probe that the process's syscall() is this one, before anything is called. */
int pykexec_capture_is_in_front(void)
{
	return dlsym(RTLD_DEFAULT, "syscall") == (void *)syscall;
}
