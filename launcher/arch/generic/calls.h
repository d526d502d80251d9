/* SPDX-License-Identifier: MIT */
/* Linux include/uapi/asm-generic/unistd.h. */
#ifndef CALLS_H
#define CALLS_H

#define CALL_FCNTL 25
#define CALL_IOCTL 29
#define CALL_FACCESSAT 48
#define CALL_OPENAT 56
#define CALL_CLOSE 57
#define CALL_READ 63
#define CALL_WRITE 64
#define CALL_READLINKAT 78
#define CALL_SYNC 81
#define CALL_EXIT_GROUP 94
#define CALL_RT_SIGPROCMASK 135
#define CALL_REBOOT 142
#define CALL_GETPID 172
#define CALL_GETEUID 175
#define CALL_SOCKET 198
#define CALL_EXECVE 221

#endif
