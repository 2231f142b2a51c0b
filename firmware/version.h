/* SPDX-License-Identifier: MIT */
/* What this firmware is and speaks; in the image's header and in its answers. */
#ifndef MICA_FW_VERSION_H
#define MICA_FW_VERSION_H

#include "mica/fw_abi.h"

#define FW_VERSION		0x00010000u	/* 1.0.0: major << 16 | minor << 8 | patch */
#ifndef FW_ABI_MIN				/* the tests build images with another window */
#define FW_ABI_MIN		1u
#define FW_ABI_MAX		MICA_FW_ABI_VERSION
#endif

#endif
