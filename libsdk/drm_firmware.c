// SPDX-License-Identifier: MIT
/* Why a driver may have refused its firmware: looks at the file as the boot loader does. */
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include "drm_backend.h"
#include "mica/fw_abi.h"
#include "mica/regs.h"

#define FW_PATH "/lib/firmware/" MICA_FW_FILE
#define FW_MAX (16u << 20)

static int damaged(const char *slot, const char *how)
{
	return sdk_err(ENOPKG, "the MICA device %s cannot boot: its firmware " FW_PATH " is damaged (%s); install it again, then load the driver again",
		       slot, how);
}

static int check_image(const struct sdk_file *f, const char *slot)
{
	struct mica_fw_header h;

	if (f->size < sizeof(h))
		return damaged(slot, "shorter than its header");
	memcpy(&h, f->data, sizeof(h));
	if (h.magic != MICA_FW_MAGIC || h.header_size < sizeof(h))
		return damaged(slot, "no firmware image");
	if (h.header_size > f->size || h.body_size != f->size - h.header_size)
		return damaged(slot, "wrong size");
	if (crc32_z(0, f->data + h.header_size, h.body_size) != h.crc32)
		return damaged(slot, "wrong checksum");
	if (MICA_HW_VERSION < h.hw_min || MICA_HW_VERSION > h.hw_max)
		return sdk_err(EPROTONOSUPPORT, "the MICA device %s cannot boot: its firmware " FW_PATH " is for hardware %#x..%#x, this is %#x; install the firmware of this device",
			       slot, h.hw_min, h.hw_max, MICA_HW_VERSION);
	if (MICA_FW_ABI_VERSION < h.abi_min || MICA_FW_ABI_VERSION > h.abi_max)
		return sdk_err(EPROTONOSUPPORT, "the MICA device %s cannot boot: its firmware " FW_PATH " has ABI version %u..%u, the driver speaks %u; install firmware and driver of one release",
			       slot, h.abi_min, h.abi_max, MICA_FW_ABI_VERSION);
	return sdk_err(ENOPKG, "the driver gave the MICA device %s up although its firmware looks good; 'dmesg | grep mica' says why", slot);
}

int drm_explain_firmware(const char *slot)
{
	struct sdk_file f;
	int ret = sdk_file_load(FW_PATH, FW_MAX, &f);

	if (ret)
		return sdk_err(ENOPKG, "the MICA device %s cannot boot: its firmware is missing (%s); install it, then load the driver again",
			       slot, mica_error_text());
	ret = check_image(&f, slot);
	sdk_file_free(&f);
	return ret;
}
