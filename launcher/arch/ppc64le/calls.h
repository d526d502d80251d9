/* SPDX-License-Identifier: MIT */
/* Linux arch/powerpc/kernel/syscalls/syscall.tbl. */
#ifndef CALLS_H
#define CALLS_H

#define CALL_READ 3
#define CALL_WRITE 4
#define CALL_CLOSE 6
#define CALL_EXECVE 11
#define CALL_GETPID 20
#define CALL_SYNC 36
#define CALL_GETEUID 49
#define CALL_IOCTL 54
#define CALL_FCNTL 55
#define CALL_REBOOT 88
#define CALL_RT_SIGPROCMASK 174
#define CALL_EXIT_GROUP 234
#define CALL_OPENAT 286
#define CALL_READLINKAT 296
#define CALL_FACCESSAT 298
#define CALL_SOCKET 326

#endif
