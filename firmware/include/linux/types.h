/* SPDX-License-Identifier: MIT */
/* The types that uapi/ takes from <linux/types.h>, for the freestanding compiler. */
#ifndef MICA_FW_LINUX_TYPES_H
#define MICA_FW_LINUX_TYPES_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;

#endif
