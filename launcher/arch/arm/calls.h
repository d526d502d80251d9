/* SPDX-License-Identifier: MIT */
/* Linux arch/arm/tools/syscall.tbl. */
#ifndef CALLS_H
#define CALLS_H

#define CALL_READ 3
#define CALL_WRITE 4
#define CALL_CLOSE 6
#define CALL_EXECVE 11
#define CALL_GETPID 20
#define CALL_SYNC 36
#define CALL_IOCTL 54
#define CALL_FCNTL 55
#define CALL_REBOOT 88
#define CALL_RT_SIGPROCMASK 175
#define CALL_GETEUID 201 /* geteuid32 */
#define CALL_EXIT_GROUP 248
#define CALL_SOCKET 281
#define CALL_OPENAT 322
#define CALL_READLINKAT 332
#define CALL_FACCESSAT 334

#endif
