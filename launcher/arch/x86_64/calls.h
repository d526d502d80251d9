/* SPDX-License-Identifier: MIT */
/* Linux arch/x86/entry/syscalls/syscall_64.tbl. */
#ifndef CALLS_H
#define CALLS_H

#define CALL_READ 0
#define CALL_WRITE 1
#define CALL_CLOSE 3
#define CALL_RT_SIGPROCMASK 14
#define CALL_IOCTL 16
#define CALL_GETPID 39
#define CALL_SOCKET 41
#define CALL_EXECVE 59
#define CALL_FCNTL 72
#define CALL_GETEUID 107
#define CALL_SYNC 162
#define CALL_REBOOT 169
#define CALL_EXIT_GROUP 231
#define CALL_OPENAT 257
#define CALL_READLINKAT 267
#define CALL_FACCESSAT 269

#endif
