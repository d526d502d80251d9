/* SPDX-License-Identifier: MIT */
/* Linux arch/s390/kernel/syscalls/syscall.tbl. */
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
#define CALL_GETEUID 201
#define CALL_EXIT_GROUP 248
#define CALL_OPENAT 288
#define CALL_READLINKAT 298
#define CALL_FACCESSAT 300
#define CALL_SOCKET 359

#endif
