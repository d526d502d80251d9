/* SPDX-License-Identifier: MIT */
/* Linux arch/x86/entry/syscalls/syscall_32.tbl. */
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
/* There is a call for sockets alone since Linux 4.3 only. */
#define CALL_SOCKETCALL 102
#define CALL_RT_SIGPROCMASK 175
#define CALL_GETEUID 201 /* geteuid32 */
#define CALL_EXIT_GROUP 252
#define CALL_OPENAT 295
#define CALL_READLINKAT 305
#define CALL_FACCESSAT 307

#endif
